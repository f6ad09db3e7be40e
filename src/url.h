/*-------------------------------------------------------------------------
 * url.h
 *		A server's url, taken apart.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_URL_H
#define JDY_URL_H

#include "postgres.h"

/*
 * Takes an absolute http(s) URL apart: base without trailing slashes, host in
 * lower case, both palloc'ed.  Returns NULL, or what the URL must be, as constant text.
 */
extern const char *jdy_url_parse(const char *url, char **base, char **host);

#endif							/* JDY_URL_H */
