/*-------------------------------------------------------------------------
 * jdysync.h
 *		What every module may use: settings, and where the extension lives.
 *-------------------------------------------------------------------------
 */
#ifndef JDYSYNC_H
#define JDYSYNC_H

#include "postgres.h"

#include "compat.h"
#include "datatype/timestamp.h"

#define JDY_VERSION "1.0"

/* Values of jdysync.log_calls: which calls are logged. */
typedef enum LogCalls
{
	LOG_CALLS_OFF,
	LOG_CALLS_ERRORS,
	LOG_CALLS_ALL
} LogCalls;

/* Settings (jdysync.c). */
extern bool jdy_enabled;		/* jdysync.enabled */
extern char *jdy_databases;		/* jdysync.databases: "all" or a list */
extern int	jdy_max_workers;	/* jdysync.max_workers */
extern char *jdy_allowed_hosts; /* jdysync.allowed_hosts */
extern int	jdy_log_calls;		/* jdysync.log_calls, a LogCalls */
extern char *jdy_log_retention; /* jdysync.log_retention, an interval */
extern int	jdy_log_size_mb;	/* jdysync.log_size */

/* True when the library came in by shared_preload_libraries. */
extern bool jdy_preloaded;

/* Raises an error with a HINT unless the library was preloaded. */
extern void jdy_require_preload(void);

/* Raises an error with a HINT on a standby. */
extern void jdy_require_primary(void);

#endif							/* JDYSYNC_H */
