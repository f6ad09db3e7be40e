/*-------------------------------------------------------------------------
 * html.c
 *		Safe text, and tables of a query, for a page of HTML in two languages.
 *
 * Names, urls and texts of errors come from outside.  All of them go through
 * jdy_html_text, which lets nothing out but letters, and character references for the
 * rest: no tag, no quote, no character that a reader does not see.
 *
 * Pure but for jdy_html_table, which reads what SPI has found.
 *
 * Called by report.c and chart.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "executor/spi.h"
#include "html.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "phrasebook.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MOST_CHARACTERS 300		/* of one text */
#define REPLACEMENT 0xFFFD

typedef struct Word
{
	const char *word;
	const char *css_class;
	const char *zh;
} Word;

/* Words of the views that have a colour or a translation. */
static const Word statuses[] = {
	{"ok", "good", "正常"},
	{"late", "warn", "迟到"},
	{"failing", "bad", "失败"},
	{"held", "warn", "待放行"},
	{"paused", "calm", "已暂停"},
	{"never ran", "calm", "未运行"},
	{"failed", "bad", "失败"},
	{"interrupted", "bad", "中断"},
	{"cancelled", "calm", "已取消"},
	{"running", "calm", "运行中"},
	{"queued", "calm", "排队中"},
	{NULL, "calm", NULL}
};
static const Word kinds[] = {
	{"pull", "plain", "拉取"},
	{"push", "plain", "推送"},
	{NULL, "plain", NULL}
};
static const Word severities[] = {
	{"info", "calm", "提示"},
	{"warning", "warn", "警告"},
	{"critical", "bad", "严重"},
	{NULL, "calm", NULL}
};

static void put_text(StringInfo page, const char *text, int most);
static void put_character(StringInfo page, pg_wchar character);
static pg_wchar next_character(const unsigned char **at);
static bool is_unseen(pg_wchar character);
static void put_css_text(StringInfo page, const char *utf8);
static void put_narrow_heads(StringInfo style, const char *id, const TableColumn *columns, int ncolumns);
static void put_cell(StringInfo page, CellKind kind, Datum value);
static void put_word(StringInfo page, const Word *words, const char *word);
static void put_sentence(StringInfo page, const char *text);
static void put_both(StringInfo page, Label label, int most);
static const char *cell_class(CellKind kind);
static void put_span(StringInfo page, double seconds);

void
jdy_html_text(StringInfo page, const char *text)
{
	put_text(page, text, MOST_CHARACTERS);
}

void
jdy_html_label(StringInfo page, Label label)
{
	put_both(page, label, INT_MAX);
}

void
jdy_html_number(StringInfo page, int64 number)
{
	char		digits[32];
	int			length = snprintf(digits, sizeof(digits), INT64_FORMAT, number);

	for (int i = 0; i < length; i++)
	{
		if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-')
			appendStringInfoChar(page, ',');
		appendStringInfoChar(page, digits[i]);
	}
}

void
jdy_html_time(StringInfo page, TimestampTz at)
{
	struct pg_tm tm;
	struct pg_tm today;
	fsec_t		fraction;
	int			offset;

	if (TIMESTAMP_NOT_FINITE(at) ||
		timestamp2tm(at, &offset, &tm, &fraction, NULL, session_timezone) != 0 ||
		timestamp2tm(GetCurrentTimestamp(), &offset, &today, &fraction, NULL, session_timezone) != 0)
	{
		appendStringInfoString(page, "&#x2013;");
		return;
	}
	if (tm.tm_year != today.tm_year)
		appendStringInfo(page, "%d-", tm.tm_year);
	appendStringInfo(page, "%02d-%02d %02d:%02d:%02d", tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void
jdy_html_table(StringInfo page, StringInfo style, const char *id, const TableColumn *columns, int ncolumns, Label empty)
{
	SPITupleTable *rows = SPI_tuptable;

	Assert(ncolumns == rows->tupdesc->natts);
	if (rows->numvals == 0)
	{
		appendStringInfoString(page, "<p class=\"empty\">");
		jdy_html_label(page, empty);
		appendStringInfoString(page, "</p>\n");
		return;
	}
	put_narrow_heads(style, id, columns, ncolumns);
	appendStringInfo(page, "<table id=\"%s\">\n<thead><tr>", id);
	for (int c = 0; c < ncolumns; c++)
	{
		appendStringInfo(page, "<th class=\"%s\">", cell_class(columns[c].kind));
		jdy_html_label(page, columns[c].head);
		appendStringInfoString(page, "</th>");
	}
	appendStringInfoString(page, "</tr></thead>\n<tbody>\n");
	for (uint64 row = 0; row < rows->numvals; row++)
	{
		appendStringInfoString(page, "<tr>");
		for (int c = 0; c < ncolumns; c++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(rows->vals[row], rows->tupdesc, c + 1, &isnull);

			appendStringInfo(page, "<td class=\"%s%s\">", cell_class(columns[c].kind), isnull ? " none" : "");
			if (isnull)
				appendStringInfoString(page, "&#x2013;");
			else
				put_cell(page, columns[c].kind, value);
			appendStringInfoString(page, "</td>");
		}
		appendStringInfoString(page, "</tr>\n");
	}
	appendStringInfoString(page, "</tbody></table>\n");
}

/* Where a row is a list, each cell says what it is.  One rule a column, not a text a cell. */
static void
put_narrow_heads(StringInfo style, const char *id, const TableColumn *columns, int ncolumns)
{
	appendStringInfoString(style, "@media screen and (max-width:760px){");
	for (int c = 0; c < ncolumns; c++)
	{
		appendStringInfo(style, "#%s td:nth-child(%d)::before{content:\"", id, c + 1);
		put_css_text(style, columns[c].head.en);
		appendStringInfo(style, "\"}#zh:checked~main #%s td:nth-child(%d)::before{content:\"", id, c + 1);
		put_css_text(style, columns[c].head.zh);
		appendStringInfoString(style, "\"}");
	}
	appendStringInfoString(style, "}\n");
}

static void
put_cell(StringInfo page, CellKind kind, Datum value)
{
	switch (kind)
	{
		case CELL_TEXT:
			jdy_html_text(page, TextDatumGetCString(value));
			break;
		case CELL_SENTENCE:
			put_sentence(page, TextDatumGetCString(value));
			break;
		case CELL_NAME:
			appendStringInfoString(page, "<bdi>");
			jdy_html_text(page, TextDatumGetCString(value));
			appendStringInfoString(page, "</bdi>");
			break;
		case CELL_STATUS:
			put_word(page, statuses, TextDatumGetCString(value));
			break;
		case CELL_KIND:
			put_word(page, kinds, TextDatumGetCString(value));
			break;
		case CELL_SEVERITY:
			put_word(page, severities, TextDatumGetCString(value));
			break;
		case CELL_NUMBER:
			jdy_html_number(page, DatumGetInt64(value));
			break;
		case CELL_TROUBLE:
			if (DatumGetInt64(value) != 0)
				appendStringInfoString(page, "<b>");
			jdy_html_number(page, DatumGetInt64(value));
			if (DatumGetInt64(value) != 0)
				appendStringInfoString(page, "</b>");
			break;
		case CELL_TIME:
			jdy_html_time(page, DatumGetTimestampTz(value));
			break;
		case CELL_SPAN:
			put_span(page, DatumGetFloat8(value));
			break;
	}
}

static void
put_word(StringInfo page, const Word *words, const char *word)
{
	while (words->word != NULL && strcmp(words->word, word) != 0)
		words++;
	appendStringInfo(page, "<i class=\"%s\">", words->css_class);
	if (words->zh != NULL)
		jdy_html_label(page, (Label) {words->word, words->zh});
	else
		jdy_html_text(page, word);
	appendStringInfoString(page, "</i>");
}

static void
put_sentence(StringInfo page, const char *text)
{
	char	   *zh = jdy_in_chinese(text);

	if (zh != NULL)
		put_both(page, (Label) {text, zh}, MOST_CHARACTERS);
	else
		jdy_html_text(page, text);
}

static void
put_both(StringInfo page, Label label, int most)
{
	appendStringInfoString(page, "<span lang=\"en\">");
	put_text(page, label.en, most);
	appendStringInfoString(page, "</span><span lang=\"zh\">");
	put_text(page, label.zh, most);
	appendStringInfoString(page, "</span>");
}

static const char *
cell_class(CellKind kind)
{
	switch (kind)
	{
		case CELL_TEXT:
		case CELL_SENTENCE:
			return "text";
		case CELL_NAME:
			return "name";
		case CELL_NUMBER:
		case CELL_TROUBLE:
		case CELL_SPAN:
			return "number";
		case CELL_TIME:
			return "time";
		default:
			return "word";
	}
}

/* Seconds as a person says them: 42 s, 5 min, 3.2 h, 12 d. */
static void
put_span(StringInfo page, double seconds)
{
	static const struct
	{
		double		seconds;
		const char *unit;
	}			units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}, {0.001, "ms"}};
	double		number;
	int			i = 0;

	/* Two digits say enough: 90 s is 1.5 min, 100 s is 1.7. */
	while (i < lengthof(units) - 1 && fabs(seconds) < units[i].seconds)
		i++;
	number = seconds / units[i].seconds;
	appendStringInfo(page, fabs(number) < 9.95 && units[i].seconds > 0.5 && number != rint(number) ? "%.1f %s" : "%.0f %s",
					 number, units[i].unit);
}

static void
put_text(StringInfo page, const char *text, int most)
{
	const unsigned char *at = (const unsigned char *) text;

	for (int n = 0; *at != '\0'; n++)
	{
		if (n == most)
		{
			appendStringInfoString(page, "&#x2026;");
			return;
		}
		put_character(page, next_character(&at));
	}
}

static void
put_character(StringInfo page, pg_wchar character)
{
	if (is_unseen(character))
		appendStringInfo(page, "<code>U+%04X</code>", character);
	else if (character == '\n')
		appendStringInfoString(page, "<br>");
	else if (character >= 0x7F || strchr("&<>\"'", character) != NULL)
		appendStringInfo(page, "&#x%X;", character);
	else
		appendStringInfoChar(page, (char) character);
}

/* The character at *at, which moves behind it; what is no UTF-8 is replaced byte by byte. */
static pg_wchar
next_character(const unsigned char **at)
{
	int			length = pg_utf_mblen(*at);
	pg_wchar	character;

	if ((int) strnlen((const char *) *at, length) < length || !pg_utf8_islegal(*at, length))
	{
		(*at)++;
		return REPLACEMENT;
	}
	character = utf8_to_unicode(*at);
	*at += length;
	return character;
}

/* Controls, joiners, marks and overrides of direction, separators, tags: what makes text look like another. */
static bool
is_unseen(pg_wchar c)
{
	return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C ||
		(c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) ||
		c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE0FFF);
}

/* Inside a quoted string of a style: our own texts only. */
static void
put_css_text(StringInfo page, const char *utf8)
{
	const unsigned char *at = (const unsigned char *) utf8;

	while (*at != '\0')
	{
		pg_wchar	character = next_character(&at);

		if (character < 0x7F)
			appendStringInfoChar(page, (char) character);
		else
			appendStringInfo(page, "\\%X ", character);
	}
}
