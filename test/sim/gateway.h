/*-------------------------------------------------------------------------
 * gateway.h
 *		Who may call: signatures, tokens, routing, rates.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_GATEWAY_H
#define SIM_GATEWAY_H

#include "request.h"

/* Each check answers the request itself and returns false on refusal. */
extern bool gateway_signed(Request *req);
extern bool gateway_may_call(Request *req);	/* app-token, router, rate */
extern bool gateway_plain(Request *req);	/* Authorization: Bearer */

extern void gateway_authorize(Request *req);	/* push_app_authorize */
extern void gateway_token(Request *req);	/* kingdee_auth_token */

/* For the control API. */
extern void gateway_expire_tokens(void);
extern void gateway_rotate_app_secret(void);
extern void gateway_reset(void);
extern void gateway_free(void);

#endif
