/*-------------------------------------------------------------------------
 * value.h
 *		The value language of metadata: literals, {{…}} and _function.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_VALUE_H
#define JDY_VALUE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "metadata.h"
#include "pgtime.h"

typedef enum WindowFormat
{
	WINDOW_NONE,
	WINDOW_MS,					/* epoch, milliseconds */
	WINDOW_SECONDS,				/* epoch, seconds */
	WINDOW_DATETIME,			/* yyyy-MM-dd HH:mm:ss in the server's time zone */
	WINDOW_DATE,				/* yyyy-MM-dd in the server's time zone */
	WINDOW_PERIOD				/* yyyyMM: an accounting period; of reports only */
} WindowFormat;

/* How a list is asked, read off the metadata's request[]. */
typedef struct RequestPlan
{
	char	   *start_param;	/* NULL = the list takes no start */
	char	   *end_param;
	WindowFormat start_format;
	WindowFormat end_format;
	char	   *no_edge;		/* sent for an edge that a request has not; NULL = then the parameter is not sent */
	char	   *page_param;		/* NULL = not given */
	char	   *size_param;		/* NULL = not given */
	int			page_size;		/* starting value; 0 = not given */
	List	   *fixed;			/* of CallParam *: everything else, with its value; these narrow the pull */
	List	   *untouched;		/* of char *: names in `fixed` that cannot leave records out (order_by, show_…, enable=-1) */
} RequestPlan;

/* The time variables of one evaluation. */
typedef struct ValueTimes
{
	TimestampTz current_time;	/* CURRENT_TIME */
	TimestampTz last_sync_time; /* LAST_SYNC_TIME */
	pg_tz	   *time_zone;		/* of |datetime and FROM_UNIXTIME */
} ValueTimes;

/*
 * Reads the plan off request[].  Parameters whose value is missing, null, "" or [] are
 * not sent.  A parameter is a window's end when its value
 * uses CURRENT_TIME, its start when it uses LAST_SYNC_TIME or DAYS_AGO_n; the unit is
 * seen from the value at two known times.  _function expressions run as the current
 * role, read-only, with search_path pg_catalog and the shims' schema, in a
 * transaction with SPI connected.  Errors quote the expression.
 */
extern RequestPlan *jdy_request_plan(const Metadata *metadata, const ValueTimes *times);

/* A window's edge as the service wants it, palloc'ed. */
extern char *jdy_window_value(WindowFormat format, TimestampTz at, pg_tz *time_zone);

/*
 * The other way round, whatever the format; false = it is no time.  Milliseconds have twelve
 * digits or more, seconds nine or more; what follows a point is dropped.
 */
extern bool jdy_window_time(const char *text, pg_tz *time_zone, TimestampTz *at);

/* Exactly yyyy-MM-dd HH:mm:ss, by the clocks of `time_zone`. */
extern bool jdy_datetime_parse(const char *text, pg_tz *time_zone, TimestampTz *at);

/*
 * One value with `record` (may be NULL) as the source of {{path}}: text, or NULL
 * for a missing path that is the whole template.
 */
extern char *jdy_value_text(Jsonb *value, Jsonb *record, const ValueTimes *times);

/* The same of a value that is text. */
extern char *jdy_text_value(const char *text, Jsonb *record, const ValueTimes *times);

#endif							/* JDY_VALUE_H */
