/*-------------------------------------------------------------------------
 * faults.h
 *		Replies that go wrong on demand.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "request.h"
#include "shape.h"

#include <jansson.h>

typedef enum FaultKind
{
	FAULT_STATUS,
	FAULT_ERRCODE,
	FAULT_RESET,
	FAULT_RESET_AFTER,
	FAULT_CUT,
	FAULT_DRIP,
	FAULT_STALL,
	FAULT_HTML,
	FAULT_EMPTY,
	FAULT_JSON,
	FAULT_NUL,
	FAULT_SURROGATE,
	FAULT_BAD_UTF8,
	FAULT_DEEP,
	FAULT_HUGE,
	FAULT_REDIRECT,
	FAULT_WRONG_PAGE,
	FAULT_NO_ROWS,
	FAULT_NO_COUNT,
	FAULT_COUNT_LIE,
	FAULT_ID_MISSING,
	FAULT_ID_NULL,
	FAULT_ID_NUMBER,
	FAULT_DUP_KEYS,
	FAULT_DUP_ROW,
	FAULT_CONFLICT_ROW,
	FAULT_GZIP_BOMB,
	N_FAULT_KINDS
} FaultKind;

typedef struct Fault
{
	struct Fault *next;
	int			refs;
	FaultKind	kind;
	json_t	   *spec;			/* as the caller gave it: texts point into it */
	const char *path;			/* part of the path, or NULL */
	const char *method;			/* or NULL */
	const char *id;				/* parameter id, or NULL */
	int64_t		page;			/* parameter page, or -1 */
	int64_t		after;			/* matching requests still to let pass */
	int64_t		times;			/* firings left; -1 = for ever */
	int64_t		row;			/* which row is bent */
	int64_t		n;				/* bytes, depth, or what is added */
} Fault;

/* Adds a fault from its JSON form; false and a sentence when it is wrong. */
extern bool fault_add(json_t *spec, char *error, size_t error_size);
extern void fault_clear(void);
extern void fault_show(Buf *out);
extern void fault_free(Fault *fault);

/* Gives the request the first fault that matches it, if any. */
extern void fault_take(Request *req);

/* Faults that replace the whole reply; true when it is made. */
extern bool fault_before(Request *req);

/* Faults that spoil a reply that was made. */
extern void fault_after(Request *req);

/* Whether the request has this fault. */
extern bool fault_is(const Request *req, FaultKind kind);

/*
 * How the request's fault bends that row: fills the twist and returns true.
 * The caller frees twist->tail.
 */
extern bool fault_twist(const Request *req, int64_t row, Twist *twist);

#endif
