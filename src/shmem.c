/*-------------------------------------------------------------------------
 * shmem.c
 *		The one shared memory struct: asked for, created, initialised.
 *
 * Everything that processes share is one plain struct (shmem.h says what lies
 * in it and which lock guards which part), so that its size is known when the
 * server starts and nothing in it can be freed or leaked.
 *
 * Called from _PG_init while preload libraries are loaded; a library that came
 * in later finds jdy_shared NULL and works with memory of its own process.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "shmem.h"

#define TRANCHE_NAME "jdysync"
#define LOCKS 4

JdyShared  *jdy_shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void request(void);
static void startup(void);
static void initialise(JdyShared *shared);

void
jdy_shmem_init(void)
{
	Assert(process_shared_preload_libraries_in_progress);

	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

int64
jdy_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}

static void
request(void)
{
	if (previous_request_hook)
		previous_request_hook();

	RequestAddinShmemSpace(MAXALIGN(sizeof(JdyShared)));
	RequestNamedLWLockTranche(TRANCHE_NAME, LOCKS);
}

static void
startup(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	jdy_shared = ShmemInitStruct("jdysync", sizeof(JdyShared), &found);
	if (!found)
		initialise(jdy_shared);
	LWLockRelease(AddinShmemInitLock);
}

/* Zero is the right start for all but locks, condition variables and "none". */
static void
initialise(JdyShared *shared)
{
	LWLockPadded *locks = GetNamedLWLockTranche(TRANCHE_NAME);
	int			i;

	memset(shared, 0, sizeof(*shared));
	shared->accounts_lock = &locks[0].lock;
	shared->sessions_lock = &locks[1].lock;
	shared->runs_lock = &locks[2].lock;
	shared->databases_lock = &locks[3].lock;
	shared->launcher_procno = -1;
	pg_atomic_init_u64(&shared->clock_offset_us, 0);
	ConditionVariableInit(&shared->session_changed);
	for (i = 0; i < JDY_MAX_RUNS; i++)
		ConditionVariableInit(&shared->runs[i].changed);
}
