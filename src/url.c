/*-------------------------------------------------------------------------
 * url.c
 *		A server's url, taken apart.
 *
 * Everything that jdysync calls begins with this text, and paths of metadata are put
 * behind it: what could make the host another one than it seems (a user, a query, an
 * odd letter) is refused.  It is never quoted, as it could hold a password.
 *
 * Pure.  Called by options.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "url.h"

#define MAX_URL_BYTES 1024

static const char *check_path(const char *path);

const char *
jdy_url_parse(const char *url, char **base, char **host)
{
	static const char form[] = "an absolute URL like https://host[:port][/path]";
	const char *authority;
	const char *end;
	const char *host_end;
	size_t		length = strlen(url);
	const char *rule;

	if (length > MAX_URL_BYTES)
		return "shorter than 1024 bytes";
	if (pg_strncasecmp(url, "https://", 8) == 0)
		authority = url + 8;
	else if (pg_strncasecmp(url, "http://", 7) == 0)
		authority = url + 7;
	else
		return form;

	if (strpbrk(url, "?#") != NULL)
		return "a URL without query and fragment";
	end = authority + strcspn(authority, "/");
	if (memchr(authority, '@', end - authority) != NULL)
		return "a URL without user and password (they belong in the user mapping)";

	if (*authority == '[')
	{
		host_end = authority + 1 + strspn(authority + 1, "0123456789abcdefABCDEF:.");
		if (*host_end != ']' || host_end - authority < 3)
			return form;
		*host = pnstrdup(authority + 1, host_end - authority - 1);
		host_end++;
	}
	else
	{
		host_end = authority + strspn(authority, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");
		if (host_end == authority || *authority == '.')
			return form;
		*host = pnstrdup(authority, host_end - authority);
	}
	if (*host_end == ':')
	{
		long		port = strtol(host_end + 1, NULL, 10);

		host_end += 1 + strspn(host_end + 1, "0123456789");
		if (port < 1 || port > 65535)
			return "a URL whose port is from 1 to 65535";
	}
	if (host_end != end)
		return form;
	rule = check_path(end);
	if (rule != NULL)
		return rule;

	for (char *c = *host; *c; c++)
		*c = pg_ascii_tolower(*c);
	if ((*host)[strlen(*host) - 1] == '.')
		(*host)[strlen(*host) - 1] = '\0';
	while (length > 0 && url[length - 1] == '/')
		length--;
	*base = pnstrdup(url, length);
	return NULL;
}

/* The path goes onto the wire and into the signature as it is. */
static const char *
check_path(const char *path)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-._~%!$&'()*+,;=:@";
	const char *percent;

	if (path[strspn(path, allowed)] != '\0')
		return "a URL whose path is percent-encoded";
	for (percent = strchr(path, '%'); percent != NULL; percent = strchr(percent + 1, '%'))
	{
		if (!isxdigit((unsigned char) percent[1]) || !isxdigit((unsigned char) percent[2]))
			return "a URL whose path is percent-encoded";
	}
	return NULL;
}
