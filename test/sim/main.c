/*-------------------------------------------------------------------------
 * main.c
 *		jdysim: an honest stand-in for the service, for tests and benches.
 *
 * Reads the command line, makes the records, starts the server, says in one
 * line where it listens, and waits for a signal.
 *-------------------------------------------------------------------------
 */
#include "config.h"
#include "crypt.h"
#include "data.h"
#include "faults.h"
#include "gateway.h"
#include "otherlist.h"
#include "robot.h"
#include "server.h"
#include "shape.h"
#include "stats.h"
#include "target.h"
#include "target_qeasy.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct Options
{
	ServerOptions server;
	uint64_t	seed;
	size_t		counts[N_ENTITIES];
	const char *pid_file;
	const char *port_file;
	const char *cert_file;
	const char *key_file;
} Options;

static const char usage[] =
"usage: jdysim [--port N] [--bind 127.0.0.1|::1] [--seed N] [--customers N]\n"
"              [--suppliers N] [--materials N] [--orders N] [--pad BYTES]\n"
"              [--threads N] [--set name=value ...] [--pid-file F]\n"
"              [--port-file F] [--tls-cert F --tls-key F]\n";

static void
fail(const char *text, const char *what)
{
	fprintf(stderr, "jdysim: %s%s\n", text, what);
	exit(2);
}

static void
set_pair(const char *pair)
{
	const char *equals = strchr(pair, '=');
	char		name[64];
	char		error[256];

	if (equals == NULL || (size_t) (equals - pair) >= sizeof(name))
		fail("--set wants name=value, not ", pair);
	snprintf(name, sizeof(name), "%.*s", (int) (equals - pair), pair);
	if (!config_set(name, equals + 1, error, sizeof(error)))
		fail(error, "");
}

static void
set_bind(Options *o, const char *address)
{
	if (strcmp(address, "::1") == 0)
		o->server.ipv6 = true;
	else if (strcmp(address, "127.0.0.1") != 0)
		fail("--bind takes 127.0.0.1 or ::1 only, not ", address);
}

static void
read_options(int argc, char **argv, Options *o)
{
	static const struct option names[] = {
		{"port", required_argument, NULL, 'p'},
		{"bind", required_argument, NULL, 'b'},
		{"seed", required_argument, NULL, 's'},
		{"customers", required_argument, NULL, 'c'},
		{"suppliers", required_argument, NULL, 'u'},
		{"materials", required_argument, NULL, 'm'},
		{"orders", required_argument, NULL, 'o'},
		{"pad", required_argument, NULL, 'a'},
		{"threads", required_argument, NULL, 't'},
		{"set", required_argument, NULL, 'S'},
		{"pid-file", required_argument, NULL, 'P'},
		{"port-file", required_argument, NULL, 'F'},
		{"tls-cert", required_argument, NULL, 'C'},
		{"tls-key", required_argument, NULL, 'K'},
		{NULL, 0, NULL, 0}
	};
	int			c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1)
		switch (c)
		{
			case 'p':
				o->server.port = atoi(optarg);
				break;
			case 'b':
				set_bind(o, optarg);
				break;
			case 's':
				o->seed = strtoull(optarg, NULL, 10);
				break;
			case 'c':
				o->counts[CUSTOMER] = strtoul(optarg, NULL, 10);
				break;
			case 'u':
				o->counts[SUPPLIER] = strtoul(optarg, NULL, 10);
				break;
			case 'm':
				o->counts[MATERIAL] = strtoul(optarg, NULL, 10);
				break;
			case 'o':
				o->counts[SAL_ORDER] = strtoul(optarg, NULL, 10);
				break;
			case 'a':
				shape_pad = strtoul(optarg, NULL, 10);
				break;
			case 't':
				o->server.threads = (unsigned) atoi(optarg);
				break;
			case 'S':
				set_pair(optarg);
				break;
			case 'P':
				o->pid_file = optarg;
				break;
			case 'F':
				o->port_file = optarg;
				break;
			case 'C':
				o->cert_file = optarg;
				break;
			case 'K':
				o->key_file = optarg;
				break;
			default:
				fputs(usage, stderr);
				exit(2);
		}
	if (optind < argc)
		fail(usage, "");
}

static char *
read_file(const char *path)
{
	FILE	   *f = fopen(path, "r");
	Buf			text = {0};
	char		piece[4096];
	size_t		n;

	if (f == NULL)
		fail("cannot read ", path);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_bytes(&text, piece, n);
	fclose(f);
	return text.data;
}

/* Written under another name first, so that a reader never sees half. */
static void
write_number(const char *path, long number)
{
	char		temporary[4096];
	FILE	   *f;

	if (path == NULL)
		return;
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	f = fopen(temporary, "w");
	if (f == NULL || fprintf(f, "%ld\n", number) < 0 || fclose(f) != 0 ||
		rename(temporary, path) != 0)
		fail("cannot write ", path);
}

/* Thousands of clients at once need as many descriptors. */
static void
raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int
main(int argc, char **argv)
{
	Options		o = {.seed = 1,.counts = {1000, 50, 200, 300},.server = {.threads = 1}};
	sigset_t	signals;
	int			port;
	int			number;

	config_reset();
	read_options(argc, argv, &o);
	config_keep();
	raise_limits();
	if ((o.cert_file == NULL) != (o.key_file == NULL))
		fail("--tls-cert and --tls-key go together", "");
	if (o.cert_file != NULL)
	{
		o.server.tls_cert = read_file(o.cert_file);
		o.server.tls_key = read_file(o.key_file);
	}

	/* Blocked before any thread starts, so that only sigwait() sees them. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);

	if (!otherlist_load())
		fail("lists.tsv is not beside the program", "");
	data_init(o.seed, o.counts);
	port = server_start(&o.server);
	if (port == 0)
		return 1;
	write_number(o.pid_file, (long) getpid());
	write_number(o.port_file, port);
	printf("jdysim: listening on %s://%s:%d\n", o.cert_file ? "https" : "http",
		   o.server.ipv6 ? "[::1]" : "127.0.0.1", port);
	fflush(stdout);

	sigwait(&signals, &number);
	server_stop();
	fault_clear();
	gateway_free();
	target_reset();
	robot_reset();
	qeasy_reset();
	stats_free();
	data_free();
	crypt_cleanup();
	shape_cleanup();
	otherlist_free();
	free((char *) o.server.tls_cert);
	free((char *) o.server.tls_key);
	return 0;
}
