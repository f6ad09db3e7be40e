/*-------------------------------------------------------------------------
 * changes.c
 *		What of a push's source may have changed since it was read last.
 *
 * To read a million records only to find that none of them changed takes seconds.
 * PostgreSQL knows better: the visibility map of a table has a bit for each page
 * whose rows everybody sees.  Whoever writes to a page clears its bit, whatever program he
 * uses; only VACUUM sets it again, and then the map's own page gets the LSN of that.  So a page
 * whose bit is set in a page of the map older than the last look is as it was at that look.
 * Of the other pages, rows whose xmin had ended before that look are as they were, too.
 * No trigger, no index and no counter is needed, and nobody can forget to use them.
 *
 * From 17.12 and 18.6 on (not in 15 and 16) clearing a bit gives the map's page an LSN, too.  Then after one
 * write to a page that had its bit, all 32,672 pages that share the page of the map are
 * looked into, which takes less than a tenth of a second in memory, and hides nothing.
 *
 * That holds for a source of which each record comes from one row of one table, by
 * expressions that give the same for the same row: views that jdy_create_view makes, and most
 * that people write.  A join, an aggregate, now() or a function of somebody's own, row
 * security, a partitioned or foreign table: then anything may have changed,
 * and the source is read as a whole.  So it is when the view or the table was made anew, or this
 * is a copy of the database: the mark names all of that.
 *
 * Rows that were deleted leave no id behind.  A push that deletes at its target reads the
 * whole source unless nothing at all was written.
 *
 * Called by pushscan.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "changes.h"
#include "common/hashfn.h"
#include "jdysync.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "payloadplan.h"
#include "spi.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define MOST_CHANGED 50000		/* ids; beyond, the whole source is read */
#define XMIN_IS_OLD (UINT64CONST(1) << 30)	/* transactions after which an xmin says nothing */

/* Blocks of a table of which one page of its visibility map tells. */
#define MAP_BLOCKS ((BlockNumber) ((BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * (BITS_PER_BYTE / BITS_PER_HEAPBLOCK)))

/* From the source down to its table. */
typedef struct Descent
{
	AttrNumber	id;				/* column with the id, in the relation reached */
	StringInfoData text;		/* of all definitions passed */
	bool		whole_rows;		/* all columns of the relation reached are looked at, not those named only */
} Descent;

/* Stable functions of PostgreSQL that give the same for the same row, since runners pin all settings that they heed. */
static const char *const steady[] = {
	"array_in", "array_out", "array_to_json", "array_to_string", "concat", "concat_ws", "date", "date_in", "date_out", "date_part",
	"date_trunc", "extract", "format", "json_agg", "json_build_array", "json_build_object", "json_in", "json_out", "jsonb_agg", "jsonb_build_array",
	"jsonb_build_object", "jsonb_to_record", "record_out", "row_to_json", "time", "time_in", "timestamp", "timestamp_in", "timestamp_out", "timestamptz",
	"timestamptz_in", "timestamptz_out", "to_char", "to_date", "to_json", "to_jsonb", "to_timestamp"
};

static Relation open_table(const Push *push, Descent *descent);
static bool describe(Relation rel, Descent *descent);
static const char *generation(TupleDesc desc, AttrNumber column);
static bool may_look_otherwise(Oid type);
static Oid	step_down(Relation view, Descent *descent);
static bool is_plain(const Query *query);
static bool find_table(const Query *query, Node *from, Descent *descent, int *table);
static bool is_unsteady(Node *node, void *context);
static bool reads_tables(const Query *query);
static bool function_is_unsteady(Oid function, void *context);
static bool is_followed(Relation table, AttrNumber id);
static void make_mark(const Push *push, Relation table, const Descent *descent, XLogRecPtr begin, ChangeMark *mark);
static bool is_comparable(const ChangeMark *then, const ChangeMark *now);
static void read_table(Relation table, AttrNumber id, const ChangeMark *since, Changes *changes);
static void mark_written(Relation table, BlockNumber first, BlockNumber end, XLogRecPtr since, bool *written);
static bool read_pages(TableScanDesc scan, TupleTableSlot *slot, AttrNumber id, TransactionId xmin, Changes *changes);

void
jdy_changes_find(const Push *push, XLogRecPtr begin, Changes *changes)
{
	Descent		descent = {.id = get_attnum(push->source, push->id_name),.whole_rows = true};
	Relation	table;

	memset(changes, 0, sizeof(*changes));
	if (!jdy_payload_is_steady(push->fields))
		return;
	initStringInfo(&descent.text);
	table = open_table(push, &descent);
	if (table == NULL)
		return;
	make_mark(push, table, &descent, begin, &changes->mark);
	if (is_comparable(&push->seen, &changes->mark))
	{
		changes->known = true;
		changes->id_array = psprintf("%s[]", format_type_be_qualified(TupleDescAttr(RelationGetDescr(table), descent.id - 1)->atttypid));
		read_table(table, descent.id, &push->seen, changes);
		if (changes->looked && push->meta->delete_rule != NULL)
			changes->known = false;
	}
	relation_close(table, NoLock);
}

/* The table below the source, locked; NULL: its rows alone do not make the records. */
static Relation
open_table(const Push *push, Descent *descent)
{
	Relation	rel = relation_open(push->source, AccessShareLock);

	for (;;)
	{
		Oid			next;

		if (!describe(rel, descent))
			break;
		if (rel->rd_rel->relkind != RELKIND_VIEW)
		{
			if (is_followed(rel, descent->id))
				return rel;
			break;
		}
		next = step_down(rel, descent);
		if (!OidIsValid(next))
			break;
		relation_close(rel, NoLock);
		rel = relation_open(next, AccessShareLock);
	}
	relation_close(rel, NoLock);
	return NULL;
}

/* Columns by name, type and what they are generated from: a record is made of all that. */
static bool
describe(Relation rel, Descent *descent)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		all = descent->whole_rows || rel->rd_rel->relkind == RELKIND_VIEW;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped)
			continue;
		if (all && may_look_otherwise(attribute->atttypid))
			return false;
		appendStringInfo(&descent->text, "%s %u %d%s,", NameStr(attribute->attname), attribute->atttypid, attribute->atttypmod,
						 attribute->attgenerated != '\0' ? generation(desc, i + 1) : "");
	}
	descent->whole_rows = false;
	return descent->id > 0;
}

/* What a column is generated from: where nothing of it is stored (18), another expression leaves the table's pages as they are. */
static const char *
generation(TupleDesc desc, AttrNumber column)
{
	for (int i = 0; desc->constr != NULL && i < desc->constr->num_defval; i++)
		if (desc->constr->defval[i].adnum == column)
			return desc->constr->defval[i].adbin;
	return "";
}

/*
 * Whether values of a type may look otherwise although nobody writes to their rows: a label of an enumeration gets
 * another name, or a role does of which the oid is kept.  A domain has no looks of its own.
 */
static bool
may_look_otherwise(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_base_element_type(base);
	Oid			output;
	bool		is_varlena;

	if (base >= FirstNormalObjectId)
		return true;
	getTypeOutputInfo(OidIsValid(element) ? element : base, &output, &is_varlena);
	return function_is_unsteady(output, NULL);
}

/* The relation that a view reads, when each of its rows makes at most one of the view's. */
static Oid
step_down(Relation view, Descent *descent)
{
	const Query *query;
	int			table = 0;
	TargetEntry *target;
	Var		   *var;

	if (view->rd_rules == NULL || view->rd_rules->numLocks != 1 || list_length(view->rd_rules->rules[0]->actions) != 1)
		return InvalidOid;
	query = linitial(view->rd_rules->rules[0]->actions);
	if (!is_plain(query) || is_unsteady((Node *) query->targetList, descent) ||
		!find_table(query, (Node *) query->jointree, descent, &table) || table == 0)
		return InvalidOid;
	target = get_tle_by_resno(query->targetList, descent->id);
	var = target != NULL ? (Var *) target->expr : NULL;
	if (var == NULL || !IsA(var, Var) || var->varno != table || var->varattno <= 0 || var->varlevelsup != 0)
		return InvalidOid;
	descent->id = var->varattno;
	appendStringInfoString(&descent->text, nodeToString(query));
	return rt_fetch(table, query->rtable)->relid;
}

static bool
is_plain(const Query *query)
{
	return query->commandType == CMD_SELECT && query->jointree != NULL && query->setOperations == NULL &&
		query->groupClause == NIL && query->groupingSets == NIL && query->havingQual == NULL && query->distinctClause == NIL &&
		query->limitCount == NULL && query->limitOffset == NULL && query->cteList == NIL && query->rowMarks == NIL &&
		!query->hasAggs && !query->hasWindowFuncs && !query->hasTargetSRFs && !query->hasDistinctOn && !query->hasRowSecurity;
}

/* Whether one relation stands in FROM, with nothing beside it but functions that make one row of each of its rows. */
static bool
find_table(const Query *query, Node *from, Descent *descent, int *table)
{
	const RangeTblEntry *entry;
	ListCell   *cell;

	if (IsA(from, FromExpr))
	{
		foreach(cell, ((FromExpr *) from)->fromlist)
			if (!find_table(query, lfirst(cell), descent, table))
				return false;
		return !is_unsteady(((FromExpr *) from)->quals, descent);
	}
	if (IsA(from, JoinExpr))
	{
		const JoinExpr *join = (JoinExpr *) from;

		return join->jointype == JOIN_INNER && find_table(query, join->larg, descent, table) &&
			find_table(query, join->rarg, descent, table) && !is_unsteady(join->quals, descent);
	}
	entry = rt_fetch(castNode(RangeTblRef, from)->rtindex, query->rtable);
	if (entry->rtekind == RTE_FUNCTION)
	{
		foreach(cell, entry->functions)
		{
			Node	   *function = ((RangeTblFunction *) lfirst(cell))->funcexpr;

			if (expression_returns_set(function) || is_unsteady(function, descent))
				return false;
		}
		return true;
	}
	if (entry->rtekind != RTE_RELATION || entry->tablesample != NULL || *table != 0)
		return false;
	*table = castNode(RangeTblRef, from)->rtindex;
	return true;
}

/* Whether it may give something else for the same row.  Notes down in the Descent whether it needs whole rows. */
static bool
is_unsteady(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction) || IsA(node, NextValueExpr) || IsA(node, XmlExpr))
		return true;
	if (IsA(node, Const))
		return may_look_otherwise(((Const *) node)->consttype);
	if (IsA(node, Var))
	{
		if (((Var *) node)->varattno != InvalidAttrNumber)
			return may_look_otherwise(((Var *) node)->vartype);
		((Descent *) context)->whole_rows = true;
		return false;
	}
	if (IsA(node, Query))
		return reads_tables((Query *) node) || query_tree_walker((Query *) node, is_unsteady, context, 0);
	if (check_functions_in_node(node, function_is_unsteady, context))
		return true;
	return expression_tree_walker(node, is_unsteady, context);
}

/* A subquery may unroll what the row itself has, and nothing else. */
static bool
reads_tables(const Query *query)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		const RangeTblEntry *entry = lfirst(cell);

		if (entry->rtekind != RTE_FUNCTION && entry->rtekind != RTE_SUBQUERY && entry->rtekind != RTE_VALUES &&
			entry->rtekind != RTE_RESULT && entry->rtekind != RTE_JOIN && entry->rtekind != RTE_GROUP)
			return true;
	}
	return false;
}

static bool
function_is_unsteady(Oid function, void *context)
{
	char	   *name;
	bool		found = false;

	if (function >= FirstNormalObjectId)
		return func_volatile(function) != PROVOLATILE_IMMUTABLE ||
			getExtensionOfObject(ProcedureRelationId, function) != jdy_extension_oid();
	if (func_volatile(function) == PROVOLATILE_IMMUTABLE)
		return false;
	if (func_volatile(function) == PROVOLATILE_VOLATILE)
		return true;
	name = get_func_name(function);
	for (int i = 0; i < lengthof(steady) && !found; i++)
		found = strcmp(name, steady[i]) == 0;
	return !found;
}

/* Whether its visibility map and its rows tell what was written, and rows are found by the id. */
static bool
is_followed(Relation table, AttrNumber id)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table), id - 1);
	List	   *indexes;
	ListCell   *cell;
	Oid			cast;
	bool		found = false;

	if ((table->rd_rel->relkind != RELKIND_RELATION && table->rd_rel->relkind != RELKIND_MATVIEW) ||
		table->rd_rel->relam != HEAP_TABLE_AM_OID || !RelationIsPermanent(table) || table->rd_rel->relrowsecurity ||
		table->rd_rel->relfilenode == InvalidOid || has_subclass(RelationGetRelid(table)))
		return false;

	/* Ids are read here as their type prints them, elsewhere by a cast to text; and two that are equal must be one. */
	if (attribute->atttypid >= FirstNormalObjectId ||
		find_coercion_pathway(TEXTOID, attribute->atttypid, COERCION_EXPLICIT, &cast) == COERCION_PATH_FUNC ||
		(OidIsValid(attribute->attcollation) && !get_collation_isdeterministic(attribute->attcollation)))
		return false;
	indexes = RelationGetIndexList(table);
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found |= index->rd_index->indisvalid && index->rd_index->indkey.values[0] == id &&
			RelationGetIndexPredicate(index) == NIL && index->rd_rel->relam == BTREE_AM_OID;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

static void
make_mark(const Push *push, Relation table, const Descent *descent, XLogRecPtr begin, ChangeMark *mark)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId xmin = GetActiveSnapshot()->xmin;
	uint64		hash;

	hash = hash_bytes_extended((const unsigned char *) descent->text.data, descent->text.len, 0);
	hash = hash_combine64(hash, hash_bytes_extended((const unsigned char *) push->payload, strlen(push->payload), 0));
	mark->source = psprintf("%llx %u %u %u %016llx %s", (unsigned long long) GetSystemIdentifier(), MyDatabaseId,
							RelationGetRelid(table), table->rd_rel->relfilenode, (unsigned long long) hash,
							pg_get_timezone_name(push->endpoint->time_zone));

	/* VACUUM may cut off pages whose rows are gone, and the pages of the map that told of it. */
	if (push->meta->delete_rule != NULL)
		mark->source = psprintf("%s %u", mark->source, RelationGetNumberOfBlocks(table));
	mark->lsn = begin;
	mark->xmin = FullTransactionIdFromU64(U64FromFullTransactionId(next) - (uint32) (XidFromFullTransactionId(next) - xmin));
}

static bool
is_comparable(const ChangeMark *then, const ChangeMark *now)
{
	return then->source != NULL && strcmp(then->source, now->source) == 0 && then->lsn <= now->lsn &&
		U64FromFullTransactionId(now->xmin) - U64FromFullTransactionId(then->xmin) < XMIN_IS_OLD;
}

static void
read_table(Relation table, AttrNumber id, const ChangeMark *since, Changes *changes)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(table);
	bool	   *written = palloc(MAP_BLOCKS);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TableScanDesc scan = NULL;

	/* Nothing is saved then; and an extension may keep the rows of a table somewhere else. */
	changes->known = nblocks > 0;
	changes->ids = palloc(sizeof(char *) * MOST_CHANGED);
	for (BlockNumber first = 0; first < nblocks && changes->known; first += MAP_BLOCKS)
	{
		BlockNumber end = Min(first + MAP_BLOCKS, nblocks);

		mark_written(table, first, end, since->lsn, written);
		for (BlockNumber block = first; block < end && changes->known; block++)
		{
			ItemPointerData from;
			ItemPointerData to;

			if (!written[block - first])
				continue;
			ItemPointerSet(&from, block, FirstOffsetNumber);
			while (block + 1 < end && written[block + 1 - first])
				block++;
			ItemPointerSet(&to, block, MaxOffsetNumber);
			if (scan == NULL)
				scan = table_beginscan_tidrange(table, GetActiveSnapshot(), &from, &to);
			else
				table_rescan_tidrange(scan, &from, &to);
			changes->looked = true;
			changes->known = read_pages(scan, slot, id, XidFromFullTransactionId(since->xmin), changes);
		}
	}
	if (scan != NULL)
		table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	pfree(written);
}

/*
 * Which blocks may have been written to since.  Bits first, then the LSN of their page, under a
 * lock: whoever sets a bit holds that lock until the LSN is set, too.
 */
static void
mark_written(Relation table, BlockNumber first, BlockNumber end, XLogRecPtr since, bool *written)
{
	Buffer		map = InvalidBuffer;
	bool		is_old = false;

	for (BlockNumber block = first; block < end; block++)
		written[block - first] = (visibilitymap_get_status(table, block, &map) & VISIBILITYMAP_ALL_VISIBLE) == 0;
	if (BufferIsValid(map))
	{
		LockBuffer(map, BUFFER_LOCK_SHARE);
		is_old = PageGetLSN(BufferGetPage(map)) <= since && BufferGetBlockNumber(map) == first / MAP_BLOCKS;
		LockBuffer(map, BUFFER_LOCK_UNLOCK);
		ReleaseBuffer(map);
	}
	if (!is_old)
		memset(written, true, end - first);
}

/* false: too many changed to be counted up. */
static bool
read_pages(TableScanDesc scan, TupleTableSlot *slot, AttrNumber id, TransactionId xmin, Changes *changes)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(TupleDescAttr(slot->tts_tupleDescriptor, id - 1)->atttypid, &output, &is_varlena);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		TransactionId row = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
		Datum		value;

		CHECK_FOR_INTERRUPTS();
		if (TransactionIdPrecedes(row, xmin))
			continue;
		value = slot_getattr(slot, id, &isnull);
		if (isnull || changes->n == MOST_CHANGED)
			return false;
		changes->ids[changes->n++] = OidOutputFunctionCall(output, value);
	}
	return true;
}
