/*-------------------------------------------------------------------------
 * schedule.c
 *		When a stream or push runs by itself.
 *
 * A schedule is either an interval or cron.  Only text that begins like a cron
 * field and has five or six of them is read as cron, so '5 min' stays an
 * interval and '*\/5 * * * *' is never mistaken for one.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "schedule.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

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
	{"day of month", 1, 31, NULL},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
	{"day of week", 0, 7, "sunmontuewedthufrisat"},
};

static void check_interval(const char *schedule);
static void check_cron_field(const char *schedule, const CronField *field, char *text);
static int	cron_number(const CronField *field, const char *text);

void
jdy_schedule_check(const char *schedule)
{
	char	   *copy = pstrdup(schedule);
	char	   *fields[7];
	int			nfields = 0;
	char	   *save = NULL;

	for (char *word = strtok_r(copy, " \t", &save); word != NULL && nfields < 7;
		 word = strtok_r(NULL, " \t", &save))
		fields[nfields++] = word;

	if (nfields != 5 && nfields != 6)
	{
		check_interval(schedule);
		return;
	}
	for (int i = 0; i < nfields; i++)
		check_cron_field(schedule, &cron_fields[i + (nfields == 5 ? 1 : 0)], fields[i]);
}

static void
check_interval(const char *schedule)
{
	Interval   *interval;
	Interval   *second;

	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(schedule),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	second = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum("1 second"),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(interval), IntervalPGetDatum(second))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule is shorter than a second"),
				 errdetail("It says \"%s\".", schedule)));
}

/* list of: "*", "*" "/" step, a, a-b, a-b/step */
static void
check_cron_field(const char *schedule, const CronField *field, char *text)
{
	char	   *save = NULL;

	for (char *item = strtok_r(text, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save))
	{
		char	   *step = strchr(item, '/');
		char	   *dash;
		bool		fine = true;

		if (step != NULL)
		{
			*step++ = '\0';
			fine = *step != '\0' && strspn(step, "0123456789") == strlen(step) && atoi(step) > 0;
		}
		dash = strchr(item, '-');
		if (strcmp(item, "*") != 0)
		{
			int			first;
			int			last;

			if (dash != NULL)
				*dash++ = '\0';
			first = cron_number(field, item);
			last = dash != NULL ? cron_number(field, dash) : first;
			fine = fine && first >= 0 && last >= first;
		}
		if (!fine)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("schedule is neither an interval nor cron"),
					 errdetail("The %s of \"%s\" go from %d to %d.", field->name, schedule, field->lowest, field->highest),
					 errhint("Write an interval such as '5 min', or cron such as '*/5 8-18 * * mon-fri'.")));
	}
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
