/*-------------------------------------------------------------------------
 * shmem.h
 *		The one shared memory struct: accounts, sessions, runs, databases.
 *
 * Plain data only: no pointer, no file descriptor.  One LWLock guards each of
 * the four parts, so that a process waits for nobody's unrelated work:
 *
 *	accounts_lock	accounts[] (budget.c), budget_users[] (usage.c)
 *	sessions_lock	sessions[] (session.c): tokens, clock offset, router
 *	runs_lock		runs[], lines[] (runslot.c, line.c, progress.c)
 *	databases_lock	databases[], starved_database (database.c), where the launcher is (launcher.c)
 *
 * No lock is held while anything is waited for, and none is taken while another is held.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SHMEM_H
#define JDY_SHMEM_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "endpoint.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#define JDY_MAX_ACCOUNTS 64
#define JDY_MAX_BUDGET_USERS 256
#define JDY_MAX_SESSIONS 64
#define JDY_MAX_RUNS 64
#define JDY_MAX_DATABASES 256
#define JDY_ACCOUNT_RING 1024	/* call times remembered for one account */

/*
 * The call budget of one account.  Times are of the monotonic clock, in us.
 *
 * An entry of the ring stands for one call, or for `group` calls when the limit
 * exceeds the ring.  Its time is the latest at which the service can have
 * counted the call: until the reply came that is the call's time-out.
 */
typedef struct Account
{
	bool		in_use;
	uint8		key[JDY_DIGEST_LENGTH];
	int			limit;			/* calls per window, the smallest any server asks for; 0 = none */
	int64		window_us;
	int64		limit_seen;		/* when a process with this limit last called */
	double		scale;			/* 1.0, halved by a 429, +10 % per clean window */
	int64		scale_changed_at;
	int64		paused_until;	/* after a 429, or after a restart */
	uint64		sequence;		/* entries ever made; entry n lies in ring[n % JDY_ACCOUNT_RING] */
	int			used;			/* entries filled */
	int			group;			/* calls that an entry stands for */
	int			newest_calls;	/* calls in the newest entry */
	int64		ring[JDY_ACCOUNT_RING];
	uint8		backfill[JDY_ACCOUNT_RING]; /* 1 = that call was a first load's or an audit's */
	int64		audit_waits_until;	/* until then first loads leave it to an audit, which had to wait less than a window ago */
	int64		persisted_until;	/* the account's row in the database covers calls up to here */
	int64		token_calls[2]; /* times of the last two token calls */
	int64		last_used;		/* for reuse of the slot */
} Account;

/* A user mapping that calls under an account's budget. */
typedef struct BudgetUser
{
	Oid			database;		/* InvalidOid = free */
	Oid			server_id;
	Oid			role;
	uint8		key[JDY_DIGEST_LENGTH]; /* Account.key */
	int64		last_used;		/* for reuse of the slot */
} BudgetUser;

/* What a successful authorisation gave, shared by every process with the same mapping. */
typedef struct Session
{
	bool		in_use;
	uint8		digest[JDY_DIGEST_LENGTH];	/* Endpoint.digest */
	uint64		version;		/* another one after each change */
	uint64		generation;		/* +1 with each new token */
	int			refresher_pid;	/* who is asking for a token, 0 = nobody */
	int64		refresher_since;	/* monotonic us */
	char		app_key[64];
	char		app_secret[128];
	char		domain[128];
	char		account_id[64];
	char		account_name[256];
	char		token[2048];
	TimestampTz token_expires;	/* server time; 0 = no token */
	TimestampTz token_renew_at; /* server time from which a new one is wanted */
	bool		authorisation_stale;	/* the service does not accept it any more */
	int64		authorised_at;	/* monotonic us */
	int64		licence_expires_ms; /* epoch, 0 = not known */
	bool		clock_known;
	int64		clock_offset_us;	/* server minus ours */
	int64		last_used;
} Session;

typedef enum RunState
{
	RUN_FREE,
	RUN_WAITING,				/* for a worker, in line with others: no worker yet; others can join */
	RUN_STARTING,				/* worker registered, may wait for the stream's lock: others can join */
	RUN_RUNNING,				/* has the lock: too late to join */
	RUN_DONE					/* result is there; freed by the last waiter */
} RunState;

typedef enum RunMode
{
	MODE_AUTO,
	MODE_FULL,
	MODE_VERIFY,
	MODE_AUDIT,
	MODE_RANGE,					/* jdy_resync */
	MODE_REMEDY					/* by a stream's second schedule */
} RunMode;

typedef struct RunCounters
{
	int64		listed;
	int64		details;
	int64		inserted;
	int64		updated;
	int64		unchanged;
	int64		deleted;
	int64		rejected;
	int64		pending;		/* of a push, like the next four */
	int64		delivered;
	int64		verified;
	int64		failed;			/* in doubt */
	int64		dead;
	int64		calls;
	int64		retries;
} RunCounters;

/* An error on its way from the runner to the caller. */
typedef struct RunError
{
	int			sqlstate;		/* 0 = none */
	char		message[512];
	char		detail[2048];
	char		hint[1024];
} RunError;

typedef enum RunPhase
{
	PHASE_STARTING,
	PHASE_LOADING,				/* first load: anchored pages */
	PHASE_LISTING,				/* windows */
	PHASE_DETAILS,
	PHASE_VERIFYING,			/* counting and scanning for a certificate */
	PHASE_AUDITING,				/* comparing what was read long ago */
	PHASE_SCANNING,				/* a push's source */
	PHASE_PUSHING,
	PHASE_FINISHING
} RunPhase;

typedef enum RunWaiting
{
	WAITING_NOTHING,
	WAITING_HTTP,
	WAITING_BUDGET,
	WAITING_REFUSED,			/* the budget, after a 429 of this run */
	WAITING_BACKOFF,
	WAITING_TOKEN,
	WAITING_SETTLE				/* for time to pass before and after a count */
} RunWaiting;

/* What an estimate needs to know of a run's stream and server. */
typedef struct PaceLimits
{
	int			calls_per_minute;	/* 0 = no limit */
	int			backfill_share; /* percent of it that a first load may take */
	bool		details;		/* the stream's records have details */
} PaceLimits;

/* Live progress: written by the runner, read by anyone who may see the stream. */
typedef struct RunProgress
{
	RunPhase	phase;
	TimestampTz phase_since;
	RunWaiting	waiting;
	TimestampTz waiting_until;	/* 0 = for no time */
	TimestampTz window_from;	/* what was asked for last; DT_NOBEGIN and DT_NOEND = the whole list */
	TimestampTz window_to;		/* 0 = nothing yet */
	int64		pages;			/* asked for */
	Oid			server_id;		/* that it calls, */
	Oid			mapping_role;	/* and with whose mapping: they say which budget is its */
	PaceLimits	limits;
	int64		list_total;		/* rows the service says there are; -1 = not known */
	int64		details_due;	/* -1 = not known */
	bool		backfill;		/* the whole list was read, so all its details are due, at the pace of a first load */
	TimestampTz started_at;
	TimestampTz updated_at;
} RunProgress;

typedef struct RunSlot
{
	RunState	state;
	uint64		ticket;			/* +1 with each use: who comes late finds another's */
	Oid			database;
	Oid			extension;		/* that the stream belongs to */
	Oid			owner;			/* role the runner works as */
	int			stream_id;
	RunMode		mode;
	TimestampTz from_time;		/* MODE_RANGE */
	TimestampTz to_time;
	int64		run_id;			/* 0 until known; given beforehand for a queued run */
	int			runner_pid;		/* 0 until started */
	int			waiters;		/* callers that will read the result */
	bool		waited_for;		/* somebody waited once: the run ends with its last waiter */
	bool		heavy;			/* a push, or more than what changed lately is read: not for the last worker */
	bool		cancel;			/* asked to stop */
	bool		switched_off;	/* because jdysync.enabled is off */
	uint64		place;			/* in the line, while RUN_WAITING */
	TimestampTz asked_at;		/* when it last asked for a worker, while RUN_WAITING */
	RunCounters counters;
	RunProgress progress;
	RunError	error;
	char		status[16];		/* ok, failed, cancelled, when RUN_DONE */
	int64		elapsed_us;
	ConditionVariable changed;	/* broadcast at every change of state */
} RunSlot;

/* The place in line for workers of a database's queued runs; [1] = of the heavy ones. */
typedef struct QueueLine
{
	Oid			database;		/* InvalidOid = free */
	uint64		place[2];		/* 0 = none asked in vain */
	TimestampTz asked_at[2];	/* when a scheduler last asked in vain */
} QueueLine;

/* What jdysync.log_size does not hold a day of; calls go first. */
typedef enum LogShortage
{
	SHORT_OF_NOTHING,
	SHORT_OF_CALLS,
	SHORT_OF_RUNS
} LogShortage;

typedef struct DatabaseSlot
{
	Oid			database;		/* InvalidOid = free */
	uint64		generation;		/* +1 when something became due from outside */
	TimestampTz next_due;		/* DT_NOEND = nothing */
	uint64		visits;			/* schedulers that did their work there */
	int			failures;		/* in a row, that did not */
	TimestampTz trim_at;		/* when its logs are to be trimmed next; 0 = they were not since the server started */
	LogShortage shortage;		/* as it was logged last */
	int			scheduler_pid;	/* 0 = none */
	Oid			last_owner;		/* whose queued run was started last */
} DatabaseSlot;

typedef struct JdyShared
{
	LWLock	   *accounts_lock;
	LWLock	   *sessions_lock;
	LWLock	   *runs_lock;
	LWLock	   *databases_lock;
	int			launcher_pid;
	int			launcher_procno;	/* pgprocno, for its latch; -1 = none */
	Oid			starved_database;	/* for whose work the server had no worker left, as the log says; InvalidOid = none */
	uint64		session_versions;	/* the last one given to a session */
	ConditionVariable session_changed;
	Account		accounts[JDY_MAX_ACCOUNTS];
	BudgetUser	budget_users[JDY_MAX_BUDGET_USERS];
	Session		sessions[JDY_MAX_SESSIONS];
	pg_atomic_uint64 clock_offset_us;	/* of clock.c; 0 but in tests */
	uint64		last_place;		/* the last one given in the line for workers */
	QueueLine	lines[JDY_MAX_DATABASES];
	RunSlot		runs[JDY_MAX_RUNS];
	DatabaseSlot databases[JDY_MAX_DATABASES];
} JdyShared;

/* NULL unless the library was preloaded. */
extern JdyShared *jdy_shared;

/* From _PG_init, while preload libraries are loaded. */
extern void jdy_shmem_init(void);

/* CLOCK_MONOTONIC in us: the same for every process of the machine. */
extern int64 jdy_monotonic_us(void);

#endif							/* JDY_SHMEM_H */
