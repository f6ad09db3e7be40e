/*-------------------------------------------------------------------------
 * qeasy.h
 *		The token call of the Qeasy platform's open API.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_QEASY_H
#define JDY_QEASY_H

#include "postgres.h"

#define JDY_QEASY_TOKEN_PATH "/v2/oauth"

/* What a reply to the token call says. */
typedef struct QeasyToken
{
	int64		errcode;		/* 0 = success */
	bool		well_formed;	/* it is what was asked for */
	const char *message;		/* the service's words; NULL = none */
	const char *token;			/* NULL = none */
	int64		life_us;		/* from now on */
} QeasyToken;

/* The body of the token call, palloc'ed: it holds the secret. */
extern char *jdy_qeasy_token_body(const char *app_key, const char *app_secret);

/* Reads a reply in the current memory context.  Never raises for anything in it; needs no transaction. */
extern void jdy_qeasy_read_token(const char *body, size_t length, QeasyToken *token);

#endif							/* JDY_QEASY_H */
