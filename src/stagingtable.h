/*-------------------------------------------------------------------------
 * stagingtable.h
 *		A stream's staging table as an SQL object: found, created, dropped.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_STAGINGTABLE_H
#define JDY_STAGINGTABLE_H

#include "postgres.h"

#include "compat.h"

/*
 * A staging table that was kept when an earlier stream of that name was dropped;
 * InvalidOid = none.  It stays its owner's (*owner), so the stream will be, too.  Raises an error
 * when the caller is no member of that, or it is no staging table.
 */
extern Oid	jdy_staging_table_find(const char *name, Oid *owner);

/* Made by the extension's right, since `owner` may create nothing in that schema, and then given to him. */
extern Oid	jdy_staging_table_create(const char *name, Oid owner);

/* By its oid: its owner may have renamed or moved it, and what has its name then is another's.  An error when something depends on it. */
extern void jdy_staging_table_drop(Oid staging);

/* Its name, quoted and qualified, palloc'ed: its owner may have moved or renamed it.  An error when it is gone. */
extern char *jdy_staging_table_name(Oid staging);

/* That error. */
pg_noreturn extern void jdy_staging_table_is_gone(void);

#endif							/* JDY_STAGINGTABLE_H */
