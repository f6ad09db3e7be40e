/*-------------------------------------------------------------------------
 * target_qeasy.h
 *		The Qeasy platform's open API: sign in, store, query.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_TARGET_QEASY_H
#define SIM_TARGET_QEASY_H

#include "request.h"

#define QEASY_TOKEN_PATH "/v2/oauth"
#define QEASY_PATH "/v2/open-api/business/"

/* Whether the caller may; else the refusal is written. */
extern bool qeasy_may_call(Request *req);
extern void qeasy_answer(Request *req);

extern void qeasy_expire_tokens(void);
extern void qeasy_reset(void);

#endif
