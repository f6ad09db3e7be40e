/*-------------------------------------------------------------------------
 * accepted.h
 *		What the targets of pushes accepted, in order.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_ACCEPTED_H
#define SIM_ACCEPTED_H

#include "records.h"
#include "request.h"

typedef struct Accepted
{
	int64_t		seq;			/* 1, 2, 3 … */
	int64_t		at_ms;			/* the service's clock */
	uint64_t	digest;			/* of the payload, whatever its layout */
	size_t		subject;
	size_t		earlier;		/* the same id's acceptance before, or NONE */
	char	   *payload;		/* the bytes that came */
	char	   *key;			/* Idempotency-Key, or NULL */
	char		method[16];
} Accepted;

/* One id at one path. */
typedef struct Subject
{
	char	   *path;			/* percent-decoded */
	char	   *id;
	size_t		last;			/* its last acceptance */
	int64_t		times;
} Subject;

#define NONE SIZE_MAX

/* Stores a record; counts it as a repetition or a relapse when it is one. */
extern void accepted_add(const Request *req, const char *path, const Record *record);

/* Everything in order, and what each stands for. */
extern size_t accepted_count(void);
extern const Accepted *accepted_at(size_t i);
extern const Subject *accepted_subject(const Accepted *a);

/* NDJSON, of one path or (NULL) of all. */
extern void accepted_show(Buf *out, const char *path);
extern void accepted_latest(Buf *out, const char *path);

extern void accepted_forget(void);

#endif
