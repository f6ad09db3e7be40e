/*-------------------------------------------------------------------------
 * expression.c
 *		_function: one PostgreSQL expression out of metadata.
 *
 * Metadata is written by people, records by anybody.  So only times, which are
 * digits, become part of the expression's text; what comes from a record is bound
 * as a parameter and can never be read as SQL.  For that this file must agree with
 * PostgreSQL on where string literals begin and end; the few spellings that make
 * this hard ($…$, E'…', comments) are refused.
 *
 * In the language of the Qeasy platform '{{name}}' is a field put into a string.
 * A parameter cannot stand in a literal, so such a literal becomes concat(…).
 *
 * The expression runs with the rights of the current role, the stream's owner.
 * That it is one expression and not several statements or a query over tables
 * is checked on the raw parse tree: not for safety from the owner, but so that a
 * mistake is an error instead of a surprise.
 *
 * Called by value.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type_d.h"
#include "compat.h"
#include "expression.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "spi.h"
#include "template.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define SHIM_SCHEMA "jdysync_shim"
#define MAX_FIELDS 100			/* parameters of one expression */

typedef struct Expression
{
	const char *source;			/* as the metadata has it */
	Jsonb	   *record;
	const ValueTimes *times;
	StringInfoData sql;
	int			nargs;
	Oid			types[MAX_FIELDS];
	Datum		values[MAX_FIELDS];
	char		nulls[MAX_FIELDS];
} Expression;

static void compile(Expression *expression);
static const char *compile_literal(Expression *expression, const char *quote);
static const char *compile_placeholder(Expression *expression, const Placeholder *placeholder);
static void append_parameter(Expression *expression, const Placeholder *placeholder, bool as_text);
static void append_literal(StringInfo sql, const char *from, const char *until);
static char *run(Expression *expression);
static void check_single_expression(const char *sql);
static void set_local(const char *name, const char *value);
static void rethrow(const Expression *expression, ErrorData *error);
static const char *hint_for(const ErrorData *error, bool *shims_missing);
pg_noreturn static void refuse(const char *source, const char *what, const char *hint);

char *
jdy_expression_text(const char *source, Jsonb *record, const ValueTimes *times)
{
	MemoryContext context = CurrentMemoryContext;
	Expression *expression = palloc0(sizeof(Expression));
	int			guc_level;
	bool		was_read_only = XactReadOnly;
	char	   *volatile text = NULL;

	expression->source = source;
	expression->record = record;
	expression->times = times;
	compile(expression);

	/* Put back at the end of the transaction when an error leaves from here. */
	guc_level = NewGUCNestLevel();
	set_local("search_path", "pg_catalog, " SHIM_SCHEMA ", pg_temp");
	set_local("standard_conforming_strings", "on");
	set_local("datestyle", "ISO, YMD");
	set_local("timezone", pg_get_timezone_name(times->time_zone));

	/*
	 * SPI's own read_only looks at the statement alone, not into functions it
	 * calls.  Not by its setting, which cannot be set for less than a
	 * subtransaction; an error puts it back with the rest of the (sub)transaction.
	 */
	XactReadOnly = true;
	PG_TRY();
	{
		text = run(expression);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		rethrow(expression, error);
	}
	PG_END_TRY();
	XactReadOnly = was_read_only;
	/* Not even set_config() leaves anything behind. */
	AtEOXact_GUC(false, guc_level);
	MemoryContextSwitchTo(context); /* SPI leaves its own behind */
	return text;
}

/* From the metadata's text to SQL with $n for fields. */
static void
compile(Expression *expression)
{
	const char *at = expression->source;
	Placeholder placeholder;
	bool		more = jdy_placeholder_next(at, &placeholder);
	char		before = ' ';

	initStringInfo(&expression->sql);
	while (*at != '\0')
	{
		while (more && placeholder.start < at)
			more = jdy_placeholder_next(at, &placeholder);
		if (more && placeholder.start == at)
			at = compile_placeholder(expression, &placeholder);
		else if (*at == '\'')
		{
			if (before == '&' || (strchr("eEbBxXnN", before) != NULL &&
								  (at - expression->source < 2 || !(isalnum((unsigned char) at[-2]) || at[-2] == '_'))))
				refuse(expression->source, "A string literal has a prefix.", "Write 'text'.");
			at = compile_literal(expression, at);
		}
		else if (*at == '"')
			refuse(expression->source, "Something stands in double quotes.",
				   "Write text in single quotes and fields as {{path}}.");
		else if (*at == '$' || strncmp(at, "--", 2) == 0 || strncmp(at, "/*", 2) == 0)
			refuse(expression->source, "It contains $ or a comment.",
				   "Write text in single quotes; to subtract a negative number, put a blank between the signs.");
		else
			appendStringInfoChar(&expression->sql, *at++);
		before = at[-1];
	}
}

/* A literal as it stands, or as concat(…) when it holds placeholders.  Returns what follows it. */
static const char *
compile_literal(Expression *expression, const char *quote)
{
	const char *from = quote + 1;
	const char *end = from;
	StringInfoData outer = expression->sql;
	Placeholder placeholder;
	bool		any = false;

	while (*end != '\0' && !(end[0] == '\'' && end[1] != '\''))
		end += *end == '\'' ? 2 : 1;
	if (*end == '\0')
		refuse(expression->source, "A string literal does not end.", "Write a quote inside of text twice.");

	initStringInfo(&expression->sql);
	while (from < end && jdy_placeholder_next(from, &placeholder) && placeholder.end <= end)
	{
		if (any)
			appendStringInfoString(&expression->sql, ", ");
		append_literal(&expression->sql, from, placeholder.start);
		appendStringInfoString(&expression->sql, ", ");
		append_parameter(expression, &placeholder, true);
		from = placeholder.end;
		any = true;
	}
	if (any)
	{
		appendStringInfo(&outer, "concat(%s, ", expression->sql.data);
		append_literal(&outer, from, end);
		appendStringInfoChar(&outer, ')');
	}
	else
		append_literal(&outer, from, end);
	expression->sql = outer;
	return end + 1;
}

/*
 * Times as digits: {{LAST_SYNC_TIME}}000 must become one number.  Where no digit
 * follows they are numeric, so that *1000 does not overflow an integer and / does
 * not cut the fraction, as in the language this comes from.
 */
static const char *
compile_placeholder(Expression *expression, const Placeholder *placeholder)
{
	if (!jdy_placeholder_is_time(placeholder))
		append_parameter(expression, placeholder, false);
	else if (placeholder->filter != NULL)
		append_parameter(expression, placeholder, true);
	else
	{
		appendStringInfoString(&expression->sql, jdy_placeholder_text(placeholder, NULL, expression->times));
		if (!isdigit((unsigned char) *placeholder->end))
			appendStringInfoString(&expression->sql, "::numeric");
	}
	return placeholder->end;
}

static void
append_parameter(Expression *expression, const Placeholder *placeholder, bool as_text)
{
	int			n = expression->nargs;
	JsonbValue *value = NULL;
	char	   *text;

	if (n >= MAX_FIELDS)
		refuse(expression->source, "It names more than 100 fields.", NULL);
	if (!as_text && placeholder->filter == NULL)
	{
		value = jdy_jsonb_at(expression->record, placeholder->path);
		if (value == NULL)
		{
			/* Of the type that its place asks for: a text would be no operand for a number that is missing in one record. */
			appendStringInfoString(&expression->sql, " NULL ");
			return;
		}
	}
	appendStringInfo(&expression->sql, " $%d ", n + 1);
	expression->nargs++;
	if (value != NULL && value->type == jbvNumeric)
	{
		expression->types[n] = NUMERICOID;
		expression->values[n] = NumericGetDatum(value->val.numeric);
		expression->nulls[n] = ' ';
		return;
	}
	text = jdy_placeholder_text(placeholder, expression->record, expression->times);
	expression->types[n] = TEXTOID;
	expression->values[n] = text ? CStringGetTextDatum(text) : (Datum) 0;
	expression->nulls[n] = text ? ' ' : 'n';
}

/* The inside of a literal, quotes in it doubled already. */
static void
append_literal(StringInfo sql, const char *from, const char *until)
{
	appendStringInfoChar(sql, '\'');
	appendBinaryStringInfo(sql, from, until - from);
	appendStringInfoChar(sql, '\'');
}

static char *
run(Expression *expression)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *sql = psprintf("SELECT (%s)::text", expression->sql.data);
	char	   *text;
	int			rc;

	check_single_expression(sql);
	rc = SPI_execute_with_args(sql, expression->nargs, expression->types, expression->values,
							   expression->nulls, true, 2);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(rc));
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("the expression gives several values or none")));
	text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (text != NULL)
		text = MemoryContextStrdup(context, text);
	SPI_freetuptable(SPI_tuptable);
	return text;
}

/* One SELECT of one target and nothing else: no second statement, no FROM, no WHERE, … */
static void
check_single_expression(const char *sql)
{
	List	   *statements = raw_parser(sql, RAW_PARSE_DEFAULT);
	SelectStmt *select;
	bool		single = false;

	if (list_length(statements) == 1 && IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt))
	{
		select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
		single = select->op == SETOP_NONE && list_length(select->targetList) == 1 &&
			select->distinctClause == NIL && select->intoClause == NULL && select->fromClause == NIL &&
			select->whereClause == NULL && select->groupClause == NIL && select->havingClause == NULL &&
			select->windowClause == NIL && select->valuesLists == NIL && select->sortClause == NIL &&
			select->limitOffset == NULL && select->limitCount == NULL &&
			select->lockingClause == NIL && select->withClause == NULL;
	}
	if (!single)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("it is not a single expression")));
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * The error again, with the expression in it.  Not what the expression is no
 * reason of: cancel, shutdown, lack of memory, our own bugs.
 */
static void
rethrow(const Expression *expression, ErrorData *error)
{
	bool		shims_missing;
	const char *hint;

	if (jdy_error_is_the_servers(error))
		ReThrowError(error);
	hint = hint_for(error, &shims_missing);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("_function cannot be evaluated"),
			 errdetail("\"%s\": %s.", expression->source, error->message),
			 shims_missing ?
			 errhint("Role \"%s\" needs USAGE on schema %s and EXECUTE on its functions.",
					 GetUserNameFromId(GetUserId(), false), SHIM_SCHEMA) :
			 errhint("%s", hint)));
}

static const char *
hint_for(const ErrorData *error, bool *shims_missing)
{
	Oid			schema = get_namespace_oid(SHIM_SCHEMA, true);

	*shims_missing = error->sqlerrcode == ERRCODE_UNDEFINED_FUNCTION && OidIsValid(schema) &&
		object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_USAGE) != ACLCHECK_OK;
	if (error->sqlerrcode == ERRCODE_UNDEFINED_COLUMN)
		return "Write text in single quotes, fields and times as {{path}}.";
	if (error->sqlerrcode == ERRCODE_UNDEFINED_FUNCTION)
		return "Fields that are text need a cast to be computed with, such as {{qty}}::numeric; besides PostgreSQL's functions there are FROM_UNIXTIME, UNIX_TIMESTAMP, IFNULL and LOCATE.";
	if (error->hint != NULL)
		return error->hint;
	return "It must be one PostgreSQL expression, such as {{CURRENT_TIME}}*1000.";
}

static void
refuse(const char *source, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("_function cannot be evaluated"),
			 errdetail("\"%s\": %s", source, what),
			 hint ? errhint("%s", hint) : 0));
}
