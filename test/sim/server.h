/*-------------------------------------------------------------------------
 * server.h
 *		The HTTP side: connections in, bytes out.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include <stdbool.h>

typedef struct ServerOptions
{
	int			port;			/* 0 = any free one */
	bool		ipv6;			/* ::1 instead of 127.0.0.1 */
	unsigned	threads;
	const char *tls_cert;		/* PEM text, or NULL for plain HTTP */
	const char *tls_key;
} ServerOptions;

/* Starts to serve; returns the port, or 0 after a message on stderr. */
extern int	server_start(const ServerOptions *options);

/* Wakes every waiting connection and stops. */
extern void server_stop(void);

/* The call that the script has wait goes on. */
extern void server_resume(void);

/* The one lock that guards all state but the timers. */
extern void server_lock(void);
extern void server_unlock(void);

#endif
