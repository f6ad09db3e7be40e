/*-------------------------------------------------------------------------
 * contract.c
 *		What is known of how the service answers a stream's questions.
 *
 * A row of jdysync.contract for each question: the answer, since when it is that, when it was
 * asked last, what was seen.  An answer that could not be had is "unknown", whatever it was
 * before, and rules fall back to what holds in any case; but the last one that could be had
 * is kept beside it, so that no change passes unnoticed because the service was silent in between.
 *
 * A changed answer is an incident of its own for each question.  It is over when the question
 * is asked again and nothing has changed since, a bad answer only when it is a good one.
 *
 * Called by probe.c, which asks, and by whoever learns an answer from its own work or follows one.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "clock.h"
#include "contract.h"
#include "incident.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define ASK_AGAIN_US (7 * USECS_PER_DAY)

static const struct
{
	const char *name;
	const char *bad;			/* answers with which less can be proven, each between bars; NULL = none is */
	const char *advice;			/* when it changed */
}			questions[QUESTIONS] = {
	[Q_FILTER] = {"filter", "|" A_IGNORED "|" A_SHOWS_NOTHING "|",
	"Every run reads the whole list while the filter is of no use. Check the names of the time parameters in the metadata, and ask the service's support."},
	[Q_START_EDGE] = {"start edge", NULL,
	"Windows are asked a tick wider, but for single ticks full of records while both edges are inclusive. After many records were changed at once: SELECT * FROM jdy_sync(%s, 'full');"},
	[Q_END_EDGE] = {"end edge", NULL,
	"Windows are asked a tick wider, but for single ticks full of records while both edges are inclusive. After many records were changed at once: SELECT * FROM jdy_sync(%s, 'full');"},
	[Q_GRAIN] = {"grain", NULL, "Nothing must be done: windows follow."},
	[Q_PAGE_SIZE] = {"page size", NULL, "Nothing must be done: pages of that size are asked for."},
	[Q_ECHO] = {"echoed size", NULL, "Nothing must be done: no rule believes it."},
	[Q_OFFSET] = {"offset", NULL, "Nothing must be done: pages are anchored to each other."},
	[Q_ORDER] = {"order", "|" A_UNSTABLE "|",
	"A load is read by windows, too, while the order is not stable. Ask for a list with a stable order (order_by in the metadata)."},
	[Q_PAST_END] = {"past the end", NULL, "Nothing must be done: each variant is understood."},
	[Q_COUNT] = {"count", "|" A_WRONG "|" A_NONE "|",
	"The list is certified only while its count adds up. Ask the service's support; SELECT evidence FROM jdy_contract WHERE name = %s AND question = 'count'; says what was counted."},
	[Q_CLOCK] = {"clock", "|not told|", "Windows end by the service's clock. Where it is off, correct whichever clock is wrong; where it is not told, ask who removes the header Date."},
	[Q_LIST_ROWS] = {"list rows", NULL, "Nothing must be done: details are asked for."}
};

static bool is_least(const char *answer);
static int	number_of(const char *answer);
static bool says_less(const char *answer, const char *other);
static bool is_bad(Question question, const char *answer);
static void tell_change(const char *name, Question question, const char *before, const char *answer, const char *evidence);
static char *incident_of(Question question);

Contract *
jdy_contract_read(int stream_id)
{
	static JdyStatement read = {
		.sql = "SELECT c.question, c.answer, c.asked_at FROM jdysync.contract c WHERE c.stream_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(stream_id)};
	Contract   *contract = palloc0(sizeof(Contract));

	jdy_execute(&read, values, NULL);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		char	   *name = jdy_spi_text(r, 1);
		bool		isnull;

		for (int q = 0; q < QUESTIONS; q++)
			if (strcmp(questions[q].name, name) == 0)
			{
				contract->of[q].answer = jdy_spi_text(r, 2);
				contract->of[q].asked_at = DatumGetTimestampTz(jdy_spi_datum(r, 3, &isnull));
			}
	}
	return contract;
}

bool
jdy_contract_says(const Contract *contract, Question question, const char *answer)
{
	return contract->of[question].answer != NULL && strcmp(contract->of[question].answer, answer) == 0;
}

bool
jdy_contract_is_due(const Contract *contract, Question question)
{
	TimestampTz asked_at = contract->of[question].asked_at;

	return contract->of[question].answer == NULL || TIMESTAMP_IS_NOBEGIN(asked_at) ||
		(!TIMESTAMP_NOT_FINITE(asked_at) && jdy_clock_now() - asked_at >= ASK_AGAIN_US);
}

/* "100"; "at least 200" sets no limit. */
int
jdy_contract_cap(const Contract *contract, int asked)
{
	const char *answer = contract->of[Q_PAGE_SIZE].answer;
	int			cap = answer != NULL ? atoi(answer) : 0;

	return cap > 0 ? Min(cap, asked) : asked;
}

int
jdy_contract_given(const Contract *contract)
{
	const char *answer = contract->of[Q_PAGE_SIZE].answer;

	return answer != NULL ? number_of(answer) : 0;
}

const char *
jdy_contract_question(Question question)
{
	return questions[question].name;
}

void
jdy_contract_note(Contract *contract, int stream_id, const char *name, Question question,
				  const char *answer, const char *evidence)
{
	static JdyStatement read = {
		.sql = "SELECT c.known FROM jdysync.contract c WHERE c.stream_id = $1 AND c.question = $2",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID}
	};
	static JdyStatement write = {
		.sql = "INSERT INTO jdysync.contract AS c (stream_id, question, answer, since, asked_at, evidence, known)"
		" VALUES ($1, $2, $3, $4, $4, $5, $6) ON CONFLICT (stream_id, question) DO UPDATE SET"
		" answer = EXCLUDED.answer, since = CASE WHEN c.answer = EXCLUDED.answer THEN c.since ELSE EXCLUDED.since END,"
		" asked_at = EXCLUDED.asked_at, evidence = EXCLUDED.evidence, known = COALESCE(EXCLUDED.known, c.known)",
		.nargs = 6,
		.argtypes = {INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID}
	};
	MemoryContext home = GetMemoryChunkContext(contract);
	Datum		values[6];
	char	   *before;
	bool		unknown = strcmp(answer, A_UNKNOWN) == 0;
	bool		less;

	values[0] = Int32GetDatum(stream_id);
	values[1] = CStringGetTextDatum(questions[question].name);
	jdy_execute(&read, values, NULL);
	before = SPI_processed > 0 ? jdy_spi_text(0, 1) : NULL;
	values[2] = CStringGetTextDatum(answer);
	values[3] = TimestampTzGetDatum(jdy_clock_now());
	values[4] = CStringGetTextDatum(evidence);
	less = before != NULL && says_less(answer, before);
	values[5] = unknown ? (Datum) 0 : CStringGetTextDatum(less ? before : answer);
	jdy_execute(&write, values, unknown ? "     n" : NULL);
	contract->of[question].answer = MemoryContextStrdup(home, answer);
	contract->of[question].asked_at = DatumGetTimestampTz(values[3]);

	if (unknown)
		return;
	if (before != NULL && strcmp(before, answer) != 0 && !less && !says_less(before, answer))
		tell_change(name, question, before, answer, evidence);
	else if (!is_bad(question, answer))
		jdy_incident_close(name, incident_of(question));
}

void
jdy_contract_doubt(int stream_id, Question question)
{
	static JdyStatement doubt = {
		.sql = "UPDATE jdysync.contract n SET asked_at = '-infinity' WHERE n.stream_id = $1 AND n.question = $2",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID}
	};
	Datum		values[2] = {Int32GetDatum(stream_id), CStringGetTextDatum(jdy_contract_question(question))};

	jdy_execute(&doubt, values, NULL);
}

void
jdy_contract_forget(int stream_id)
{
	static JdyStatement forget = {
		.sql = "DELETE FROM jdysync.contract c WHERE c.stream_id = $1",
		.nargs = 1,
		.argtypes = {INT4OID}
	};
	Datum		values[1] = {Int32GetDatum(stream_id)};

	jdy_execute(&forget, values, NULL);
}

/* "at least 7" */
static bool
is_least(const char *answer)
{
	return strncmp(answer, A_LEAST, strlen(A_LEAST)) == 0;
}

static int
number_of(const char *answer)
{
	return atoi(answer + (is_least(answer) ? strlen(A_LEAST) : 0));
}

/* "at least 7" is true of a service that gives 7 rows, and of one that gives 10: a short list tells no more of it. */
static bool
says_less(const char *answer, const char *other)
{
	return is_least(answer) && number_of(answer) <= number_of(other);
}

static bool
is_bad(Question question, const char *answer)
{
	return questions[question].bad != NULL && strstr(questions[question].bad, psprintf("|%s|", answer)) != NULL;
}

/* One that is still open is about an earlier change.  What was proven by edges that were inclusive may lack something. */
static void
tell_change(const char *name, Question question, const char *before, const char *answer, const char *evidence)
{
	const char *advice = questions[question].advice;
	char	   *quoted = strstr(advice, "%s") ? quote_literal_cstr(name) : NULL;

	jdy_incident_close(name, incident_of(question));
	jdy_incident_open(name, is_bad(question, answer) || strcmp(before, A_INCLUSIVE) == 0 ? "warning" : "info",
					  incident_of(question),
					  psprintf("The service's answer was \"%s\" before and is \"%s\" now: %s.", before, answer, evidence),
					  quoted == NULL ? advice : psprintf("%.*s%s%s", (int) (strstr(advice, "%s") - advice), advice, quoted,
														 strstr(advice, "%s") + 2));
}

static char *
incident_of(Question question)
{
	return psprintf("contract changed: %s", questions[question].name);
}
