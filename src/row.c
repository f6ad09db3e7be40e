/*-------------------------------------------------------------------------
 * row.c
 *		One row of a reply: cut out, named by its key, judged, made jsonb.
 *
 * A row stays the bytes that came until somebody wants it as jsonb: one whose digest
 * is known need not be read at all, and one that PostgreSQL cannot hold is set aside
 * as it is.  Its problems are told from its bytes, so no error is ever raised for
 * what a row contains.
 *
 * Called by page.c; whoever lands rows asks for their jsonb.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "build.h"
#include "common/hashfn.h"
#include "common/string.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "row.h"
#include "utils/fmgrprotos.h"

static const char *row_problem(const JsonScan *scan, bool utf8, const Slice *text);
static char *key_text(const RowKey *key);
static char *whole_row_id(const Slice *text);
static char *to_server(char *utf8, size_t length);

void
jdy_row_key(RowKey *key, const List *id_fields, const char *number_field, const char *prefix)
{
	ListCell   *cell;

	key->prefix = prefix;
	key->nmembers = 0;
	key->whole_row = list_length(id_fields) == 1 && strcmp(linitial(id_fields), "*") == 0;
	key->nkeys = key->whole_row ? 0 : list_length(id_fields);
	key->members = palloc0((key->nkeys + 1) * sizeof(ScanMember));
	key->optional = palloc0((key->nkeys + 1) * sizeof(bool));
	if (key->nkeys > 0)
		foreach(cell, id_fields)
		{
			const char *name = lfirst(cell);
			size_t		bytes = strlen(name);

			key->optional[key->nmembers] = key->nkeys > 1 && bytes > 1 && name[bytes - 1] == '?';
			key->members[key->nmembers].name = name;
			key->members[key->nmembers].name_length = bytes - key->optional[key->nmembers];
			key->nmembers++;
		}
	if (number_field)
	{
		key->members[key->nmembers].name = number_field;
		key->members[key->nmembers++].name_length = strlen(number_field);
	}
}

bool
jdy_row_take(JsonScan *scan, RowKey *key, bool utf8, Row *row)
{
	Slice		text;

	scan->marks = 0;
	if (!jdy_scan_value(scan, &text, key->members, key->nmembers))
		return false;
	row->text = text.text;
	row->length = text.length;
	row->digest = hash_bytes_extended((const unsigned char *) text.text, text.length, 0);
	row->problem = row_problem(scan, utf8, &text);
	row->id = key->whole_row ? whole_row_id(&text) : key_text(key);
	if (row->id != NULL && key->prefix != NULL)
		row->id = psprintf("%s|%s", key->prefix, row->id);
	if (row->id == NULL && row->problem == NULL && key->nkeys > 0)
		row->problem = "no id";
	if (row->id != NULL && strlen(row->id) > JDY_MAX_ID_BYTES)
	{
		row->id = NULL;
		if (row->problem == NULL)
			row->problem = "id over 1000 bytes";
	}
	row->number = key->nmembers > key->nkeys ? jdy_scalar_text(&key->members[key->nkeys].value) : NULL;
	if (row->number == NULL && key->prefix != NULL)
		row->number = pstrdup(key->prefix);
	return true;
}

Jsonb *
jdy_row_jsonb(const Row *row, const char **problem)
{
	ErrorSaveContext soft = {T_ErrorSaveContext};
	Datum		datum;
	char	   *text;

	*problem = row->problem;
	if (row->problem != NULL)
		return NULL;
	if (GetDatabaseEncoding() == PG_UTF8)
	{
		Jsonb	   *quick = jdy_build_jsonb(row->text, row->length);

		if (quick != NULL)
			return quick;
	}
	text = to_server(pnstrdup(row->text, row->length), row->length);
	if (text == NULL)
		*problem = "a character that the database's encoding lacks";
	else if (!DirectInputFunctionCallSafe(jsonb_in, text, InvalidOid, -1, (Node *) &soft, &datum))
		*problem = "not JSON that jsonb can hold";
	if (text != NULL)
		pfree(text);
	return *problem == NULL ? DatumGetJsonbP(datum) : NULL;
}

char *
jdy_scalar_text(const Slice *value)
{
	JsonScan	scan;
	Slice		inside;
	char	   *text;
	size_t		length;

	if (value->text == NULL)
		return NULL;
	jdy_scan_begin(&scan, value->text, value->length);
	if (!jdy_scan_value(&scan, &inside, NULL, 0) || inside.length != value->length)
		return NULL;
	switch (value->text[0])
	{
		case '{':
		case '[':
		case 'n':
			return NULL;
		case '"':
			if (value->length <= 2)
				return NULL;
			inside = (Slice) {value->text + 1, value->length - 2};
			text = jdy_scan_decode(&inside, &length);
			break;
		default:
			length = value->length;
			text = pnstrdup(value->text, length);
	}
	if (text != NULL && pg_encoding_verifymbstr(PG_UTF8, text, length) != length)
	{
		pfree(text);
		return NULL;
	}
	return text ? to_server(text, length) : NULL;
}

/* What keeps PostgreSQL from holding this row, as far as its bytes tell; NULL = nothing. */
static const char *
row_problem(const JsonScan *scan, bool utf8, const Slice *text)
{
	if (!utf8 && pg_encoding_verifymbstr(PG_UTF8, text->text, text->length) != text->length)
		return "invalid UTF-8";
	if (scan->marks & SCAN_ZERO)
		return "character U+0000";
	if (scan->marks & SCAN_SURROGATE)
		return "half a surrogate pair";
	if (scan->depth > JDY_MAX_NESTING)
		return "nested too deeply";
	if (text->length > JDY_MAX_ROW_BYTES)
		return "row over 16 MB";
	if (text->text[0] != '{')
		return "not an object";
	return NULL;
}

/*
 * The key fields' values; several are joined by '|', with '\' before a '|' or '\'
 * inside, so that two keys never meet in one id.  NULL when one is missing that must be there.
 */
static char *
key_text(const RowKey *key)
{
	StringInfoData id;

	if (key->nkeys == 1)
		return jdy_scalar_text(&key->members[0].value);
	initStringInfo(&id);
	for (int i = 0; i < key->nkeys; i++)
	{
		char	   *part = jdy_scalar_text(&key->members[i].value);

		if (part == NULL && !key->optional[i])
			return NULL;
		if (i > 0)
			appendStringInfoChar(&id, '|');
		for (const char *c = part ? part : ""; *c != '\0'; c++)
		{
			if (*c == '|' || *c == '\\')
				appendStringInfoChar(&id, '\\');
			appendStringInfoChar(&id, *c);
		}
		if (part != NULL)
			pfree(part);
	}
	return key->nkeys > 0 ? id.data : NULL;
}

/* Of rows that nothing names: equal ones are one, a changed one is another. */
static char *
whole_row_id(const Slice *text)
{
	const unsigned char *bytes = (const unsigned char *) text->text;

	return psprintf("%016llx%016llx", (unsigned long long) hash_bytes_extended(bytes, text->length, 0),
					(unsigned long long) hash_bytes_extended(bytes, text->length, 1));
}

/*
 * UTF-8 text in the database's encoding: itself where that is UTF-8 (or none), else
 * a copy; NULL when a character is missing there.  By character because the
 * conversion of whole strings needs a transaction.
 */
static char *
to_server(char *utf8, size_t length)
{
	StringInfoData text;
	unsigned char character[MAX_UNICODE_EQUIVALENT_STRING + 1];
	const unsigned char *at = (const unsigned char *) utf8;
	const unsigned char *end = at + length;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII ||
		pg_is_ascii(utf8))
		return utf8;
	initStringInfo(&text);
	while (at < end)
	{
		if (!pg_unicode_to_server_noerror(utf8_to_unicode(at), character))
		{
			pfree(text.data);
			return NULL;
		}
		appendStringInfoString(&text, (char *) character);
		at += pg_utf_mblen(at);
	}
	return text.data;
}
