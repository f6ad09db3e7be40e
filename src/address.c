/*-------------------------------------------------------------------------
 * address.c
 *		Which hosts and addresses may be called.
 *
 * Who may create a server may make the database call any URL.  Two fences: the
 * superuser's list of host names, looked at before anything is resolved, and the
 * kind of the resolved address, looked at when a socket is made for it.  The second
 * is needed because a harmless name may resolve to 127.0.0.1, or to the address
 * where a cloud hands out the machine's credentials.
 *
 * Pure: no allocation, no error, so that callbacks and check hooks may ask.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netinet/in.h>

#include "address.h"
#include "jdysync.h"

#define BLANKS " \t\r\n"

typedef struct Range4
{
	uint8		prefix[4];
	int			bits;
	AddressClass class;
} Range4;

typedef struct Range6
{
	uint8		prefix[16];
	int			bits;
	AddressClass class;
} Range6;

/* First match wins; what is in no range is public. */
static const Range4 ranges4[] = {
	{{100, 100, 100, 200}, 32, ADDRESS_NEVER},	/* metadata of Alibaba Cloud */
	{{168, 63, 129, 16}, 32, ADDRESS_NEVER},	/* metadata of Azure */
	{{192, 0, 0, 192}, 32, ADDRESS_NEVER},	/* metadata of Oracle Cloud */
	{{169, 254}, 16, ADDRESS_NEVER},	/* link-local, metadata of most clouds */
	{{0}, 8, ADDRESS_NEVER},	/* "this" host: connects to loopback */
	{{224}, 3, ADDRESS_NEVER},	/* multicast, reserved, broadcast */
	{{127}, 8, ADDRESS_PRIVATE},
	{{10}, 8, ADDRESS_PRIVATE},
	{{172, 16}, 12, ADDRESS_PRIVATE},
	{{192, 168}, 16, ADDRESS_PRIVATE},
	{{100, 64}, 10, ADDRESS_PRIVATE},	/* behind a carrier's NAT */
	{{192, 0, 0}, 24, ADDRESS_PRIVATE},
	{{198, 18}, 15, ADDRESS_PRIVATE},	/* benchmarks between networks */
};

static const Range6 ranges6[] = {
	{{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128, ADDRESS_NEVER},	/* metadata of AWS */
	{{0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54}, 128, ADDRESS_NEVER},	/* metadata of Google Cloud */
	{{0xfe, 0x80}, 10, ADDRESS_NEVER},	/* link-local */
	{{0xff}, 8, ADDRESS_NEVER}, /* multicast */
	{{0}, 128, ADDRESS_NEVER},	/* unspecified: connects to loopback */
	{{[15] = 1}, 128, ADDRESS_PRIVATE}, /* loopback */
	{{0xfc}, 7, ADDRESS_PRIVATE},	/* unique local */
	{{0xfe, 0xc0}, 10, ADDRESS_PRIVATE},	/* site-local, of old */
	{{0x20, 0x01, 0x00, 0x00}, 32, ADDRESS_PRIVATE},	/* Teredo: hides an IPv4 address */
	{{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, ADDRESS_PRIVATE},	/* local NAT64: so does it */
};

/* IPv6 addresses that stand for an IPv4 one, which begins after this many bytes. */
static const struct
{
	uint8		prefix[16];
	int			bits;
	int			offset;
}			embedded4[] = {
	{{[10] = 0xff, [11] = 0xff}, 96, 12},	/* mapped */
	{{0x00, 0x64, 0xff, 0x9b}, 96, 12}, /* NAT64 */
	{{0x20, 0x02}, 16, 2},		/* 6to4 */
	{{0}, 96, 12},				/* compatible, of old */
};

static AddressClass class_of_ipv4(const uint8 *address);
static AddressClass class_of_ipv6(const uint8 *address);
static bool in_range(const uint8 *address, const uint8 *prefix, int bits);
static bool next_pattern(const char **patterns, const char **pattern, size_t *length);
static size_t host_length(const char *host, size_t length);

AddressClass
jdy_address_class(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return class_of_ipv4((const uint8 *) &((const struct sockaddr_in *) address)->sin_addr);
	if (address->sa_family == AF_INET6)
		return class_of_ipv6((const uint8 *) &((const struct sockaddr_in6 *) address)->sin6_addr);
	return ADDRESS_NEVER;
}

bool
jdy_host_allowed(const char *host, bool *literal)
{
	return jdy_host_listed(jdy_allowed_hosts, host, literal);
}

/*
 * "*" stands for every host, "*.kingdee.com" for every host below kingdee.com but
 * not for itself.  A name that is listed is literal even when a star comes first.
 */
bool
jdy_host_listed(const char *patterns, const char *host, bool *literal)
{
	size_t		length = host_length(host, strlen(host));
	const char *pattern;
	size_t		plength;
	bool		allowed = false;

	*literal = false;
	while (next_pattern(&patterns, &pattern, &plength))
	{
		if (plength > 0 && pattern[0] == '*')
		{
			const char *suffix = pattern + 1;
			size_t		slength = plength - 1;

			if (slength == 0 ||
				(length > slength && pg_strncasecmp(host + length - slength, suffix, slength) == 0))
				allowed = true;
		}
		else if (plength > 0 && plength == length && pg_strncasecmp(host, pattern, length) == 0)
		{
			*literal = true;
			return true;
		}
	}
	return allowed;
}

/* A star stands alone or before a dot: any other use would look as if it worked. */
bool
jdy_host_patterns_valid(const char *patterns)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:";
	const char *pattern;
	size_t		length;

	while (next_pattern(&patterns, &pattern, &length))
	{
		if (length == 1 && pattern[0] == '*')
			continue;
		if (length > 2 && pattern[0] == '*' && pattern[1] == '.')
		{
			pattern += 2;
			length -= 2;
		}
		if (strspn(pattern, allowed) < length)
			return false;
	}
	return true;
}

static AddressClass
class_of_ipv4(const uint8 *address)
{
	for (int i = 0; i < lengthof(ranges4); i++)
	{
		if (in_range(address, ranges4[i].prefix, ranges4[i].bits))
			return ranges4[i].class;
	}
	return ADDRESS_PUBLIC;
}

static AddressClass
class_of_ipv6(const uint8 *address)
{
	for (int i = 0; i < lengthof(ranges6); i++)
	{
		if (in_range(address, ranges6[i].prefix, ranges6[i].bits))
			return ranges6[i].class;
	}
	for (int i = 0; i < lengthof(embedded4); i++)
	{
		if (in_range(address, embedded4[i].prefix, embedded4[i].bits))
			return class_of_ipv4(address + embedded4[i].offset);
	}
	return ADDRESS_PUBLIC;
}

static bool
in_range(const uint8 *address, const uint8 *prefix, int bits)
{
	int			bytes = bits / 8;
	uint8		mask = (uint8) (0xff00 >> (bits % 8));

	return memcmp(address, prefix, bytes) == 0 &&
		(bits % 8 == 0 || ((address[bytes] ^ prefix[bytes]) & mask) == 0);
}

/* Splits at commas, without the blanks around and the dot at the end. */
static bool
next_pattern(const char **patterns, const char **pattern, size_t *length)
{
	const char *end;

	if (*patterns == NULL)
		return false;
	*pattern = *patterns + strspn(*patterns, BLANKS);
	end = *pattern + strcspn(*pattern, ",");
	*patterns = *end == ',' ? end + 1 : NULL;
	while (end > *pattern && strchr(BLANKS, end[-1]) != NULL)
		end--;
	*length = host_length(*pattern, end - *pattern);
	return true;
}

/* "example.com." is the same host as "example.com". */
static size_t
host_length(const char *host, size_t length)
{
	return length > 1 && host[length - 1] == '.' ? length - 1 : length;
}
