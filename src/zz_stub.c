#include "postgres.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "runner.h"
#include "pull.h"
#include "progress.h"
#include "runlog.h"
#include "spi.h"
#include "client.h"
#include "stream.h"
#include "metadata.h"
#include "value.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#define S(n) PG_FUNCTION_INFO_V1(n); Datum n(PG_FUNCTION_ARGS){ elog(ERROR,"stub"); PG_RETURN_NULL(); }
S(jdy_check) S(jdy_fetch) S(jdy_decrypt) S(jdy_from_unixtime)
Metadata *jdy_metadata_parse(Jsonb *json, Effect expected){ elog(ERROR,"stub"); return NULL; }
RequestPlan *jdy_request_plan(const Metadata *metadata, const ValueTimes *times){ elog(ERROR,"stub"); return NULL;}

static void nap(int ms)
{
	int64 end = jdy_monotonic_us() + ms*1000L;
	while (jdy_monotonic_us() < end) {
	(void) WaitLatch(MyLatch, WL_LATCH_SET|WL_TIMEOUT|WL_EXIT_ON_PM_DEATH, (end-jdy_monotonic_us())/1000+1, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch); CHECK_FOR_INTERRUPTS(); }
}
void jdy_pull_run(int stream_id, int64 run_id, RunMode mode, TimestampTz f, TimestampTz t, RunCounters *counters)
{
	static JdyStatement q = {"SELECT action, n FROM public.stub WHERE stream_id=$1", 1, {INT4OID}};
	static JdyStatement ins = {"INSERT INTO jdysync.staging_a(id) SELECT pg_catalog.repeat('x', 10) || g FROM pg_catalog.generate_series(1,10) g ON CONFLICT DO NOTHING", 0};
	Datum v[1] = {Int32GetDatum(stream_id)};
	char *action; int n;
	RunLog *log;
	MemoryContext c = CurrentMemoryContext;
	log = jdy_runlog_open(run_id, stream_id, AllocSetContextCreate(c, "pull", ALLOCSET_DEFAULT_SIZES));
	jdy_tx_begin("stub");
	jdy_execute_as_user(&q, v, NULL);
	action = MemoryContextStrdup(c, jdy_spi_text(0,1)); n = jdy_spi_int64(0,2,0);
	if (strcmp(action,"sqlerror")==0) { SPI_execute("select 1/0", false, 0); }
	jdy_tx_commit();
	if (strcmp(action,"error")==0) {
		counters->calls = 3;
		for (int i=0;i<300;i++) { Attempt a = {.at=GetCurrentTimestamp(), .method="GET",.url="http://x/\xff",.attempt=1,.http_status=i%2?500:0,.elapsed_ms=3,.bytes=10,.error=i%2?"bad \xe4\xb8":NULL}; jdy_runlog_attempt(log,&a);}
		ereport(ERROR,(errcode(ERRCODE_CONNECTION_FAILURE),errmsg("stub failed"),errdetail("d \xe4\xb8\xad"),errhint("h"))); }
	while (strcmp(action,"hang")==0) { nap(100);
	jdy_tx_begin("stub"); jdy_execute_as_user(&q, v, NULL); action = MemoryContextStrdup(c, jdy_spi_text(0,1)); n = jdy_spi_int64(0,2,0); jdy_tx_commit(); }
	if (strcmp(action,"nap")==0) nap(n);
	if (strcmp(action,"write")==0) for (int i=0;;i++) {
		jdy_tx_begin("write"); jdy_execute_as_user(&ins,NULL,NULL); jdy_tx_commit(); nap(50); }
	if (strcmp(action,"count")==0) {
		jdy_progress_phase(PHASE_LOADING);
		for (int i=0;i<n;i++) { nap(50); counters->calls++; counters->listed+=100; counters->details+=7; jdy_progress_totals(481211, i*93); jdy_progress_counters(counters); } }
	counters->inserted = 5; counters->calls++;
}
#include "http.h"
char *jdy_percent_encode(const char *text, bool keep_slash){ elog(ERROR,"stub"); return NULL;}
