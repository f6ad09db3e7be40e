/*-------------------------------------------------------------------------
 * simload.c
 *		A load loop for the simulator: how many replies a second it gives.
 *
 *		simload PORT CONNECTIONS SECONDS URL [HEADER ...]
 *
 * Each connection is a thread that repeats one request on a kept connection.
 * "%d" in the URL becomes a number from 1 to 1000, for the plain form; a
 * signed request is repeated as it is, since its signature covers the URL.
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int	port;
static const char *url;
static char headers[8192];
static atomic_bool stop;
static atomic_llong replies;
static atomic_llong bytes;
static atomic_llong refused;	/* replies other than 200 */

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static int
open_connection(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,.sin_port = htons((unsigned short) port)};
	int			fd = socket(AF_INET, SOCK_STREAM, 0);
	int			one = 1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *) &to, sizeof(to)) != 0)
	{
		perror("simload: connect");
		exit(1);
	}
	return fd;
}

/* Reads one reply with a Content-Length; false when the connection ended. */
static int
read_reply(int fd, char *buf, size_t size)
{
	size_t		have = 0;
	char	   *end = NULL;
	char	   *length;
	size_t		left;
	ssize_t		n;

	while (end == NULL)
	{
		n = recv(fd, buf + have, size - 1 - have, 0);
		if (n <= 0)
			return 0;
		have += (size_t) n;
		buf[have] = '\0';
		end = strstr(buf, "\r\n\r\n");
	}
	if (strncmp(buf + 9, "200", 3) != 0)
		atomic_fetch_add(&refused, 1);
	length = strcasestr(buf, "Content-Length: ");
	left = length ? strtoul(length + 16, NULL, 10) : 0;
	atomic_fetch_add(&bytes, (long long) left);
	left -= have - (size_t) (end + 4 - buf);
	while (left > 0)
	{
		n = recv(fd, buf, left < size ? left : size, 0);
		if (n <= 0)
			return 0;
		left -= (size_t) n;
	}
	return 1;
}

static void *
run(void *number)
{
	size_t		size = 1 << 18;
	char	   *buf = malloc(size);
	char	   *request = malloc(16384);
	char		path[4096];
	int			turn = (int) (long) number;
	int			fd = open_connection();

	while (!stop)
	{
		const char *mark = strstr(url, "%d");
		int			n;

		if (mark != NULL)
			snprintf(path, sizeof(path), "%.*s%d%s", (int) (mark - url), url,
					 turn++ % 1000 + 1, mark + 2);
		else
			snprintf(path, sizeof(path), "%s", url);
		n = snprintf(request, 16384, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n",
					 path, headers);
		if (send(fd, request, (size_t) n, MSG_NOSIGNAL) != n || !read_reply(fd, buf, size))
		{
			close(fd);
			fd = open_connection();
			continue;
		}
		atomic_fetch_add(&replies, 1);
	}
	close(fd);
	free(buf);
	free(request);
	return NULL;
}

int
main(int argc, char **argv)
{
	pthread_t	threads[1024];
	int			n;
	int			i;
	double		start;

	if (argc < 5 || (n = atoi(argv[2])) < 1 || n > 1024)
	{
		fputs("usage: simload PORT CONNECTIONS SECONDS URL [HEADER ...]\n", stderr);
		return 2;
	}
	port = atoi(argv[1]);
	url = argv[4];
	for (i = 5; i < argc; i++)
		snprintf(headers + strlen(headers), sizeof(headers) - strlen(headers),
				 "%s\r\n", argv[i]);
	start = now();
	for (i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, run, (void *) (long) (i * 37));
	sleep((unsigned) atoi(argv[3]));
	stop = 1;
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("%.0f replies/s, %.1f MB/s, %lld not 200\n",
		   (double) replies / (now() - start),
		   (double) bytes / 1e6 / (now() - start), (long long) refused);
	return 0;
}
