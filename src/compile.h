/*-------------------------------------------------------------------------
 * compile.h
 *		A mapping as the SQL of a view.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_COMPILE_H
#define JDY_COMPILE_H

#include "postgres.h"

#include "fieldsql.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef struct ViewColumn
{
	const char *name;
	char	   *expression;
	char	   *comment;
} ViewColumn;

/* A view over a staging table, not yet made. */
typedef struct ViewText
{
	FieldSource source;
	List	   *columns;		/* of ViewColumn *, id first */
	List	   *conditions;		/* of char *, all of which must hold */
	char	   *comment;
} ViewText;

/*
 * What `mapping` says of the view of a stream whose staging table and time zone are
 * given.  details: records without their detail are left out.  Errors name the
 * column; nothing of mapping becomes SQL but as a quoted literal or identifier.
 */
extern ViewText *jdy_compile_mapping(const Jsonb *mapping, const char *staging, const char *time_zone, bool details);

/* Its SELECT. */
extern char *jdy_view_select(const ViewText *view);

/* Leaves out what is gone at the source and what has no detail yet. */
extern void jdy_view_leave_out(ViewText *view, bool deleted, bool undetailed);

#endif							/* JDY_COMPILE_H */
