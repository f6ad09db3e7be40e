/*-------------------------------------------------------------------------
 * html.h
 *		Safe text, and tables of a query, for a page of HTML in two languages.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_HTML_H
#define JDY_HTML_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

/* A text of our own, in both languages.  Both stand in the page; its style shows one. */
typedef struct Label
{
	const char *en;
	const char *zh;				/* UTF-8 */
} Label;

/* How a column of a query is shown; the type that the query must give. */
typedef enum CellKind
{
	CELL_TEXT,					/* text of others, cut when very long */
	CELL_SENTENCE,				/* text of our own, maybe with others' in it: in both languages where it is known */
	CELL_NAME,					/* text: stream or push */
	CELL_STATUS,				/* text: status of jdy_status or jdy_runs */
	CELL_KIND,					/* text: pull or push */
	CELL_SEVERITY,				/* text */
	CELL_NUMBER,				/* bigint */
	CELL_TROUBLE,				/* bigint that should be 0 */
	CELL_TIME,					/* timestamptz */
	CELL_SPAN					/* double precision: seconds */
} CellKind;

typedef struct TableColumn
{
	Label		head;
	CellKind	kind;
} TableColumn;

/*
 * Text as it is, for an element's content: ASCII only, so that the page reads the same
 * in whatever encoding it is saved.  Characters that are not seen, or turn others
 * round, show their numbers.  What is no UTF-8 (in a database of bytes) becomes U+FFFD.
 */
extern void jdy_html_text(StringInfo page, const char *text);

/* Both languages, one of them hidden. */
extern void jdy_html_label(StringInfo page, Label label);

/* 12,300 */
extern void jdy_html_number(StringInfo page, int64 number);

/* In the session's time zone; the year only where it is another one. */
extern void jdy_html_time(StringInfo page, TimestampTz at);

/*
 * The rows of SPI_tuptable under a head; `empty` instead when there are none.  id: an ASCII word,
 * once in a page.  On narrow screens each row is a list of its own, as `style` then says.
 */
extern void jdy_html_table(StringInfo page, StringInfo style, const char *id, const TableColumn *columns, int ncolumns,
						   Label empty);

#endif							/* JDY_HTML_H */
