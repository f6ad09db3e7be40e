/*-------------------------------------------------------------------------
 * crypt.h
 *		The three forms of cryptography the service uses.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_CRYPT_H
#define SIM_CRYPT_H

#include "buf.h"

#define SIGNATURE_LEN 88		/* Base64 of 64 hex characters */

/*
 * Base64 of the lower-case hex of HMAC-SHA256: both X-Api-Signature and
 * app_signature have this form.  Writes 88 characters and a NUL.
 */
extern void crypt_signature(const char *key, const char *text, size_t n,
							char out[SIGNATURE_LEN + 1]);

/*
 * Adds the ciphertext of a sensitive field, Base64, under the client secret
 * as it stands; an empty text stays empty.
 */
extern void crypt_field(Buf *out, const char *client_secret,
						const char *text, size_t n);

/* Base64 of the HMAC-SHA256 of text under key. */
extern void crypt_hmac(Buf *out, const char *key, const char *text);

extern void crypt_base64(Buf *out, const void *bytes, size_t n);

/* Replaces the body by its gzip form. */
extern void crypt_gzip(Buf *body, int level);

/* A gzip stream of head, n times fill, tail: small on the wire. */
extern void crypt_gzip_bomb(Buf *out, const char *head, char fill, size_t n,
							const char *tail);

extern void crypt_cleanup(void);

#endif
