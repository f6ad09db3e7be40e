/*-------------------------------------------------------------------------
 * otherlist.h
 *		The lists that the documents describe beside the four with records of their own.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_OTHERLIST_H
#define SIM_OTHERLIST_H

#include "config.h"
#include "data.h"
#include "request.h"

#define OTHER_FIELDS 10

/* A line of lists.tsv; texts are empty where the documents name nothing. */
typedef struct OtherList
{
	const char *path;
	const char *id[OTHER_FIELDS + 1];	/* fields that make a row unique, then NULL */
	const char *number;
	const char *detail;			/* path */
	const char *detail_param;
	const char *start;			/* parameters of a span of modify time */
	const char *end;
	int64_t		format;			/* FORMAT_… */
	const char *off;			/* the value that stands for no edge */
	const char *page;			/* empty: the list takes no pages */
	const char *size;
	const char *required[OTHER_FIELDS + 1]; /* parameters, then NULL */
	const char *echo;			/* rows of this page; empty: the envelope has rows and perhaps a count only */
	const char *count;			/* name of the count; empty: none is told */
	bool		count_is_text;
	bool		row_time;		/* rows show modify_time */
	const char *range_start;	/* a report: parameters of the span that its rows belong to; empty: none */
	const char *range_end;		/* the same as range_start where that takes a whole period */
	int64_t		range_format;
	Entity		entity;			/* whose records it shows */
} OtherList;

/* Reads lists.tsv beside the program; false when it is not there. */
extern bool otherlist_load(void);

/* The list whose path, or whose detail's path, this is; or NULL. */
extern const OtherList *otherlist_find(const char *path, bool *is_detail);

/* A required parameter that the request lacks, or NULL. */
extern const char *otherlist_lacks(const OtherList *list, const Request *req);

/* Adds the record as a row of the list, or as its detail. */
extern void otherlist_row(Buf *out, const OtherList *list, const Version *v, bool detail);

extern void otherlist_free(void);

#endif
