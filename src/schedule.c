/*-------------------------------------------------------------------------
 * schedule.c
 *		When a stream or push runs by itself.
 *
 * A schedule is either an interval or cron.  An interval has words where cron
 * has none: so '1 day 2 hours 30 minutes' is an interval, although it has as many
 * parts as cron with seconds, and '60 * * * *' is cron with an error in it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "schedule.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define MAX_FIELDS 6

/* A cron field: its bounds and the names that may stand for numbers. */
typedef struct CronField
{
	const char *name;
	int			lowest;
	int			highest;
	const char *names;			/* three letters each, the first stands for `lowest`; NULL = none */
} CronField;

static const CronField cron_fields[] = {
	{"seconds", 0, 59, NULL},
	{"minutes", 0, 59, NULL},
	{"hours", 0, 23, NULL},
	{"days of the month", 1, 31, NULL},
	{"months", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
	{"days of the week", 0, 7, "sunmontuewedthufrisat"},
};

static bool is_cron(char **words, int nwords);
static void check_interval(const char *schedule);
static bool is_interval(const char *schedule);
static void check_cron_field(const char *schedule, const CronField *field, char *text);
static bool is_cron_item(const CronField *field, char *item);
static int	cron_number(const CronField *field, const char *text);

void
jdy_schedule_check(const char *schedule)
{
	char	   *copy = pstrdup(schedule);
	char	   *words[MAX_FIELDS + 1];
	int			nwords = 0;
	char	   *save = NULL;

	for (char *word = strtok_r(copy, " \t", &save); word != NULL && nwords <= MAX_FIELDS;
		 word = strtok_r(NULL, " \t", &save))
		words[nwords++] = word;

	if (!is_cron(words, nwords))
	{
		check_interval(schedule);
		return;
	}
	for (int i = 0; i < nwords; i++)
		check_cron_field(schedule, &cron_fields[i + lengthof(cron_fields) - nwords], words[i]);
}

/* Whether it is meant as cron, right or wrong: letters stand at most where names may (or are L, W). */
static bool
is_cron(char **words, int nwords)
{
	if (nwords != lengthof(cron_fields) && nwords != lengthof(cron_fields) - 1)
		return false;
	for (int i = 0; i < nwords; i++)
	{
		bool		names = cron_fields[i + lengthof(cron_fields) - nwords].names != NULL;

		for (const char *c = words[i]; *c != '\0'; c++)
			if (strchr("0123456789*?,-/#LW", *c) == NULL && !(names && isalpha((unsigned char) *c)))
				return false;
	}
	return true;
}

static void
check_interval(const char *schedule)
{
	Interval   *interval;
	Interval	second = {.time = USECS_PER_SEC};

	if (!is_interval(schedule))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule is neither an interval nor cron"),
				 errdetail("It says \"%s\".", schedule),
				 errhint("Write an interval such as '5 min', or cron such as '*/5 8-18 * * mon-fri'.")));
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(schedule),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(interval), IntervalPGetDatum(&second))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule is shorter than a second"),
				 errdetail("It says \"%s\".", schedule),
				 errhint("An interval says how long after one run the next begins, such as '5 min'.")));
}

/* As interval_in reads it, but without an error that knows nothing of schedules; infinite ones never come due. */
static bool
is_interval(const char *schedule)
{
	char		work[256];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nfields;
	int			type;
	int			dterr;
	struct pg_itm_in itm = {0};

	dterr = ParseDateTime(schedule, work, sizeof(work), field, ftype, MAXDATEFIELDS, &nfields);
	if (dterr == 0)
		dterr = DecodeInterval(field, ftype, nfields, INTERVAL_FULL_RANGE, &type, &itm);
	if (dterr == DTERR_BAD_FORMAT)
		dterr = DecodeISO8601Interval(pstrdup(schedule), &type, &itm);
	return dterr == 0 && type == DTK_DELTA;
}

/* A list of items. */
static void
check_cron_field(const char *schedule, const CronField *field, char *text)
{
	char	   *item;

	while ((item = strsep(&text, ",")) != NULL)
		if (!is_cron_item(field, item))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("schedule is neither an interval nor cron"),
					 errdetail("The %s of \"%s\" go from %d to %d.", field->name, schedule, field->lowest, field->highest),
					 errhint("Write an interval such as '5 min', or cron such as '*/5 8-18 * * mon-fri'.")));
}

/* "*", a or a-b, perhaps with "/" step. */
static bool
is_cron_item(const CronField *field, char *item)
{
	char	   *step = strchr(item, '/');
	char	   *dash;
	int			first;
	int			last;

	if (step != NULL)
	{
		*step++ = '\0';
		if (*step == '\0' || strlen(step) > 2 || strspn(step, "0123456789") != strlen(step) || atoi(step) == 0)
			return false;
	}
	if (strcmp(item, "*") == 0)
		return true;
	dash = strchr(item, '-');
	if (dash != NULL)
		*dash++ = '\0';
	first = cron_number(field, item);
	last = dash != NULL ? cron_number(field, dash) : first;
	return first >= 0 && last >= first;
}

/* -1 = not a number of this field */
static int
cron_number(const CronField *field, const char *text)
{
	int			value;

	if (field->names != NULL && strlen(text) == 3 && isalpha((unsigned char) text[0]))
	{
		for (int i = 0; field->names[i * 3] != '\0'; i++)
			if (pg_strncasecmp(text, field->names + i * 3, 3) == 0)
				return field->lowest + i;
		return -1;
	}
	if (*text == '\0' || strlen(text) > 2 || strspn(text, "0123456789") != strlen(text))
		return -1;
	value = atoi(text);
	return value < field->lowest || value > field->highest ? -1 : value;
}
