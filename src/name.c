/*-------------------------------------------------------------------------
 * name.c
 *		What a stream may be called, and what somebody may have meant.
 *
 * A name becomes part of names of tables and views, which people type.  So it
 * may hold letters of any script, but nothing that cannot be seen or is
 * taken for something else: a full-width comma, an ideographic space, an emoji.
 *
 * PostgreSQL knows the categories of Unicode only since version 17 and the C
 * library's depend on the locale, so what is no letter stands in a table here.  It
 * is about blocks of punctuation and symbols, not about every single character.
 *
 * Called by stream.c; jdy_closest by whoever refuses a word.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "name.h"
#include "spi.h"
#include "streamview.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#define MAX_NAME_BYTES 50
#define MAX_COMPARED 255		/* bytes that the distance of two words can be told of */
#define MAX_DISTANCE 4

typedef struct Range
{
	pg_wchar	first;
	pg_wchar	last;
} Range;

/* Code points that are no letters; in order. */
static const Range no_letters[] = {
	{0x0080, 0x00A9},			/* controls, no-break space, signs */
	{0x00AB, 0x00B4},
	{0x00B6, 0x00B9},
	{0x00BB, 0x00BF},
	{0x00D7, 0x00D7},
	{0x00F7, 0x00F7},
	{0x034F, 0x034F},			/* unseen */
	{0x061C, 0x061C},
	{0x115F, 0x1160},			/* Hangul fillers */
	{0x1680, 0x1680},			/* Ogham space */
	{0x17B4, 0x17B5},
	{0x180B, 0x180F},
	{0x2000, 0x206F},			/* spaces, punctuation, marks of direction */
	{0x20A0, 0x20CF},			/* currencies */
	{0x2190, 0x245F},			/* arrows, mathematics, technical; not numbers in circles */
	{0x2500, 0x2BFF},			/* boxes, symbols, dingbats */
	{0x2E00, 0x2E7F},			/* punctuation */
	{0x2FF0, 0x3004},			/* ideographic space, comma, full stop; not U+3005, the mark of repetition */
	{0x3006, 0x3006},
	{0x3008, 0x303F},			/* brackets; not U+3007, zero */
	{0x30FB, 0x30FB},			/* katakana middle dot */
	{0x3164, 0x3164},			/* Hangul filler */
	{0xD800, 0xF8FF},			/* surrogates, private use */
	{0xFE00, 0xFE1F},			/* variation selectors, vertical forms */
	{0xFE30, 0xFE6F},			/* compatibility and small forms of punctuation */
	{0xFEFF, 0xFF0F},			/* byte order mark, full-width punctuation */
	{0xFF1A, 0xFF20},
	{0xFF3B, 0xFF40},
	{0xFF5B, 0xFF65},
	{0xFFA0, 0xFFA0},			/* Hangul filler */
	{0xFFE0, 0xFFFF},			/* full-width signs, specials */
	{0x1D000, 0x1D24F},			/* music */
	{0x1F000, 0x1FBFF},			/* tiles, cards, emoji, pictographs */
	{0xE0000, 0x10FFFF},		/* tags, variation selectors, private use */
};

static const char *problem_of(const char *name);
static bool is_letter(pg_wchar code);
static void check_views(const char *name);

void
jdy_name_check(const char *name)
{
	const char *problem = problem_of(name);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" cannot be the name of a stream", name),
				 errdetail_internal("%s", problem),
				 errhint("Letters of any script, digits and _ are allowed, %d bytes at most.", MAX_NAME_BYTES)));
	check_views(name);
}

void
jdy_closest(Closest *closest, const char *candidate)
{
	int			length = pg_mbcliplen(closest->word, strlen(closest->word), MAX_COMPARED);
	int			distance;

	if (closest->best == NULL)
		closest->distance = Min(MAX_DISTANCE, pg_mbstrlen_with_len(closest->word, length) / 2) + 1;
	if (strlen(candidate) > MAX_COMPARED)
		return;
	distance = varstr_levenshtein_less_equal(closest->word, length, candidate, strlen(candidate),
											 1, 1, 1, closest->distance, true);
	if (distance < closest->distance)
	{
		closest->best = candidate;
		closest->distance = distance;
	}
}

/* NULL = none.  Looked at as Unicode, whatever the database's encoding. */
static const char *
problem_of(const char *name)
{
	const unsigned char *c = (const unsigned char *) pg_server_to_any(name, strlen(name), PG_UTF8);

	if (*name == '\0')
		return "It is empty.";
	if (strlen(name) > MAX_NAME_BYTES)
		return psprintf("It is longer than %d bytes.", MAX_NAME_BYTES);
	for (; *c != '\0'; c += pg_encoding_mblen(PG_UTF8, (const char *) c))
	{
		pg_wchar	code = utf8_to_unicode(c);

		if (!is_letter(code))
			return psprintf("Character U+%04X is neither a letter nor a digit nor _.", code);
	}
	return NULL;
}

/* A letter, or what may stand among them. */
static bool
is_letter(pg_wchar code)
{
	if (code < 0x80)
		return isalnum((int) code) || code == '_';
	for (int i = 0; i < lengthof(no_letters); i++)
		if (code >= no_letters[i].first && code <= no_letters[i].last)
			return false;
	return true;
}

/*
 * The stream's views are made when they can be, perhaps long after the stream.  Those
 * over its own staging table do not count: a dump of the schema alone brings both.
 */
static void
check_views(const char *name)
{
	static JdyStatement taken = {
		.sql = "SELECT k.relname FROM pg_catalog.pg_class k, pg_catalog.unnest(ARRAY[$1, $1 || '_entry', $1 || '_masked']) AS n"
		" WHERE k.relname = n AND k.relnamespace = (SELECT e.extnamespace FROM pg_catalog.pg_extension e"
		" WHERE e.extname = 'jdysync') AND NOT EXISTS (SELECT FROM pg_catalog.pg_class t WHERE t.relname = $2"
		"  AND t.relnamespace = 'jdysync'::regnamespace AND k.relowner = t.relowner AND " JDY_IS_VIEW_OVER("k", "t") ")",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2];

	SPI_connect();
	values[0] = CStringGetTextDatum(psprintf("jdy_%s", name));
	values[1] = CStringGetTextDatum(psprintf("staging_%s", name));
	jdy_execute(&taken, values, NULL);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("\"%s\" cannot be the name of a stream", name),
				 errdetail("Relation \"%s\" exists already, and the stream's own views would need that name.",
						   jdy_spi_text(0, 1)),
				 errhint("Choose another name; the catalogue's entry can be given as entry => '...'.")));
	SPI_finish();
}
