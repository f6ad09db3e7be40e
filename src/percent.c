/*-------------------------------------------------------------------------
 * percent.c
 *		Percent-encoding of what becomes part of a URL, or of what is signed.
 *
 * Signatures are computed over encoded text and compared byte by byte, so there
 * is one way to encode: whatever RFC 3986 does not call unreserved, in upper case.
 *
 * Pure.  Called by request.c for URLs, by kingdee.c and webhook.c for signatures,
 * and by pushdef.c for previews.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "percent.h"

static bool is_unreserved(unsigned char c);

char *
jdy_percent_encode(const char *text, bool keep_slash)
{
	static const char hex[] = "0123456789ABCDEF";
	char	   *encoded = palloc(strlen(text) * 3 + 1);
	char	   *target = encoded;

	for (const unsigned char *c = (const unsigned char *) text; *c; c++)
	{
		if (is_unreserved(*c) || (keep_slash && *c == '/'))
			*target++ = *c;
		else
		{
			*target++ = '%';
			*target++ = hex[*c >> 4];
			*target++ = hex[*c & 15];
		}
	}
	*target = '\0';
	return encoded;
}

static bool
is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
}
