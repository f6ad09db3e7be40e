/*-------------------------------------------------------------------------
 * sighted.h
 *		Which ids a stream's service has shown: what certificates are made of.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SIGHTED_H
#define JDY_SIGHTED_H

#include "postgres.h"

/* All of these are called in a transaction with SPI. */

/* These ids were shown and no certificate names them: committed with the rows that showed them. */
extern void jdy_sighted_note(int stream_id, char **ids, int n);

/*
 * Calls visit for every id on record; certified: the last certificate names it.
 * An id may come more than once.  Memory: that of one chunk at a time, freed after it.
 */
extern void jdy_sighted_read(int stream_id, void (*visit) (void *arg, const char *id, bool certified), void *arg);

/* How many ids are on record; one that was noted twice counts twice. */
extern int64 jdy_sighted_count(int stream_id);

/* These ids, which the last certificate does not name, are named by the one that is being written. */
extern void jdy_sighted_add(int stream_id, char **ids, int n);

/*
 * A certificate was had, and jdy_sighted_add told what it names for the first time: `gone` are named by the
 * last one and not by this one, `later` were shown since, or may have been.  What
 * was on record beside these is forgotten.  Returns how many ids are named now, as
 * SQL counts them, and their digest: SHA-256 of the ids in order of their bytes, with a line feed between.
 */
extern int64 jdy_sighted_certify(int stream_id, char **gone, int ngone, char **later, int nlater, Datum *digest);

/* The stream is another one from here on. */
extern void jdy_sighted_forget(int stream_id);

#endif							/* JDY_SIGHTED_H */
