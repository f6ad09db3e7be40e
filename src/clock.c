/*-------------------------------------------------------------------------
 * clock.c
 *		What time it is for schedules.
 *
 * The system's time, but for tests, which step it by hours and years: so they see schedules,
 * pauses after failures and the age of logs without waiting.  The step lies in shared memory, since launcher,
 * schedulers and runners must agree.  Only a door of testruns.c moves it, and no function that the
 * install script declares leads there: in production it is 0.
 *
 * Budgets, time-outs and what is told to a service go by real time.
 *
 * Views read the step as the setting jdysync.clock_offset, which nobody can set: a function would have to be
 * granted to all who may read the view.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "clock.h"
#include "database.h"
#include "port/atomics.h"
#include "shmem.h"
#include "utils/timestamp.h"

static int64 offset_us(void);

TimestampTz
jdy_clock_now(void)
{
	return GetCurrentTimestamp() + offset_us();
}

const char *
jdy_clock_show_offset(void)
{
	static char text[32];

	snprintf(text, sizeof(text), INT64_FORMAT " us", offset_us());
	return text;
}

void
jdy_clock_set(TimestampTz at)
{
	pg_atomic_write_u64(&jdy_shared->clock_offset_us, (uint64) (at - GetCurrentTimestamp()));
	jdy_launcher_wake();
}

static int64
offset_us(void)
{
	return jdy_shared == NULL ? 0 : (int64) pg_atomic_read_u64(&jdy_shared->clock_offset_us);
}
