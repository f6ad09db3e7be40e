/*-------------------------------------------------------------------------
 * streamview.h
 *		The views that a stream comes with.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_STREAMVIEW_H
#define JDY_STREAMVIEW_H

#include "postgres.h"

#include "stream.h"

/* Condition on pg_class rows: k is a view over table t. */
#define JDY_IS_VIEW_OVER(k, t) \
	k ".relkind = 'v' AND EXISTS (SELECT FROM pg_catalog.pg_rewrite r" \
	" JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid" \
	" WHERE r.ev_class = " k ".oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = " t ".oid)"

/*
 * Makes jdy_<stream>, jdy_<stream>_entry and jdy_<stream>_masked, as far as the
 * catalogue names the fields of its list, in the extension's schema by the extension's right,
 * owned by the stream's owner; makes them again when they are there and nobody
 * changed them, and drops those that the list does not have any more.  `stream` is
 * resolved; its id and staging table are set.  In a transaction with SPI.
 */
extern void jdy_stream_views_make(const Stream *stream);

/* Drops them, whatever became of them; an error when something depends on one. */
extern void jdy_stream_views_drop(int stream_id);

#endif							/* JDY_STREAMVIEW_H */
