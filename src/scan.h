/*-------------------------------------------------------------------------
 * scan.h
 *		JSON bytes: where a value ends, what a string says.
 *
 * Pure: no encoding of the database, no errors, no state but the JsonScan.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SCAN_H
#define JDY_SCAN_H

#include "postgres.h"

/* Bytes of somebody else's buffer; text NULL = not there. */
typedef struct Slice
{
	const char *text;
	size_t		length;
} Slice;

/* A top-level member to look out for while an object is passed over. */
typedef struct ScanMember
{
	const char *name;
	size_t		name_length;
	Slice		value;			/* the last one of that name; its quotes included */
} ScanMember;

/* What strings contained since the marks were last cleared. */
#define SCAN_ZERO			0x01	/* \u0000 */
#define SCAN_SURROGATE		0x02	/* half of a surrogate pair */

typedef struct JsonScan
{
	const char *at;				/* next byte */
	const char *end;
	const char *problem;		/* constant: why scanning stopped; NULL = it did not */
	int			marks;			/* SCAN_… */
	size_t		depth;			/* of the value last passed over: 0 = a scalar */
	uint64	   *open;			/* bit per open bracket, 1 = object; grows */
	size_t		open_words;
} JsonScan;

/* Begins at the first byte of a text (a byte order mark is passed over). */
extern void jdy_scan_begin(JsonScan *scan, const char *text, size_t length);

/* The next byte that is not white space, not consumed; '\0' at the end. */
extern char jdy_scan_peek(JsonScan *scan);

/*
 * Passes over one value of any kind and depth.  Brackets and strings are
 * checked, what stands between them only when the value is a scalar.  When it is
 * an object, the members' values are filled in.  False: scan->problem says why.
 */
extern bool jdy_scan_value(JsonScan *scan, Slice *value, ScanMember *members, int nmembers);

/*
 * Steps through an object or array from its opening bracket on: true with the
 * scan standing at the next member's value (its name in *name, without quotes) or the
 * next element; the caller passes over that.  False at the end, which is
 * consumed, or with scan->problem set.  *first must be true at the first call.
 */
extern bool jdy_scan_next_member(JsonScan *scan, bool *first, Slice *name);
extern bool jdy_scan_next_element(JsonScan *scan, bool *first);

/*
 * The text of a string's inside (no quotes), escapes resolved, NUL-terminated,
 * palloc'ed.  NULL when an escape is none, or names U+0000 or half a surrogate pair.
 */
extern char *jdy_scan_decode(const Slice *string, size_t *length);

/* True when a member's name, escapes resolved, is `name`. */
extern bool jdy_scan_is(const Slice *string, const char *name, size_t name_length);

#endif							/* JDY_SCAN_H */
