/*-------------------------------------------------------------------------
 * schedule.c
 *		When a stream or push runs by itself.
 *
 * A schedule is either an interval or cron.  An interval has words where cron
 * has none: so '1 day 2 hours 30 minutes' is an interval, although it has as many
 * parts as cron with seconds, and '60 * * * *' is cron with an error in it.
 *
 * Cron follows the clocks of a time zone.  Where every hour counts it follows time itself: when
 * clocks are set back, an hour comes twice, and so do its minutes.  Where hours are named, a
 * time that comes twice counts once, and one that clocks skip counts as much later as they
 * were put forward.
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

/* What matches, a bit each. */
typedef struct Cron
{
	uint64		sets[lengthof(cron_fields)];
	bool		any_day;		/* of the month: the field is "*", maybe with a step */
	bool		any_weekday;
} Cron;

enum
{
	SECONDS, MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS
};

#define EVERY_HOUR ((UINT64CONST(1) << 24) - 1)
#define MOST_DAYS (9 * 366)		/* 29 February may be eight years away */

static int	split(char *copy, char **words);
static void read_cron(Cron *cron, char **words, int nwords);
static TimestampTz next_cron(const Cron *cron, TimestampTz now, pg_tz *zone);
static TimestampTz next_by_clock(const Cron *cron, TimestampTz now, pg_tz *zone);
static TimestampTz next_by_time(const Cron *cron, TimestampTz now, pg_tz *zone);
static bool day_matches(const Cron *cron, const struct pg_tm *tm);
static TimestampTz next_interval(const char *schedule, TimestampTz due, TimestampTz began);
static Interval *read_interval(const char *schedule);
static bool is_cron(char **words, int nwords);
static void check_interval(const char *schedule);
static bool is_interval(const char *schedule);
static void check_cron_field(const char *schedule, const CronField *field, char *text);
static bool read_cron_item(const CronField *field, char *item, int *first, int *last, int *step);
static int	cron_number(const CronField *field, const char *text);

void
jdy_schedule_check(const char *schedule)
{
	char	   *words[MAX_FIELDS + 1];
	int			nwords = split(pstrdup(schedule), words);
	Cron		cron;

	if (!is_cron(words, nwords))
	{
		check_interval(schedule);
		return;
	}
	for (int i = 0; i < nwords; i++)
		check_cron_field(schedule, &cron_fields[i + lengthof(cron_fields) - nwords], pstrdup(words[i]));
	read_cron(&cron, words, nwords);
	if (next_cron(&cron, GetCurrentTimestamp(), pg_tzset("GMT")) == DT_NOEND)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule never comes due"),
				 errdetail("No day is meant by \"%s\".", schedule)));
}

bool
jdy_schedule_is_cron(const char *schedule)
{
	char	   *words[MAX_FIELDS + 1];

	return is_cron(words, split(pstrdup(schedule), words));
}

TimestampTz
jdy_schedule_next(const char *schedule, TimestampTz due, TimestampTz began, pg_tz *zone)
{
	char	   *words[MAX_FIELDS + 1];
	int			nwords = split(pstrdup(schedule), words);
	Cron		cron;

	if (!is_cron(words, nwords))
		return next_interval(schedule, due, began);
	read_cron(&cron, words, nwords);
	return next_cron(&cron, began, zone);
}

/* Taken apart in place; one more than a schedule can have is enough. */
static int
split(char *copy, char **words)
{
	char	   *save = NULL;
	int			n = 0;

	for (char *word = strtok_r(copy, " \t", &save); word != NULL && n <= MAX_FIELDS; word = strtok_r(NULL, " \t", &save))
		words[n++] = word;
	return n;
}

/* Of words that were checked; they are taken apart, too. */
static void
read_cron(Cron *cron, char **words, int nwords)
{
	int			skipped = lengthof(cron_fields) - nwords;

	memset(cron, 0, sizeof(*cron));
	cron->sets[SECONDS] = 1;
	cron->any_day = words[DAYS - skipped][0] == '*';
	cron->any_weekday = words[WEEKDAYS - skipped][0] == '*';
	for (int i = 0; i < nwords; i++)
	{
		const CronField *field = &cron_fields[i + skipped];
		char	   *text = words[i];
		char	   *item;

		while ((item = strsep(&text, ",")) != NULL)
		{
			int			first;
			int			last;
			int			step;

			if (!read_cron_item(field, item, &first, &last, &step))
				elog(ERROR, "schedule was not checked: \"%s\"", item);
			for (int value = first; value <= last; value += step)
				cron->sets[i + skipped] |= UINT64CONST(1) << value;
		}
	}
	if (cron->sets[WEEKDAYS] & (1 << 7))
		cron->sets[WEEKDAYS] |= 1;
}

static TimestampTz
next_cron(const Cron *cron, TimestampTz now, pg_tz *zone)
{
	return cron->sets[HOURS] == EVERY_HOUR ? next_by_time(cron, now, zone) : next_by_clock(cron, now, zone);
}

/* Day by day as clocks show them. */
static TimestampTz
next_by_clock(const Cron *cron, TimestampTz now, pg_tz *zone)
{
	struct pg_tm today;
	fsec_t		fraction;
	int			offset;
	int			day;

	if (timestamp2tm(now, &offset, &today, &fraction, NULL, zone) != 0)
		return DT_NOEND;
	day = date2j(today.tm_year, today.tm_mon, today.tm_mday);

	/* From yesterday on: clocks that were set back show it once more. */
	for (int i = -1; i <= MOST_DAYS; i++)
	{
		struct pg_tm tm = {0};

		j2date(day + i, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		if (!day_matches(cron, &tm))
			continue;
		for (tm.tm_hour = 0; tm.tm_hour < 24; tm.tm_hour++)
		{
			if (!(cron->sets[HOURS] >> tm.tm_hour & 1) || (i == 0 && tm.tm_hour < today.tm_hour - 3) || (i < 0 && tm.tm_hour < 20))
				continue;
			for (tm.tm_min = 0; tm.tm_min < 60; tm.tm_min++)
			{
				if (!(cron->sets[MINUTES] >> tm.tm_min & 1))
					continue;
				for (tm.tm_sec = 0; tm.tm_sec < 60; tm.tm_sec++)
				{
					TimestampTz at;

					if (!(cron->sets[SECONDS] >> tm.tm_sec & 1))
						continue;
					offset = DetermineTimeZoneOffset(&tm, zone);
					if (tm2timestamp(&tm, 0, &offset, &at) == 0 && at > now)
						return at;
				}
			}
		}
	}
	return DT_NOEND;
}

/* Second by second, but for hours and minutes that do not match. */
static TimestampTz
next_by_time(const Cron *cron, TimestampTz now, pg_tz *zone)
{
	TimestampTz at = now - now % USECS_PER_SEC + USECS_PER_SEC;
	TimestampTz end = now + MOST_DAYS * USECS_PER_DAY;

	while (at < end)
	{
		struct pg_tm tm;
		fsec_t		fraction;
		int			offset;

		if (timestamp2tm(at, &offset, &tm, &fraction, NULL, zone) != 0)
			break;
		if (!day_matches(cron, &tm))
			at += (3600 - tm.tm_min * 60 - tm.tm_sec) * USECS_PER_SEC;
		else if (!(cron->sets[MINUTES] >> tm.tm_min & 1))
			at += (60 - tm.tm_sec) * USECS_PER_SEC;
		else if (!(cron->sets[SECONDS] >> tm.tm_sec & 1))
			at += USECS_PER_SEC;
		else
			return at;
	}
	return DT_NOEND;
}

/* Days of the month and of the week, when both are named, are alternatives. */
static bool
day_matches(const Cron *cron, const struct pg_tm *tm)
{
	bool		day = cron->sets[DAYS] >> tm->tm_mday & 1;
	bool		weekday = cron->sets[WEEKDAYS] >> j2day(date2j(tm->tm_year, tm->tm_mon, tm->tm_mday)) & 1;

	if (!(cron->sets[MONTHS] >> tm->tm_mon & 1))
		return false;
	return cron->any_day || cron->any_weekday ? day && weekday : day || weekday;
}

/* At its pace from the last time on. */
static TimestampTz
next_interval(const char *schedule, TimestampTz due, TimestampTz began)
{
	Interval   *interval = read_interval(schedule);
	Datum		step = IntervalPGetDatum(interval);
	TimestampTz next = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(due), step));

	if (interval->month == 0 && interval->day == 0 && next <= began)
		return next + ((began - next) / interval->time + 1) * interval->time;
	while (next <= began)
		next = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(next), step));
	return next;
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
	Interval	second = {.time = USECS_PER_SEC};
	Interval	ten_years = {.month = 120};

	if (!is_interval(schedule))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule is neither an interval nor cron"),
				 errdetail("It says \"%s\".", schedule),
				 errhint("Write an interval such as '5 min', or cron such as '*/5 8-18 * * mon-fri'.")));
	if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(read_interval(schedule)), IntervalPGetDatum(&second))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule is shorter than a second"),
				 errdetail("It says \"%s\".", schedule),
				 errhint("An interval says how long after one run the next begins, such as '5 min'.")));
	if (DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(read_interval(schedule)), IntervalPGetDatum(&ten_years))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule is longer than ten years"),
				 errdetail("It says \"%s\".", schedule)));
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

static Interval *
read_interval(const char *schedule)
{
	return DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(schedule), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* A list of items. */
static void
check_cron_field(const char *schedule, const CronField *field, char *text)
{
	char	   *item;
	int			first;
	int			last;
	int			step;

	while ((item = strsep(&text, ",")) != NULL)
		if (!read_cron_item(field, item, &first, &last, &step))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("schedule is neither an interval nor cron"),
					 errdetail("The %s of \"%s\" go from %d to %d.", field->name, schedule, field->lowest, field->highest),
					 errhint("Write an interval such as '5 min', or cron such as '*/5 8-18 * * mon-fri'.")));
}

/* "*", a or a-b, perhaps with "/" step; false = it is none of them. */
static bool
read_cron_item(const CronField *field, char *item, int *first, int *last, int *step)
{
	char	   *slash = strchr(item, '/');
	char	   *dash;

	*step = 1;
	if (slash != NULL)
	{
		*slash++ = '\0';
		if (*slash == '\0' || strlen(slash) > 2 || strspn(slash, "0123456789") != strlen(slash) || (*step = atoi(slash)) == 0)
			return false;
	}
	*first = field->lowest;
	*last = field->highest;
	if (strcmp(item, "*") == 0)
		return true;
	dash = strchr(item, '-');
	if (dash != NULL)
		*dash++ = '\0';
	*first = cron_number(field, item);

	/* a/step goes on to the end. */
	if (dash != NULL)
		*last = cron_number(field, dash);
	else if (slash == NULL)
		*last = *first;
	return *first >= 0 && *last >= *first;
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
