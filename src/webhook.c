/*-------------------------------------------------------------------------
 * webhook.c
 *		The url of a webhook, which is a secret itself.
 *
 * Whoever knows the url of a chat group's robot can write to the group.  So what
 * makes it one, its path and query, stands in the user mapping, and takes the place of
 * metadata's "api", which then is but a name.
 *
 * Such urls are handed out encoded already: they are taken as they are, and only what no url
 * can hold is encoded.  A secret signs the time as DingTalk has it: in the query,
 * timestamp in milliseconds, and sign, the base64 of the HMAC-SHA256 of
 * "timestamp\nsecret" under the secret.  A body_secret signs it as Feishu has it: in the body,
 * timestamp in seconds, and sign, the same of nothing under "timestamp\nsecret".
 *
 * Pure but for memory.  Called by request.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/stringinfo.h"
#include "percent.h"
#include "webhook.h"

#define HMAC_BYTES 32
#define SIGN_LENGTH 44			/* base64 of it */

static char *as_given(const char *text);
static char *unix_time(TimestampTz now, int64 per_second);
static char *sign(const char *key, const char *text);

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
		char	   *timestamp = unix_time(now, 1000);

		appendStringInfo(&query, "%ctimestamp=%s&sign=%s", query.len > 0 ? '&' : '?', timestamp,
						 jdy_percent_encode(sign(endpoint->secret, psprintf("%s\n%s", timestamp, endpoint->secret)), false));
	}
	return query.data;
}

/* The signature comes first, so that nothing in the body stands in its way; what is no object cannot be signed. */
const char *
jdy_webhook_body(const Endpoint *endpoint, const char *body, TimestampTz now)
{
	const char *inside = body;
	char	   *timestamp;

	if (endpoint->body_secret == NULL || body == NULL)
		return body;
	while (isspace((unsigned char) *inside))
		inside++;
	if (*inside++ != '{')
		return body;
	while (isspace((unsigned char) *inside))
		inside++;
	timestamp = unix_time(now, 1);
	return psprintf("{\"timestamp\":\"%s\",\"sign\":\"%s\"%s%s", timestamp,
					sign(psprintf("%s\n%s", timestamp, endpoint->body_secret), ""), *inside == '}' ? "" : ",", inside);
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
unix_time(TimestampTz now, int64 per_second)
{
	return psprintf(INT64_FORMAT, now / (USECS_PER_SEC / per_second) +
					(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * per_second);
}

static char *
sign(const char *key, const char *text)
{
	unsigned char hmac[HMAC_BYTES];
	unsigned int length = sizeof(hmac);
	char	   *encoded = palloc(SIGN_LENGTH + 1);

	if (HMAC(EVP_sha256(), key, strlen(key), (const unsigned char *) text, strlen(text), hmac, &length) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not sign a request"),
				 errdetail("OpenSSL refused HMAC-SHA256.")));
	EVP_EncodeBlock((unsigned char *) encoded, hmac, sizeof(hmac));
	return encoded;
}
