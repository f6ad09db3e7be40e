/*-------------------------------------------------------------------------
 * address.h
 *		Which hosts and addresses may be called.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_ADDRESS_H
#define JDY_ADDRESS_H

#include "postgres.h"

#include <sys/socket.h>

typedef enum AddressClass
{
	ADDRESS_PUBLIC,
	ADDRESS_PRIVATE,			/* loopback and private ranges: only for trusted servers and hosts listed by name */
	ADDRESS_NEVER				/* link-local, cloud metadata, multicast, nothing at all */
} AddressClass;

/* Of a resolved address.  Raises no error: it is asked from a libcurl callback. */
extern AddressClass jdy_address_class(const struct sockaddr *address);

/* True when jdysync.allowed_hosts lets `host` be called; *literal tells if it is listed without a pattern. */
extern bool jdy_host_allowed(const char *host, bool *literal);

/* The same for a list that is handed in. */
extern bool jdy_host_listed(const char *patterns, const char *host, bool *literal);

/* Whether `patterns` can stand in jdysync.allowed_hosts.  Raises no error: the postmaster asks too. */
extern bool jdy_host_patterns_valid(const char *patterns);

#endif							/* JDY_ADDRESS_H */
