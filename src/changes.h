/*-------------------------------------------------------------------------
 * changes.h
 *		What of a push's source may have changed since it was read last.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CHANGES_H
#define JDY_CHANGES_H

#include "postgres.h"

#include "access/transam.h"
#include "access/xlogdefs.h"
#include "push.h"

typedef struct Changes
{
	bool		known;			/* false: anything may have changed */
	int			n;				/* known: of ids; no other record changed */
	char	  **ids;
	const char *id_array;		/* SQL type of an array of them */
	bool		looked;			/* pages had to be read to find that out */
	ChangeMark	mark;			/* to be kept once all of it was dealt with; source NULL = none */
} Changes;

/*
 * In a transaction, with the snapshot active that the source is then read with; everything
 * lives in the current memory context.  begin: the end of the WAL (GetXLogInsertRecPtr)
 * before that snapshot was taken.
 */
extern void jdy_changes_find(const Push *push, XLogRecPtr begin, Changes *changes);

#endif							/* JDY_CHANGES_H */
