/*-------------------------------------------------------------------------
 * stream.h
 *		A stream: what is pulled, and what a run knows of it.
 *
 *	stream.c		streams as objects: added, altered, dropped
 *	streamref.c		found by name or number, and who may do what with them (streamref.h)
 *	streamload.c	loaded for a run, or begun anew
 *	resolve.c		what is asked, by metadata and catalogue
 *	stagingtable.c	the table (stagingtable.h)
 *-------------------------------------------------------------------------
 */
#ifndef JDY_STREAM_H
#define JDY_STREAM_H

#include "postgres.h"

#include "contract.h"
#include "datatype/timestamp.h"
#include "endpoint.h"
#include "metadata.h"
#include "nodes/pg_list.h"
#include "page.h"
#include "streamref.h"
#include "value.h"

/*
 * Condition that joins pg_class k with stream s.  A dropped table leaves its oid
 * behind, which a restored dump may find to be another relation's: then
 * its owner would become the owner of a stream that is none of his.
 */
#define JDY_IS_STAGING \
	"k.oid = s.staging AND EXISTS (SELECT FROM pg_catalog.pg_attribute a" \
	" WHERE a.attrelid = k.oid AND a.attname = 'row_digest' AND NOT a.attisdropped)"

/* Raises an error for a role that no background worker can work as. */
extern void jdy_check_owner_can_log_in(Oid owner);

/* Everything a run needs to know of its stream. */
typedef struct Stream
{
	int			stream_id;
	char	   *name;
	Oid			owner;
	Oid			staging;
	char	   *staging_name;	/* quoted and qualified */
	Endpoint   *endpoint;

	/* What to ask. */
	char	   *entry;			/* catalogue entry of this list; NULL = the catalogue does not know it */
	char	   *api;
	char	   *method;
	RequestPlan *plan;
	PageShape	shape;
	bool		keyless;		/* a row is its own key: where it changes, it is another record */
	bool		whole;			/* the list takes no pages: one answer is all of it */
	List	   *lacking;		/* of char *: parameters without which the service refuses, and nothing gives them */
	const char *narrowing;		/* a parameter that may narrow the list: then it cannot be certified; NULL = none does */

	/*
	 * A row keeps its place among the others of the whole list as long as its id and
	 * number stay as they are.  false: the list may be sorted by something else,
	 * so that a row can move without a sign.
	 */
	bool		order_holds;

	/* A report's rows belong to a month, which these parameters ask for (range.c). */
	char	   *range_param;	/* takes its first day, or period; NULL = no report */
	List	   *range_end_params;	/* of char *: take its last day, or period, too; all are sent */
	WindowFormat range_format;	/* WINDOW_DATE or WINDOW_PERIOD */

	/* The second schedule as the metadata has it (remedy.c). */
	char	   *remedy_crontab; /* may be NULL */
	List	   *remedy_request; /* of Field * */

	/* Details. */
	bool		details;
	char	   *detail_api;
	char	   *detail_param;	/* name of the parameter that takes the id */
	char	   *modified_field; /* of detail or row, may be NULL */
	char	   *rich_rows;		/* parameter that makes list rows show more of the detail; NULL = there is none */
	bool		decrypt;
	List	   *list_secrets;	/* sensitive fields of list rows */
	List	   *detail_secrets;

	/* How far. */
	int64		settle_us;
	int64		overlap_us;
	TimestampTz start_from;		/* 0 = everything */

	/* State. */
	int			epoch;
	TimestampTz load_began;		/* 0 = not begun */
	Jsonb	   *load_state;		/* NULL = nothing read yet */
	bool		loaded;
	TimestampTz watermark;		/* 0 = none */
	TimestampTz listed_at;		/* by our clock: when tail_until was; 0 = not known */
	TimestampTz tail_from;		/* start of what the last run was shown all of; 0 = not known by the service's clock, or some may be hidden */
	TimestampTz tail_until;		/* 0 = no tail read yet */
	char	   *unproven;		/* report: months of which it is not known whether all of them came, separated by blanks; NULL = none */
	int64		unplaced;		/* rows that are their own keys and came in reads that proved nothing */
	Contract   *contract;		/* what is known of how the service answers */
	bool		source_changed; /* what is proven was read from another source than endpoint is now */
} Stream;

/*
 * Loads stream `stream_id` into the current memory context, in a transaction
 * with SPI.  Values of _function are evaluated with the owner's rights, whoever calls.
 */
extern Stream *jdy_stream_load(int stream_id);

/*
 * Notes which source (Endpoint.source) a loaded stream is read from, before a
 * run asks it for anything: in a transaction with SPI, with the stream's lock
 * held, and before anything else is read from the stream's row, since it may change
 * it.  Where the source is another than the one noted before (url, auth or account
 * changed), older proofs say nothing of it: as with a changed filter, a new epoch
 * begins, coverage and contract are emptied, what was due or set aside is
 * forgotten, and the list is to be loaded again.  Then it writes a LOG line, and the
 * state in *stream (in whose memory context this is to be called) is that of a
 * stream not loaded yet.  Else it writes nothing, but for the first time.
 */
extern void jdy_stream_note_source(Stream *stream);

/*
 * What is proven holds of another filter or source: the next run loads the whole
 * list.  What was due or set aside came by the old one and is listed again by the
 * new one, if it is there.  source: where it is read from; NULL = its next run says.
 * In a transaction with SPI, the stream's lock held.
 */
extern void jdy_stream_start_anew(int stream_id, const char *name, const uint8 *source);

/*
 * Fills what `stream` asks (api, plan, shape, details, secrets) from metadata or,
 * without it, the catalogue entry called entry_name; stream->owner and endpoint are
 * set.  The catalogue entry for the metadata's api fills what the metadata leaves open.
 */
extern void jdy_stream_resolve(Stream *stream, const char *entry_name, Jsonb *metadata,
							   bool detail_given, bool detail);

/* Raises an error that names a parameter which the service demands and nothing gives. */
extern void jdy_stream_require(const Stream *stream);

/* The modify time that a record states, in the server's time zone; 0 = none or not a time. */
extern TimestampTz jdy_stream_modified_at(const Stream *stream, Jsonb *record);

#endif							/* JDY_STREAM_H */
