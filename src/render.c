/*-------------------------------------------------------------------------
 * render.c
 *		jdy_render: {{path}} templates inside any JSON, filled from a record.
 *
 * A template is read once and kept as a tree beside the function call, since
 * the same template meets record after record; reading it costs more than
 * filling it.  Whatever holds no placeholder is kept as it will be copied.
 *
 * The function is IMMUTABLE, so nothing of the session may matter: times
 * without zone are China's, as the service writes them, whatever TimeZone is; and
 * words that would need a clock, an expression or other records are errors
 * that name the SQL way.
 *
 * Called from SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "render.h"
#include "template.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

typedef enum PieceKind
{
	PIECE_CONSTANT,				/* anything without placeholders */
	PIECE_PATH,					/* a string that is one placeholder */
	PIECE_TEXT,					/* text with placeholders in it */
	PIECE_OBJECT,
	PIECE_ARRAY
} PieceKind;

/* Text as it stands, then a placeholder (path NULL = none follows). */
typedef struct Part
{
	char	   *text;
	Placeholder placeholder;
} Part;

typedef struct Piece
{
	PieceKind	kind;
	JsonbValue	constant;
	Placeholder placeholder;
	int			n;
	Part	   *parts;			/* of a text */
	JsonbValue *keys;			/* of an object */
	struct Piece **children;
} Piece;

/* What is kept in fn_extra. */
typedef struct Cache
{
	MemoryContext context;		/* of template and root */
	Jsonb	   *template;
	Piece	   *root;
	pg_tz	   *time_zone;
} Cache;

PG_FUNCTION_INFO_V1(jdy_render);

static Cache *cached(FunctionCallInfo fcinfo, Jsonb *template);
static Piece *read_value(const JsonbValue *value);
static Piece *read_container(JsonbContainer *container);
static Piece *read_text(const JsonbValue *value);
static void check_words(const char *text);
static void check_placeholder(const char *text, const Placeholder *placeholder);
static JsonbValue *fill(const Piece *piece, JsonbIteratorToken as, Jsonb *record, const ValueTimes *times,
						JsonbParseState **state);
static void fill_path(const Placeholder *placeholder, Jsonb *record, const ValueTimes *times, JsonbValue *result);
static void fill_text(const Piece *piece, Jsonb *record, const ValueTimes *times, JsonbValue *result);

Datum
jdy_render(PG_FUNCTION_ARGS)
{
	Jsonb	   *template = PG_GETARG_JSONB_P(0);
	Jsonb	   *record = PG_GETARG_JSONB_P(1);
	Cache	   *cache = cached(fcinfo, template);
	ValueTimes	times = {0, 0, cache->time_zone};
	JsonbParseState *state = NULL;
	JsonbValue	scalar;
	const Piece *root = cache->root;

	switch (root->kind)
	{
		case PIECE_CONSTANT:
			PG_RETURN_JSONB_P(template);
		case PIECE_PATH:
			fill_path(&root->placeholder, record, &times, &scalar);
			PG_RETURN_JSONB_P(JsonbValueToJsonb(&scalar));
		case PIECE_TEXT:
			fill_text(root, record, &times, &scalar);
			PG_RETURN_JSONB_P(JsonbValueToJsonb(&scalar));
		default:
			PG_RETURN_JSONB_P(JsonbValueToJsonb(fill(root, WJB_VALUE, record, &times, &state)));
	}
}

void
jdy_template_check(const char *text)
{
	Placeholder placeholder;

	check_words(text);
	for (const char *at = text; jdy_placeholder_next(at, &placeholder); at = placeholder.end)
		check_placeholder(text, &placeholder);
}

static void
check_words(const char *text)
{
	static const struct
	{
		const char *word;
		bool		anywhere;	/* else it means something only where the text begins */
		const char *hint;
	}			words[] = {
		{"_function", false, "Compute it in SQL: a view over the staging table gives any expression as a column."},
		{"_findCollection", true, "Look it up in SQL: a view that joins the staging tables gives the value as a column."},
		{"_mongoQuery", true, "Look it up in SQL: a view that joins the staging tables gives the value as a column."},
		{"_endFind", true, "Look it up in SQL: a view that joins the staging tables gives the value as a column."},
	};

	for (int i = 0; i < lengthof(words); i++)
	{
		const char *found = strstr(text, words[i].word);

		if (found == NULL)
			continue;
		if (!words[i].anywhere &&
			(found != text + strspn(text, " \t\r\n") || strchr(" \t\r\n", found[strlen(words[i].word)]) == NULL))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("template uses \"%s\", which is not supported", words[i].word),
				 errdetail("The template is \"%s\".", text),
				 errhint("%s", words[i].hint)));
	}
}

/* The template's tree, read again only when the template is another one. */
static Cache *
cached(FunctionCallInfo fcinfo, Jsonb *template)
{
	Cache	   *cache = fcinfo->flinfo->fn_extra;
	MemoryContext caller;

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Cache));
		cache->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "jdy_render", ALLOCSET_SMALL_SIZES);
		cache->time_zone = pg_tzset("Asia/Shanghai");
		if (cache->time_zone == NULL)
			elog(ERROR, "time zone Asia/Shanghai is not known");
		fcinfo->flinfo->fn_extra = cache;
	}
	if (cache->root != NULL && VARSIZE(cache->template) == VARSIZE(template) &&
		memcmp(cache->template, template, VARSIZE(template)) == 0)
		return cache;

	cache->root = NULL;
	MemoryContextReset(cache->context);
	caller = MemoryContextSwitchTo(cache->context);
	cache->template = palloc(VARSIZE(template));
	memcpy(cache->template, template, VARSIZE(template));
	cache->root = read_container(&cache->template->root);
	MemoryContextSwitchTo(caller);
	return cache;
}

static Piece *
read_value(const JsonbValue *value)
{
	Piece	   *piece;

	if (value->type == jbvBinary)
		return read_container(value->val.binary.data);
	if (value->type == jbvString)
		return read_text(value);
	piece = palloc0(sizeof(Piece));
	piece->constant = *value;
	return piece;
}

static Piece *
read_container(JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	Piece	   *piece = palloc0(sizeof(Piece));
	bool		constant = true;
	JsonbValue	value;
	JsonbIteratorToken token = JsonbIteratorNext(&iterator, &value, true);

	check_stack_depth();
	if (token == WJB_BEGIN_ARRAY && value.val.array.rawScalar)
	{
		JsonbIteratorNext(&iterator, &value, true);
		return read_value(&value);
	}
	piece->kind = token == WJB_BEGIN_OBJECT ? PIECE_OBJECT : PIECE_ARRAY;
	piece->keys = palloc(sizeof(JsonbValue) * (JsonContainerSize(container) + 1));
	piece->children = palloc(sizeof(Piece *) * (JsonContainerSize(container) + 1));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			piece->keys[piece->n] = value;
		else if (token == WJB_VALUE || token == WJB_ELEM)
		{
			Piece	   *child = read_value(&value);

			constant = constant && child->kind == PIECE_CONSTANT;
			piece->children[piece->n++] = child;
		}
	}
	if (constant)
	{
		piece->kind = PIECE_CONSTANT;
		piece->constant.type = jbvBinary;
		piece->constant.val.binary.data = container;
		piece->constant.val.binary.len = 0;	/* not looked at by pushJsonbValue */
	}
	return piece;
}

static Piece *
read_text(const JsonbValue *value)
{
	Piece	   *piece = palloc0(sizeof(Piece));
	char	   *text = pnstrdup(value->val.string.val, value->val.string.len);
	const char *at = text;
	Placeholder placeholder;
	int			n = 0;

	jdy_template_check(text);
	for (; jdy_placeholder_next(at, &placeholder); at = placeholder.end)
		n++;
	if (n == 0)
	{
		piece->constant = *value;
		return piece;
	}
	jdy_placeholder_next(text, &placeholder);
	if (placeholder.start == text && *placeholder.end == '\0')
	{
		piece->kind = PIECE_PATH;
		piece->placeholder = placeholder;
		return piece;
	}
	piece->kind = PIECE_TEXT;
	piece->parts = palloc0(sizeof(Part) * (n + 1));
	for (at = text; jdy_placeholder_next(at, &placeholder); at = placeholder.end)
	{
		piece->parts[piece->n].text = pnstrdup(at, placeholder.start - at);
		piece->parts[piece->n++].placeholder = placeholder;
	}
	piece->parts[piece->n++].text = pstrdup(at);
	return piece;
}

/* What cannot be filled from a record is said before any record is. */
static void
check_placeholder(const char *text, const Placeholder *placeholder)
{
	if (!jdy_is_path(placeholder->path))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("braces hold no path"),
				 errdetail("\"%s\" in \"%s\" has an empty name.", placeholder->path, text),
				 errhint("A path is names joined by dots, such as {{a.b.0.c}}.")));
	if (jdy_placeholder_is_time(placeholder))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("template uses \"%s\", which is not supported", placeholder->path),
				 errdetail("The template is \"%s\"; a record has no times of a run.", text),
				 errhint("Add the time in SQL: SELECT now(), ... over the view or beside jdy_render(...).")));
	if (placeholder->filter != NULL && strcmp(placeholder->filter, "datetime") != 0 &&
		strcmp(placeholder->filter, "timestamp_ms") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("filter \"%s\" is not supported", placeholder->filter),
				 errdetail("It stands in {{%s|%s}}.", placeholder->path, placeholder->filter),
				 errhint("Filters are datetime and timestamp_ms; a view over the staging table gives any expression as a column.")));
}

/* Puts the piece's value where the parse state stands; the finished container when it ends one. */
static JsonbValue *
fill(const Piece *piece, JsonbIteratorToken as, Jsonb *record, const ValueTimes *times, JsonbParseState **state)
{
	JsonbValue	value;

	switch (piece->kind)
	{
		case PIECE_CONSTANT:
			value = piece->constant;
			return pushJsonbValue(state, as, &value);
		case PIECE_PATH:
			fill_path(&piece->placeholder, record, times, &value);
			return pushJsonbValue(state, as, &value);
		case PIECE_TEXT:
			fill_text(piece, record, times, &value);
			return pushJsonbValue(state, as, &value);
		case PIECE_OBJECT:
			pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
			for (int i = 0; i < piece->n; i++)
			{
				JsonbValue	key = piece->keys[i];

				pushJsonbValue(state, WJB_KEY, &key);
				fill(piece->children[i], WJB_VALUE, record, times, state);
			}
			return pushJsonbValue(state, WJB_END_OBJECT, NULL);
		case PIECE_ARRAY:
			pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			for (int i = 0; i < piece->n; i++)
				fill(piece->children[i], WJB_ELEM, record, times, state);
			return pushJsonbValue(state, WJB_END_ARRAY, NULL);
	}
	return NULL;				/* not reached */
}

/* What is found keeps its type; a time in milliseconds is a number. */
static void
fill_path(const Placeholder *placeholder, Jsonb *record, const ValueTimes *times, JsonbValue *result)
{
	JsonbValue *found;
	char	   *text;

	result->type = jbvNull;
	if (placeholder->filter == NULL)
	{
		found = jdy_jsonb_at(record, placeholder->path);
		if (found != NULL)
			*result = *found;
		return;
	}
	text = jdy_placeholder_text(placeholder, record, times);
	if (text == NULL || *text == '\0')
		return;
	if (strcmp(placeholder->filter, "timestamp_ms") == 0)
	{
		result->type = jbvNumeric;
		result->val.numeric = int64_to_numeric(strtoi64(text, NULL, 10));
	}
	else
	{
		result->type = jbvString;
		result->val.string.val = text;
		result->val.string.len = strlen(text);
	}
}

static void
fill_text(const Piece *piece, Jsonb *record, const ValueTimes *times, JsonbValue *result)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < piece->n; i++)
	{
		const Part *part = &piece->parts[i];
		char	   *filled;

		appendStringInfoString(&text, part->text);
		filled = part->placeholder.path ? jdy_placeholder_text(&part->placeholder, record, times) : NULL;
		if (filled != NULL)
			appendStringInfoString(&text, filled);
	}
	result->type = jbvString;
	result->val.string.val = text.data;
	result->val.string.len = text.len;
}
