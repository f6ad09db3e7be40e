/*-------------------------------------------------------------------------
 * account.c
 *		An account's row: until when calls may have been made.
 *
 * Shared memory, which counts the calls, ends with the server; this row is all
 * that outlives it.  Workers write it in short transactions of their own, but a
 * backend writes it in its user's transaction, which may stay open for hours.
 * So whoever writes takes a lock of its own first, and whoever does not get that at
 * once goes on without: nobody ever waits for somebody else's row.  The price: if the
 * server stops while that transaction is open, the row says less than it should, and
 * the next start may call a limit's worth too soon; the service then refuses, and
 * the budget slows down as it does after any refusal.
 *
 * Called by budget.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "account.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "endpoint.h"
#include "miscadmin.h"
#include "spi.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

static bool lock_row(const uint8 *key);

bool
jdy_account_load(const uint8 *key, TimestampTz *last_call_at, TimestampTz *last_token_at)
{
	static JdyStatement read_row = {
		"SELECT last_call_at, last_token_at FROM jdysync.account WHERE key = $1",
		1, {BYTEAOID}
	};
	Datum		values[1];
	Datum		value;
	bool		isnull;

	values[0] = jdy_make_bytea(key, JDY_DIGEST_LENGTH);
	jdy_execute(&read_row, values, NULL);
	if (SPI_processed == 0)
		return false;

	value = jdy_spi_datum(0, 1, &isnull);
	*last_call_at = isnull ? 0 : DatumGetTimestampTz(value);
	value = jdy_spi_datum(0, 2, &isnull);
	*last_token_at = isnull ? 0 : DatumGetTimestampTz(value);
	return true;
}

bool
jdy_account_save(const uint8 *key, TimestampTz last_call_at, TimestampTz last_token_at)
{
	static JdyStatement write_row = {
		"INSERT INTO jdysync.account (key, last_call_at, last_token_at) VALUES ($1, $2, $3) "
		"ON CONFLICT (key) DO UPDATE SET last_call_at = excluded.last_call_at, "
		"last_token_at = COALESCE(excluded.last_token_at, account.last_token_at)",
		3, {BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[3];
	char		nulls[3] = {' ', ' ', ' '};

	/* Under a snapshot of its own, a transaction could fail where another has written since. */
	if (XactReadOnly || RecoveryInProgress() || IsolationUsesXactSnapshot() || !lock_row(key))
		return false;

	values[0] = jdy_make_bytea(key, JDY_DIGEST_LENGTH);
	values[1] = TimestampTzGetDatum(last_call_at);
	values[2] = TimestampTzGetDatum(last_token_at);
	nulls[2] = last_token_at == 0 ? 'n' : ' ';
	jdy_execute(&write_row, values, nulls);
	return true;
}

/* Held to the end of the transaction, and never waited for. */
static bool
lock_row(const uint8 *key)
{
	LOCKTAG		tag;
	Oid			schema = get_namespace_oid("jdysync", true);
	uint32		number;

	memcpy(&number, key, sizeof(number));
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, get_relname_relid("account", schema), number, 0);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}
