/*-------------------------------------------------------------------------
 * usage.c
 *		Which server and role calls under which budget: what jdy_budgets shows.
 *
 * A budget belongs to an account, and is kept under a digest that only who has the
 * credentials can compute.  People think of servers, and who watches has no
 * credentials: so each mapping that opens a budget leaves its name beside it.
 *
 * budget_users[] is guarded by accounts_lock, as the budgets are.
 *
 * Called by budget.c and progress.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "callcount.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "shmem.h"
#include "usage.h"
#include "utils/acl.h"
#include "utils/timestamp.h"

#define COLUMNS 7

static bool is_mapping(const BudgetUser *user, Oid server_id, Oid role);
static const Account *account_of(const BudgetUser *user);
static void put_row(ReturnSetInfo *rsinfo, const BudgetUser *user, const Account *account, int64 now, TimestampTz wall);

PG_FUNCTION_INFO_V1(jdy_budget_rows);

void
jdy_usage_note(Oid server_id, Oid role, const uint8 *key)
{
	BudgetUser *users;
	BudgetUser *own;

	if (jdy_shared == NULL)
		return;
	LWLockAcquire(jdy_shared->accounts_lock, LW_EXCLUSIVE);
	own = users = jdy_shared->budget_users;
	for (int i = 0; i < JDY_MAX_BUDGET_USERS; i++)
	{
		if (is_mapping(&users[i], server_id, role))
		{
			own = &users[i];
			break;
		}
		/* else the one that is free, or was not used for longest */
		if (own->database != InvalidOid && (users[i].database == InvalidOid || users[i].last_used < own->last_used))
			own = &users[i];
	}
	own->database = MyDatabaseId;
	own->server_id = server_id;
	own->role = role;
	memcpy(own->key, key, JDY_DIGEST_LENGTH);
	own->last_used = jdy_monotonic_us();
	LWLockRelease(jdy_shared->accounts_lock);
}

int
jdy_usage_left(Oid server_id, Oid role)
{
	BudgetUser	user = {0};
	const Account *account;
	int			calls;

	LWLockAcquire(jdy_shared->accounts_lock, LW_SHARED);
	for (int i = 0; i < JDY_MAX_BUDGET_USERS; i++)
	{
		const BudgetUser *known = &jdy_shared->budget_users[i];

		if (is_mapping(known, server_id, role))
			user = *known;
	}
	LWLockRelease(jdy_shared->accounts_lock);
	account = user.database != InvalidOid ? account_of(&user) : NULL;
	return account != NULL ? jdy_account_left(account, jdy_monotonic_us(), &calls) : -1;
}

/* A view's functions are called by whoever reads it, so it is decided here whose budgets are shown. */
Datum
jdy_budget_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	BudgetUser *users;
	bool		all;

	InitMaterializedSRF(fcinfo, 0);
	if (jdy_shared == NULL)
		return (Datum) 0;

	/* Rights are looked up without the lock. */
	users = palloc(sizeof(jdy_shared->budget_users));
	LWLockAcquire(jdy_shared->accounts_lock, LW_SHARED);
	memcpy(users, jdy_shared->budget_users, sizeof(jdy_shared->budget_users));
	LWLockRelease(jdy_shared->accounts_lock);
	all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);

	for (int i = 0; i < JDY_MAX_BUDGET_USERS; i++)
	{
		const Account *account;

		if (users[i].database != MyDatabaseId || !(all || has_privs_of_role(GetUserId(), users[i].role)))
			continue;
		account = account_of(&users[i]);
		if (account != NULL)
			put_row(rsinfo, &users[i], account, jdy_monotonic_us(), GetCurrentTimestamp());
	}
	return (Datum) 0;
}

/* In this database. */
static bool
is_mapping(const BudgetUser *user, Oid server_id, Oid role)
{
	return user->database == MyDatabaseId && user->server_id == server_id && user->role == role;
}

/* A copy of the account's slot; NULL when it has no limit, or was given to another. */
static const Account *
account_of(const BudgetUser *user)
{
	static Account copy;
	bool		found = false;

	LWLockAcquire(jdy_shared->accounts_lock, LW_SHARED);
	for (int i = 0; i < JDY_MAX_ACCOUNTS && !found; i++)
	{
		const Account *account = &jdy_shared->accounts[i];

		found = account->in_use && account->limit > 0 && memcmp(account->key, user->key, JDY_DIGEST_LENGTH) == 0;
		if (found)
			memcpy(&copy, account, sizeof(copy));
	}
	LWLockRelease(jdy_shared->accounts_lock);
	return found ? &copy : NULL;
}

static void
put_row(ReturnSetInfo *rsinfo, const BudgetUser *user, const Account *account, int64 now, TimestampTz wall)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};
	Interval	window = {.time = account->window_us};
	int			calls;
	int			left = jdy_account_left(account, now, &calls);

	values[0] = ObjectIdGetDatum(user->server_id);
	values[1] = ObjectIdGetDatum(user->role);
	values[2] = Int32GetDatum(account->limit);
	values[3] = Int32GetDatum(calls);
	values[4] = Int32GetDatum(left);
	values[5] = IntervalPGetDatum(&window);
	nulls[6] = account->paused_until <= now;
	values[6] = TimestampTzGetDatum(wall + (account->paused_until - now));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
