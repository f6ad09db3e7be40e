/*-------------------------------------------------------------------------
 * request.h
 *		One request and its reply, as the modules pass them on.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_REQUEST_H
#define SIM_REQUEST_H

#include "buf.h"

#include <stdbool.h>

struct MHD_Connection;

#define MAX_PARAMS 64
#define MAX_REPLY_HEADERS 8

/* A parameter as it came on the wire and as it is meant. */
typedef struct Param
{
	char	   *raw_name;
	char	   *raw_value;
	char	   *name;
	char	   *value;
} Param;

/* How the reply ends. */
typedef enum Ending
{
	END_WHOLE,
	END_RESET,					/* RST instead of a reply */
	END_STALL,					/* never answered */
	END_CUT,					/* Content-Length true, body cut at end_at */
	END_DRIP					/* one byte each end_at milliseconds */
} Ending;

typedef struct Reply
{
	int			status;
	Buf			body;
	const char *content_type;	/* constant text */
	char	   *header_names[MAX_REPLY_HEADERS];
	char	   *header_values[MAX_REPLY_HEADERS];
	int			n_headers;
	Ending		ending;
	int64_t		end_at;
	int64_t		delay_ms;
	bool		gzipped;		/* the body is already gzip */
	struct TruthReader *truth;	/* instead of the body: see control.c */
} Reply;

typedef struct Request
{
	struct MHD_Connection *connection;
	char		method[16];
	char	   *url;			/* as on the wire */
	char	   *path;			/* before the '?', as on the wire */
	char	   *plain_path;		/* the same, percent-decoded */
	const char *query;			/* after the '?', as on the wire, or "" */
	Param		params[MAX_PARAMS];
	int			n_params;
	Buf			body;
	int64_t		arrived_ms;		/* real time */
	int64_t		arrived_us;		/* steady time */
	bool		control;
	bool		is_call;		/* counts against the call rate */
	bool		is_token;
	bool		is_push;		/* came to /target/ */
	bool		is_qeasy;
	const struct OtherList *list;	/* what was asked is of lists.tsv, or NULL */
	int			rows_served;	/* -1 = not a page */
	struct Fault *fault;		/* the fault that applies, a copy, or NULL */
	Reply		reply;
} Request;

extern Request *request_new(const char *url);
extern void request_free(Request *req);

/* NULL when absent.  Header names are not case-sensitive; bearer is a token. */
extern const char *request_header(const Request *req, const char *name);
extern const char *request_bearer(const Request *req);
extern const char *request_param(const Request *req, const char *name);

/* Whether the body says that it is JSON. */
extern bool request_is_json(const Request *req);

/* Percent-encodes all but A-Za-z0-9-_.~ once more, upper-case hex. */
extern void encode_once(Buf *out, const char *text);

extern void reply_header(Reply *reply, const char *name, const char *value);

/* A JSON body; the text may be any length. */
extern void reply_json(Reply *reply, int status, const char *text);

/* {"errcode":…,"description":…} with "data":null when with_data. */
extern void reply_error(Reply *reply, int status, int64_t errcode,
						const char *description, bool with_data);

#endif
