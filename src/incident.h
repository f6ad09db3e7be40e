/*-------------------------------------------------------------------------
 * incident.h
 *		What a person should know: opened once, closed when it is over.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_INCIDENT_H
#define JDY_INCIDENT_H

#include "postgres.h"

/* Name of an incident of the whole database; no stream or push can be called so. */
#define JDY_THIS_DATABASE "(this database)"

/*
 * All in a transaction with SPI.  open: incident `what`, constant text per kind, of `name`: a stream or
 * push, a server (jdy_incident_server, jdy_incident_mapping) or JDY_THIS_DATABASE; nothing happens while it
 * is open already.  advice, what a person is to do, holds nothing of records, since pg_monitor reads it; detail
 * (NULL = none) is for who may read the stream.  close: nothing happens when it is not open.
 */
extern void jdy_incident_open(const char *name, const char *severity, const char *what, const char *detail, const char *advice);
extern void jdy_incident_close(const char *name, const char *what);

/* Closes what nothing is there for any more: its stream or push was dropped, its server has none any more. */
extern void jdy_incident_close_orphans(void);

/* Names of a server's incidents, and of those of one role's calls to it; palloc'ed. */
extern char *jdy_incident_server(const char *server);
extern char *jdy_incident_mapping(const char *server, Oid owner);

/* Tells who listens to channel jdysync, with the commit, that a run is over. */
extern void jdy_notify_run(int64 run_id, const char *status);

#endif							/* JDY_INCIDENT_H */
