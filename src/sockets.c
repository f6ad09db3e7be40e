/*-------------------------------------------------------------------------
 * sockets.c
 *		The sockets of a pool's connections, watched through one epoll fd.
 *
 * libcurl says which sockets it wants watched, and takes its word back when a
 * request is done.  A connection's socket stays in the epoll set all the same: to take
 * it out and put it back would be two system calls a request.  So the set
 * remembers of each connection with which events it stands in there, and whether
 * libcurl wants to hear of it.  What is no connection's (a resolver's wake-up) comes
 * and goes as libcurl says.
 *
 * libcurl calls most of this back in the middle of its own work: nothing here but
 * jdy_sockets_open raises an error or allocates.
 *
 * Called by http.c, and by transfer.c where a connection begins.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "sockets.h"

#define MAX_EPOLL_EVENTS 64

typedef struct Socket
{
	curl_socket_t fd;
	uint32		events;			/* that it is in the epoll set with; 0 = it is not */
	bool		wanted;			/* libcurl wants it watched */
} Socket;

struct SocketSet
{
	CURLM	   *multi;
	int			epoll_fd;
	int			nkept;
	int			max_kept;
	Socket		kept[FLEXIBLE_ARRAY_MEMBER];	/* of connections */
};

static Socket *find_socket(SocketSet *set, curl_socket_t fd);

SocketSet *
jdy_sockets_open(CURLM *multi, int max_kept, MemoryContext context)
{
	SocketSet  *set = MemoryContextAlloc(context, offsetof(SocketSet, kept) + max_kept * sizeof(Socket));

	set->multi = multi;
	set->nkept = 0;
	set->max_kept = max_kept;
	set->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (set->epoll_fd < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not watch connections"),
				 errdetail("epoll_create1 failed: %m.")));
	return set;
}

void
jdy_sockets_close(SocketSet *set)
{
	close(set->epoll_fd);
}

int
jdy_sockets_fd(SocketSet *set)
{
	return set->epoll_fd;
}

CURLMcode
jdy_sockets_act(SocketSet *set)
{
	struct epoll_event events[MAX_EPOLL_EVENTS];
	int			n = epoll_wait(set->epoll_fd, events, MAX_EPOLL_EVENTS, 0);
	int			running;
	sigset_t	old;
	CURLMcode	rc = CURLM_OK;

	if (n <= 0)
		return CURLM_OK;
	jdy_block_signals(&old);
	for (int i = 0; i < n && rc == CURLM_OK; i++)
	{
		Socket	   *socket = find_socket(set, events[i].data.fd);
		int			what = 0;

		if (socket != NULL && !socket->wanted)
		{
			/* The other side hung up: libcurl will see that before it uses the connection. */
			(void) epoll_ctl(set->epoll_fd, EPOLL_CTL_DEL, socket->fd, &events[i]);
			socket->events = 0;
			continue;
		}
		if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & EPOLLERR)
			what |= CURL_CSELECT_ERR;
		rc = curl_multi_socket_action(set->multi, events[i].data.fd, what, &running);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	return rc;
}

/* `known` is what curl_multi_assign set: not NULL when an fd that is not a connection's is in the epoll set. */
int
jdy_sockets_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	SocketSet  *set = arg;
	Socket	   *socket = find_socket(set, fd);
	struct epoll_event event = {.data.fd = fd};
	bool		in_set = socket != NULL ? socket->events != 0 : known != NULL;

	if (socket != NULL)
		socket->wanted = what != CURL_POLL_REMOVE;
	if (what == CURL_POLL_REMOVE)
	{
		if (socket == NULL)
			(void) epoll_ctl(set->epoll_fd, EPOLL_CTL_DEL, fd, &event);
		return 0;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (socket != NULL && socket->events == event.events)
		return 0;
	if (epoll_ctl(set->epoll_fd, in_set ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
		return -1;
	if (socket != NULL)
		socket->events = event.events;
	else if (known == NULL)
		curl_multi_assign(set->multi, fd, set);
	return 0;
}

/* One that has no room in the set is watched as libcurl says. */
curl_socket_t
jdy_socket_open(SocketSet *set, const struct curl_sockaddr *address)
{
	curl_socket_t fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	if (fd != CURL_SOCKET_BAD && set->nkept < set->max_kept)
		set->kept[set->nkept++] = (Socket) {.fd = fd};
	return fd;
}

/* Its end takes it out of the epoll set. */
int
jdy_socket_close(void *arg, curl_socket_t fd)
{
	SocketSet  *set = arg;
	Socket	   *socket = find_socket(set, fd);

	if (socket != NULL)
		*socket = set->kept[--set->nkept];
	return close(fd);
}

/* Faults of our own are let through. */
void
jdy_block_signals(sigset_t *old)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	sigset_t	all;

	sigfillset(&all);
	for (int i = 0; i < lengthof(faults); i++)
		sigdelset(&all, faults[i]);
	sigprocmask(SIG_BLOCK, &all, old);
}

/* NULL: it is not a connection's, or one too many. */
static Socket *
find_socket(SocketSet *set, curl_socket_t fd)
{
	for (int i = 0; i < set->nkept; i++)
	{
		if (set->kept[i].fd == fd)
			return &set->kept[i];
	}
	return NULL;
}
