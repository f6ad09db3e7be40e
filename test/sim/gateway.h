/*-------------------------------------------------------------------------
 * gateway.h
 *		Who may call: signatures, tokens, routing, rates.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_GATEWAY_H
#define SIM_GATEWAY_H

#include "request.h"
#include "stats.h"

/* Each check answers the request itself and returns false on refusal. */
extern bool gateway_signed(Request *req);
extern bool gateway_may_call(Request *req);	/* app-token, router, rate */
extern bool gateway_plain(Request *req);	/* Authorization: Bearer */

/* Counts the call in a window of its own, or refuses it when that is full. */
extern bool gateway_within_rate(Request *req, Rate *rate, int64_t limit,
								int64_t window_ms);

/* The refusal alone. */
extern void gateway_refuse_rate(Request *req);

extern void gateway_authorize(Request *req);	/* push_app_authorize */
extern void gateway_token(Request *req);	/* kingdee_auth_token */

/* For the control API. */
extern void gateway_expire_tokens(void);
extern void gateway_rotate_app_secret(void);
extern void gateway_reset(void);
extern void gateway_free(void);

#endif
