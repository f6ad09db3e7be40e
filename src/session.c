/*-------------------------------------------------------------------------
 * session.c
 *		What signing in gave: authorisation, token, clock, for all processes.
 *
 * The service allows two token calls a minute and lets a token live for a day,
 * so one token serves every process that has the same mapping (all of it: the
 * key is a digest of url, auth and every mapping option, so nobody borrows
 * another's).  Whoever needs a token first takes the lease and asks; the others
 * wait for the result.  A lease ends with its process: a dead or silent
 * refresher is taken over.
 *
 * sessions_lock guards sessions[].  Each process works with a copy, taken again
 * only when the slot's version changed, so that a call costs no lock here.
 *
 * Called by client.c, which makes the calls, and by check.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "session.h"
#include "storage/procarray.h"
#include "utils/memutils.h"

#define PRIVATE_SESSIONS 8		/* of a process without shared memory */
#define LEASE_SILENCE_US INT64CONST(60000000)	/* a refresher that says nothing this long is taken over */
#define RENEW_AFTER_US (INT64CONST(20) * 3600 * 1000000)	/* tokens live for 24 h */

struct SessionRef
{
	const Endpoint *endpoint;
	Session    *slot;
	Session		copy;
	bool		leased;
	MemoryContextCallback at_end;
};

static Session *private_sessions = NULL;
static uint64 private_versions = 0;

static void give_back_lease(void *arg);
static Session *sessions(int *n);
static void lock(SessionRef *ref, LWLockMode mode);
static void unlock(void);
static Session *find(const uint8 *digest);
static Session *create(const Endpoint *endpoint);
static void changed(Session *session);
static void announce(void);
static bool refresher_is_alive(int pid, int64 since);
static bool keep(char *field, size_t size, const char *value);

/* strlcpy, but too long is false. */
#define KEEP(field, value) keep(field, sizeof(field), value)

SessionRef *
jdy_session_open(const Endpoint *endpoint)
{
	SessionRef *ref = palloc0(sizeof(SessionRef));

	ref->endpoint = endpoint;
	ref->at_end.func = give_back_lease;
	ref->at_end.arg = ref;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &ref->at_end);
	lock(ref, LW_EXCLUSIVE);
	ref->slot->last_used = jdy_monotonic_us();
	unlock();
	return ref;
}

const Session *
jdy_session_get(SessionRef *ref)
{
	/* Read without the lock: a change seen a moment late does no harm. */
	if (((volatile Session *) ref->slot)->version != ref->copy.version)
	{
		lock(ref, LW_SHARED);
		ref->copy = *ref->slot;
		unlock();
	}
	return &ref->copy;
}

SessionNeed
jdy_session_need(SessionRef *ref, TimestampTz server_time)
{
	const Session *session = jdy_session_get(ref);

	/* Qeasy asks for a token with what the mapping holds. */
	if (ref->endpoint->auth == AUTH_KINGDEE && (session->app_key[0] == '\0' || session->authorisation_stale))
		return SESSION_AUTHORISATION;
	if (session->token[0] == '\0' || server_time >= session->token_expires)
		return SESSION_TOKEN;
	if (server_time >= session->token_renew_at)
		return SESSION_RENEW;
	return SESSION_READY;
}

bool
jdy_session_lease(SessionRef *ref)
{
	Session    *slot;
	bool		ours;

	lock(ref, LW_EXCLUSIVE);
	slot = ref->slot;
	ours = slot->refresher_pid == 0 || slot->refresher_pid == MyProcPid ||
		!refresher_is_alive(slot->refresher_pid, slot->refresher_since);
	if (ours)
	{
		slot->refresher_pid = MyProcPid;
		slot->refresher_since = slot->last_used = jdy_monotonic_us();
		ref->leased = true;
	}
	unlock();
	return ours;
}

void
jdy_session_unlease(SessionRef *ref)
{
	if (!ref->leased)
		return;
	ref->leased = false;
	lock(ref, LW_EXCLUSIVE);
	if (ref->slot->refresher_pid == MyProcPid)
		ref->slot->refresher_pid = 0;
	unlock();
	announce();
}

void
jdy_session_prepare_to_wait(void)
{
	if (jdy_shared != NULL)
		ConditionVariablePrepareToSleep(&jdy_shared->session_changed);
}

void
jdy_session_cancel_wait(void)
{
	ConditionVariableCancelSleep();
}

bool
jdy_session_authorised(SessionRef *ref, const Authorisation *authorisation)
{
	Session    *slot;
	bool		fits;

	lock(ref, LW_EXCLUSIVE);
	slot = ref->slot;

	/* Another key is another authorisation: a token of the old one is worth nothing. */
	if (strcmp(slot->app_key, authorisation->app_key) != 0)
		slot->token[0] = '\0';
	fits = KEEP(slot->app_key, authorisation->app_key) &&
		KEEP(slot->app_secret, authorisation->app_secret) &&
		KEEP(slot->domain, authorisation->domain) &&
		KEEP(slot->account_id, authorisation->account_id);
	(void) KEEP(slot->account_name, authorisation->account_name);
	slot->licence_expires_ms = authorisation->licence_expires_ms;
	slot->authorisation_stale = !fits;
	slot->authorised_at = jdy_monotonic_us();
	changed(slot);
	unlock();
	announce();
	return fits;
}

bool
jdy_session_token(SessionRef *ref, const char *token, TimestampTz server_time, TimestampTz expires)
{
	Session    *slot;
	bool		fits;

	lock(ref, LW_EXCLUSIVE);
	slot = ref->slot;
	fits = KEEP(slot->token, token);
	slot->token_expires = expires;
	/* A day's token at 20 h, a shorter one when a sixth of its life is left. */
	slot->token_renew_at = server_time + Min(RENEW_AFTER_US, (expires - server_time) / 6 * 5);
	slot->generation++;
	changed(slot);
	unlock();
	announce();
	return fits;
}

bool
jdy_session_refuse_token(SessionRef *ref, uint64 generation)
{
	bool		current;

	lock(ref, LW_EXCLUSIVE);
	current = ref->slot->generation == generation && ref->slot->token[0] != '\0';
	if (current)
	{
		ref->slot->token[0] = '\0';
		changed(ref->slot);
	}
	unlock();
	return current;
}

bool
jdy_session_refuse_authorisation(SessionRef *ref, int64 started_us)
{
	bool		current;

	lock(ref, LW_EXCLUSIVE);
	current = ref->slot->authorised_at <= started_us;
	if (current)
	{
		ref->slot->authorisation_stale = true;
		changed(ref->slot);
	}
	unlock();
	return current;
}

void
jdy_session_set_clock(SessionRef *ref, int64 offset_us)
{
	lock(ref, LW_EXCLUSIVE);
	ref->slot->clock_known = true;
	ref->slot->clock_offset_us = offset_us;
	changed(ref->slot);
	unlock();
}

/* When the client's memory goes, be it by an error: whoever waits for us goes on. */
static void
give_back_lease(void *arg)
{
	jdy_session_unlease((SessionRef *) arg);
}

static Session *
sessions(int *n)
{
	if (jdy_shared != NULL)
	{
		*n = JDY_MAX_SESSIONS;
		return jdy_shared->sessions;
	}
	if (private_sessions == NULL)
		private_sessions = MemoryContextAllocZero(TopMemoryContext, PRIVATE_SESSIONS * sizeof(Session));
	*n = PRIVATE_SESSIONS;
	return private_sessions;
}

/* Takes the lock with ref->slot being the endpoint's slot, even if that was given to another meanwhile. */
static void
lock(SessionRef *ref, LWLockMode mode)
{
	for (;;)
	{
		if (jdy_shared != NULL)
			LWLockAcquire(jdy_shared->sessions_lock, mode);
		if (ref->slot != NULL && ref->slot->in_use &&
			memcmp(ref->slot->digest, ref->endpoint->digest, JDY_DIGEST_LENGTH) == 0)
			return;
		ref->slot = find(ref->endpoint->digest);
		if (ref->slot != NULL)
			return;
		if (mode == LW_EXCLUSIVE)
		{
			ref->slot = create(ref->endpoint);
			return;
		}
		unlock();
		mode = LW_EXCLUSIVE;
	}
}

static void
unlock(void)
{
	if (jdy_shared != NULL)
		LWLockRelease(jdy_shared->sessions_lock);
}

static Session *
find(const uint8 *digest)
{
	int			n;
	Session    *session = sessions(&n);

	for (; n > 0; n--, session++)
	{
		if (session->in_use && memcmp(session->digest, digest, JDY_DIGEST_LENGTH) == 0)
			return session;
	}
	return NULL;
}

/* Under the lock: a fresh slot, if need be that of the session longest unused. */
static Session *
create(const Endpoint *endpoint)
{
	int			n;
	Session    *session = sessions(&n);
	Session    *oldest = session;

	for (; n > 0 && oldest->in_use; n--, session++)
	{
		if (!session->in_use || session->last_used < oldest->last_used)
			oldest = session;
	}
	memset(oldest, 0, sizeof(*oldest));
	oldest->in_use = true;
	oldest->authorised_at = PG_INT64_MIN;
	memcpy(oldest->digest, endpoint->digest, JDY_DIGEST_LENGTH);

	/* A mapping that holds an authorisation needs no call for it. */
	if (endpoint->app_key != NULL && endpoint->app_secret != NULL && endpoint->domain != NULL &&
		!(KEEP(oldest->app_key, endpoint->app_key) &&
		  KEEP(oldest->app_secret, endpoint->app_secret) &&
		  KEEP(oldest->domain, endpoint->domain) &&
		  KEEP(oldest->account_id, endpoint->account_id ? endpoint->account_id : "")))
		oldest->app_key[0] = '\0';
	changed(oldest);
	return oldest;
}

/* Under the lock. */
static void
changed(Session *session)
{
	session->version = jdy_shared != NULL ? ++jdy_shared->session_versions : ++private_versions;
}

static void
announce(void)
{
	if (jdy_shared != NULL)
		ConditionVariableBroadcast(&jdy_shared->session_changed);
}

/* The process may be gone without a word, or its number be another's by now. */
static bool
refresher_is_alive(int pid, int64 since)
{
	return jdy_monotonic_us() - since < LEASE_SILENCE_US && BackendPidGetProc(pid) != NULL;
}

static bool
keep(char *field, size_t size, const char *value)
{
	return strlcpy(field, value, size) < size;
}
