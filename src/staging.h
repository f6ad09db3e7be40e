/*-------------------------------------------------------------------------
 * staging.h
 *		List rows and details into a stream's staging table.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_STAGING_H
#define JDY_STAGING_H

#include "postgres.h"

#include "page.h"
#include "runlog.h"
#include "stream.h"

#define JDY_LAND_ROWS 256		/* rows of one statement: more spills caches and costs twice */

typedef struct Staging Staging;

/* What is known of a listed record before it lands. */
typedef struct Known
{
	bool		exists;
	bool		gone;			/* it was deleted, or had left the list */
	bool		detailed;		/* its detail landed at least once */
	TimestampTz detailed_at;	/* server time at which that detail was asked, or its list row when that is earlier */
	uint64		digest;			/* of the source text of `data`; 0 = none */
} Known;

/* A detail that came. */
typedef struct Detail
{
	const char *id;
	Jsonb	   *list_row;		/* NULL: the list row stands in staging */
	Row		   *row;			/* the detail's slice of its reply */
	Jsonb	   *body;			/* the same as jsonb, still encrypted */
	TimestampTz asked_at;		/* server time, the same */
	TimestampTz modified_at;	/* 0 = the detail does not say */
} Detail;

/*
 * Opens the staging table of a stream for run `run_id`; plans are kept in
 * `context`.  compare_all: compare contents even where the source text's digest
 * says that nothing changed (mode full).
 */
extern Staging *jdy_staging_open(const Stream *stream, int64 run_id, bool compare_all, MemoryContext context);

/*
 * Lands list rows, sorted by id and free of duplicates and problems, nrows <=
 * JDY_LAND_ROWS, in a transaction with SPI.  New records are inserted; where the
 * stream has details, a record whose detail landed keeps its data.  known[i] tells what
 * was there.  Rows that turn out unfit for jsonb get a problem.
 */
extern void jdy_staging_land_list(Staging *staging, Row **rows, int nrows, Known *known, RunCounters *counters);

/* Lands details (distinct ids, any order, ndetails <= JDY_LAND_ROWS) in a transaction with SPI. */
extern void jdy_staging_land_details(Staging *staging, Detail *details, int ndetails, RunCounters *counters);

/* The list row as it will be joined with the detail: jsonb, sensitive fields decrypted; NULL = unfit, row->problem says why. */
extern Jsonb *jdy_staging_list_row(Staging *staging, Row *row);

/*
 * Sorts rows by id and drops duplicates; returns the new count.  one_answer: the rows of
 * one answer to this stream, in which an id with two different contents is an error ("not a
 * key"); NULL: from several answers, the later one is kept.
 */
extern int	jdy_sort_rows(Row **rows, int nrows, const Stream *one_answer);

/* Position of `id` among rows sorted by id; -1 = not there. */
extern int	jdy_find_row(Row **rows, int nrows, const char *id);

#endif							/* JDY_STAGING_H */
