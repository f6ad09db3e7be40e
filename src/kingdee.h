/*-------------------------------------------------------------------------
 * kingdee.h
 *		Signature and decryption of 星辰 V2.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_KINGDEE_H
#define JDY_KINGDEE_H

#include "postgres.h"

#include "endpoint.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/*
 * X-Api-Signature of a request (88 characters): base64(hex(HMAC-SHA256)) over
 * method, path, parameters (CallParam *, unencoded) sorted by name and encoded
 * twice, nonce and timestamp.  path begins with '/' and is percent-encoded as on
 * the wire.
 */
extern char *jdy_kingdee_signature(const char *client_secret, const char *method, const char *path,
								   const List *params, const char *nonce, const char *timestamp_ms);

/* The parameters in the order of the signature, which must be the order on the wire; those without a name are gone. */
extern List *jdy_kingdee_sorted(const List *params);

/* A nonce: ten random digits, palloc'ed. */
extern char *jdy_kingdee_nonce(void);

/* Base64 of a text, palloc'ed. */
extern char *jdy_base64(const char *text);

/* app_signature of the token call: base64(hex(HMAC-SHA256(app_secret, app_key))). */
extern char *jdy_kingdee_app_signature(const char *app_key, const char *app_secret);

/* A sensitive field's plain text, or NULL when `value` is not ciphertext under this key (keep it as it is). */
extern char *jdy_kingdee_decrypt_text(const char *client_secret, const char *value);

/*
 * A copy of `data` with the fields named by `paths` decrypted.  A path is
 * "field" or "Array.field": the first part is matched without regard to case,
 * and "Row." means the record itself.  Returns `data` itself when nothing changed.
 */
extern Jsonb *jdy_kingdee_decrypt(Jsonb *data, const List *paths, const char *client_secret);

#endif							/* JDY_KINGDEE_H */
