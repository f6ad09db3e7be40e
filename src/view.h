/*-------------------------------------------------------------------------
 * view.h
 *		Views over staging tables: made, replaced, remembered.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_VIEW_H
#define JDY_VIEW_H

#include "postgres.h"

#include "compile.h"

/* A view that exists, and what jdysync knows of it. */
typedef struct ViewState
{
	bool		made_here;		/* jdysync.mapped_view has it */
	bool		of_stream;		/* as one of a stream's own views */
	bool		unchanged;		/* it still is what was made */
	Oid			owner;
	char	   *grants;			/* GRANT statements; NULL = none */
} ViewState;

/* What is known of relation `view`, whose name as SQL is `quoted`.  In a transaction with SPI, as the others. */
extern ViewState *jdy_view_state(Oid view, const char *quoted);

/*
 * Makes the view called `quoted`, or makes it again in the place of the one whose
 * state is given, and comments on it.  owner: InvalidOid = with the right of the current role,
 * which then owns a new view; else with the extension's right, and given to owner.
 * An error when something depends on a view that must be dropped for it.
 */
extern void jdy_view_make(const char *quoted, const ViewState *state, const ViewText *view, Oid owner);

/* Drops it with the extension's right; an error when something depends on it. */
extern void jdy_view_drop(const char *quoted);

/* Remembers what it was made of (mapping: a jsonb, or NULL for a stream's own view) and is. */
extern void jdy_view_remember(Oid view, int stream_id, const Jsonb *mapping);

#endif							/* JDY_VIEW_H */
