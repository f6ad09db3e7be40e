/*-------------------------------------------------------------------------
 * webhook.c
 *		The url of a webhook, which is a secret itself.
 *
 * Whoever knows the url of a chat group's robot can write to the group.  So what
 * makes it one, its path and query, stands in the user mapping, and takes the place of
 * metadata's "api", which then is but a name.
 *
 * Such urls are handed out encoded already: they are taken as they are, and only what no url
 * can hold is encoded.  A secret signs the time as DingTalk has it:
 * timestamp in milliseconds, and sign, the base64 of the HMAC-SHA256 of
 * "timestamp\nsecret" under the secret.
 *
 * Pure but for memory.  Called by request.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "http.h"
#include "lib/stringinfo.h"
#include "webhook.h"

#define HMAC_BYTES 32
#define SIGN_LENGTH 44			/* base64 of it */

static char *as_given(const char *text);
static char *sign(const char *secret, const char *timestamp);

char *
jdy_webhook_path(const Endpoint *endpoint)
{
	const char *path = endpoint->path;

	if (path == NULL)
		return NULL;
	while (*path == '/')
		path++;
	return as_given(path);
}

char *
jdy_webhook_query(const Endpoint *endpoint, TimestampTz now)
{
	StringInfoData query;

	initStringInfo(&query);
	if (endpoint->query != NULL)
		appendStringInfo(&query, "?%s", as_given(endpoint->query));
	if (endpoint->secret != NULL)
	{
		char	   *timestamp = psprintf(INT64_FORMAT, now / 1000 +
										 (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000);

		appendStringInfo(&query, "%ctimestamp=%s&sign=%s", query.len > 0 ? '&' : '?', timestamp,
						 jdy_percent_encode(sign(endpoint->secret, timestamp), false));
	}
	return query.data;
}

/* Encoded but for what is encoded already, or may stand in a path or query. */
static char *
as_given(const char *text)
{
	static const char allowed[] = "-._~!$&'()*+,;=:@/?";
	StringInfoData out;

	initStringInfo(&out);
	for (const unsigned char *c = (const unsigned char *) text; *c != '\0'; c++)
	{
		if ((*c < 0x80 && isalnum(*c)) || strchr(allowed, *c) != NULL || (*c == '%' && isxdigit(c[1]) && isxdigit(c[2])))
			appendStringInfoChar(&out, *c);
		else
			appendStringInfo(&out, "%%%02X", *c);
	}
	return out.data;
}

static char *
sign(const char *secret, const char *timestamp)
{
	char	   *text = psprintf("%s\n%s", timestamp, secret);
	unsigned char hmac[HMAC_BYTES];
	unsigned int length = sizeof(hmac);
	char	   *encoded = palloc(SIGN_LENGTH + 1);

	if (HMAC(EVP_sha256(), secret, strlen(secret), (unsigned char *) text, strlen(text), hmac, &length) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not sign a request"),
				 errdetail("OpenSSL refused HMAC-SHA256.")));
	EVP_EncodeBlock((unsigned char *) encoded, hmac, sizeof(hmac));
	return encoded;
}
