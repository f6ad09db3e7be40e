/*-------------------------------------------------------------------------
 * shim.c
 *		MySQL-flavoured functions for _function expressions.
 *
 * Only what SQL in the install script cannot say well is here; see schema
 * jdysync_shim for the rest.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

static const char *const month_names[] = {
	"January", "February", "March", "April", "May", "June", "July",
	"August", "September", "October", "November", "December"
};

static void format_letter(StringInfo out, char letter, const struct pg_tm *tm, fsec_t fsec);
static const char *ordinal_suffix(int day);

PG_FUNCTION_INFO_V1(jdy_from_unixtime);

/* FROM_UNIXTIME(seconds, format) in the session's time zone. */
Datum
jdy_from_unixtime(PG_FUNCTION_ARGS)
{
	float8		seconds = DatumGetFloat8(DirectFunctionCall1(numeric_float8, PG_GETARG_DATUM(0)));
	char	   *format = text_to_cstring(PG_GETARG_TEXT_PP(1));
	StringInfoData out;
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;
	TimestampTz at;

	/* Year 9999 in seconds; milliseconds are far beyond it. */
	if (!(seconds >= 0 && seconds < 253402300800.0))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("FROM_UNIXTIME takes seconds since 1970 up to year 9999"),
				 errdetail("It was given %.0f.", seconds),
				 errhint("LAST_SYNC_TIME and CURRENT_TIME are seconds; divide milliseconds by 1000.")));
	at = (TimestampTz) rint(seconds * USECS_PER_SEC) - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	if (timestamp2tm(at, &zone, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	tm.tm_wday = j2day(date2j(tm.tm_year, tm.tm_mon, tm.tm_mday));
	tm.tm_yday = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - date2j(tm.tm_year, 1, 1) + 1;

	initStringInfo(&out);
	for (const char *c = format; *c != '\0'; c++)
	{
		if (*c == '%' && c[1] != '\0')
			format_letter(&out, *++c, &tm, fsec);
		else
			appendStringInfoChar(&out, *c);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

static void
format_letter(StringInfo out, char letter, const struct pg_tm *tm, fsec_t fsec)
{
	int			hour12 = tm->tm_hour % 12 == 0 ? 12 : tm->tm_hour % 12;

	switch (letter)
	{
		case 'Y':
			appendStringInfo(out, "%04d", tm->tm_year);
			break;
		case 'y':
			appendStringInfo(out, "%02d", tm->tm_year % 100);
			break;
		case 'm':
			appendStringInfo(out, "%02d", tm->tm_mon);
			break;
		case 'c':
			appendStringInfo(out, "%d", tm->tm_mon);
			break;
		case 'M':
			appendStringInfoString(out, month_names[tm->tm_mon - 1]);
			break;
		case 'b':
			appendBinaryStringInfo(out, month_names[tm->tm_mon - 1], 3);
			break;
		case 'd':
			appendStringInfo(out, "%02d", tm->tm_mday);
			break;
		case 'e':
			appendStringInfo(out, "%d", tm->tm_mday);
			break;
		case 'D':
			appendStringInfo(out, "%d%s", tm->tm_mday, ordinal_suffix(tm->tm_mday));
			break;
		case 'j':
			appendStringInfo(out, "%03d", tm->tm_yday);
			break;
		case 'w':
			appendStringInfo(out, "%d", tm->tm_wday);
			break;
		case 'W':
			appendStringInfoString(out, days[tm->tm_wday]);
			break;
		case 'a':
			appendBinaryStringInfo(out, days[tm->tm_wday], 3);
			break;
		case 'H':
			appendStringInfo(out, "%02d", tm->tm_hour);
			break;
		case 'k':
			appendStringInfo(out, "%d", tm->tm_hour);
			break;
		case 'h':
		case 'I':
			appendStringInfo(out, "%02d", hour12);
			break;
		case 'l':
			appendStringInfo(out, "%d", hour12);
			break;
		case 'i':
			appendStringInfo(out, "%02d", tm->tm_min);
			break;
		case 's':
		case 'S':
			appendStringInfo(out, "%02d", tm->tm_sec);
			break;
		case 'f':
			appendStringInfo(out, "%06d", (int) fsec);
			break;
		case 'p':
			appendStringInfoString(out, tm->tm_hour < 12 ? "AM" : "PM");
			break;
		case 'T':
			appendStringInfo(out, "%02d:%02d:%02d", tm->tm_hour, tm->tm_min, tm->tm_sec);
			break;
		case 'r':
			appendStringInfo(out, "%02d:%02d:%02d %s", hour12, tm->tm_min, tm->tm_sec,
							 tm->tm_hour < 12 ? "AM" : "PM");
			break;
		case 'U':
		case 'u':
		case 'V':
		case 'v':
		case 'X':
		case 'x':
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("FROM_UNIXTIME has no format letter for weeks"),
					 errdetail("The letter is %%%c.", letter),
					 errhint("to_char(to_timestamp(seconds), 'IYYY-IW') gives the ISO week.")));
			break;
		default:
			/* %% and, as in MySQL, every letter that means nothing. */
			appendStringInfoChar(out, letter);
	}
}

static const char *
ordinal_suffix(int day)
{
	if (day >= 11 && day <= 13)
		return "th";
	return day % 10 == 1 ? "st" : day % 10 == 2 ? "nd" : day % 10 == 3 ? "rd" : "th";
}
