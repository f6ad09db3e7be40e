/*-------------------------------------------------------------------------
 * sockets.h
 *		The sockets of a pool's connections, watched through one epoll fd.
 *
 * Private to the transfers: only http.c and transfer.c include it, and nothing
 * else learns of libcurl's types.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SOCKETS_H
#define JDY_SOCKETS_H

#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>

typedef struct SocketSet SocketSet;

/*
 * An empty set for what `multi` does, with room to remember `max_kept` connections.
 * Lives in `context`, but its fd does not: jdy_sockets_close gives that back.
 */
extern SocketSet *jdy_sockets_open(CURLM *multi, int max_kept, MemoryContext context);

/* After curl_multi_cleanup, which still speaks of its sockets. */
extern void jdy_sockets_close(SocketSet *set);

/* Readable whenever jdy_sockets_act has something to do. */
extern int	jdy_sockets_fd(SocketSet *set);

/* Lets libcurl act on whatever is ready; waits for nothing and raises nothing. */
extern CURLMcode jdy_sockets_act(SocketSet *set);

/* CURLMOPT_SOCKETFUNCTION; its data is the set. */
extern int	jdy_sockets_watch(CURL *easy, curl_socket_t fd, int what, void *set, void *known);

/* A connection's socket begins (CURL_SOCKET_BAD: it cannot), and ends: CURLOPT_CLOSESOCKETFUNCTION, whose data is the set. */
extern curl_socket_t jdy_socket_open(SocketSet *set, const struct curl_sockaddr *address);
extern int	jdy_socket_close(void *set, curl_socket_t fd);

/*
 * Around every call in which libcurl may start a thread, to resolve a name: threads
 * inherit the mask, and without it would run PostgreSQL's signal handlers.
 * sigprocmask(SIG_SETMASK, old, NULL) ends it.
 */
extern void jdy_block_signals(sigset_t *old);

#endif							/* JDY_SOCKETS_H */
