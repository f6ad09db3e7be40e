/* jdysync 1.0: Kingdee Xingchen (金蝶云星辰 V2) into PostgreSQL. */

\echo Use "CREATE EXTENSION jdysync" to load this file. \quit

/*
 * In the order of the tour: servers, the state tables in schema jdysync, the
 * functions people call, the views they read, the catalogue.  What people call
 * and read stands in the schema chosen at CREATE EXTENSION; nothing is granted
 * to PUBLIC.
 */

---------------------------------------------------------------------------
-- Servers
---------------------------------------------------------------------------

CREATE FUNCTION jdy_fdw_validator(options text[], catalog oid)
RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION jdy_fdw_validator(text[], oid) FROM PUBLIC;
COMMENT ON FUNCTION jdy_fdw_validator(text[], oid) IS
'checks the options of servers and user mappings of foreign data wrapper jdysync';

CREATE FOREIGN DATA WRAPPER jdysync VALIDATOR jdy_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER jdysync IS
'servers of jdysync: where to call (CREATE SERVER), as whom (CREATE USER MAPPING)';

---------------------------------------------------------------------------
-- State
---------------------------------------------------------------------------

CREATE SCHEMA jdysync;
REVOKE ALL ON SCHEMA jdysync FROM PUBLIC;
COMMENT ON SCHEMA jdysync IS
'what jdysync keeps: staging tables (owned by their streams'' owners) and its own state (no DML by anybody)';

CREATE TABLE jdysync.stream (
	stream_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text COLLATE "C" NOT NULL UNIQUE,
	server name NOT NULL,
	staging regclass NOT NULL UNIQUE,
	entry text,
	metadata jsonb,
	schedule text,
	start_from timestamptz,
	detail boolean,
	decrypt boolean NOT NULL,
	settle interval NOT NULL CHECK (settle >= interval '0'),
	overlap interval NOT NULL CHECK (overlap >= interval '0'),
	enabled boolean NOT NULL DEFAULT true,
	epoch integer NOT NULL DEFAULT 1,
	load_began timestamptz,
	load_state jsonb,
	loaded_at timestamptz,
	coverage tstzmultirange NOT NULL DEFAULT '{}',
	watermark timestamptz,
	listed_until timestamptz,
	tail_from timestamptz,
	listed_at timestamptz,
	tail_until timestamptz,
	verify_at timestamptz,
	audit_at timestamptz,
	given_up_until timestamptz,
	unproven text,
	unplaced bigint NOT NULL DEFAULT 0,
	source bytea,
	remedy text,
	CONSTRAINT watermark_within_first_range CHECK
		(watermark IS NULL OR coverage OPERATOR(pg_catalog.@>) pg_catalog.tstzrange(start_from, watermark))
);
COMMENT ON TABLE jdysync.stream IS 'streams: what is pulled, from where, and how far it is proven';
COMMENT ON COLUMN jdysync.stream.staging IS 'the staging table; its owner is the stream''s owner';
COMMENT ON COLUMN jdysync.stream.entry IS 'catalogue entry that says how the list is asked, unless metadata does';
COMMENT ON COLUMN jdysync.stream.settle IS 'a window is proven only when it ended this long ago by the service''s clock';
COMMENT ON COLUMN jdysync.stream.overlap IS 'how far before the watermark the next run begins';
COMMENT ON COLUMN jdysync.stream.epoch IS '+1 whenever the filter or the source changes: older proofs do not count any more';
COMMENT ON COLUMN jdysync.stream.load_began IS 'server time minus settle, committed before the first page of the first load';
COMMENT ON COLUMN jdysync.stream.load_state IS 'where an unfinished first load stands: anchors of the last page read';
COMMENT ON COLUMN jdysync.stream.coverage IS 'proven spans of modify time, merged, half-open';
COMMENT ON COLUMN jdysync.stream.watermark IS 'the next run begins here minus overlap; never beyond the first proven span';
COMMENT ON COLUMN jdysync.stream.listed_until IS 'every change stamped before this was listed';
COMMENT ON COLUMN jdysync.stream.listed_at IS 'when that was, by our clock: where more time has passed for us than for the service, its clock went back';
COMMENT ON COLUMN jdysync.stream.tail_from IS 'start of the modify times that the same run asked for; NULL = it could not tell the service''s time, or an answer may have hidden records';
COMMENT ON COLUMN jdysync.stream.tail_until IS 'end of the unsettled tail that the last run read, by the service''s clock';
COMMENT ON COLUMN jdysync.stream.verify_at IS 'from then on a scheduled run certifies the list, too; NULL = its first load is not over';
COMMENT ON COLUMN jdysync.stream.audit_at IS 'from then on a scheduled run audits it, too; NULL = its first load is not over';
COMMENT ON COLUMN jdysync.stream.given_up_until IS 'the next run begins here minus overlap although not all before it is proven; NULL = nothing was given up';
COMMENT ON COLUMN jdysync.stream.unproven IS 'months of a report of which it is not known whether all of them came; NULL = none';
COMMENT ON COLUMN jdysync.stream.unplaced IS 'rows that are their own keys and came in reads that proved nothing: what they take the place of may be proven gone later';
COMMENT ON COLUMN jdysync.stream.remedy IS 'its second schedule, which reads a wider window again (omissionRemedy of metadata); NULL = none';
COMMENT ON COLUMN jdysync.stream.source IS 'SHA-256 of address and account that all this was read from; NULL = no run has been there yet';

CREATE TABLE jdysync.contract (
	stream_id integer NOT NULL,
	question text COLLATE "C" NOT NULL,
	answer text COLLATE "C" NOT NULL,
	since timestamptz NOT NULL,
	asked_at timestamptz NOT NULL,
	evidence text NOT NULL,
	known text COLLATE "C",
	PRIMARY KEY (stream_id, question)
);
COMMENT ON TABLE jdysync.contract IS 'how the service answers, asked at the first run of a stream and once a week: the rules follow it';
COMMENT ON COLUMN jdysync.contract.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.contract.question IS 'filter | start edge | end edge | grain | page size | echoed size | offset | order | past the end | count | clock | list rows';
COMMENT ON COLUMN jdysync.contract.answer IS 'unknown = it could not be had: evidence says why';
COMMENT ON COLUMN jdysync.contract.since IS 'since when the answer is this';
COMMENT ON COLUMN jdysync.contract.asked_at IS 'when it was asked last; -infinity = something contradicts the answer, and the next run asks again';
COMMENT ON COLUMN jdysync.contract.evidence IS 'what was seen then';
COMMENT ON COLUMN jdysync.contract.known IS 'the last answer that could be had: another one is told; NULL = there was none';

CREATE TABLE jdysync.listing (
	stream_id integer NOT NULL,
	id text COLLATE "C" NOT NULL,
	due boolean NOT NULL,
	due_from timestamptz,
	due_since timestamptz,
	listed_until timestamptz,
	tail_until timestamptz,
	detail_asked_at timestamptz,
	shown_at timestamptz,
	unseen_at timestamptz,
	unseen_from timestamptz,
	list_row jsonb,
	row_asked_at timestamptz,
	attempts integer NOT NULL DEFAULT 0,
	next_try timestamptz,
	problem text,
	PRIMARY KEY (stream_id, id)
) WITH (fillfactor = 80);
CREATE INDEX listing_due_window ON jdysync.listing (stream_id, pg_catalog.length(id) DESC, id DESC) WHERE due AND due_from > '-infinity';
CREATE INDEX listing_due_load ON jdysync.listing (stream_id, pg_catalog.length(id) DESC, id DESC) WHERE due AND due_from = '-infinity';
COMMENT ON TABLE jdysync.listing IS
'what recent windows listed, and which of it waits for its detail: a durable queue';
COMMENT ON COLUMN jdysync.listing.due IS 'the record''s detail is to be fetched';
COMMENT ON COLUMN jdysync.listing.due_from IS 'start of the last window that listed it: a detail stamped earlier is stale; -infinity = only a load did';
COMMENT ON COLUMN jdysync.listing.due_since IS 'start of the first window whose change is not here yet, so complete_until stops there; -infinity = no detail at all so far; infinity = read again although nothing is known to have changed';
COMMENT ON COLUMN jdysync.listing.listed_until IS 'end of the last proven window that listed it';
COMMENT ON COLUMN jdysync.listing.tail_until IS 'end of the last unsettled tail that listed it';
COMMENT ON COLUMN jdysync.listing.detail_asked_at IS 'server time at which the stored detail was asked, or the list row it landed with when that was earlier';
COMMENT ON COLUMN jdysync.listing.shown_at IS 'server time at which the answer was asked that showed the change first; NULL = not known';
COMMENT ON COLUMN jdysync.listing.unseen_at IS 'server time of the last answers that did not show it, although they covered its modify time';
COMMENT ON COLUMN jdysync.listing.unseen_from IS 'that is known of changes with a modify time from here on';
COMMENT ON COLUMN jdysync.listing.list_row IS 'the list row, kept until its detail lands; NULL = it stands in staging';
COMMENT ON COLUMN jdysync.listing.row_asked_at IS 'server time at which that list row was asked; NULL = not known';
COMMENT ON COLUMN jdysync.listing.problem IS 'set aside: why the detail cannot be had for now; next_try says when it is tried again';

CREATE TABLE jdysync."window" (
	stream_id integer NOT NULL,
	epoch integer NOT NULL,
	span tstzrange NOT NULL CHECK (NOT pg_catalog.isempty(span)),
	rule text NOT NULL,
	calls bigint NOT NULL,
	"rows" bigint NOT NULL,
	"count" bigint,
	run_id bigint NOT NULL,
	proven_at timestamptz NOT NULL DEFAULT now(),
	windows integer NOT NULL DEFAULT 1,
	first_run_id bigint
);
CREATE INDEX window_stream ON jdysync."window" (stream_id, proven_at);
COMMENT ON TABLE jdysync."window" IS 'the ledger: spans of modify time that were read, with the rule that proves each complete';
COMMENT ON COLUMN jdysync."window".span IS 'half-open, by the service''s clock';
COMMENT ON COLUMN jdysync."window".rule IS 'load | one answer | one answer, all of it elsewhere (what a wider span showed was seen outside this one) | one answer, no count | last page to first';
COMMENT ON COLUMN jdysync."window"."rows" IS 'distinct records listed; of several windows, added up';
COMMENT ON COLUMN jdysync."window"."count" IS 'what the service said, of several windows added up; NULL = it does not say';
COMMENT ON COLUMN jdysync."window".windows IS 'how many windows this is: neighbours that were proven by the same rule become one row after seven days';
COMMENT ON COLUMN jdysync."window".first_run_id IS 'run that proved the first of several, run_id the last; NULL = it is one';

CREATE TABLE jdysync.sighted (
	stream_id integer NOT NULL,
	certified boolean NOT NULL,
	ids text[] COLLATE "C" NOT NULL
);
CREATE INDEX sighted_stream ON jdysync.sighted (stream_id);
COMMENT ON TABLE jdysync.sighted IS 'ids that the service showed, many in a row: those that a stream''s last certificate names, and those shown for the first time since';
COMMENT ON COLUMN jdysync.sighted.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.sighted.certified IS 'the last certificate names them';
COMMENT ON COLUMN jdysync.sighted.ids IS 'in order within the row';

CREATE TABLE jdysync.certificate (
	certificate_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	stream_id integer NOT NULL,
	epoch integer NOT NULL,
	run_id bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	proven boolean NOT NULL,
	instant timestamptz,
	"count" bigint,
	digest bytea,
	calls integer NOT NULL,
	content_until timestamptz,
	missed bigint NOT NULL,
	missed_ids text[],
	absent bigint NOT NULL,
	why text,
	assumptions jsonb NOT NULL,
	evidence jsonb NOT NULL,
	CHECK (NOT proven OR (instant IS NOT NULL AND "count" IS NOT NULL AND digest IS NOT NULL AND why IS NULL)),
	CHECK (proven OR why IS NOT NULL)
);
CREATE INDEX certificate_stream ON jdysync.certificate (stream_id, certificate_id);
COMMENT ON TABLE jdysync.certificate IS 'attempts to prove which records a list held at an instant';
COMMENT ON COLUMN jdysync.certificate.certificate_id IS 'number of the certificate';
COMMENT ON COLUMN jdysync.certificate.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.certificate.epoch IS 'epoch of the stream it counts for';
COMMENT ON COLUMN jdysync.certificate.run_id IS 'run that made it';
COMMENT ON COLUMN jdysync.certificate.at IS 'when it was committed';
COMMENT ON COLUMN jdysync.certificate.proven IS 'the list at `instant` is exactly the ids on record; false: `why` says why not';
COMMENT ON COLUMN jdysync.certificate.instant IS 'when the list was counted, by the service''s clock; NULL = it was not';
COMMENT ON COLUMN jdysync.certificate."count" IS 'what the service counted then';
COMMENT ON COLUMN jdysync.certificate.digest IS 'SHA-256 of the ids in order of their bytes, a line feed between two';
COMMENT ON COLUMN jdysync.certificate.calls IS 'calls of its own: counts and pages';
COMMENT ON COLUMN jdysync.certificate.content_until IS 'a list without a time filter: all that was there before this (instant less settle) is in staging as it was then or later; NULL = windows say how far that goes';
COMMENT ON COLUMN jdysync.certificate.missed IS 'records in the list that no window had listed';
COMMENT ON COLUMN jdysync.certificate.missed_ids IS 'the first 100 of these';
COMMENT ON COLUMN jdysync.certificate.absent IS 'records in staging that were not in the list';
COMMENT ON COLUMN jdysync.certificate.why IS 'why there is no certificate';
COMMENT ON COLUMN jdysync.certificate.assumptions IS 'what it rests on: settle, what was found out about the service, ids known before';
COMMENT ON COLUMN jdysync.certificate.evidence IS 'its calls in order, by our clock: when asked and answered, page, rows, count';

CREATE TABLE jdysync.absent (
	stream_id integer NOT NULL,
	id text COLLATE "C" NOT NULL,
	absent_at timestamptz NOT NULL,
	run_id bigint NOT NULL,
	confirmed boolean NOT NULL DEFAULT false,
	held boolean NOT NULL DEFAULT false,
	PRIMARY KEY (stream_id, id)
);
COMMENT ON TABLE jdysync.absent IS 'records in staging that the last certificate does not name, until it is known what became of them';
COMMENT ON COLUMN jdysync.absent.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.absent.id IS 'record';
COMMENT ON COLUMN jdysync.absent.absent_at IS 'instant of the first certificate in a row that does not name it';
COMMENT ON COLUMN jdysync.absent.run_id IS 'run that made that certificate';
COMMENT ON COLUMN jdysync.absent.confirmed IS 'another one, at least settle later, does not name it either: proof enough where there are no details';
COMMENT ON COLUMN jdysync.absent.held IS 'too many at once: it is not marked until jdy_accept_deletes';

CREATE TABLE jdysync.audit (
	audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	stream_id integer NOT NULL,
	epoch integer NOT NULL,
	run_id bigint NOT NULL,
	began_at timestamptz NOT NULL,
	ended_at timestamptz,
	compare_until timestamptz,
	compared_until timestamptz,
	windows integer NOT NULL DEFAULT 0,
	details_due bigint NOT NULL DEFAULT 0,
	details bigint NOT NULL DEFAULT 0,
	after_id text COLLATE "C" NOT NULL DEFAULT '',
	calls bigint NOT NULL DEFAULT 0,
	found bigint NOT NULL DEFAULT 0,
	findings jsonb NOT NULL DEFAULT '[]',
	told bigint NOT NULL DEFAULT 0,
	why text
);
CREATE INDEX audit_stream ON jdysync.audit (stream_id, audit_id);
COMMENT ON TABLE jdysync.audit IS 'audits: what was read long ago, compared with what the service says of it';
COMMENT ON COLUMN jdysync.audit.audit_id IS 'number of the audit';
COMMENT ON COLUMN jdysync.audit.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.audit.epoch IS 'epoch of the stream it counts for';
COMMENT ON COLUMN jdysync.audit.run_id IS 'run that went on with it last';
COMMENT ON COLUMN jdysync.audit.began_at IS 'by the clock of schedules';
COMMENT ON COLUMN jdysync.audit.ended_at IS 'by the clock of schedules; NULL = the next audit run goes on with it';
COMMENT ON COLUMN jdysync.audit.compare_until IS 'modify times before this are compared: windows have proven them, and look at them no more; NULL = none are';
COMMENT ON COLUMN jdysync.audit.compared_until IS 'how far that has come';
COMMENT ON COLUMN jdysync.audit.windows IS 'spans of modify time compared';
COMMENT ON COLUMN jdysync.audit.details_due IS 'details that it is to read again';
COMMENT ON COLUMN jdysync.audit.details IS 'records whose turn came for that';
COMMENT ON COLUMN jdysync.audit.after_id IS 'the last of these: from there on the next audit goes on';
COMMENT ON COLUMN jdysync.audit.calls IS 'calls of its own';
COMMENT ON COLUMN jdysync.audit.found IS 'records that were not here as the service has them';
COMMENT ON COLUMN jdysync.audit.findings IS 'the first 100 of these: id, cause, names of the fields that changed, modify time now and before, when it was read before';
COMMENT ON COLUMN jdysync.audit.told IS 'so many of them incidents have told of';
COMMENT ON COLUMN jdysync.audit.why IS 'why a part of it could not be done';

CREATE TABLE jdysync.lag (
	stream_id integer PRIMARY KEY,
	at_most bigint[] NOT NULL,
	at_least bigint[] NOT NULL,
	seconds double precision NOT NULL,
	highest interval,
	highest_at timestamptz
) WITH (fillfactor = 85);
COMMENT ON TABLE jdysync.lag IS 'how long after their modify times changes became visible in lists';
COMMENT ON COLUMN jdysync.lag.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.lag.at_most IS 'changes that an answer showed so long after their modify time, by the bounds in jdy_lag: their lag is no longer';
COMMENT ON COLUMN jdysync.lag.at_least IS 'of these, those that an answer did not show so long after their modify time: their lag is longer';
COMMENT ON COLUMN jdysync.lag.seconds IS 'sum of what at_most counts';
COMMENT ON COLUMN jdysync.lag.highest IS 'the longest that a change was surely not visible; NULL = none was late';
COMMENT ON COLUMN jdysync.lag.highest_at IS 'when that was seen';

CREATE TABLE jdysync.missed (
	stream_id integer NOT NULL,
	id text COLLATE "C" NOT NULL,
	run_id bigint NOT NULL,
	found_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	found_by text NOT NULL,
	cause text NOT NULL CHECK (cause IN ('late', 'dated back', 'not stamped', 'edge', 'paging', 'unknown')),
	modified_at timestamptz,
	unseen_at timestamptz,
	shown_at timestamptz,
	later_than interval,
	PRIMARY KEY (stream_id, id, run_id)
);
CREATE INDEX missed_found ON jdysync.missed (stream_id, found_at);
COMMENT ON TABLE jdysync.missed IS 'changes that an audit found and no window had listed, the last 1000 of each stream';
COMMENT ON COLUMN jdysync.missed.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.missed.id IS 'record';
COMMENT ON COLUMN jdysync.missed.run_id IS 'run that found it';
COMMENT ON COLUMN jdysync.missed.found_at IS 'when that was written';
COMMENT ON COLUMN jdysync.missed.found_by IS 'certificate, or the audit';
COMMENT ON COLUMN jdysync.missed.cause IS 'late | dated back | not stamped | edge | paging | unknown, see doc/certificates.md';
COMMENT ON COLUMN jdysync.missed.modified_at IS 'modify time of the change, as its detail states it; NULL = it states none';
COMMENT ON COLUMN jdysync.missed.unseen_at IS 'server time at which the service surely did not show it; NULL = no such time is known';
COMMENT ON COLUMN jdysync.missed.shown_at IS 'server time at which it was found';
COMMENT ON COLUMN jdysync.missed.later_than IS 'it became visible later than this after its modify time; NULL = that is not its cause, or not known';

CREATE TABLE jdysync.push (
	push_id integer PRIMARY KEY DEFAULT pg_catalog.nextval('jdysync.stream_stream_id_seq'),
	name text COLLATE "C" NOT NULL UNIQUE,
	server name NOT NULL,
	source regclass NOT NULL,
	metadata jsonb NOT NULL,
	schedule text,
	batch_rows integer NOT NULL CHECK (batch_rows > 0),
	batch_bytes integer NOT NULL CHECK (batch_bytes > 0),
	identity uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	enabled boolean NOT NULL DEFAULT true,
	pushed boolean NOT NULL DEFAULT false,
	released boolean NOT NULL DEFAULT false,
	proven boolean NOT NULL DEFAULT false,
	seen_source text,
	seen_lsn pg_lsn,
	seen_xmin xid8
);
COMMENT ON TABLE jdysync.push IS 'pushes: what is sent, and where';
COMMENT ON COLUMN jdysync.push.push_id IS 'number of the push; no stream has the same';
COMMENT ON COLUMN jdysync.push.name IS 'name of the push; no stream has the same';
COMMENT ON COLUMN jdysync.push.server IS 'foreign server it calls';
COMMENT ON COLUMN jdysync.push.source IS 'view or table with the records; its owner is the push''s owner';
COMMENT ON COLUMN jdysync.push.metadata IS 'as the user gave it';
COMMENT ON COLUMN jdysync.push.schedule IS 'interval or cron, by the server''s time_zone; NULL = it runs only by hand';
COMMENT ON COLUMN jdysync.push.batch_rows IS 'most records of one request';
COMMENT ON COLUMN jdysync.push.batch_bytes IS 'most bytes of one request''s records; a larger record goes alone';
COMMENT ON COLUMN jdysync.push.identity IS 'goes into every Idempotency-Key, so that no other push has the same';
COMMENT ON COLUMN jdysync.push.enabled IS 'runs with jdy_push() without a name';
COMMENT ON COLUMN jdysync.push.pushed IS 'a run came to its end once; from then on a flood of changes is held';
COMMENT ON COLUMN jdysync.push.released IS 'the next flood may pass (jdy_resume with force)';
COMMENT ON COLUMN jdysync.push.proven IS 'the target accepted something under these metadata: path and rights were right once';
COMMENT ON COLUMN jdysync.push.seen_source IS 'database, table, view and form that the last run read and dealt with; NULL = the next run reads all of it';
COMMENT ON COLUMN jdysync.push.seen_lsn IS 'what was written to the table before this was seen then';
COMMENT ON COLUMN jdysync.push.seen_xmin IS 'transactions before this one were seen then';

CREATE TABLE jdysync.home (
	cluster bigint NOT NULL,
	database oid NOT NULL,
	extension oid NOT NULL
);
CREATE UNIQUE INDEX home_only ON jdysync.home ((true));
COMMENT ON TABLE jdysync.home IS 'where all this was made: in any other database it is a copy, and nothing runs until jdy_adopt()';
COMMENT ON COLUMN jdysync.home.cluster IS 'system identifier of the server';
COMMENT ON COLUMN jdysync.home.database IS 'oid of the database';
COMMENT ON COLUMN jdysync.home.extension IS 'oid of the extension: a dump that is restored where it was made is a copy, too';

CREATE TABLE jdysync.agenda (
	subject_id integer NOT NULL,
	due_at timestamptz NOT NULL,
	next_at timestamptz NOT NULL,
	failures integer NOT NULL DEFAULT 0,
	remedy boolean NOT NULL DEFAULT false,
	PRIMARY KEY (subject_id, remedy)
);
CREATE INDEX agenda_next ON jdysync.agenda (next_at);
COMMENT ON TABLE jdysync.agenda IS 'streams and pushes that run by themselves, and when';
COMMENT ON COLUMN jdysync.agenda.subject_id IS 'stream or push';
COMMENT ON COLUMN jdysync.agenda.due_at IS 'by its schedule';
COMMENT ON COLUMN jdysync.agenda.next_at IS 'when a run is queued: later than due_at while runs fail, or one is open';
COMMENT ON COLUMN jdysync.agenda.failures IS 'runs in a row that failed or never ended, an open one counted until it ends';
COMMENT ON COLUMN jdysync.agenda.remedy IS 'by the stream''s second schedule, which reads a wider window again';

CREATE TABLE jdysync.delivery (
	push_id integer NOT NULL,
	id text COLLATE "C" NOT NULL,
	version integer NOT NULL,
	status text NOT NULL DEFAULT 'delivered' CHECK (status IN ('pending', 'delivered', 'dead')),
	digest bytea,
	refused_digest bytea,
	attempts integer NOT NULL DEFAULT 0,
	http_status integer,
	errcode bigint,
	last_error text,
	request text,
	reply text,
	discarded text,
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (push_id, id)
) WITH (fillfactor = 90);
CREATE INDEX delivery_dead ON jdysync.delivery (push_id) WHERE status <> 'delivered';
COMMENT ON TABLE jdysync.delivery IS 'where each record stands toward each push, as far as it was settled; what was delivered once and is not here stands in jdysync.delivered';
COMMENT ON COLUMN jdysync.delivery.push_id IS 'push';
COMMENT ON COLUMN jdysync.delivery.id IS 'record';
COMMENT ON COLUMN jdysync.delivery.version IS 'of the last content sent; +1 for each';
COMMENT ON COLUMN jdysync.delivery.status IS 'delivered | dead: refused by the target | pending: to be sent again (jdy_replay)';
COMMENT ON COLUMN jdysync.delivery.digest IS 'of the payload that was acknowledged last; NULL = none was, or its deletion was; empty = not known: a request without an answer may have arrived';
COMMENT ON COLUMN jdysync.delivery.refused_digest IS 'of the payload that was refused: not sent again unless it changes; empty = its deletion was refused';
COMMENT ON COLUMN jdysync.delivery.attempts IS 'times that a version of it was refused';
COMMENT ON COLUMN jdysync.delivery.http_status IS 'of the refusal';
COMMENT ON COLUMN jdysync.delivery.errcode IS 'the target''s own code';
COMMENT ON COLUMN jdysync.delivery.last_error IS 'why it was refused';
COMMENT ON COLUMN jdysync.delivery.request IS 'a dead letter''s body';
COMMENT ON COLUMN jdysync.delivery.reply IS 'what the target answered to it';
COMMENT ON COLUMN jdysync.delivery.discarded IS 'why a dead letter needs nobody''s attention any more (jdy_discard)';
COMMENT ON COLUMN jdysync.delivery.changed_at IS 'when it came to this';

CREATE TABLE jdysync.delivered (
	push_id integer NOT NULL,
	first_id text COLLATE "C" NOT NULL,
	last_id text COLLATE "C" NOT NULL,
	ids text[] COLLATE "C" NOT NULL,
	digests bytea NOT NULL,
	delivered_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX delivered_push ON jdysync.delivered (push_id, first_id);
COMMENT ON TABLE jdysync.delivered IS 'records that were delivered once and have no row in jdysync.delivery, many in a row: what stands there, too, counts no more';
COMMENT ON COLUMN jdysync.delivered.push_id IS 'push';
COMMENT ON COLUMN jdysync.delivered.first_id IS 'the least of ids';
COMMENT ON COLUMN jdysync.delivered.last_id IS 'the greatest of ids';
COMMENT ON COLUMN jdysync.delivered.ids IS 'records, all in their first version';
COMMENT ON COLUMN jdysync.delivered.digests IS '16 bytes each, in the order of ids: of the payload that was acknowledged';
COMMENT ON COLUMN jdysync.delivered.delivered_at IS 'when they were acknowledged';

CREATE TABLE jdysync.counterpart (
	push_id integer NOT NULL,
	id text COLLATE "C" NOT NULL,
	target_id text COLLATE "C" NOT NULL,
	PRIMARY KEY (push_id, id)
);
COMMENT ON TABLE jdysync.counterpart IS 'the ids that records have at a target which gives its own (Kingdee): found by number, or told when it created them';
COMMENT ON COLUMN jdysync.counterpart.push_id IS 'push';
COMMENT ON COLUMN jdysync.counterpart.id IS 'record';
COMMENT ON COLUMN jdysync.counterpart.target_id IS 'its id at the target';

CREATE TABLE jdysync.batch (
	batch_id bigint GENERATED ALWAYS AS IDENTITY (CACHE 64),
	push_id integer NOT NULL,
	run_id bigint NOT NULL,
	key text NOT NULL,
	body text NOT NULL,
	ids text[] NOT NULL,
	versions integer[] NOT NULL,
	digests bytea NOT NULL,
	status text NOT NULL DEFAULT 'sent' CHECK (status IN ('sent', 'in_doubt')),
	attempts integer NOT NULL DEFAULT 0,
	http_status integer,
	last_error text,
	sent_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (push_id, batch_id)
);
DO $$
BEGIN
	-- Every body is compressed once; this is five times as fast where the server has it.
	ALTER TABLE jdysync.batch ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
	NULL;
END $$;
COMMENT ON TABLE jdysync.batch IS 'requests whose outcome is open: committed before they are sent, gone when they are settled';
COMMENT ON COLUMN jdysync.batch.batch_id IS 'number of the request';
COMMENT ON COLUMN jdysync.batch.push_id IS 'push';
COMMENT ON COLUMN jdysync.batch.run_id IS 'run that composed it';
COMMENT ON COLUMN jdysync.batch.key IS 'its Idempotency-Key';
COMMENT ON COLUMN jdysync.batch.body IS 'its bytes, to be sent again as they are; empty = a deletion by the parameter id';
COMMENT ON COLUMN jdysync.batch.ids IS 'records in it';
COMMENT ON COLUMN jdysync.batch.versions IS 'their versions';
COMMENT ON COLUMN jdysync.batch.digests IS '16 bytes each, in the order of ids: of their payloads; empty = the record is to be deleted';
COMMENT ON COLUMN jdysync.batch.status IS 'sent | in_doubt: its answers stayed away';
COMMENT ON COLUMN jdysync.batch.attempts IS 'runs that got no answer';
COMMENT ON COLUMN jdysync.batch.http_status IS 'of the last reply';
COMMENT ON COLUMN jdysync.batch.last_error IS 'what came instead of an answer';
COMMENT ON COLUMN jdysync.batch.sent_at IS 'when it was composed';

CREATE TABLE jdysync.run (
	run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	stream_id integer NOT NULL,
	name text NOT NULL,
	kind text NOT NULL DEFAULT 'pull' CHECK (kind IN ('pull', 'push')),
	mode text NOT NULL CHECK (mode IN ('auto', 'full', 'verify', 'audit', 'range', 'remedy')),
	status text NOT NULL CHECK (status IN ('queued', 'running', 'ok', 'failed', 'cancelled', 'interrupted')),
	from_time timestamptz,
	to_time timestamptz,
	requested_by text COLLATE "C",	/* no regrole: a dump with a role that is gone, or not there, could not be restored */
	queued_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	started_at timestamptz,
	finished_at timestamptz,
	listed bigint NOT NULL DEFAULT 0,
	details bigint NOT NULL DEFAULT 0,
	inserted bigint NOT NULL DEFAULT 0,
	updated bigint NOT NULL DEFAULT 0,
	unchanged bigint NOT NULL DEFAULT 0,
	deleted bigint NOT NULL DEFAULT 0,
	rejected bigint NOT NULL DEFAULT 0,
	pending bigint NOT NULL DEFAULT 0,
	delivered bigint NOT NULL DEFAULT 0,
	verified bigint NOT NULL DEFAULT 0,
	failed bigint NOT NULL DEFAULT 0,
	dead bigint NOT NULL DEFAULT 0,
	calls bigint NOT NULL DEFAULT 0,
	retries bigint NOT NULL DEFAULT 0,
	sqlstate text,
	error text,
	detail text,
	hint text
) WITH (autovacuum_vacuum_scale_factor = 0.05);	/* each run leaves two dead versions */
CREATE INDEX run_open ON jdysync.run (stream_id) WHERE status IN ('queued', 'running');
CREATE INDEX run_name ON jdysync.run (name, run_id);
CREATE INDEX run_started ON jdysync.run (stream_id, started_at);	/* jdy_trace: the one that was open then */
CREATE INDEX run_began ON jdysync.run (started_at);	/* jdy_report: the last day */
CREATE INDEX run_status ON jdysync.run (stream_id, status, run_id);	/* jdy_status: the last of each */
COMMENT ON TABLE jdysync.run IS 'one execution of a stream or a push';

CREATE TABLE jdysync.call (
	run_id bigint NOT NULL,
	at timestamptz NOT NULL,
	method text NOT NULL,
	url text NOT NULL,
	attempt smallint NOT NULL,
	http_status smallint,
	errcode bigint,
	ms integer NOT NULL,
	bytes bigint NOT NULL,
	error text,
	id text COLLATE "C",
	segment smallint NOT NULL DEFAULT 1
) PARTITION BY LIST (segment);
CREATE INDEX call_run ON jdysync.call USING brin (run_id);
CREATE INDEX call_id ON jdysync.call USING hash (id);	/* jdy_trace */
COMMENT ON TABLE jdysync.call IS 'HTTP attempts; values in urls are masked but for times and paging';

/* A ring: one is written to, the oldest is emptied, and then the next to be written to. */
DO $$
BEGIN
	FOR i IN 1 .. 10 LOOP
		EXECUTE pg_catalog.format('CREATE TABLE jdysync.call_%s PARTITION OF jdysync.call FOR VALUES IN (%s)', i, i);
	END LOOP;
END $$;

CREATE TABLE jdysync.call_segment (
	segment smallint PRIMARY KEY,
	turn bigint NOT NULL,
	began_at timestamptz NOT NULL
);
COMMENT ON TABLE jdysync.call_segment IS 'segments of the log of calls that were written to';
COMMENT ON COLUMN jdysync.call_segment.segment IS 'number of the segment; without a row here, the first is written to';
COMMENT ON COLUMN jdysync.call_segment.turn IS '+1 with each that is begun: the highest is written to now';
COMMENT ON COLUMN jdysync.call_segment.began_at IS 'when it was begun: calls in the one before are older';

CREATE TABLE jdysync.tally (
	stream_id integer NOT NULL,
	day date NOT NULL,
	status text COLLATE "C" NOT NULL,
	runs bigint NOT NULL,
	seconds double precision NOT NULL,
	listed bigint NOT NULL,
	details bigint NOT NULL,
	inserted bigint NOT NULL,
	updated bigint NOT NULL,
	deleted bigint NOT NULL,
	rejected bigint NOT NULL,
	delivered bigint NOT NULL,
	dead bigint NOT NULL,
	calls bigint NOT NULL,
	retries bigint NOT NULL,
	PRIMARY KEY (stream_id, day, status)
) WITH (fillfactor = 85);
COMMENT ON TABLE jdysync.tally IS 'what runs did, added up when each ends: it does not shrink when the log of runs is cut';

CREATE TABLE jdysync.reject (
	reject_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	stream_id integer NOT NULL,
	run_id bigint NOT NULL,
	at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	id text,
	reason text NOT NULL,
	digest bytea NOT NULL,
	raw bytea NOT NULL,
	span tstzrange,
	tries integer NOT NULL DEFAULT 0,
	next_try timestamptz,
	UNIQUE (stream_id, digest)
);
CREATE INDEX reject_id ON jdysync.reject USING hash (id);	/* jdy_trace; no B-tree: an id that is set aside may be of any length */
CREATE INDEX reject_next_try ON jdysync.reject (stream_id, next_try) WHERE next_try IS NOT NULL;
COMMENT ON TABLE jdysync.reject IS 'input set aside because PostgreSQL cannot hold it, each distinct one once, with its raw bytes';
COMMENT ON COLUMN jdysync.reject.span IS 'the window of modify time that listed it; its rows since ever came with a load';
COMMENT ON COLUMN jdysync.reject.tries IS 'runs that tried it again and found it as wrong as before';
COMMENT ON COLUMN jdysync.reject.next_try IS 'from then on a run lists the window again; NULL = it came right, or its detail is tried again instead';

CREATE TABLE jdysync.incident (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	opened_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	closed_at timestamptz,
	severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
	what text NOT NULL,
	detail text,
	advice text NOT NULL
);
CREATE UNIQUE INDEX incident_open ON jdysync.incident (name, what) WHERE closed_at IS NULL;
COMMENT ON TABLE jdysync.incident IS 'what a person should know: opened once, closed when it is over';

CREATE TABLE jdysync.account (
	key bytea PRIMARY KEY,
	last_call_at timestamptz NOT NULL,
	last_token_at timestamptz
);
COMMENT ON TABLE jdysync.account IS 'until when calls were made for an account, so that a restart does not burst; key is a digest';

CREATE TABLE jdysync.breaker (
	server text COLLATE "C" PRIMARY KEY,
	failures integer NOT NULL,
	since timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	problem text NOT NULL,
	trials integer NOT NULL DEFAULT 0,
	next_try timestamptz
);
COMMENT ON TABLE jdysync.breaker IS 'servers that left the last requests of pushes without an answer; no row = the last one was answered';
COMMENT ON COLUMN jdysync.breaker.server IS 'foreign server';
COMMENT ON COLUMN jdysync.breaker.failures IS 'requests in a row without an answer, each after all its attempts';
COMMENT ON COLUMN jdysync.breaker.since IS 'when the first of them ended';
COMMENT ON COLUMN jdysync.breaker.problem IS 'what came instead of an answer to the last one';
COMMENT ON COLUMN jdysync.breaker.trials IS 'requests tried since pushes to it stopped: each doubles the pause';
COMMENT ON COLUMN jdysync.breaker.next_try IS 'pushes to it have stopped; one request is tried after this, or when somebody asks for it. NULL = they have not';

CREATE TABLE jdysync.mapped_view (
	view regclass PRIMARY KEY,
	stream_id integer NOT NULL,
	mapping jsonb,
	definition text NOT NULL
);
COMMENT ON TABLE jdysync.mapped_view IS 'views that jdysync made: what of, and what they were then';
COMMENT ON COLUMN jdysync.mapped_view.view IS 'the view; its owner may have dropped it since';
COMMENT ON COLUMN jdysync.mapped_view.stream_id IS 'stream; it may be gone';
COMMENT ON COLUMN jdysync.mapped_view.mapping IS 'as it was given to jdy_create_view; NULL = one of the stream''s own views';
COMMENT ON COLUMN jdysync.mapped_view.definition IS 'pg_get_viewdef when it was made: a view that reads otherwise was changed and is not replaced';

---------------------------------------------------------------------------
-- The catalogue
---------------------------------------------------------------------------

CREATE TABLE jdysync.catalog (
	entry text COLLATE "C" PRIMARY KEY,
	title text NOT NULL,
	kind text NOT NULL DEFAULT 'list' CHECK (kind IN ('list', 'report')),
	api text NOT NULL UNIQUE,
	method text NOT NULL DEFAULT 'GET',
	id_fields text[] NOT NULL,
	number_field text,
	detail_api text,
	detail_param text NOT NULL DEFAULT 'id',
	start_param text,
	end_param text,
	window_format text CHECK (window_format IN ('ms', 's', 'datetime', 'date')),
	window_off text,
	range_param text,
	range_end_params text[] NOT NULL DEFAULT '{}',
	range_format text CHECK (range_format IN ('date', 'period')) CHECK ((range_format IS NULL) = (range_param IS NULL)),
	page_param text DEFAULT 'page',
	size_param text DEFAULT 'page_size' CHECK ((size_param IS NULL) = (page_param IS NULL)),
	count_type text CHECK (count_type IN ('string', 'integer')),
	required text[] NOT NULL DEFAULT '{}',
	fixed jsonb NOT NULL DEFAULT '{}',
	modified_field text,
	rich_rows text,
	list_secrets text[] NOT NULL DEFAULT '{}',
	detail_secrets text[] NOT NULL DEFAULT '{}',
	line_items text
);
COMMENT ON TABLE jdysync.catalog IS 'the lists of 星辰 V2 that jdysync knows: how each is asked';
COMMENT ON COLUMN jdysync.catalog.id_fields IS 'fields that make a row unique; of several, one with ? behind it may be empty; * = nothing does, the whole row is its key';
COMMENT ON COLUMN jdysync.catalog.window_off IS 'what start_param and end_param are sent as where nothing is to be left out; NULL = then they are not sent';
COMMENT ON COLUMN jdysync.catalog.kind IS 'list = records; report = figures that the service works out when it is asked';
COMMENT ON COLUMN jdysync.catalog.range_param IS 'its rows belong to a month: parameter that takes the month''s first day, or its period; NULL = they belong to none';
COMMENT ON COLUMN jdysync.catalog.range_end_params IS 'parameters that take the month''s last day, or its period again; several = the documents differ, all are sent';
COMMENT ON COLUMN jdysync.catalog.range_format IS 'date = yyyy-MM-dd; period = yyyyMM';
COMMENT ON COLUMN jdysync.catalog.count_type IS 'what the documents show the count as; both are understood; NULL = none is told';
COMMENT ON COLUMN jdysync.catalog.page_param IS 'parameter for the page''s number; NULL = the list takes no pages, one answer is all of it';
COMMENT ON COLUMN jdysync.catalog.size_param IS 'parameter for the rows of a page';
COMMENT ON COLUMN jdysync.catalog.required IS 'parameters without which the service refuses: metadata must give them';
COMMENT ON COLUMN jdysync.catalog.fixed IS 'parameters always sent unless the metadata sends them; they widen a list, never narrow it, or say what a report sums up by';
COMMENT ON COLUMN jdysync.catalog.modified_field IS 'field of the detail that holds the modify time (server''s zone)';
COMMENT ON COLUMN jdysync.catalog.rich_rows IS 'parameter that makes list rows show more of the detail; NULL = there is none';
COMMENT ON COLUMN jdysync.catalog.list_secrets IS 'encrypted fields of list rows';
COMMENT ON COLUMN jdysync.catalog.detail_secrets IS 'encrypted fields of details';
COMMENT ON COLUMN jdysync.catalog.line_items IS 'array of the detail whose elements are rows of jdy_<stream>_entry; NULL = there is none';

CREATE TABLE jdysync.catalog_field (
	entry text COLLATE "C" NOT NULL REFERENCES jdysync.catalog,
	place integer NOT NULL,
	entry_of text COLLATE "C",
	field text COLLATE "C" NOT NULL,
	"as" text NOT NULL CHECK ("as" IN ('text', 'numeric', 'integer', 'bigint', 'boolean', 'date', 'timestamp', 'timestamptz', 'jsonb')),
	label text NOT NULL,
	sensitive text CHECK (sensitive IN ('phone', 'other')),
	PRIMARY KEY (entry, place),
	UNIQUE NULLS NOT DISTINCT (entry, entry_of, field)
);
COMMENT ON TABLE jdysync.catalog_field IS 'fields of the lists that jdysync knows: what the views of a stream are made of';
COMMENT ON COLUMN jdysync.catalog_field.entry IS 'catalogue entry';
COMMENT ON COLUMN jdysync.catalog_field.place IS 'order of the columns';
COMMENT ON COLUMN jdysync.catalog_field.entry_of IS 'array whose elements have the field; NULL = the record has it';
COMMENT ON COLUMN jdysync.catalog_field.field IS 'its name in data and of the column';
COMMENT ON COLUMN jdysync.catalog_field."as" IS 'type of the column';
COMMENT ON COLUMN jdysync.catalog_field.label IS 'its Chinese name: the comment of the column';
COMMENT ON COLUMN jdysync.catalog_field.sensitive IS 'how jdy_<stream>_masked shows it: phone = first 3 and last 2 characters, other = ***; NULL = as it is';

INSERT INTO jdysync.catalog
	(entry, title, api, id_fields, number_field, detail_api, start_param, end_param, window_format,
	 fixed, modified_field, list_secrets, detail_secrets, line_items, rich_rows)
VALUES
	('customer', '客户', '/jdy/v2/bd/customer', '{id}', 'number', '/jdy/v2/bd/customer_detail',
	 'modify_start_time', 'modify_end_time', 'ms', '{"enable": "-1"}', 'modify_time', '{}',
	 '{addr,bank_account,invoice_phone,bomentity.birthday,bomentity.contact_address,bomentity.email,bomentity.mobile,bomentity.phone,bomentity.qq,bomentity.wechat}', NULL, 'show_contact_detail'),
	('supplier', '供应商', '/jdy/v2/bd/supplier', '{id}', 'number', '/jdy/v2/bd/supplier_detail',
	 'modify_start_time', 'modify_end_time', 'ms', '{"enable": "-1"}', NULL,
	 '{Row.bank_account,bomentity.birthday,bomentity.contact_address,bomentity.email,bomentity.mobile,bomentity.phone,bomentity.qq,bomentity.wechat}',
	 '{bomentity.birthday,bomentity.contact_address,bomentity.email,bomentity.mobile,bomentity.phone,bomentity.qq,bomentity.wechat,accountentity.income_acc_no,accountentity.income_bank_code}', NULL, 'show_contact_detail'),
	('material', '商品', '/jdy/v2/bd/material', '{id}', 'number', '/jdy/v2/bd/material_detail',
	 'modify_start_time', 'modify_end_time', 'ms', '{"enable": "-1"}', NULL, '{}', '{}', NULL, NULL),
	('sal_order', '销售订单', '/jdy/v2/scm/sal_order', '{id}', 'bill_no', '/jdy/v2/scm/sal_order_detail',
	 'modify_start_time', 'modify_end_time', 'ms', '{}', 'modify_time', '{}',
	 '{contact_address,contact_phone,dispatcher_address,dispatcher_phone}', 'material_entity', NULL);

/*
 * The other lists that the documents describe.  dialect: how a span of modify time is asked; enable = -1 asks
 * for disabled records too, where the documents of the family (bd, fi) name it; a detail's path is the list's with _detail.
 */
INSERT INTO jdysync.catalog (entry, title, api, id_fields, number_field, detail_api, start_param, end_param, window_format, window_off,
	fixed, modified_field)
SELECT v.entry, v.title, '/jdy/v2/' || v.path, '{id}', v.number_field, CASE WHEN v.detail THEN '/jdy/v2/' || v.path || '_detail' END,
	d.start_param, d.end_param, d.format, d.off, CASE WHEN v.enable THEN '{"enable": "-1"}'::jsonb ELSE '{}' END,
	CASE WHEN v.dated THEN 'modify_time' END
FROM (VALUES
	('bom', 'BOM单', 'bd/bom', 'begin day', 'number', true, false, true),
	('bom_query', '产品查询BOM', 'bd/bom_query', 'none', 'number', false, false, false),
	('spaces', '仓位', 'bd/spaces', 'modify', 'number', false, true, false),
	('store', '仓库', 'bd/store', 'modify', 'number', true, true, false),
	('store_group', '仓库分类', 'bd/store_group', 'modify', 'number', true, false, false),
	('supplier_group', '供应商分类', 'bd/supplier_group', 'modify', 'number', false, true, false),
	('customer_group', '客户分类', 'bd/customer_group', 'modify', 'number', false, false, false),
	('payout_type', '支出类别', 'bd/payout_type', 'modify', 'number', false, false, false),
	('pay_out_type_group_list', '支出类别分类', 'bd/pay_out_type_group_list', 'none', 'number', false, true, false),
	('income_type', '收入类别', 'bd/income_type', 'modify', 'number', false, true, false),
	('income_categorization', '收入类别分类', 'bd/income_categorization', 'none', 'number', false, true, false),
	('logistics_company', '物流公司', 'bd/logistics_company', 'modify', 'number', true, true, true),
	('settling_term', '结算期限', 'bd/settling_term', 'modify', NULL, true, true, false),
	('emp', '职员', 'bd/emp', 'modify', 'number', true, true, false),
	('aux_info', '辅助资料', 'bd/aux_info', 'modify', 'number', true, true, true),
	('aux_info_type', '辅助资料分类', 'bd/aux_info_type', 'modify', 'number', true, false, true),
	('department', '部门', 'bd/department', 'modify', 'number', true, false, false),
	('material_price', '商品价格策略', 'bd/material_price', 'none', NULL, false, false, false),
	('outside_material', '外部商品库', 'bd/outside_material', 'none', 'number', false, false, false),
	('material_group', '商品分类', 'bd/material_group', 'modify', 'number', true, false, true),
	('material_brand', '商品品牌', 'bd/material_brand', 'modify', 'number', true, true, true),
	('material_brand_group', '商品品牌分类', 'bd/material_brand_group', 'none', NULL, false, false, false),
	('label', '标签', 'bd/label', 'modify', 'number', true, true, true),
	('material_label', '商品标签', 'bd/material_label', 'modify', 'number', false, true, false),
	('label_group', '标签分类', 'bd/label_group', 'modify', 'number', false, false, false),
	('material_unit', '商品单位', 'bd/material_unit', 'modify', NULL, true, false, false),
	('measure_unit', '计量单位', 'bd/measure_unit', 'modify', 'number', true, true, true),
	('aux_attribute', '辅助属性', 'bd/aux_attribute', 'modify', 'number', false, true, false),
	('aux_type', '辅助属性分类', 'bd/aux_type', 'modify', 'number', false, false, false),
	('voucher_type', '凭证字', 'fi/voucher_type', 'none', 'number', false, false, false),
	('currency', '币别', 'bd/currency', 'modify', 'number', true, true, true),
	('account', '科目', 'fi/account', 'none', 'number', true, true, false),
	('account_type', '科目类别', 'fi/account_type', 'none', 'number', false, false, false),
	('settlement_type', '结算方式', 'bd/settlement_type', 'modify', NULL, false, true, false),
	('settlement_account', '账户', 'bd/settlement_account', 'modify', 'number', false, true, false),
	('subm_prodin', '委外产品入库单', 'pm/subm_prodin', 'begin', 'bill_no', true, false, true),
	('subm_prod_rtn', '委外产品退货单', 'pm/subm_prod_rtn', 'begin', 'bill_no', true, false, true),
	('subm_workorder', '委外加工单', 'pm/subm_workorder', 'begin', 'bill_no', true, false, true),
	('mat_issue_order', '委外发料单', 'pm/mat_issue_order', 'begin', 'bill_no', true, false, true),
	('mat_order_ret', '委外退料单', 'pm/mat_order_ret', 'begin', 'bill_no', true, false, true),
	('mo_taskbill', '生产任务单', 'pm/mo_taskbill', 'modify', 'bill_no', true, false, true),
	('country_load', '国家行政区域查询', 'sys/country_load', 'none', 'number', false, false, false),
	('division_load', '省市区查询', 'sys/division_load', 'none', NULL, false, false, false),
	('mutex_list', '查询网络锁', 'sys/mutex_list', 'none', NULL, false, false, false),
	('user_func_perm_list', '获取当前用户功能权限', 'sys/user_func_perm_list', 'none', NULL, false, false, false),
	('user_list', '用户信息', 'sys/user_list', 'none', NULL, false, false, false),
	('voucher', '凭证', 'fi/voucher', 'modify', 'number', true, false, false),
	('voucher_attachment', '凭证附件', 'fi/voucher_attachment', 'none', 'voucher_no', false, false, false),
	('virtual', '外部单据', 'fi/virtual', 'modify', 'bill_no', true, false, true),
	('virtual_type', '外部单据分类', 'fi/virtual_type', 'none', NULL, false, false, false),
	('journal', '日记账', 'fi/journal', 'modify', 'number', true, false, false),
	('sa_bill', '工资单', 'fi/sa_bill', 'none', 'bill_no', true, false, false),
	('sa_item', '工资项目', 'fi/sa_item', 'none', 'number', false, false, false),
	('invoice_fp', '发票', 'fi/invoice_fp', 'none', 'voucher_no', false, false, false),
	('invoice_kp', '手工开票', 'fp/invoice_kp', 'none', 'bill_no', true, false, false),
	('invoice_kp_query', '销售出库单查询发票信息', 'fp/invoice_kp_query', 'none', NULL, false, false, false),
	('tax_category_data', '税收分类编码', 'fi/tax_category_data', 'none', 'number', false, false, false),
	('tax_category_type', '税收分类编码类别', 'fi/tax_category_type', 'none', 'number', false, false, false),
	('assist_type_list', '辅助核算类别', 'fi/assist_type_list', 'none', NULL, false, false, false),
	('fa_alter_list', '资产变动', 'fi/fa_alter_list', 'none', 'number', false, false, false),
	('fa_card', '资产', 'fi/fa_card', 'none', 'number', true, false, false),
	('fa_clean', '资产清理', 'fi/fa_clean', 'none', 'bill_no', true, false, false),
	('fa_usestatus', '使用状态', 'fi/fa_usestatus', 'none', 'number', false, false, false),
	('fa_altermode', '变动方式', 'fi/fa_altermode', 'none', 'number', false, false, false),
	('fa_modegroup', '变动方式分类', 'fi/fa_modegroup', 'none', 'number', false, false, false),
	('fa_location', '存放地点', 'fi/fa_location', 'none', 'number', false, false, false),
	('fa_group', '资产类别', 'fi/fa_group', 'none', 'number', false, false, false),
	('inv_product', '产品入库单', 'scm/inv_product', 'modify', 'bill_no', true, false, true),
	('inv_product_ret', '产品退库单', 'scm/inv_product_ret', 'modify', 'bill_no', true, false, true),
	('inv_other_in', '其他入库单', 'scm/inv_other_in', 'modify', 'bill_no', true, false, true),
	('inv_other_out', '其他出库单', 'scm/inv_other_out', 'modify', 'bill_no', true, false, true),
	('inv_multi_check', '分量盘点单', 'scm/inv_multi_check', 'none', 'bill_no', true, false, true),
	('inv_disassemble', '拆卸单', 'scm/inv_disassemble', 'modify', 'bill_no', true, false, true),
	('inv_pick_inspect', '拣验货单', 'scm/inv_pick_inspect', 'modify', 'bill_no', true, false, true),
	('inv_pick_ret', '生产退料单', 'scm/inv_pick_ret', 'modify', 'bill_no', true, false, true),
	('inv_pick', '生产领料单', 'scm/inv_pick', 'modify', 'bill_no', true, false, true),
	('inv_check_loss_bill', '盘亏单', 'scm/inv_check_loss_bill', 'modify', 'bill_no', true, false, true),
	('inv_check_bill', '盘点单', 'scm/inv_check_bill', 'modify', 'bill_no', true, false, true),
	('inv_check_task', '盘点任务', 'scm/inv_check_task', 'none', NULL, false, false, false),
	('inv_check_gail_bill', '盘盈单', 'scm/inv_check_gail_bill', 'modify', 'bill_no', true, false, true),
	('inv_tfmove', '移仓单', 'scm/inv_tfmove', 'modify', 'bill_no', true, false, true),
	('inv_assemble', '组装单', 'scm/inv_assemble', 'modify', 'bill_no', true, false, true),
	('assemble_tpl', '组装拆卸模板', 'scm/assemble_tpl', 'modify', 'bill_no', true, false, true),
	('inv_tfin', '调拨入库单', 'scm/inv_tfin', 'modify', 'bill_no', true, false, true),
	('inv_tfdiff', '调拨差异单', 'scm/inv_tfdiff', 'modify', 'bill_no', false, false, false),
	('inv_tfout', '调拨出库单', 'scm/inv_tfout', 'modify', 'bill_no', true, false, true),
	('inv_synchronous', '库存同步', 'inv/inv_synchronous', 'none', NULL, false, false, false),
	('batch_kfperiod_inventory', '批次保质期及库存', 'scm/batch_kfperiod_inventory', 'modify', NULL, false, false, false),
	('inv_serial_track_bill_list', '序列号跟踪表', 'scm/inv_serial_track_bill_list', 'none', 'bill_no', false, false, false),
	('inventory', '商品库存', 'scm/inventory', 'modify', NULL, false, false, false),
	('inventory_serial_status', '序列号状态表', 'scm/inventory_serial_status', 'none', NULL, false, false, false),
	('inventory_stock', '商品仓库库存查询', 'scm/inventory_stock', 'none', NULL, false, false, false),
	('ap_credit', '付款单', 'arap/ap_credit', 'modify', 'bill_no', true, false, false),
	('ap_pay_ret', '付款退款单', 'arap/ap_pay_ret', 'modify', 'bill_no', true, false, false),
	('ap_other_credit', '其他支出单', 'arap/ap_other_credit', 'modify', 'bill_no', true, false, false),
	('ap_pre_credit', '预付款单', 'arap/ap_pre_credit', 'modify', 'bill_no', true, false, false),
	('ap_pre_credit_ret', '预付退款单', 'arap/ap_pre_credit_ret', 'modify', 'bill_no', true, false, false),
	('ar_other_credit', '其他收入单', 'arap/ar_other_credit', 'modify', 'bill_no', true, false, false),
	('ar_other_credit_ret', '其他收入退款单', 'arap/ar_other_credit_ret', 'modify', 'bill_no', true, false, false),
	('ar_credit', '收款单', 'arap/ar_credit', 'modify', 'bill_no', true, false, false),
	('ar_credit_ret', '收款退款单', 'arap/ar_credit_ret', 'modify', 'bill_no', true, false, false),
	('ar_pre_credit', '预收款单', 'arap/ar_pre_credit', 'modify', 'bill_no', true, false, false),
	('ar_pre_credit_ret', '预收退款单', 'arap/ar_pre_credit_ret', 'modify', 'bill_no', true, false, false),
	('customer_pay_number', '客户交易次数', 'arap/customer_pay_number', 'none', NULL, false, false, false),
	('pur_mat_rec_notice', '收料通知单', 'scm/pur_mat_rec_notice', 'modify', 'bill_no', true, false, true),
	('pur_inbound', '采购入库单', 'scm/pur_inbound', 'modify', 'bill_no', true, false, true),
	('pur_invoice', '采购发票单', 'scm/pur_invoice', 'begin', 'bill_no', true, false, true),
	('pur_request', '采购申请单', 'scm/pur_request', 'modify', 'bill_no', true, false, true),
	('pur_order', '采购订单', 'scm/pur_order', 'modify', 'bill_no', true, false, true),
	('pur_ret', '采购退货单', 'scm/pur_ret', 'modify', 'bill_no', true, false, true),
	('sal_delivery_notice', '发货通知单', 'scm/sal_delivery_notice', 'begin day', 'bill_no', true, false, true),
	('entrust', '委托代销', 'scm/entrust', 'begin', 'bill_no', true, false, true),
	('entrust_settle', '委托代销结算', 'scm/entrust_settle', 'begin', 'bill_no', true, false, true),
	('entrust_settle_rtn', '委托代销结算退货', 'scm/entrust_settle_rtn', 'begin', 'bill_no', true, false, true),
	('entrust_rtn', '委托代销退货', 'scm/entrust_rtn', 'begin', 'bill_no', true, false, true),
	('sal_out_bound', '销售出库单', 'scm/sal_out_bound', 'modify', 'bill_no', true, false, true),
	('sal_invoice_list', '销售发票单', 'scm/sal_invoice_list', 'begin day', 'bill_no', false, false, false),
	('sal_quota', '销售报价单', 'scm/sal_quota', 'begin', 'bill_no', true, false, true),
	('sal_exchange_request', '销售换货申请单', 'scm/sal_exchange_request', 'modify', 'bill_no', true, false, true),
	('sal_summary_rpt_ims', '销售汇总表', 'sal/sal_summary_rpt_ims', 'none', NULL, false, false, false),
	('sal_in_bound', '销售退货单', 'scm/sal_in_bound', 'modify', 'bill_no', true, false, true),
	('sal_in_bound_request', '销售退货申请单', 'scm/sal_in_bound_request', 'modify', 'bill_no', true, false, true),
	('coupon_center', '领劵中心查询', 'ls/coupon_center', 'none', 'number', false, false, false),
	('coupons', '会员优惠券查询', 'ls/coupons', 'updated', 'bill_no', false, false, false),
	('mb_level', '会员级别', 'ls/mb_level', 'modified', 'number', false, false, false),
	('member', '会员', 'ls/member', 'modified', NULL, true, false, false),
	('integral_record', '积分流水查询', 'ls/integral_record', 'none', NULL, false, false, false),
	('mall_recharge_rule', '充值赠送规则', 'ls/mall_recharge_rule', 'none', NULL, false, false, false),
	('recharge_record', '储值流水查询', 'ls/recharge_record', 'none', NULL, false, false, false),
	('coupons_write_off', '优惠券核销', 'ls/coupons_write_off', 'modify text', 'bill_no', false, false, false),
	('delivery', '发货单', 'ls/delivery', 'none', 'bill_no', false, false, false),
	('ls_material', '门店商品', 'ls/material', 'none', 'number', false, false, false),
	('shelf', '商品上下架', 'ls/shelf', 'modified', NULL, false, false, false),
	('ls_store', '门店', 'ls/store', 'modified', 'number', false, false, false),
	('retail_bill', '零售单', 'ls/retail_bill', 'none', 'bill_no', true, false, false),
	('balance_bill', '零售结存单', 'ls/balance_bill', 'begin day', 'bill_no', false, false, false),
	('formula', '配方', 'ls/formula', 'data', 'number', false, false, false)
) AS v (entry, title, path, dialect, number_field, detail, enable, dated)
JOIN (VALUES
	('modify', 'modify_start_time', 'modify_end_time', 'ms', NULL),
	('modify text', 'modify_start_time', 'modify_end_time', 'datetime', NULL),
	('data', 'data.modify_start_time', 'data.modify_end_time', 'ms', NULL),
	('begin', 'begin_time', 'expire_time', 'ms', '-1'),
	('begin day', 'begin_date', 'expire_date', 'date', NULL),
	('modified', 'start_modified', 'end_modified', 'datetime', NULL),
	('updated', 'start_time', 'end_time', 'datetime', NULL),
	('none', NULL, NULL, NULL, NULL)
) AS d (dialect, start_param, end_param, format, off) USING (dialect);

/* Where a key is not "id", pages are asked by other names or not at all, or the service wants parameters. */
UPDATE jdysync.catalog c
SET id_fields = v.id_fields::text[], page_param = v.page_param, size_param = v.size_param, required = v.required::text[],
	detail_param = v.detail_param
FROM (VALUES
	('bom_query', '{id}', 'page', 'page_size', '{material_id}', 'id'),
	('material_price', '{aux_prop_id?,unit_id,qty?}', NULL, NULL, '{bill_date,bill_type_id,currency_id,exchange_rate,material_id,qty,unit_id}', 'id'),
	('account', '{id}', NULL, NULL, '{}', 'id'),
	('account_type', '{id}', NULL, NULL, '{}', 'id'),
	('division_load', '{id}', NULL, NULL, '{}', 'id'),
	('user_func_perm_list', '{id}', NULL, NULL, '{}', 'id'),
	('user_list', '{uid}', 'page', 'page_size', '{}', 'id'),
	('voucher_attachment', '{id}', NULL, NULL, '{}', 'id'),
	('invoice_fp', '{invoice_no,invoice_type?,invoice_category?}', 'page_no', 'page_size', '{}', 'id'),
	('invoice_kp', '{id}', 'page', 'page_size', '{}', 'serial_number'),
	('invoice_kp_query', '{*}', NULL, NULL, '{bill_no}', 'id'),
	('tax_category_data', '{number}', 'page', 'page_size', '{}', 'id'),
	('tax_category_type', '{number}', NULL, NULL, '{}', 'id'),
	('assist_type_list', '{assistanttype_id}', NULL, NULL, '{}', 'id'),
	('inv_synchronous', '{id}', NULL, NULL, '{}', 'id'),
	('inv_serial_track_bill_list', '{*}', 'page', 'page_size', '{}', 'id'),
	('inventory', '{material_id,stock_id?,sp_id?,aux_prop_id?,batch_no?,kf_date?}', 'page', 'page_size', '{}', 'id'),
	('inventory_serial_status', '{sn,material_id?}', 'page', 'page_size', '{}', 'id'),
	('inventory_stock', '{inv_stock_id,inv_stock_position?}', NULL, NULL, '{material_id}', 'id'),
	('customer_pay_number', '{customer_id}', NULL, NULL, '{}', 'id'),
	('sal_invoice_list', '{id}', 'page', 'page_size', '{end_date,start_date}', 'id'),
	('sal_summary_rpt_ims', '{*}', 'page', 'page_size', '{filter_summary_field}', 'id'),
	('coupon_center', '{id}', 'page', 'page_size', '{member_id}', 'id'),
	('coupons', '{coupons_id}', 'page', 'page_size', '{member_id}', 'id'),
	('integral_record', '{*}', 'page', 'page_size', '{}', 'id'),
	('mall_recharge_rule', '{id}', NULL, NULL, '{member_id}', 'id'),
	('coupons_write_off', '{coupons_no,bill_no?}', 'page', 'page_size', '{store_id}', 'id'),
	('delivery', '{id}', 'page_data.page', 'page_data.page_size', '{request.store_id}', 'id'),
	('ls_material', '{id}', 'page', 'page_size', '{store_id}', 'id'),
	('shelf', '{id}', 'page', 'page_size', '{store_id}', 'id'),
	('retail_bill', '{id}', 'page_no', 'page_size', '{}', 'bill_id'),
	('formula', '{id}', 'data.page', 'data.page_size', '{}', 'id')
) AS v (entry, id_fields, page_param, size_param, required, detail_param)
WHERE c.entry = v.entry;

/* Reports, and lists that must be told a span of time: their rows belong to a month.  What sums up by is the service's default in its own pages. */
INSERT INTO jdysync.catalog (entry, title, kind, api, id_fields, range_param, range_end_params, range_format, page_param, size_param, required, fixed)
SELECT v.entry, v.title, 'report', '/jdy/v2/' || v.path, v.id_fields::text[], r.param, COALESCE(r.ends::text[], '{}'), r.format,
	CASE WHEN v.paged THEN 'page' END, CASE WHEN v.paged THEN 'page_size' END, v.required::text[], v.fixed::jsonb
FROM (VALUES
	('balancesheet', '资产负债表', 'fi/balancesheet', 'period', '{id}', false, '{}', '{}'),
	('profit_report', '利润表', 'fi/profit_report', 'period', '{id}', false, '{}', '{}'),
	('account_balance_report', '科目余额表', 'fi/account_balance_report', 'periods', '{account_id,currency_name?,detail_id?}', false, '{}', '{}'),
	('qty_sum', '数量金额总账', 'fi/qty_sum', 'periods', '{account_id,currency_name?,detail_id?,unit_name?}', false, '{}', '{}'),
	('sub_ledger_report', '明细账', 'fi/sub_ledger_report', 'periods', '{*}', false, '{account_id}', '{}'),
	('ap_summary_report', '应付账款汇总表', 'arap/ap_summary_report', 'days', '{supplier_id?,emp_id?,dept_id?,supplier_group_id?}', true, '{}', '{"summary_type": "item"}'),
	('ar_summary_report', '应收账款汇总表', 'arap/ar_summary_report', 'days', '{customer_id?,emp_id?,dept_id?,customer_group_id?}', true, '{}', '{"summary_type": "item"}'),
	('ar_report', '客户应收统计表', 'arap/ar_report', 'days', '{customer_id}', true, '{}', '{}'),
	('ar_order_statement_report', '应收账款明细表', 'arap/ar_order_statement_report', 'days', '{*}', true, '{customer_id}', '{}'),
	('reconciliation_statement', '供应商/客户对账单', 'arap/reconciliation_statement', 'days', '{*}', false, '{}', '{}'),
	('inv_inventory_ims', '库存查询表', 'inv/inv_inventory_ims', NULL, '{material_id,stock_id?,sp_id?,aux_prop_id?,batch_no?,kf_date?}', true, '{}', '{}'),
	('ca_debit_and_credit_trend', '出纳资金收支趋势', 'fi/ca_debit_and_credit_trend', NULL, '{*}', false, '{income_type,trend_type}', '{}'),
	('custom_mult_field', '自定义字段查询', 'sys/custom_mult_field', NULL, '{*}', false, '{entity_number}', '{}')
) AS v (entry, title, path, range, id_fields, paged, required, fixed)
LEFT JOIN (VALUES
	('period', 'period', '{}', 'period'),
	('periods', 'start_period', '{end_period,end_Period}', 'period'),
	('days', 'start_date', '{end_date}', 'date')
) AS r (range, param, ends, format) USING (range);

UPDATE jdysync.catalog c SET range_param = v.param, range_end_params = v.ends::text[], range_format = v.format
FROM (VALUES
	('voucher_attachment', 'period', '{}', 'period'),
	('customer_pay_number', 'start_date', '{end_date}', 'date'),
	('sal_summary_rpt_ims', 'start_date', '{end_date}', 'date')
) AS v (entry, param, ends, format)
WHERE c.entry = v.entry;

/* Counts as the documents show them: text in master data and books, numbers in documents and shops, but for some. */
UPDATE jdysync.catalog c SET count_type = CASE
	WHEN c.entry IN ('material_price', 'account', 'division_load', 'user_func_perm_list', 'voucher_attachment', 'invoice_kp_query', 'tax_category_type',
		'inv_synchronous', 'inventory_stock', 'customer_pay_number', 'mall_recharge_rule') THEN NULL
	WHEN c.kind = 'report' THEN
		CASE WHEN c.entry IN ('ap_summary_report', 'ar_summary_report', 'ar_report', 'ar_order_statement_report') THEN 'string'
			WHEN c.entry = 'inv_inventory_ims' THEN 'integer' END
	WHEN c.entry IN ('subm_prod_rtn', 'sal_invoice_list', 'balance_bill') THEN 'string'
	WHEN c.entry IN ('outside_material', 'account_type', 'assist_type_list', 'invoice_fp', 'invoice_kp', 'fa_alter_list', 'fa_card', 'fa_clean')
		OR c.api LIKE '/jdy/v2/scm/%' OR c.api LIKE '/jdy/v2/pm/%' OR c.api LIKE '/jdy/v2/ls/%' THEN 'integer'
	ELSE 'string' END;

UPDATE jdysync.catalog c SET list_secrets = v.list_secrets::text[], detail_secrets = v.detail_secrets::text[]
FROM (VALUES
	('emp', '{id_number,mobile}', '{birthday,email,id_number,mobile,wechat}'),
	('subm_prodin', '{}', '{contact_phone}'),
	('subm_workorder', '{}', '{contact_phone}'),
	('mat_issue_order', '{}', '{contact_phone}'),
	('mat_order_ret', '{}', '{contact_phone}'),
	('user_list', '{phone}', '{}'),
	('journal', '{}', '{contacts_account_number}'),
	('sa_bill', '{}', '{entry_list.bank_account,entry_list.id_number,entry_list.mobile}'),
	('invoice_kp', '{}', '{seller_info.address_phone,sellerinfo.address_phone,seller_info.account,sellerinfo.account,buyer_info.account,buyerinfo.account,buyer_info.address_phone,buyerinfo.address_phone,buyer_info.email,buyerinfo.email,buyer_info.mobile,buyerinfo.mobile}'),
	('inv_other_in', '{}', '{contact_address,contact_phone}'),
	('inv_other_out', '{contact_address,contact_phone}', '{contact_address,contact_phone}'),
	('inv_tfout', '{}', '{dispatcher_address,dispatcher_phone}'),
	('pur_mat_rec_notice', '{}', '{contact_address,contact_phone,dispatcher_address,dispatcher_phone}'),
	('pur_inbound', '{}', '{contact_address,contact_phone,dispatcher_address,dispatcher_phone}'),
	('pur_invoice', '{}', '{contact_address,contact_phone}'),
	('pur_request', '{}', '{dispatcher_address,dispatcher_phone}'),
	('pur_order', '{}', '{contact_address,contact_phone,dispatcher_address,dispatcher_phone}'),
	('pur_ret', '{}', '{contact_address,contact_phone}'),
	('sal_delivery_notice', '{}', '{contact_address,contact_phone,dispatcher_address,dispatcher_phone}'),
	('entrust', '{}', '{contact_address,contact_phone,dispatcher_address,dispatcher_phone}'),
	('entrust_settle', '{}', '{contact_address,contact_phone}'),
	('entrust_settle_rtn', '{}', '{contact_address,contact_phone}'),
	('entrust_rtn', '{}', '{contact_address,contact_phone}'),
	('sal_out_bound', '{}', '{contact_address,contact_phone,dispatcher_address,dispatcher_phone}'),
	('sal_quota', '{}', '{contact_address,contact_phone,dispatcher_address,dispatcher_phone}'),
	('sal_exchange_request', '{}', '{contact_address,contact_phone}'),
	('sal_in_bound', '{}', '{contact_address,contact_phone}'),
	('member', '{birthday,detail_address,mobile,referreremp_birthday,referreremp_email,referreremp_idnumber,referreremp_mobile,referreremp_wechat,sex_group}', '{mobile}'),
	('coupons_write_off', '{member_mobile}', '{}'),
	('delivery', '{delivery_address,receiver_address,receiver_mobile}', '{}'),
	('ls_store', '{telephone}', '{}')
) AS v (entry, list_secrets, detail_secrets)
WHERE c.entry = v.entry;

/* What the documents name: list row and detail, and the elements of their arrays. */
INSERT INTO jdysync.catalog_field (entry, entry_of, place, field, "as", label, sensitive)
SELECT v.entry, v.entry_of, pg_catalog.row_number() OVER (), v.field, v."as", v.label, v.sensitive
FROM (VALUES
	('customer', NULL, 'id', 'text', '客户ID', NULL),
	('customer', NULL, 'number', 'text', '客户编码', NULL),
	('customer', NULL, 'name', 'text', '客户名称', NULL),
	('customer', NULL, 'enable', 'boolean', '可用状态', NULL),
	('customer', NULL, 'group_id', 'text', '类别ID', NULL),
	('customer', NULL, 'group_name', 'text', '类别', NULL),
	('customer', NULL, 'group_number', 'text', '类别编码', NULL),
	('customer', NULL, 'c_level_id', 'text', '客户等级ID', NULL),
	('customer', NULL, 'c_level_name', 'text', '客户等级', NULL),
	('customer', NULL, 'c_level_number', 'text', '客户等级编码', NULL),
	('customer', NULL, 'country_id', 'text', '国家ID', NULL),
	('customer', NULL, 'country_name', 'text', '国家', NULL),
	('customer', NULL, 'country_number', 'text', '国家编码', NULL),
	('customer', NULL, 'province_id', 'text', '省ID', NULL),
	('customer', NULL, 'province_name', 'text', '省', NULL),
	('customer', NULL, 'province_number', 'text', '省编码', NULL),
	('customer', NULL, 'city_id', 'text', '市ID', NULL),
	('customer', NULL, 'city_name', 'text', '市', NULL),
	('customer', NULL, 'city_number', 'text', '市编码', NULL),
	('customer', NULL, 'district_id', 'text', '区ID', NULL),
	('customer', NULL, 'district_name', 'text', '区', NULL),
	('customer', NULL, 'district_number', 'text', '区编码', NULL),
	('customer', NULL, 'addr', 'text', '地址', 'other'),
	('customer', NULL, 'taxpayer_no', 'text', '纳税人识别号', NULL),
	('customer', NULL, 'rate', 'numeric', '税率（%）', NULL),
	('customer', NULL, 'bank', 'text', '开户银行', NULL),
	('customer', NULL, 'bank_account', 'text', '银行账号', 'other'),
	('customer', NULL, 'account_open_addr', 'text', '开户地址', NULL),
	('customer', NULL, 'invoice_type', 'text', '发票类型', NULL),
	('customer', NULL, 'invoice_name', 'text', '发票抬头', NULL),
	('customer', NULL, 'invoice_phone', 'text', '开票电话', 'phone'),
	('customer', NULL, 'invoice_email', 'text', '收票邮箱', NULL),
	('customer', NULL, 'credit_limit', 'numeric', '信用额度', NULL),
	('customer', NULL, 'deduct', 'boolean', '允许抵扣', NULL),
	('customer', NULL, 'setting_term_id', 'text', '结算期限ID', NULL),
	('customer', NULL, 'setting_term_name', 'text', '结算期限', NULL),
	('customer', NULL, 'setting_term_number', 'text', '结算期限编码', NULL),
	('customer', NULL, 'settle_customer_id', 'text', '结算客户ID', NULL),
	('customer', NULL, 'settle_customer_name', 'text', '结算客户', NULL),
	('customer', NULL, 'settle_customer_number', 'text', '结算客户编码', NULL),
	('customer', NULL, 'sale_dept_id', 'text', '销售部门ID', NULL),
	('customer', NULL, 'sale_dept_name', 'text', '销售部门', NULL),
	('customer', NULL, 'sale_dept_number', 'text', '销售部门编码', NULL),
	('customer', NULL, 'saler_id', 'text', '销售员ID', NULL),
	('customer', NULL, 'saler_name', 'text', '销售员', NULL),
	('customer', NULL, 'saler_number', 'text', '销售员编码', NULL),
	('customer', NULL, 'remark', 'text', '备注', NULL),
	('customer', NULL, 'bomentity', 'jsonb', '联系人信息', NULL),
	('customer', NULL, 'custom_field', 'jsonb', '自定义字段', NULL),
	('customer', NULL, 'creater_field_name', 'text', '创建人', NULL),
	('customer', NULL, 'create_time', 'timestamptz', '创建时间', NULL),
	('customer', NULL, 'modify_time', 'timestamptz', '修改时间', NULL),
	('customer', 'bomentity', 'id', 'text', '联系人ID', NULL),
	('customer', 'bomentity', 'seq', 'integer', '序号', NULL),
	('customer', 'bomentity', 'contact_person', 'text', '联系人', NULL),
	('customer', 'bomentity', 'is_default_linkman', 'boolean', '默认联系人', NULL),
	('customer', 'bomentity', 'gender', 'text', '性别（1 男 0 女）', NULL),
	('customer', 'bomentity', 'birthday', 'date', '生日', 'other'),
	('customer', 'bomentity', 'mobile', 'text', '手机', 'phone'),
	('customer', 'bomentity', 'phone', 'text', '座机', 'phone'),
	('customer', 'bomentity', 'email', 'text', '邮箱', 'other'),
	('customer', 'bomentity', 'qq', 'text', 'QQ', 'other'),
	('customer', 'bomentity', 'wechat', 'text', '微信', 'other'),
	('customer', 'bomentity', 'contact_country_id', 'text', '国家ID', NULL),
	('customer', 'bomentity', 'contact_country_name', 'text', '国家', NULL),
	('customer', 'bomentity', 'contact_country_number', 'text', '国家编码', NULL),
	('customer', 'bomentity', 'contact_province_id', 'text', '省ID', NULL),
	('customer', 'bomentity', 'contact_province_name', 'text', '省', NULL),
	('customer', 'bomentity', 'contact_province_number', 'text', '省编码', NULL),
	('customer', 'bomentity', 'contact_city_id', 'text', '市ID', NULL),
	('customer', 'bomentity', 'contact_city_name', 'text', '市', NULL),
	('customer', 'bomentity', 'contact_city_number', 'text', '市编码', NULL),
	('customer', 'bomentity', 'contact_district_id', 'text', '区ID', NULL),
	('customer', 'bomentity', 'contact_district_name', 'text', '区', NULL),
	('customer', 'bomentity', 'contact_district_number', 'text', '区编码', NULL),
	('customer', 'bomentity', 'contact_address', 'text', '联系地址', 'other'),
	('customer', 'bomentity', 'create_time_contact', 'timestamptz', '联系人创建时间', NULL),
	('supplier', NULL, 'id', 'text', '供应商ID', NULL),
	('supplier', NULL, 'number', 'text', '供应商编码', NULL),
	('supplier', NULL, 'name', 'text', '供应商名称', NULL),
	('supplier', NULL, 'enable', 'boolean', '可用状态', NULL),
	('supplier', NULL, 'group_id', 'text', '类别ID', NULL),
	('supplier', NULL, 'group_name', 'text', '类别', NULL),
	('supplier', NULL, 'group_number', 'text', '类别编码', NULL),
	('supplier', NULL, 'addr', 'text', '地址', NULL),
	('supplier', NULL, 'taxpayer_no', 'text', '纳税人识别号', NULL),
	('supplier', NULL, 'rate', 'numeric', '税率（%）', NULL),
	('supplier', NULL, 'bank', 'text', '开户银行', NULL),
	('supplier', NULL, 'bank_account', 'text', '银行账号', 'other'),
	('supplier', NULL, 'account_open_addr', 'text', '开户地址', NULL),
	('supplier', NULL, 'setting_term_id', 'text', '结算期限ID', NULL),
	('supplier', NULL, 'purchaser_id', 'text', '采购员ID', NULL),
	('supplier', NULL, 'remark', 'text', '备注', NULL),
	('supplier', NULL, 'bomentity', 'jsonb', '联系人信息', NULL),
	('supplier', NULL, 'accountentity', 'jsonb', '收款账户', NULL),
	('supplier', NULL, 'custom_field', 'jsonb', '自定义字段', NULL),
	('supplier', 'bomentity', 'id', 'text', '联系人ID', NULL),
	('supplier', 'bomentity', 'seq', 'integer', '序号', NULL),
	('supplier', 'bomentity', 'contact_person', 'text', '联系人', NULL),
	('supplier', 'bomentity', 'is_default_linkman', 'boolean', '默认联系人', NULL),
	('supplier', 'bomentity', 'gender', 'text', '性别（1 男 0 女）', NULL),
	('supplier', 'bomentity', 'birthday', 'date', '生日', 'other'),
	('supplier', 'bomentity', 'mobile', 'text', '手机', 'phone'),
	('supplier', 'bomentity', 'phone', 'text', '座机', 'phone'),
	('supplier', 'bomentity', 'email', 'text', '邮箱', 'other'),
	('supplier', 'bomentity', 'qq', 'text', 'QQ', 'other'),
	('supplier', 'bomentity', 'wechat', 'text', '微信', 'other'),
	('supplier', 'bomentity', 'contact_country_id', 'text', '国家ID', NULL),
	('supplier', 'bomentity', 'contact_country_name', 'text', '国家', NULL),
	('supplier', 'bomentity', 'contact_country_number', 'text', '国家编码', NULL),
	('supplier', 'bomentity', 'contact_province_id', 'text', '省ID', NULL),
	('supplier', 'bomentity', 'contact_province_name', 'text', '省', NULL),
	('supplier', 'bomentity', 'contact_province_number', 'text', '省编码', NULL),
	('supplier', 'bomentity', 'contact_city_id', 'text', '市ID', NULL),
	('supplier', 'bomentity', 'contact_city_name', 'text', '市', NULL),
	('supplier', 'bomentity', 'contact_city_number', 'text', '市编码', NULL),
	('supplier', 'bomentity', 'contact_district_id', 'text', '区ID', NULL),
	('supplier', 'bomentity', 'contact_district_name', 'text', '区', NULL),
	('supplier', 'bomentity', 'contact_district_number', 'text', '区编码', NULL),
	('supplier', 'bomentity', 'contact_address', 'text', '联系地址', 'other'),
	('supplier', 'bomentity', 'create_time_contact', 'timestamptz', '联系人创建时间', NULL),
	('supplier', 'accountentity', 'income_acc_no', 'text', '收款账号', 'other'),
	('supplier', 'accountentity', 'income_acc_name', 'text', '收款户名', NULL),
	('supplier', 'accountentity', 'income_bank_code', 'text', '收款行号', 'other'),
	('supplier', 'accountentity', 'income_bank_name', 'text', '收款银行', NULL),
	('material', NULL, 'id', 'text', '商品ID', NULL),
	('material', NULL, 'number', 'text', '商品编码', NULL),
	('material', NULL, 'name', 'text', '商品名称', NULL),
	('material', NULL, 'model', 'text', '规格型号', NULL),
	('material', NULL, 'barcode', 'text', '条形码', NULL),
	('material', NULL, 'help_code', 'text', '助记码', NULL),
	('material', NULL, 'enable', 'boolean', '可用状态', NULL),
	('material', NULL, 'material_type', 'text', '商品类型', NULL),
	('material', NULL, 'parent_id', 'text', '类别ID', NULL),
	('material', NULL, 'parent_name', 'text', '类别', NULL),
	('material', NULL, 'parent_number', 'text', '类别编码', NULL),
	('material', NULL, 'brand_id', 'text', '品牌ID', NULL),
	('material', NULL, 'brand_name', 'text', '品牌', NULL),
	('material', NULL, 'brand_number', 'text', '品牌编码', NULL),
	('material', NULL, 'base_unit_id', 'text', '基本单位ID', NULL),
	('material', NULL, 'base_unit_name', 'text', '基本单位', NULL),
	('material', NULL, 'base_unit_number', 'text', '基本单位编码', NULL),
	('material', NULL, 'unit_type', 'text', '单位类型', NULL),
	('material', NULL, 'is_multi_unit', 'boolean', '多单位', NULL),
	('material', NULL, 'is_float_unit', 'boolean', '浮动单位', NULL),
	('material', NULL, 'unit_entity', 'jsonb', '多单位信息', NULL),
	('material', NULL, 'fix_unit_id1', 'text', '固定单位1ID', NULL),
	('material', NULL, 'fix_unit_id2', 'text', '固定单位2ID', NULL),
	('material', NULL, 'fix_unit_id3', 'text', '固定单位3ID', NULL),
	('material', NULL, 'sale_unit_id', 'text', '销售单位ID', NULL),
	('material', NULL, 'sale_unit_name', 'text', '销售单位', NULL),
	('material', NULL, 'purchase_unit_id', 'text', '采购单位ID', NULL),
	('material', NULL, 'purchase_unit_name', 'text', '采购单位', NULL),
	('material', NULL, 'sales_price', 'numeric', '销售价', NULL),
	('material', NULL, 'purchase_price', 'numeric', '采购价', NULL),
	('material', NULL, 'cost_price', 'numeric', '成本价', NULL),
	('material', NULL, 'cost_method', 'text', '成本计价方法', NULL),
	('material', NULL, 'gross', 'numeric', '毛利率', NULL),
	('material', NULL, 'tax_type', 'text', '计税类别', NULL),
	('material', NULL, 'tax_rate', 'numeric', '税率（%）', NULL),
	('material', NULL, 'default_stock_id', 'text', '默认仓库ID', NULL),
	('material', NULL, 'stock_name', 'text', '默认仓库', NULL),
	('material', NULL, 'default_stock_number', 'text', '默认仓库编码', NULL),
	('material', NULL, 'default_sp_id', 'text', '默认仓位ID', NULL),
	('material', NULL, 'default_sp_name', 'text', '默认仓位', NULL),
	('material', NULL, 'default_sp_number', 'text', '默认仓位编码', NULL),
	('material', NULL, 'sp_id', 'text', '仓位ID', NULL),
	('material', NULL, 'min_inventory_qty', 'numeric', '最低库存', NULL),
	('material', NULL, 'max_inventory_qty', 'numeric', '最高库存', NULL),
	('material', NULL, 'save_inventory_qty', 'numeric', '安全库存', NULL),
	('material', NULL, 'min_order_qty', 'numeric', '最小起订量', NULL),
	('material', NULL, 'max_order_qty', 'numeric', '最大订购量', NULL),
	('material', NULL, 'is_purchase', 'boolean', '可采购', NULL),
	('material', NULL, 'is_sale', 'boolean', '可销售', NULL),
	('material', NULL, 'is_subpart', 'boolean', '可组装', NULL),
	('material', NULL, 'is_self_restraint', 'boolean', '可自制', NULL),
	('material', NULL, 'is_asst_attr', 'boolean', '启用辅助属性', NULL),
	('material', NULL, 'aux_attr', 'text', '辅助属性', NULL),
	('material', NULL, 'aux_entity', 'jsonb', '辅助属性信息', NULL),
	('material', NULL, 'is_batch', 'boolean', '启用批次', NULL),
	('material', NULL, 'is_serial', 'boolean', '启用序列号', NULL),
	('material', NULL, 'is_kf_period', 'boolean', '启用保质期', NULL),
	('material', NULL, 'kf_period', 'integer', '保质期', NULL),
	('material', NULL, 'kf_period_type', 'text', '保质期单位', NULL),
	('material', NULL, 'alarm_day', 'integer', '预警天数', NULL),
	('material', NULL, 'check_type', 'text', '检验方式', NULL),
	('material', NULL, 'producing_pace', 'text', '产地', NULL),
	('material', NULL, 'pro_license', 'text', '生产许可证', NULL),
	('material', NULL, 'registration_number', 'text', '注册证号', NULL),
	('material', NULL, 'alcohol', 'text', '酒精度', NULL),
	('material', NULL, 'fetch_category_id', 'text', '提成类别ID', NULL),
	('material', NULL, 'length', 'numeric', '长', NULL),
	('material', NULL, 'wide', 'numeric', '宽', NULL),
	('material', NULL, 'height', 'numeric', '高', NULL),
	('material', NULL, 'area', 'numeric', '面积', NULL),
	('material', NULL, 'volume', 'numeric', '体积', NULL),
	('material', NULL, 'weight', 'numeric', '重量', NULL),
	('material', NULL, 'remark', 'text', '备注', NULL),
	('material', NULL, 'mark_remark', 'text', '标签备注', NULL),
	('material', NULL, 'mul_label', 'jsonb', '标签', NULL),
	('material', NULL, 'images', 'jsonb', '图片', NULL),
	('material', NULL, 'barcode_entity', 'jsonb', '条码信息', NULL),
	('material', NULL, 'price_entity', 'jsonb', '价格信息', NULL),
	('material', NULL, 'inv_mgr_entity', 'jsonb', '库存管理信息', NULL),
	('material', NULL, 'custom_field', 'jsonb', '自定义字段', NULL),
	('sal_order', NULL, 'id', 'text', '订单ID', NULL),
	('sal_order', NULL, 'bill_no', 'text', '单据编号', NULL),
	('sal_order', NULL, 'bill_date', 'date', '单据日期', NULL),
	('sal_order', NULL, 'delivery_date', 'date', '交货日期', NULL),
	('sal_order', NULL, 'bill_status', 'text', '单据状态（C 已审核 Z 未审核）', NULL),
	('sal_order', NULL, 'bill_close_state', 'text', '关闭状态', NULL),
	('sal_order', NULL, 'io_status', 'text', '出库状态', NULL),
	('sal_order', NULL, 'real_io_status', 'text', '实际出库状态', NULL),
	('sal_order', NULL, 'bill_lock_state', 'text', '锁定状态', NULL),
	('sal_order', NULL, 'check_status', 'text', '核对状态', NULL),
	('sal_order', NULL, 'customer_id', 'text', '客户ID', NULL),
	('sal_order', NULL, 'customer_name', 'text', '客户', NULL),
	('sal_order', NULL, 'customer_number', 'text', '客户编码', NULL),
	('sal_order', NULL, 'total_amount', 'numeric', '金额合计', NULL),
	('sal_order', NULL, 'all_amount', 'numeric', '价税合计', NULL),
	('sal_order', NULL, 'total_tax_amount', 'numeric', '税额合计', NULL),
	('sal_order', NULL, 'total_qty', 'numeric', '数量合计', NULL),
	('sal_order', NULL, 'total_unsettle_amount', 'numeric', '未结金额', NULL),
	('sal_order', NULL, 'rec_amount', 'numeric', '已收金额', NULL),
	('sal_order', NULL, 'bill_dis_rate', 'numeric', '整单折扣率（%）', NULL),
	('sal_order', NULL, 'bill_dis_amount', 'numeric', '整单折扣额', NULL),
	('sal_order', NULL, 'currency_id', 'text', '币别ID', NULL),
	('sal_order', NULL, 'currency_name', 'text', '币别', NULL),
	('sal_order', NULL, 'currency_number', 'text', '币别编码', NULL),
	('sal_order', NULL, 'exchange_rate', 'numeric', '汇率', NULL),
	('sal_order', NULL, 'dept_id', 'text', '部门ID', NULL),
	('sal_order', NULL, 'dept_name', 'text', '部门', NULL),
	('sal_order', NULL, 'dept_number', 'text', '部门编码', NULL),
	('sal_order', NULL, 'emp_id', 'text', '业务员ID', NULL),
	('sal_order', NULL, 'emp_name', 'text', '业务员', NULL),
	('sal_order', NULL, 'emp_number', 'text', '业务员编码', NULL),
	('sal_order', NULL, 'contact_linkman', 'text', '收货人', NULL),
	('sal_order', NULL, 'contact_phone', 'text', '收货电话', 'phone'),
	('sal_order', NULL, 'contact_country_id', 'text', '收货国家ID', NULL),
	('sal_order', NULL, 'contact_country_name', 'text', '收货国家', NULL),
	('sal_order', NULL, 'contact_country_number', 'text', '收货国家编码', NULL),
	('sal_order', NULL, 'contact_province_id', 'text', '收货省ID', NULL),
	('sal_order', NULL, 'contact_province_name', 'text', '收货省', NULL),
	('sal_order', NULL, 'contact_province_number', 'text', '收货省编码', NULL),
	('sal_order', NULL, 'contact_city_id', 'text', '收货市ID', NULL),
	('sal_order', NULL, 'contact_city_name', 'text', '收货市', NULL),
	('sal_order', NULL, 'contact_city_number', 'text', '收货市编码', NULL),
	('sal_order', NULL, 'contact_district_id', 'text', '收货区ID', NULL),
	('sal_order', NULL, 'contact_district_name', 'text', '收货区', NULL),
	('sal_order', NULL, 'contact_district_number', 'text', '收货区编码', NULL),
	('sal_order', NULL, 'contact_address', 'text', '收货地址', 'other'),
	('sal_order', NULL, 'dispatcher_linkman', 'text', '发货人', NULL),
	('sal_order', NULL, 'dispatcher_phone', 'text', '发货电话', 'phone'),
	('sal_order', NULL, 'dispatcher_country_id', 'text', '发货国家ID', NULL),
	('sal_order', NULL, 'dispatcher_country_name', 'text', '发货国家', NULL),
	('sal_order', NULL, 'dispatcher_province_id', 'text', '发货省ID', NULL),
	('sal_order', NULL, 'dispatcher_province_name', 'text', '发货省', NULL),
	('sal_order', NULL, 'dispatcher_city_id', 'text', '发货市ID', NULL),
	('sal_order', NULL, 'dispatcher_city_name', 'text', '发货市', NULL),
	('sal_order', NULL, 'dispatcher_district_id', 'text', '发货区ID', NULL),
	('sal_order', NULL, 'dispatcher_district_name', 'text', '发货区', NULL),
	('sal_order', NULL, 'dispatcher_address', 'text', '发货地址', 'other'),
	('sal_order', NULL, 'tracking_no', 'text', '物流单号', NULL),
	('sal_order', NULL, 'store_id', 'text', '门店ID', NULL),
	('sal_order', NULL, 'store_name', 'text', '门店', NULL),
	('sal_order', NULL, 'store_number', 'text', '门店编码', NULL),
	('sal_order', NULL, 'receive_account_id', 'text', '收款账户ID', NULL),
	('sal_order', NULL, 'receive_account_name', 'text', '收款账户', NULL),
	('sal_order', NULL, 'bill_type_id', 'text', '单据类型ID', NULL),
	('sal_order', NULL, 'bill_type_name', 'text', '单据类型', NULL),
	('sal_order', NULL, 'bill_type_number', 'text', '单据类型编码', NULL),
	('sal_order', NULL, 'bill_source', 'text', '单据来源', NULL),
	('sal_order', NULL, 'bill_label', 'text', '单据标签', NULL),
	('sal_order', NULL, 'bill_plan_name', 'text', '单据方案', NULL),
	('sal_order', NULL, 'src_bill_no', 'text', '源单编号', NULL),
	('sal_order', NULL, 'src_bill_type_id', 'text', '源单类型ID', NULL),
	('sal_order', NULL, 'src_bill_type_name', 'text', '源单类型', NULL),
	('sal_order', NULL, 'src_bill_type_number', 'text', '源单类型编码', NULL),
	('sal_order', NULL, 'remark', 'text', '备注', NULL),
	('sal_order', NULL, 'operation_key', 'text', '操作', NULL),
	('sal_order', NULL, 'print_count', 'integer', '打印次数', NULL),
	('sal_order', NULL, 'material_entity', 'jsonb', '商品分录', NULL),
	('sal_order', NULL, 'pay_entity', 'jsonb', '收款分录', NULL),
	('sal_order', NULL, 'tag_entity', 'jsonb', '标签分录', NULL),
	('sal_order', NULL, 'custom_field', 'jsonb', '自定义字段', NULL),
	('sal_order', NULL, 'creator_id', 'text', '制单人ID', NULL),
	('sal_order', NULL, 'creator_name', 'text', '制单人', NULL),
	('sal_order', NULL, 'creator_number', 'text', '制单人编码', NULL),
	('sal_order', NULL, 'create_time', 'timestamptz', '制单时间', NULL),
	('sal_order', NULL, 'auditor_id', 'text', '审核人ID', NULL),
	('sal_order', NULL, 'auditor_name', 'text', '审核人', NULL),
	('sal_order', NULL, 'auditor_number', 'text', '审核人编码', NULL),
	('sal_order', NULL, 'audit_time', 'timestamptz', '审核时间', NULL),
	('sal_order', NULL, 'modifier_id', 'text', '修改人ID', NULL),
	('sal_order', NULL, 'modifier_name', 'text', '修改人', NULL),
	('sal_order', NULL, 'modifier_number', 'text', '修改人编码', NULL),
	('sal_order', NULL, 'modify_time', 'timestamptz', '修改时间', NULL),
	('sal_order', NULL, 'closer_name', 'text', '关闭人', NULL),
	('sal_order', NULL, 'close_time', 'timestamptz', '关闭时间', NULL),
	('sal_order', 'material_entity', 'id', 'text', '分录ID', NULL),
	('sal_order', 'material_entity', 'seq', 'integer', '行号', NULL),
	('sal_order', 'material_entity', 'material_id', 'text', '商品ID', NULL),
	('sal_order', 'material_entity', 'material_name', 'text', '商品', NULL),
	('sal_order', 'material_entity', 'material_number', 'text', '商品编码', NULL),
	('sal_order', 'material_entity', 'material_model', 'text', '规格型号', NULL),
	('sal_order', 'material_entity', 'aux_prop_id', 'text', '辅助属性ID', NULL),
	('sal_order', 'material_entity', 'aux_prop_name', 'text', '辅助属性', NULL),
	('sal_order', 'material_entity', 'batch_no', 'text', '批号', NULL),
	('sal_order', 'material_entity', 'unit_id', 'text', '单位ID', NULL),
	('sal_order', 'material_entity', 'unit_name', 'text', '单位', NULL),
	('sal_order', 'material_entity', 'unit_number', 'text', '单位编码', NULL),
	('sal_order', 'material_entity', 'qty', 'numeric', '数量', NULL),
	('sal_order', 'material_entity', 'price', 'numeric', '单价', NULL),
	('sal_order', 'material_entity', 'tax_price', 'numeric', '含税单价', NULL),
	('sal_order', 'material_entity', 'cess', 'numeric', '税率（%）', NULL),
	('sal_order', 'material_entity', 'dis_rate', 'numeric', '折扣率（%）', NULL),
	('sal_order', 'material_entity', 'dis_amount', 'numeric', '折扣额', NULL),
	('sal_order', 'material_entity', 'amount', 'numeric', '金额', NULL),
	('sal_order', 'material_entity', 'tax_amount', 'numeric', '税额', NULL),
	('sal_order', 'material_entity', 'all_amount', 'numeric', '价税合计', NULL),
	('sal_order', 'material_entity', 'is_free', 'boolean', '赠品', NULL),
	('sal_order', 'material_entity', 'stock_id', 'text', '仓库ID', NULL),
	('sal_order', 'material_entity', 'stock_name', 'text', '仓库', NULL),
	('sal_order', 'material_entity', 'stock_number', 'text', '仓库编码', NULL),
	('sal_order', 'material_entity', 'comment', 'text', '备注', NULL),
	('sal_order', 'material_entity', 'custom_entity_field', 'jsonb', '自定义字段', NULL)
) v (entry, entry_of, field, "as", label, sensitive);

---------------------------------------------------------------------------
-- Functions
---------------------------------------------------------------------------

CREATE FUNCTION jdy_check(server name)
RETURNS TABLE (step text, ok boolean, detail text)
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_check(name) IS
'tries a server step by step: name, TLS, clock, signature, token, account, calls left, licence; stops at the first step that fails';

CREATE FUNCTION jdy_add_stream(name text, server name, metadata jsonb DEFAULT NULL,
	schedule text DEFAULT NULL, start_from timestamptz DEFAULT NULL, detail boolean DEFAULT NULL,
	decrypt boolean DEFAULT true, settle interval DEFAULT '5 min', overlap interval DEFAULT '10 min',
	entry text DEFAULT NULL)
RETURNS regclass AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_add_stream(text, name, jsonb, text, timestamptz, boolean, boolean, interval, interval, text) IS
'registers a stream and creates jdysync.staging_<name>, owned by the caller; without metadata the catalogue entry `entry`, else the one called like the stream; schedule: an interval, which begins now, or cron by the server''s time_zone; NULL = it runs only by hand';

CREATE FUNCTION jdy_alter_stream(name text, server name DEFAULT NULL, metadata jsonb DEFAULT NULL,
	schedule text DEFAULT NULL, start_from timestamptz DEFAULT NULL, detail boolean DEFAULT NULL,
	decrypt boolean DEFAULT NULL, settle interval DEFAULT NULL, overlap interval DEFAULT NULL,
	entry text DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_alter_stream(text, name, jsonb, text, timestamptz, boolean, boolean, interval, interval, text) IS
'changes a stream; NULL = unchanged; a changed filter opens a new coverage epoch: the next run loads the whole list again';

CREATE FUNCTION jdy_drop_stream(name text, keep_data boolean DEFAULT true)
RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_drop_stream(text, boolean) IS
'forgets a stream; its staging table stays unless keep_data is false, and is adopted when the name is added again';

CREATE FUNCTION jdy_sync(stream text DEFAULT NULL, mode text DEFAULT 'auto')
RETURNS TABLE (run_id bigint, stream text, status text, listed bigint, details bigint, inserted bigint,
	updated bigint, unchanged bigint, deleted bigint, rejected bigint, calls bigint, retries bigint,
	elapsed interval, error text)
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_sync(text, text) IS
'runs one stream, or every enabled one, now in a background worker and waits; mode auto | full (whole list and every detail) | verify (jdy_certificates says what came of it) | audit (jdy_audits does); raises the run''s error when a stream is named';

CREATE FUNCTION jdy_resync(stream text, from_time timestamptz, to_time timestamptz)
RETURNS TABLE (run_id bigint, stream text, status text, listed bigint, details bigint, inserted bigint,
	updated bigint, unchanged bigint, deleted bigint, rejected bigint, calls bigint, retries bigint,
	elapsed interval, error text)
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_resync(text, timestamptz, timestamptz) IS
'reads everything modified in a range again, every detail included, and closes gaps of the ledger in it';

CREATE FUNCTION jdy_start(name text, mode text DEFAULT 'auto')
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_start(text, text) IS
'queues a run of a stream or push and returns its run_id; it starts when the transaction commits; mode as for jdy_sync';

CREATE FUNCTION jdy_cancel(run_id bigint)
RETURNS boolean AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_cancel(bigint) IS
'stops a queued or running run; false when it is over already; what was landed stays and the next run goes on from there';

CREATE FUNCTION jdy_accept_deletes(stream text)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_accept_deletes(text) IS
'lets go the deletes that are held because so many records were gone at once (incident "mass delete"): the next run marks those that are proven; returns how many were held';

CREATE FUNCTION jdy_add_push(name text, server name, source regclass, metadata jsonb, schedule text DEFAULT NULL,
	batch_rows integer DEFAULT 100, batch_bytes integer DEFAULT 1048576, baseline boolean DEFAULT false)
RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_add_push(text, name, regclass, jsonb, text, integer, integer, boolean) IS
'registers a push of a view or table with a column id; payload: as metadata''s request says, else its column payload (jsonb), else the whole row; baseline: what is there now counts as delivered; schedule as for a stream, after a stream of the same schedule whose table it reads; to Kingdee: what has no id there is looked up by its number first, unless metadata says "lookup": false';

CREATE FUNCTION jdy_alter_push(name text, server name DEFAULT NULL, source regclass DEFAULT NULL, metadata jsonb DEFAULT NULL,
	schedule text DEFAULT NULL, batch_rows integer DEFAULT NULL, batch_bytes integer DEFAULT NULL)
RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_alter_push(text, name, regclass, jsonb, text, integer, integer) IS
'changes a push; NULL = unchanged; records whose payload differs from what was acknowledged are sent again, and all of them to another server';

CREATE FUNCTION jdy_drop_push(name text)
RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_drop_push(text) IS 'forgets a push and what it delivered';

CREATE FUNCTION jdy_push(name text DEFAULT NULL)
RETURNS TABLE (run_id bigint, push text, status text, pending bigint, delivered bigint, verified bigint, failed bigint,
	dead bigint, calls bigint, retries bigint, elapsed interval, error text)
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_push(text) IS
'runs one push, or every enabled one, now in a background worker and waits; raises the run''s error when a push is named; a target that is away is tried at any time by a push that is named, by the others after a pause';

CREATE FUNCTION jdy_preview(push text, n integer DEFAULT 10)
RETURNS TABLE (method text, url text, headers text, body text)
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_preview(text, integer) IS 'the first n requests that a run would make, not sent; secrets masked';

CREATE FUNCTION jdy_replay(push text, ids text[] DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_replay(text, text[]) IS
'dead letters (all, or these) are sent again by the next run, under a new key; returns how many';

CREATE FUNCTION jdy_discard(push text, ids text[], reason text)
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_discard(text, text[], text) IS
'closes dead letters for good, with a reason; a record whose content changes later is sent all the same; returns how many';

CREATE FUNCTION jdy_pause(name text)
RETURNS boolean AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_pause(text) IS
'a stream or push does not run by itself any more, nor with all others, until jdy_resume; an open run goes on; false when it was paused already';

CREATE FUNCTION jdy_resume(name text, force boolean DEFAULT false)
RETURNS boolean AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_resume(text, boolean) IS
'ends jdy_pause; force: lets a push go once that is held because too many records changed, or are gone, at once; true when that changed something';

CREATE FUNCTION jdy_grant(name text, role regrole, privilege text)
RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_grant(text, regrole, text) IS
'lets a role besides the owner''s members read a stream or push (SELECT on its table or source and the views it came with, its lines of the views jdy_…, but no raw bytes and no bodies of requests), run it (sync or push, start, cancel, pause, resume; its runs are made with its owner''s rights), or none of both: that takes back what was granted';

CREATE FUNCTION jdy_adopt()
RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_adopt() IS
'lets a restored or copied database act, in which nothing runs until then; only when the original does not act any more; how many streams and pushes it has, 0 when it was no copy';

CREATE FUNCTION jdy_fetch(server name, path text, params jsonb DEFAULT '{}', method text DEFAULT 'GET',
	body jsonb DEFAULT NULL)
RETURNS jsonb AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdy_fetch(name, text, jsonb, text, jsonb) IS
'one authenticated call, for a look around; only GET is ever tried again; the reply as jsonb, whatever its errcode';

CREATE FUNCTION jdy_decrypt(server name, value text)
RETURNS text AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_decrypt(name, text) IS
'one sensitive field with the client secret of the caller''s mapping; a value that is not ciphertext comes back as it is';

CREATE FUNCTION jdy_render(template jsonb, record jsonb)
RETURNS jsonb AS 'MODULE_PATHNAME' LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION jdy_render(jsonb, jsonb) IS
'fills {{path}} templates inside any JSON from a record: a string that is one path keeps the type of what it finds, other text stays text; filters datetime and timestamp_ms, times without zone in Asia/Shanghai whatever TimeZone is';

CREATE FUNCTION jdy_create_view(view text, stream text, mapping jsonb)
RETURNS regclass AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_create_view(text, text, jsonb) IS
'compiles a mapping to a plain SQL view over a stream''s staging table, made with the caller''s rights; columns in the order of jsonb, id first; $where, $flat and $deleted are no columns; a view that it made and nobody changed is replaced';

CREATE FUNCTION jdy_trace(stream text, id text)
RETURNS TABLE (at timestamptz, what text, detail jsonb)
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_trace(text, text) IS
'a record''s whole life as far as it is kept, by time: modified, listed, detail calls, written, set aside, and what views and pushes over the stream make of it; of a push, where the record stands toward it; no call is made and nothing is written';

CREATE FUNCTION jdy_explain(stream text)
RETURNS SETOF text AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION jdy_explain(text) IS
'what a stream or push will ask, how many calls and minutes that takes, what proves it and what waits; also of a catalogue entry that is no stream yet; no call is made and nothing is written';

CREATE FUNCTION jdysync.progress()
RETURNS TABLE (run_id bigint, stream_id integer, pid integer, phase text, percent integer, eta timestamptz, waiting_for text,
	waiting_until timestamptz, listed bigint, list_total bigint, pages bigint, window_from timestamptz, window_to timestamptz,
	details bigint, details_due bigint, inserted bigint, updated bigint, unchanged bigint, rejected bigint,
	pending bigint, delivered bigint, dead bigint, calls bigint, retries bigint, calls_left integer, started_at timestamptz, updated_at timestamptz)
AS 'MODULE_PATHNAME', 'jdy_progress_rows' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdysync.progress() IS 'open runs of this database that the caller may see, from shared memory; read it through the view jdy_progress';

CREATE FUNCTION jdysync.budgets()
RETURNS TABLE (server_id oid, role oid, "limit" integer, calls integer, "left" integer, rate_window interval, paused_until timestamptz)
AS 'MODULE_PATHNAME', 'jdy_budget_rows' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION jdysync.budgets() IS 'call budgets of this database that the caller may see, from shared memory; read it through the view jdy_budgets';

REVOKE ALL ON FUNCTION
	jdy_check(name),
	jdy_add_stream(text, name, jsonb, text, timestamptz, boolean, boolean, interval, interval, text),
	jdy_alter_stream(text, name, jsonb, text, timestamptz, boolean, boolean, interval, interval, text),
	jdy_drop_stream(text, boolean),
	jdy_sync(text, text),
	jdy_resync(text, timestamptz, timestamptz),
	jdy_start(text, text),
	jdy_cancel(bigint),
	jdy_accept_deletes(text),
	jdy_add_push(text, name, regclass, jsonb, text, integer, integer, boolean),
	jdy_alter_push(text, name, regclass, jsonb, text, integer, integer),
	jdy_drop_push(text),
	jdy_push(text),
	jdy_preview(text, integer),
	jdy_replay(text, text[]),
	jdy_discard(text, text[], text),
	jdy_pause(text),
	jdy_resume(text, boolean),
	jdy_grant(text, regrole, text),
	jdy_adopt(),
	jdy_fetch(name, text, jsonb, text, jsonb),
	jdy_decrypt(name, text),
	jdy_render(jsonb, jsonb),
	jdy_create_view(text, text, jsonb),
	jdy_trace(text, text),
	jdy_explain(text),
	jdysync.progress(),	/* readers of jdy_progress need it, too: it shows nobody more than the view does */
	jdysync.budgets()	/* so do readers of jdy_budgets */
FROM PUBLIC;

---------------------------------------------------------------------------
-- Functions that _function expressions may use besides pg_catalog's
---------------------------------------------------------------------------

CREATE SCHEMA jdysync_shim;
REVOKE ALL ON SCHEMA jdysync_shim FROM PUBLIC;
COMMENT ON SCHEMA jdysync_shim IS
'MySQL-flavoured functions that _function expressions of pasted metadata use';

CREATE FUNCTION jdysync_shim.from_unixtime(seconds numeric, format text DEFAULT '%Y-%m-%d %H:%i:%s')
RETURNS text AS 'MODULE_PATHNAME', 'jdy_from_unixtime' LANGUAGE C STRICT STABLE;
COMMENT ON FUNCTION jdysync_shim.from_unixtime(numeric, text) IS
'seconds since 1970 as text in the session''s time zone; MySQL format letters';

CREATE FUNCTION jdysync_shim.unix_timestamp(at timestamptz DEFAULT pg_catalog.now())
RETURNS bigint AS $$ SELECT pg_catalog.floor(pg_catalog.date_part('epoch', at))::bigint $$ LANGUAGE sql STABLE STRICT;
COMMENT ON FUNCTION jdysync_shim.unix_timestamp(timestamptz) IS 'seconds since 1970';

CREATE FUNCTION jdysync_shim.ifnull(value anycompatible, otherwise anycompatible)
RETURNS anycompatible AS $$ SELECT coalesce(value, otherwise) $$ LANGUAGE sql IMMUTABLE;
COMMENT ON FUNCTION jdysync_shim.ifnull(anycompatible, anycompatible) IS 'the first argument unless it is NULL';

CREATE FUNCTION jdysync_shim.locate(needle text, haystack text)
RETURNS integer AS $$ SELECT pg_catalog.strpos(haystack, needle) $$ LANGUAGE sql IMMUTABLE STRICT;
COMMENT ON FUNCTION jdysync_shim.locate(text, text) IS 'position of the first argument in the second, from 1; 0 = not there';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA jdysync_shim FROM PUBLIC;

---------------------------------------------------------------------------
-- Views
---------------------------------------------------------------------------

/*
 * Who may see a stream: members of its staging table's owner, and whom jdy_grant lets read it, but for
 * raw bytes and bodies; jdysync.subject says so for all views.  pg_monitor sees
 * health (runs, coverage, incidents, progress) without contents (calls, rejects, texts of errors, ids of
 * records).
 *
 * Nothing in the schema chosen at CREATE EXTENSION may slip into what these
 * views call: operators and functions of ours must be PostgreSQL's even where
 * somebody planted better matches there.
 */

SET LOCAL search_path TO pg_catalog, pg_temp;

/*
 * A dropped table leaves its oid behind, which a restored dump may find to be another
 * relation's: then its owner would become the owner of a stream that is none of his.
 */
CREATE VIEW jdysync.subject AS
SELECT k.stream_id, k.name, k.server, k.enabled, k.loaded, k.relation, k.owner, k.is_push,
	CASE WHEN k.owner IS NOT NULL THEN format('server %I of %I', k.server, pg_catalog.pg_get_userbyid(k.owner)) END AS mapping,
	pg_catalog.pg_has_role(COALESCE(k.owner, 10::oid), 'USAGE') AS own,
	pg_catalog.pg_has_role(COALESCE(k.owner, 10::oid), 'USAGE')
		OR g.oid IS NOT NULL AND pg_catalog.has_column_privilege(g.oid, 'read', 'REFERENCES') AS may_read
FROM (
	SELECT s.stream_id, s.name, s.server, s.enabled, s.loaded_at IS NOT NULL AS loaded, s.staging AS relation, c.relowner AS owner,
		false AS is_push
	FROM jdysync.stream s LEFT JOIN pg_catalog.pg_class c ON c.oid = s.staging AND EXISTS (
		SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'row_digest' AND NOT a.attisdropped)
	UNION ALL
	SELECT p.push_id, p.name, p.server, p.enabled, true, p.source, c.relowner, true
	FROM jdysync.push p LEFT JOIN pg_catalog.pg_class c ON c.oid = p.source) AS k
LEFT JOIN pg_catalog.pg_class g ON g.relnamespace = 'jdysync'::pg_catalog.regnamespace AND g.relname = ('grants_' || k.name)::name
	AND g.relkind = 'v' AND g.relowner = k.owner;
COMMENT ON VIEW jdysync.subject IS 'what runs are of: streams and pushes, with their owners';
COMMENT ON COLUMN jdysync.subject.stream_id IS 'number of the stream or push';
COMMENT ON COLUMN jdysync.subject.name IS 'its name';
COMMENT ON COLUMN jdysync.subject.server IS 'foreign server it calls';
COMMENT ON COLUMN jdysync.subject.enabled IS 'runs with jdy_sync() or jdy_push() without a name';
COMMENT ON COLUMN jdysync.subject.loaded IS 'its first load is over';
COMMENT ON COLUMN jdysync.subject.relation IS 'staging table, or source of the push';
COMMENT ON COLUMN jdysync.subject.owner IS 'owner of that; NULL = it is gone';
COMMENT ON COLUMN jdysync.subject.is_push IS 'a push';
COMMENT ON COLUMN jdysync.subject.own IS 'the current role is a member of its owner; of what has none, a superuser';
COMMENT ON COLUMN jdysync.subject.may_read IS 'or was granted that with jdy_grant';
COMMENT ON COLUMN jdysync.subject.mapping IS 'its server and its owner, whose user mapping it calls with: name of the incidents of these calls';

CREATE VIEW jdysync.at_work AS
SELECT k.objid AS stream_id
FROM pg_catalog.pg_locks k
WHERE k.locktype = 'object' AND k.granted AND k.classid = 'jdysync.stream'::pg_catalog.regclass
	AND k.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());
COMMENT ON VIEW jdysync.at_work IS 'streams and pushes whose runner lives: it holds the lock on their row objects';
COMMENT ON COLUMN jdysync.at_work.stream_id IS 'number of the stream or push';

/*
 * The last runs are what is mostly asked for.  Neither an ORDER BY nor a LIMIT outside of a view like this
 * one is known to those who plan it, so it is in that order itself: by the key, a run at a time, and who may
 * see what is looked up once and not joined.
 */
CREATE VIEW @extschema@.jdy_runs WITH (security_barrier) AS
WITH seen AS MATERIALIZED (SELECT s.stream_id, s.may_read FROM jdysync.subject s)
SELECT r.run_id, r.name, r.kind,
	CASE WHEN r.status = 'running' AND NOT pg_catalog.pg_is_in_recovery()
			AND r.stream_id::oid NOT IN (SELECT w.stream_id FROM jdysync.at_work w)
		THEN 'interrupted' ELSE r.status END AS status,
	r.started_at, r.finished_at, r.mode, r.listed, r.details, r.inserted, r.updated, r.unchanged, r.deleted,
	r.rejected, r.pending, r.delivered, r.verified, r.failed, r.dead, r.calls, r.retries, r.finished_at - r.started_at AS elapsed, r.sqlstate,
	/* what a trigger or a cast of the owner's says may quote the record it failed on */
	CASE WHEN o.may_read THEN r.error END AS error,
	CASE WHEN o.may_read THEN r.detail END AS detail,
	CASE WHEN o.may_read THEN r.hint END AS hint
FROM jdysync.run r
CROSS JOIN LATERAL (SELECT CASE WHEN r.stream_id IN (SELECT s.stream_id FROM seen s WHERE s.may_read IS NOT NULL)
		THEN r.stream_id IN (SELECT s.stream_id FROM seen s WHERE s.may_read)
	ELSE (SELECT pg_catalog.pg_has_role(10::oid, 'USAGE')) END AS may_read) o
WHERE o.may_read OR (SELECT pg_catalog.pg_has_role('pg_monitor', 'USAGE'))
ORDER BY r.run_id DESC;
COMMENT ON VIEW @extschema@.jdy_runs IS 'executions of streams and pushes, with what each did and why it ended as it did';

CREATE VIEW @extschema@.jdy_calls WITH (security_barrier) AS
SELECT k.run_id, k.at, k.method, k.url, k.attempt, k.http_status, k.errcode, k.ms, k.bytes, k.error, k.id
FROM jdysync.call k
JOIN jdysync.run r USING (run_id)
LEFT JOIN jdysync.subject s USING (stream_id)
WHERE COALESCE(s.may_read, pg_catalog.pg_has_role(10::oid, 'USAGE'));
COMMENT ON VIEW @extschema@.jdy_calls IS 'HTTP attempts of runs (jdysync.log_calls says which are kept); http_status NULL = no reply; ms = milliseconds';

CREATE VIEW @extschema@.jdy_rejects WITH (security_barrier) AS
SELECT j.reject_id, s.name, j.id, j.reason, j.at, j.run_id, CASE WHEN s.own THEN j.raw END AS raw
FROM jdysync.reject j
JOIN jdysync.subject s USING (stream_id)
WHERE s.may_read;
COMMENT ON VIEW @extschema@.jdy_rejects IS 'input set aside because PostgreSQL cannot hold it; raw = its bytes as they came';

CREATE VIEW @extschema@.jdy_incidents WITH (security_barrier) AS
SELECT i.id, i.opened_at, i.closed_at, i.severity, i.name, i.what, i.advice, CASE WHEN a.may_read THEN i.detail END AS detail
FROM jdysync.incident i
CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(10::oid, 'USAGE') OR i.name = '(this database)' OR i.name IN (
	SELECT u.name FROM jdysync.subject s CROSS JOIN LATERAL (VALUES (s.name), (format('server %I', s.server)), (s.mapping)) AS u (name)
	WHERE s.may_read) AS may_read) a
WHERE a.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_incidents IS 'what a person should know and do; closed_at NULL = it is still so';

CREATE VIEW jdysync.breach AS
SELECT c.stream_id, bool_or(c.question = 'filter' AND c.answer <> 'honoured') AS filter_useless,
	string_agg(CASE
		WHEN c.question = 'filter' AND c.answer = 'ignored' THEN 'the service ignores the time filter, so only certificates prove anything'
		WHEN c.question = 'filter' AND c.answer = 'shows nothing' THEN 'the time filter shows nothing of what is there, so only certificates prove anything'
		WHEN c.question = 'count' AND c.answer = 'none' THEN 'the service does not count this list, so there is no certificate'
		WHEN c.question = 'count' AND c.answer = 'does not add up' THEN 'the service''s count does not add up, so there is no certificate'
		WHEN c.question = 'count' AND c.answer = 'unknown' THEN 'whether the service''s count adds up is not known, so there is no certificate'
		WHEN c.question = 'order' AND c.answer = 'unstable' AND NOT EXISTS (SELECT FROM jdysync.contract f
			WHERE f.stream_id = c.stream_id AND f.question = 'filter' AND f.answer = 'honoured')
			THEN 'the list has no stable order and cannot be read by modify time, so records may be missing'
		END, '; ' ORDER BY c.question DESC) AS uncertified
FROM jdysync.contract c
WHERE c.question IN ('filter', 'count', 'order')
GROUP BY c.stream_id;
COMMENT ON VIEW jdysync.breach IS 'streams whose service does not answer as proofs need it';
COMMENT ON COLUMN jdysync.breach.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.breach.filter_useless IS 'its windows prove nothing';
COMMENT ON COLUMN jdysync.breach.uncertified IS 'what cannot be proven, and why; NULL = nothing is wrong';

/*
 * One look into an index for each thing that is asked: millions of runs and deliveries
 * must not slow down who only wants to know whether all is well.
 */
CREATE VIEW @extschema@.jdy_status WITH (security_barrier) AS
WITH clock AS MATERIALIZED (SELECT now() + COALESCE(pg_catalog.current_setting('jdysync.clock_offset', true), '0')::interval AS now),
at_work AS MATERIALIZED (SELECT w.stream_id FROM jdysync.at_work w),
home AS MATERIALIZED (SELECT NOT EXISTS (SELECT FROM jdysync.home h WHERE h.cluster <> c.system_identifier OR h.database <> d.oid OR h.extension <> e.oid) AS is_here
	FROM pg_catalog.pg_control_system() c, pg_catalog.pg_database d, pg_catalog.pg_extension e
	WHERE d.datname = pg_catalog.current_database() AND e.extname = 'jdysync')
SELECT s.name, CASE WHEN s.is_push THEN 'push' ELSE 'pull' END AS kind, v.status,
	date_trunc('second', CASE WHEN t.listed_until IS NULL THEN c.now ELSE now() END - COALESCE(t.listed_until, o.started_at)) AS lag,
	v.status || COALESCE(': ' || NULLIF(concat_ws('; ',
		CASE v.status
			WHEN 'paused' THEN CASE WHEN s.enabled THEN 'jdysync.enabled is off' ELSE 'runs only when it is named' END
			WHEN 'held' THEN CASE WHEN NOT (SELECT is_here FROM home) THEN 'this database is a copy' ELSE rtrim(h.detail, '.') END
			WHEN 'late' THEN CASE WHEN g.first_due_at = g.due_at THEN 'due since ' ELSE 'the second schedule is due since ' END || m.due
			WHEN 'failing' THEN CASE
				WHEN s.owner IS NULL THEN CASE WHEN s.is_push THEN 'its source is gone' ELSE 'its staging table is gone' END
				WHEN b.server IS NOT NULL THEN format('the target has not answered since %s (%s), %s', m.since, b.problem,
					CASE WHEN b.next_try > now() THEN 'next try ' || m.next_try ELSE 'next try with the next run' END)
				/* what a trigger or a cast of the owner's says may quote the record it failed on */
				WHEN s.may_read THEN concat_ws(': ', COALESCE(f.error, 'the process of its run died'), "left"(rtrim(f.detail, '.'), 200))
				ELSE concat('run ', f.run_id, ' failed') || COALESCE(' with SQLSTATE ' || f.sqlstate, '') END
			END,
		CASE WHEN v.status = 'held' THEN CASE WHEN NOT (SELECT is_here FROM home) THEN 'SELECT jdy_adopt() when the original does not run any more'
			WHEN p.released THEN 'jdy_resume was called, the next run lets it go'
			ELSE format('jdy_resume(%L, force => true)', s.name) END END,
		CASE WHEN v.status = 'failing' AND b.server IS NULL AND g.next_at > c.now THEN 'next try ' || m.next_run END,
		CASE WHEN v.status IN ('failing', 'late') THEN COALESCE('last ok ' || m.last_ok || m.ago, 'never ok so far') END,
		CASE WHEN d.n > 1000 THEN 'more than 1000 dead letters, see jdy_deliveries'
			WHEN d.n > 0 THEN d.n || CASE d.n WHEN 1 THEN ' dead letter' ELSE ' dead letters' END || ', see jdy_deliveries' END,
		CASE WHEN j.n > 1000 THEN 'more than 1000 rows set aside, see jdy_rejects'
			WHEN j.n > 0 THEN j.n || CASE j.n WHEN 1 THEN ' row' ELSE ' rows' END || ' set aside, see jdy_rejects' END,
		CASE WHEN i.n > 0 THEN i.n || CASE i.n WHEN 1 THEN ' incident' ELSE ' incidents' END || ', see jdy_incidents' END,
		CASE WHEN g.next_at IS NOT NULL AND t.loaded_at < now() - interval '26 hours' AND NOT EXISTS (SELECT FROM jdysync.certificate c
				WHERE c.stream_id = s.stream_id AND c.epoch = t.epoch AND c.proven AND c.at > now() - interval '26 hours')
			THEN COALESCE('last certificate ' || (SELECT date_trunc('hour', now() - max(c.at)) FROM jdysync.certificate c
				WHERE c.stream_id = s.stream_id AND c.epoch = t.epoch AND c.proven) || ' ago', 'no certificate so far') || ', see jdy_certificates' END,
		(SELECT 'uncertified: ' || w.uncertified || ', see jdy_contract' FROM jdysync.breach w WHERE w.stream_id = s.stream_id AND NOT s.is_push),
		CASE WHEN n.started_at IS NOT NULL THEN 'a run goes on since ' || m.running || ', see jdy_progress'
			WHEN EXISTS (SELECT FROM jdysync.run r WHERE r.stream_id = s.stream_id AND r.status = 'queued') THEN 'a run is queued' END), ''), '') AS why,
	g.next_at::timestamptz(0) AS next_run,
	CASE WHEN f.run_id > o.run_id OR o.run_id IS NULL THEN COALESCE(f.finished_at, f.started_at) ELSE o.finished_at END::timestamptz(0) AS last_run,
	GREATEST(o.run_id, f.run_id) AS last_run_id
FROM jdysync.subject s
CROSS JOIN clock c
LEFT JOIN jdysync.stream t ON t.stream_id = s.stream_id
LEFT JOIN jdysync.push p ON p.push_id = s.stream_id
LEFT JOIN jdysync.breaker b ON s.is_push AND b.server = s.server::text AND b.next_try IS NOT NULL
LEFT JOIN jdysync.incident h ON h.name = s.name AND h.what = 'push held' AND h.closed_at IS NULL
CROSS JOIN LATERAL (
	SELECT min(y.due_at) AS due_at, min(y.next_at) AS next_at, min(y.due_at) FILTER (WHERE NOT y.remedy) AS first_due_at
	FROM jdysync.agenda y WHERE y.subject_id = s.stream_id) g
LEFT JOIN LATERAL (
	/* not by the primary key: for a stream that rests that would read all runs since */
	SELECT r.* FROM (SELECT k.run_id, k.stream_id, k.status, k.started_at, k.finished_at FROM jdysync.run k
		WHERE (k.stream_id, k.status, k.run_id) <= (s.stream_id, 'ok'::text, 9223372036854775807)
		ORDER BY k.stream_id DESC, k.status DESC, k.run_id DESC LIMIT 1) r
	WHERE r.stream_id = s.stream_id AND r.status = 'ok') o ON true
LEFT JOIN LATERAL (
	SELECT r.run_id, r.started_at FROM jdysync.run r
	WHERE r.stream_id = s.stream_id AND r.status = 'running' ORDER BY r.run_id DESC LIMIT 1) u ON true
LEFT JOIN LATERAL (SELECT u.started_at WHERE u.run_id IS NOT NULL
	AND (pg_catalog.pg_is_in_recovery() OR EXISTS (SELECT FROM at_work w WHERE w.stream_id = s.stream_id::oid))) n ON true
LEFT JOIN LATERAL (
	SELECT k.* FROM (
		(SELECT r.run_id, r.started_at, r.finished_at, r.sqlstate, r.error, r.detail FROM jdysync.run r
		WHERE r.stream_id = s.stream_id AND r.status = 'failed' ORDER BY r.run_id DESC LIMIT 1)
		UNION ALL
		(SELECT r.run_id, r.started_at, r.finished_at, r.sqlstate, r.error, r.detail FROM jdysync.run r
		WHERE r.stream_id = s.stream_id AND r.status = 'interrupted' ORDER BY r.run_id DESC LIMIT 1)
		UNION ALL
		SELECT u.run_id, u.started_at, NULL, NULL, NULL, NULL WHERE u.run_id IS NOT NULL AND n.started_at IS NULL) k
	ORDER BY k.run_id DESC LIMIT 1) f ON true
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
	SELECT FROM jdysync.delivery d WHERE d.push_id = s.stream_id AND d.status = 'dead' AND d.discarded IS NULL LIMIT 1001) l) d
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
	SELECT FROM jdysync.reject j WHERE j.stream_id = s.stream_id AND j.next_try IS NOT NULL LIMIT 1001) l) j
CROSS JOIN LATERAL (SELECT count(*) AS n FROM jdysync.incident i	/* those that the line does not tell as it is */
	WHERE i.name IN (s.name, s.mapping) AND i.closed_at IS NULL AND i.severity <> 'info'
		AND i.what NOT IN ('failing', 'authorisation refused', 'late', 'push held', 'dead letters', 'rows set aside')) i
CROSS JOIN LATERAL (SELECT CASE
	WHEN NOT s.enabled OR pg_catalog.current_setting('jdysync.enabled', true) = 'off' THEN 'paused'
	WHEN s.owner IS NULL THEN 'failing'
	WHEN NOT (SELECT is_here FROM home) THEN 'held'
	WHEN h.id IS NOT NULL THEN 'held'
	WHEN b.server IS NOT NULL OR f.run_id > COALESCE(o.run_id, 0) THEN 'failing'
	WHEN g.due_at < c.now - interval '1 min' AND n.started_at IS NULL THEN 'late'
	WHEN o.run_id IS NULL THEN 'never ran'
	ELSE 'ok' END AS status) v
CROSS JOIN LATERAL (
	/* the day only where it is another */
	SELECT max(z.text) FILTER (WHERE z.which = 1) AS since, max(z.text) FILTER (WHERE z.which = 2) AS next_try,
		max(z.text) FILTER (WHERE z.which = 3) AS last_ok, max(z.text) FILTER (WHERE z.which = 4) AS running,
		max(z.text) FILTER (WHERE z.which = 5) AS due, max(z.text) FILTER (WHERE z.which = 6) AS next_run,
		CASE WHEN c.now - o.finished_at >= interval '2 days' THEN format(', %s days ago', div(extract(epoch FROM c.now - o.finished_at), 86400))
			WHEN c.now - o.finished_at >= interval '2 h' THEN format(', %s h ago', div(extract(epoch FROM c.now - o.finished_at), 3600))
			WHEN c.now - o.finished_at >= interval '1 min' THEN format(', %s min ago', div(extract(epoch FROM c.now - o.finished_at), 60))
			ELSE '' END AS ago
	FROM (SELECT x.which, to_char(x.at, CASE WHEN x.at::date = current_date THEN 'HH24:MI:SS' ELSE 'YYYY-MM-DD HH24:MI:SS' END) AS text
		FROM (VALUES (1, b.since), (2, b.next_try), (3, o.finished_at), (4, n.started_at), (5, g.due_at), (6, g.next_at)) AS x (which, at)) z) m
WHERE s.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_status IS 'one line a stream and push: is all well, and if not, why';

CREATE VIEW @extschema@.jdy_coverage WITH (security_barrier) AS
SELECT s.name,
	CASE WHEN s.loaded_at IS NULL OR q.oldest = '-infinity' THEN NULL
		WHEN s.watermark IS NULL OR b.filter_useless THEN g.content_until
		ELSE LEAST(s.watermark, q.oldest) END AS complete_until,
	s.listed_until,
	COALESCE(q.due, 0) AS details_due,
	COALESCE(q.set_aside, 0) + r.rejected AS set_aside,
	CASE WHEN s.coverage = '{}' OR s.start_from > upper(s.coverage) THEN '{}'
		ELSE tstzmultirange(tstzrange(s.start_from, upper(s.coverage))) - s.coverage END AS gaps,
	CASE WHEN c.may_read AND COALESCE(q.set_aside, 0) + r.rejected > 0
		THEN (q.exceptions || r.exceptions)[1:100] END AS exceptions,
	s.loaded_at, s.coverage AS windows, b.uncertified
FROM jdysync.stream s
JOIN jdysync.subject c ON c.stream_id = s.stream_id AND c.owner IS NOT NULL
LEFT JOIN jdysync.breach b ON b.stream_id = s.stream_id
LEFT JOIN LATERAL (
	SELECT min(l.due_since) FILTER (WHERE l.due AND l.problem IS NULL) AS oldest,
		count(*) FILTER (WHERE l.due AND l.problem IS NULL) AS due,
		count(*) FILTER (WHERE l.problem IS NOT NULL) AS set_aside,
		(array_agg(l.id ORDER BY l.id) FILTER (WHERE l.problem IS NOT NULL))[1:100] AS exceptions
	FROM jdysync.listing l WHERE l.stream_id = s.stream_id AND l.due) q ON true
CROSS JOIN LATERAL (
	SELECT max(e.content_until) AS content_until FROM jdysync.certificate e
	WHERE e.stream_id = s.stream_id AND e.epoch = s.epoch AND e.proven) g
CROSS JOIN LATERAL (
	/* list rows; a detail that was rejected stands in the queue */
	SELECT count(*) AS rejected, (array_agg(COALESCE(j.id, '?') ORDER BY j.id))[1:100] AS exceptions
	FROM jdysync.reject j WHERE j.stream_id = s.stream_id AND j.next_try IS NOT NULL) r
WHERE c.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_coverage IS
'how far each stream is proven: every change stamped before complete_until is in staging, but for the records named in exceptions; NULL = the first load is not over, or nothing is proven yet';

CREATE VIEW @extschema@.jdy_contract WITH (security_barrier) AS
SELECT s.name, c.question, c.answer, c.since, c.asked_at, CASE WHEN k.may_read THEN c.evidence END AS evidence
FROM jdysync.contract c
JOIN jdysync.stream s USING (stream_id)
JOIN jdysync.subject k ON k.stream_id = s.stream_id
WHERE k.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_contract IS
'how each stream''s service answers, asked at the first run and once a week: the rules that prove something follow it';

CREATE VIEW @extschema@.jdy_certificates WITH (security_barrier) AS
SELECT c.certificate_id, s.name, c.at, c.proven, c.instant, c."count", c.digest, c.calls, c.missed,
	CASE WHEN k.may_read THEN c.missed_ids END AS missed_ids, c.absent, c.why, c.run_id, c.assumptions, c.evidence
FROM jdysync.certificate c
JOIN jdysync.stream s USING (stream_id, epoch)
JOIN jdysync.subject k ON k.stream_id = s.stream_id
WHERE k.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_certificates IS
'proofs of which records each list held at an instant, and attempts that did not give one, with the reason';

CREATE VIEW @extschema@.jdy_certified WITH (security_barrier) AS
SELECT s.name, u.id
FROM jdysync.sighted g
JOIN jdysync.stream s USING (stream_id)
JOIN jdysync.subject k ON k.stream_id = s.stream_id
CROSS JOIN LATERAL unnest(g.ids) AS u (id)
WHERE g.certified AND k.may_read;
COMMENT ON VIEW @extschema@.jdy_certified IS 'the ids that each stream''s last certificate names';

CREATE VIEW @extschema@.jdy_audits WITH (security_barrier) AS
SELECT a.audit_id, s.name, a.began_at, a.ended_at, a.compared_until, a.windows, a.details, a.calls, a.found,
	CASE WHEN k.may_read THEN a.findings END AS findings, a.why, a.run_id
FROM jdysync.audit a
JOIN jdysync.stream s USING (stream_id, epoch)
JOIN jdysync.subject k ON k.stream_id = s.stream_id
WHERE k.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_audits IS
'what was read long ago, compared with what the service says of it: every modify time, and the details of some records';

CREATE VIEW @extschema@.jdy_lag WITH (security_barrier) AS
SELECT s.name, t.settle, b.up_to, l.at_most[b.n] AS changes, l.at_least[b.n] AS late, l.highest, l.highest_at, l.seconds
FROM jdysync.lag l
JOIN jdysync.stream t USING (stream_id)
JOIN jdysync.subject s USING (stream_id)
CROSS JOIN ROWS FROM (unnest(ARRAY['1 s', '2 s', '5 s', '10 s', '30 s', '1 min', '2 min', '5 min', '10 min', '30 min', '1 h', '6 h', '1 day', NULL]::interval[]))
	WITH ORDINALITY AS b (up_to, n)
WHERE s.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_lag IS 'how long after their modify times changes became visible in each stream''s list: a histogram';

CREATE VIEW @extschema@.jdy_missed WITH (security_barrier) AS
SELECT s.name, m.id, m.cause, m.later_than, m.modified_at, m.unseen_at, m.shown_at, m.found_by, m.found_at, m.run_id
FROM jdysync.missed m
JOIN jdysync.subject s USING (stream_id)
WHERE s.may_read;
COMMENT ON VIEW @extschema@.jdy_missed IS 'changes that an audit found and no window had listed, with the cause; the last 1000 of each stream';

CREATE VIEW @extschema@.jdy_progress WITH (security_barrier) AS
SELECT p.run_id, s.name, p.phase, p.percent, p.eta::timestamptz(0) AS eta,
	p.waiting_for || COALESCE(to_char(CASE WHEN p.waiting_for IN ('budget', 'Retry-After', 'back-off', 'settle') THEN p.waiting_until END,
		' "until" HH24:MI:SS'), '') AS waiting_for,
	p.listed, p.list_total, p.details, p.details_due, p.calls, p.calls_left, p.pending, p.delivered, p.dead, p.pages,
	CASE WHEN p.pages > 0 THEN tstzrange(p.window_from, p.window_to) END AS reading,
	p.inserted, p.updated, p.unchanged, p.rejected, p.retries, p.pid, p.started_at, p.updated_at
FROM jdysync.progress() p
JOIN jdysync.subject s USING (stream_id)
WHERE s.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_progress IS 'open runs as they go, before anything is committed';

CREATE VIEW @extschema@.jdy_deliveries WITH (security_barrier) AS
SELECT s.name AS push, d.id, d.status, d.version, d.attempts, d.last_error, d.http_status, d.errcode, d.changed_at, d.discarded,
	CASE WHEN s.own THEN d.request END AS request, CASE WHEN s.own THEN d.reply END AS reply, (d.refused_digest = ''::bytea OR (d.status = 'delivered' AND d.digest IS NULL)) IS TRUE AS deletion,
	(SELECT c.target_id FROM jdysync.counterpart c WHERE c.push_id = d.push_id AND c.id = d.id) AS target_id
FROM jdysync.delivery d
JOIN jdysync.subject s ON s.stream_id = d.push_id
WHERE s.may_read
	AND NOT EXISTS (SELECT FROM jdysync.batch b CROSS JOIN LATERAL unnest(b.ids) AS o (id) WHERE b.push_id = d.push_id AND o.id = d.id)
UNION ALL
SELECT s.name, u.id, 'delivered', 1, 0, NULL, NULL, NULL, g.delivered_at, NULL, NULL, NULL, false,
	(SELECT c.target_id FROM jdysync.counterpart c WHERE c.push_id = g.push_id AND c.id = u.id)
FROM jdysync.delivered g
JOIN jdysync.subject s ON s.stream_id = g.push_id
CROSS JOIN LATERAL unnest(g.ids) AS u (id)
WHERE s.may_read
	AND NOT EXISTS (SELECT FROM jdysync.delivery d WHERE d.push_id = g.push_id AND d.id = u.id)
	AND NOT EXISTS (SELECT FROM jdysync.batch b CROSS JOIN LATERAL unnest(b.ids) AS o (id) WHERE b.push_id = g.push_id AND o.id = u.id)
UNION ALL
SELECT s.name, u.id, b.status, u.version, b.attempts, b.last_error, b.http_status, NULL, b.sent_at, NULL, CASE WHEN s.own THEN b.body END, NULL, b.digests = '',
	(SELECT c.target_id FROM jdysync.counterpart c WHERE c.push_id = b.push_id AND c.id = u.id)
FROM jdysync.batch b
JOIN jdysync.subject s ON s.stream_id = b.push_id
CROSS JOIN LATERAL unnest(b.ids, b.versions) AS u (id, version)
WHERE s.may_read;
COMMENT ON VIEW @extschema@.jdy_deliveries IS
'where each record stands toward each push; records that were never sent are not here: jdy_preview shows what is pending';

/*
 * The numbers of jdy_status, for machines.  Counts stop at 10,000, so that a scrape every
 * few seconds costs the same whatever waits; of what is due by a load none is complete, so
 * only many changes at once are ever read to the end.
 */
CREATE VIEW @extschema@.jdy_health WITH (security_barrier) AS
SELECT h.name, h.kind, h.status, o.finished_at AS last_ok, h.lag, h.next_run, h.last_run_id, r.finished_at - r.started_at AS last_elapsed,
	CASE WHEN s.is_push THEN r.delivered ELSE r.inserted + r.updated END + r.deleted AS last_records, r.calls AS last_calls,
	LEAST(q.due, 10000) AS details_due, LEAST(q.set_aside + j.n, 10000) AS set_aside,
	LEAST(d.pending, 10000) AS pending, COALESCE(b.sent, 0) AS sent, COALESCE(b.in_doubt, 0) AS in_doubt, LEAST(d.dead, 10000) AS dead,
	t.listed_until,
	CASE WHEN t.loaded_at IS NULL OR q.oldest = '-infinity'
			OR EXISTS (SELECT FROM jdysync.contract c WHERE c.stream_id = t.stream_id AND c.question = 'filter' AND c.answer <> 'honoured') THEN NULL
		WHEN q.due + q.set_aside <= 10000 THEN LEAST(t.watermark, q.oldest)
		ELSE LEAST(t.watermark, NULLIF((SELECT min(l.due_since) FROM jdysync.listing l
			WHERE l.stream_id = t.stream_id AND l.due AND l.problem IS NULL), '-infinity')) END AS complete_until,
	(SELECT count(*) FROM unnest(CASE WHEN t.coverage = '{}' OR t.start_from > upper(t.coverage) THEN '{}'
		ELSE tstzmultirange(tstzrange(t.start_from, upper(t.coverage))) - t.coverage END)) AS gaps,
	(SELECT c.instant FROM jdysync.certificate c
		WHERE c.stream_id = t.stream_id AND c.epoch = t.epoch AND c.proven ORDER BY c.certificate_id DESC LIMIT 1) AS certified,
	(SELECT a.ended_at FROM jdysync.audit a
		WHERE a.stream_id = t.stream_id AND a.epoch = t.epoch AND a.ended_at IS NOT NULL ORDER BY a.audit_id DESC LIMIT 1) AS audited
FROM @extschema@.jdy_status h
JOIN jdysync.subject s ON s.name = h.name
LEFT JOIN jdysync.stream t ON t.stream_id = s.stream_id
LEFT JOIN jdysync.run r ON r.run_id = h.last_run_id
LEFT JOIN LATERAL (
	SELECT k.finished_at FROM jdysync.run k
	WHERE k.stream_id = s.stream_id AND k.status = 'ok' ORDER BY k.run_id DESC LIMIT 1) o ON true
CROSS JOIN LATERAL (
	SELECT count(*) FILTER (WHERE l.problem IS NULL) AS due, count(l.problem) AS set_aside,
		min(l.due_since) FILTER (WHERE l.problem IS NULL) AS oldest
	FROM (
		(SELECT w.problem, w.due_since FROM jdysync.listing w WHERE w.stream_id = s.stream_id AND w.due AND w.due_from > '-infinity' LIMIT 10001)
		UNION ALL
		(SELECT w.problem, w.due_since FROM jdysync.listing w WHERE w.stream_id = s.stream_id AND w.due AND w.due_from = '-infinity' LIMIT 10001)) l) q
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
	SELECT FROM jdysync.reject j WHERE j.stream_id = s.stream_id AND j.next_try IS NOT NULL LIMIT 10001) l) j
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE l.status = 'pending') AS pending, count(*) FILTER (WHERE l.status = 'dead') AS dead FROM (
	SELECT d.status FROM jdysync.delivery d
	WHERE d.push_id = s.stream_id AND d.status <> 'delivered' AND d.discarded IS NULL LIMIT 10001) l) d
CROSS JOIN LATERAL (SELECT sum(cardinality(b.ids)) FILTER (WHERE b.status = 'sent') AS sent,
	sum(cardinality(b.ids)) FILTER (WHERE b.status = 'in_doubt') AS in_doubt
	FROM jdysync.batch b WHERE b.push_id = s.stream_id) b;
COMMENT ON VIEW @extschema@.jdy_health IS 'jdy_status in numbers, for dashboards: one line a stream and push; counts stop at 10000';

CREATE VIEW @extschema@.jdy_totals WITH (security_barrier) AS
SELECT s.name, CASE WHEN s.is_push THEN 'push' ELSE 'pull' END AS kind, NULLIF(t.day, '-infinity') AS day, t.status, t.runs, t.seconds,
	t.listed, t.details, t.inserted, t.updated, t.deleted, t.rejected, t.delivered, t.dead, t.calls, t.retries
FROM jdysync.tally t
JOIN jdysync.subject s USING (stream_id)
WHERE s.may_read OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW @extschema@.jdy_totals IS 'what runs that ended did, added up by stream, status and day, for 40 days, and since the stream was added (day NULL)';

CREATE VIEW @extschema@.jdy_budgets WITH (security_barrier) AS
SELECT f.srvname AS server, r.rolname AS role, b."limit", b.calls, b."left", b.rate_window, b.paused_until
FROM jdysync.budgets() b
JOIN pg_catalog.pg_foreign_server f ON f.oid = b.server_id
JOIN pg_catalog.pg_roles r ON r.oid = b.role;
COMMENT ON VIEW @extschema@.jdy_budgets IS 'calls that servers with a limit may still make, since the server started; servers of one account share its budget, across databases';

/*
 * Incidents as messages for robots of chat groups, as payloads of a push: one when an incident opens, and, since
 * it is another content then, one when it is over.  A push never tells of itself: its own trouble would be one
 * more message that it cannot send.  What is over for a day is told no more.
 */
CREATE VIEW jdysync.alarm AS
SELECT i.id::text AS id, concat(CASE WHEN i.closed_at IS NOT NULL THEN '已恢复 over' WHEN i.severity = 'critical' THEN '严重 critical' ELSE '警告 warning' END,
		': jdysync ', i.name, ' ', t.title) AS title,
	concat_ws(E'\n\n', CASE WHEN i.closed_at IS NULL THEN '自 since ' || o.opened ELSE o.opened || ' – ' || o.closed END || ' (UTC+8), ' || pg_catalog.current_database(),
		"left"(i.detail, 500), CASE WHEN i.closed_at IS NULL THEN concat_ws(E'\n\n', t.what_to_do, "left"(i.advice, 500)) END) AS text,
	ARRAY(SELECT c.relname::text FROM jdysync.push p JOIN pg_catalog.pg_class c ON c.oid = p.source
		WHERE i.name IN (p.name, format('server %I', p.server))) AS of_pushes_from
FROM @extschema@.jdy_incidents i
LEFT JOIN (VALUES
	('failing', '运行失败 failing', '请查看 jdy_runs 中的错误原因；有计划的任务会自动重试。'),
	('authorisation refused', '授权被拒绝 authorisation refused', '请用 jdy_check 查看哪一步被拒绝：让客户管理员重新授权，或更正用户映射。'),
	('late', '任务积压 late', '请增大 jdysync.max_workers，或拉开任务的时间间隔。'),
	('held', '数据库副本，已停用 held', '确认原库不再运行后执行 SELECT jdy_adopt();'),
	('push held', '推送已暂停：变化过多 push held', '用 jdy_preview 核对；如属正常，用 jdy_resume 放行。'),
	('target away', '推送目标无响应 target away', '目标恢复后自动继续推送。'),
	('rows removed from staging', '暂存表的行被人删除，已补 rows removed from staging', '行已补回；请查明是谁删除的，不想看到的行应由视图过滤。'),
	('missed by windows', '有变更被窗口漏读，已补 missed by windows', '数据已补齐；请用 jdy_missed 查看原因。'),
	('dead letters', '有记录被目标拒绝 dead letters', '请查看 jdy_deliveries，修正后用 jdy_replay 重发，或用 jdy_discard 放弃。'),
	('rows set aside', '有数据无法入库 rows set aside', '请查看 jdy_rejects，并在源系统中修正。'),
	('licence ends', '账套授权即将到期 licence ends', '请提醒客户续费。'),
	('mass delete', '大批记录消失，未标记删除 mass delete', '请核实接口为何不再列出它们；确属删除则用 jdy_accept_deletes 放行。'),
	('missed by windows', '时间窗漏读 missed by windows', '记录已补齐，原因见 jdy_missed。'),
	('count not trusted', '计数不可信 count not trusted', '计数一致后用 jdy_resync 重读该时间段。'),
	('time filter ignored', '时间过滤无效 time filter ignored', '每次运行都在全量读取；请检查元数据中时间参数的名字。'),
	('no stable order', '列表顺序不稳定 no stable order', '请在元数据中为列表指定稳定的排序。'),
	('order not seen', '列表顺序是否稳定未知 order not seen', '请在较空闲时重新加载（jdy_sync 的 full 模式）。'),
	('sort key not known', '排序字段未知 sort key not known', '请在元数据的 number 中写明列表的排序字段。'),
	('end of the list not trusted', '列表末尾不可信 end of the list not trusted', '请向接口方询问列表最多能读到多深。'),
	('report not proven', '报表未能证明完整 report not proven', '请在较空闲时用 jdy_resync 重读这些月份。'),
	('rows removed from staging', '暂存表中的行被删 rows removed from staging', '行已补回；请查明是谁从暂存表里删除，见 jdy_audits。'),
	('contract changed', '接口行为改变 contract changed', '改变了什么见 jdy_contract。'),
	('clock went back', '接口的时钟倒退 clock went back', '按错误时间读过的内容会自动重读；经常发生请询问接口方。'),
	('no time told', '接口不报时间 no time told', '请查明是接口还是代理去掉了应答中的 Date 头。')) AS k (what, title, what_to_do) ON k.what = split_part(i.what, ': ', 1)
CROSS JOIN LATERAL (SELECT COALESCE(k.title || substr(i.what, length(k.what) + 1), i.what) AS title, k.what_to_do) t
CROSS JOIN LATERAL (SELECT to_char(i.opened_at AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI') AS opened,
	to_char(i.closed_at AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI') AS closed) o
WHERE i.severity <> 'info' AND (i.closed_at IS NULL OR i.closed_at > now() - interval '1 day');
COMMENT ON VIEW jdysync.alarm IS 'incidents in words, Chinese and English, for the views jdy_incidents_…';
COMMENT ON COLUMN jdysync.alarm.id IS 'number of the incident';
COMMENT ON COLUMN jdysync.alarm.title IS 'what is wrong, or over';
COMMENT ON COLUMN jdysync.alarm.text IS 'since when, particulars, what to do';
COMMENT ON COLUMN jdysync.alarm.of_pushes_from IS 'names of the views that pushes read which it is about';

CREATE VIEW @extschema@.jdy_incidents_dingtalk WITH (security_barrier) AS
SELECT a.id, jsonb_build_object('msgtype', 'markdown', 'markdown', jsonb_build_object('title', a.title, 'text', concat('### ', a.title, E'\n\n', a.text))) AS payload
FROM jdysync.alarm a WHERE 'jdy_incidents_dingtalk' <> ALL (a.of_pushes_from);
COMMENT ON VIEW @extschema@.jdy_incidents_dingtalk IS 'incidents as messages for a DingTalk robot: source of a push';

CREATE VIEW @extschema@.jdy_incidents_wecom WITH (security_barrier) AS
SELECT a.id, jsonb_build_object('msgtype', 'markdown', 'markdown', jsonb_build_object('content', concat('### ', a.title, E'\n\n', a.text))) AS payload
FROM jdysync.alarm a WHERE 'jdy_incidents_wecom' <> ALL (a.of_pushes_from);
COMMENT ON VIEW @extschema@.jdy_incidents_wecom IS 'incidents as messages for a WeCom robot: source of a push';

CREATE VIEW @extschema@.jdy_incidents_feishu WITH (security_barrier) AS
SELECT a.id, jsonb_build_object('msg_type', 'text', 'content', jsonb_build_object('text', concat(a.title, E'\n\n', a.text))) AS payload
FROM jdysync.alarm a WHERE 'jdy_incidents_feishu' <> ALL (a.of_pushes_from);
COMMENT ON VIEW @extschema@.jdy_incidents_feishu IS 'incidents as messages for a Feishu robot: source of a push';

CREATE VIEW @extschema@.jdy_catalog AS
SELECT c.entry, c.title, c.kind, c.api, c.id_fields, c.number_field, c.detail_api, c.start_param, c.end_param, c.window_format, c.window_off,
	c.range_param, c.range_end_params, c.range_format, c.page_param, c.size_param, c.count_type, c.required, c.fixed, c.list_secrets, c.detail_secrets
FROM jdysync.catalog c;
COMMENT ON VIEW @extschema@.jdy_catalog IS 'the lists and reports that jdy_add_stream knows by name: how each is asked';

---------------------------------------------------------------------------
-- For other programs
---------------------------------------------------------------------------

/*
 * Also valid in Prometheus' older text format, but for the counters' types: no info, no
 * state sets.  What never happened has no sample.
 */
CREATE FUNCTION @extschema@.jdy_metrics()
RETURNS text LANGUAGE sql STABLE SET jit = off
BEGIN ATOMIC
	WITH family (place, name, type, unit, help) AS (VALUES
		(1, 'jdysync_status', 'gauge', NULL, '0 ok, 1 never ran, 2 paused, 3 held, 4 late, 5 failing: as in jdy_status'),
		(2, 'jdysync_last_success_timestamp_seconds', 'gauge', 'seconds', 'When the last run that went well ended'),
		(3, 'jdysync_lag_seconds', 'gauge', 'seconds', 'How old the newest is that is surely here, or there'),
		(4, 'jdysync_next_run_timestamp_seconds', 'gauge', 'seconds', 'When the next run is due'),
		(5, 'jdysync_last_run_duration_seconds', 'gauge', 'seconds', 'Time that the last run took that ended'),
		(6, 'jdysync_last_run_records', 'gauge', NULL, 'Records that the last run wrote, or delivered'),
		(7, 'jdysync_last_run_calls', 'gauge', NULL, 'HTTP attempts of the last run'),
		(8, 'jdysync_details_due', 'gauge', NULL, 'Details still to be fetched; 10000 = at least so many'),
		(9, 'jdysync_set_aside', 'gauge', NULL, 'Records that cannot be had for now; 10000 = at least so many'),
		(10, 'jdysync_deliveries_pending', 'gauge', NULL, 'Dead letters that are sent again by the next run; 10000 = at least so many'),
		(11, 'jdysync_deliveries_sent', 'gauge', NULL, 'Records under way'),
		(12, 'jdysync_deliveries_in_doubt', 'gauge', NULL, 'Records of which no answer told whether they arrived'),
		(13, 'jdysync_deliveries_dead', 'gauge', NULL, 'Dead letters that need somebody; 10000 = at least so many'),
		(14, 'jdysync_listed_until_timestamp_seconds', 'gauge', 'seconds', 'Every change stamped before this was listed'),
		(15, 'jdysync_complete_until_timestamp_seconds', 'gauge', 'seconds', 'Every change stamped before this is in staging'),
		(16, 'jdysync_coverage_gaps', 'gauge', NULL, 'Spans of modify time that are not proven between others that are'),
		(17, 'jdysync_certified_timestamp_seconds', 'gauge', 'seconds', 'The list was certified as it stood then'),
		(18, 'jdysync_open_incidents', 'gauge', NULL, 'Incidents that are not over'),
		(19, 'jdysync_runs', 'counter', NULL, 'Runs that ended'),
		(20, 'jdysync_runs_seconds', 'counter', 'seconds', 'Time that runs took'),
		(21, 'jdysync_records', 'counter', NULL, 'Records that runs dealt with'),
		(22, 'jdysync_calls', 'counter', NULL, 'HTTP attempts of runs that ended'),
		(23, 'jdysync_calls_retried', 'counter', NULL, 'Attempts beyond each call''s first'),
		(24, 'jdysync_budget_limit', 'gauge', NULL, 'Calls that the account may make in its window'),
		(25, 'jdysync_budget_calls', 'gauge', NULL, 'Calls counted in the running window'),
		(26, 'jdysync_budget_left', 'gauge', NULL, 'Calls left in the running window'),
		(27, 'jdysync_visibility_lag_highest_seconds', 'gauge', 'seconds', 'The longest that a change was surely not visible after its modify time'),
		(29, 'jdysync_audited_timestamp_seconds', 'gauge', 'seconds', 'The last audit was done'),
		(28, 'jdysync_visibility_lag_seconds', 'histogram', 'seconds', 'How long after their modify time changes were visible, at most')),
	subject AS (
		SELECT h.*, format('name="%s",kind="%s"', replace(replace(replace(h.name, '\', '\\'), '"', '\"'), E'\n', '\n'), h.kind) AS labels
		FROM @extschema@.jdy_health h),
	total AS (
		SELECT s.labels, t.* FROM @extschema@.jdy_totals t JOIN subject s ON s.name = t.name WHERE t.day IS NULL),
	budget AS (
		SELECT b.*, format('foreign_server="%s",role="%s"', replace(replace(replace(b.server, '\', '\\'), '"', '\"'), E'\n', '\n'),
			replace(replace(replace(b.role, '\', '\\'), '"', '\"'), E'\n', '\n')) AS labels
		FROM @extschema@.jdy_budgets b),
	lag AS (
		SELECT s.labels, g.up_to, g.seconds, sum(g.changes) OVER (PARTITION BY g.name ORDER BY g.up_to) AS changes, extract(epoch FROM g.highest) AS highest
		FROM @extschema@.jdy_lag g JOIN subject s ON s.name = g.name),
	sample (place, labels, value) AS (
		SELECT v.place, s.labels, v.value
		FROM subject s CROSS JOIN LATERAL (VALUES
			(1, array_position(ARRAY['ok', 'never ran', 'paused', 'held', 'late', 'failing'], s.status) - 1::numeric),
			(2, extract(epoch FROM s.last_ok)), (3, extract(epoch FROM s.lag)), (4, extract(epoch FROM s.next_run)),
			(5, extract(epoch FROM s.last_elapsed)), (6, s.last_records), (7, s.last_calls), (8, s.details_due), (9, s.set_aside),
			(10, s.pending), (11, s.sent), (12, s.in_doubt), (13, s.dead), (14, extract(epoch FROM s.listed_until)),
			(15, extract(epoch FROM s.complete_until)), (16, s.gaps), (17, extract(epoch FROM s.certified)), (29, extract(epoch FROM s.audited))) AS v (place, value)
		UNION ALL
		SELECT 18, format('name="%s",severity="%s"', replace(replace(replace(i.name, '\', '\\'), '"', '\"'), E'\n', '\n'), i.severity), count(*)
		FROM @extschema@.jdy_incidents i WHERE i.closed_at IS NULL GROUP BY i.name, i.severity
		UNION ALL
		SELECT v.place, format('%s,status="%s"', t.labels, t.status), v.value
		FROM total t CROSS JOIN LATERAL (VALUES (19, t.runs::numeric), (20, t.seconds::numeric)) AS v (place, value)
		UNION ALL
		SELECT 21, format('%s,outcome="%s"', t.labels, v.outcome), sum(v.value)
		FROM total t CROSS JOIN LATERAL (VALUES ('listed', t.listed), ('details', t.details), ('inserted', t.inserted), ('updated', t.updated),
			('deleted', t.deleted), ('rejected', t.rejected), ('delivered', t.delivered), ('dead', t.dead)) AS v (outcome, value)
		GROUP BY t.labels, v.outcome
		UNION ALL
		SELECT v.place, t.labels, sum(v.value)
		FROM total t CROSS JOIN LATERAL (VALUES (22, t.calls), (23, t.retries)) AS v (place, value)
		GROUP BY v.place, t.labels
		UNION ALL
		SELECT v.place, b.labels, v.value
		FROM budget b CROSS JOIN LATERAL (VALUES (24, b."limit"), (25, b.calls), (26, b."left")) AS v (place, value)
		UNION ALL
		SELECT 27, g.labels, g.highest FROM lag g WHERE g.up_to IS NULL),
	block AS (
		SELECT f.place, format(E'# TYPE %s %s\n', f.name, f.type) || CASE WHEN f.unit IS NULL THEN '' ELSE format(E'# UNIT %s %s\n', f.name, f.unit) END
			|| format(E'# HELP %s %s\n', f.name, f.help)
			|| string_agg(format(E'%s%s{%s} %s\n', f.name, CASE f.type WHEN 'counter' THEN '_total' ELSE '' END, s.labels, s.value), '' ORDER BY s.labels COLLATE "C") AS text
		FROM family f JOIN sample s USING (place)
		WHERE s.value IS NOT NULL AND s.value < 'Infinity' AND s.value > '-Infinity'
		GROUP BY f.place, f.name, f.type, f.unit, f.help
		UNION ALL
		/* of each stream its buckets, in the order of their bounds, then their sum and number */
		SELECT f.place, format(E'# TYPE %s %s\n# UNIT %s %s\n# HELP %s %s\n', f.name, f.type, f.name, f.unit, f.name, f.help)
			|| string_agg(h.text, '' ORDER BY h.labels COLLATE "C")
		FROM family f CROSS JOIN (
			SELECT g.labels, string_agg(format(E'jdysync_visibility_lag_seconds_bucket{%s,le="%s"} %s\n', g.labels,
					COALESCE(round(extract(epoch FROM g.up_to), 1)::text, '+Inf'), g.changes), '' ORDER BY g.up_to)
				|| format(E'jdysync_visibility_lag_seconds_sum{%s} %s\n', g.labels, round(max(g.seconds)::numeric, 3))
				|| format(E'jdysync_visibility_lag_seconds_count{%s} %s\n', g.labels, max(g.changes)) AS text
			FROM lag g GROUP BY g.labels) h
		WHERE f.type = 'histogram'
		GROUP BY f.place, f.name, f.type, f.unit, f.help)
	SELECT COALESCE(string_agg(b.text, '' ORDER BY b.place), '') || '# EOF' FROM block b;
END;
REVOKE ALL ON FUNCTION @extschema@.jdy_metrics() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.jdy_metrics() IS 'what the caller may see of jdy_health, jdy_totals, jdy_budgets and jdy_incidents, as OpenMetrics text';

CREATE FUNCTION @extschema@.jdy_report()
RETURNS text AS 'MODULE_PATHNAME' LANGUAGE C STABLE SET search_path = pg_catalog, pg_temp SET jit = off;
REVOKE ALL ON FUNCTION @extschema@.jdy_report() FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.jdy_report() IS
'how all of it stands that the caller may see, as one page of HTML without script or outside files, in English and Chinese';

REVOKE ALL ON ALL TABLES IN SCHEMA jdysync FROM PUBLIC;

---------------------------------------------------------------------------
-- What each column means: \d+ is the manual
---------------------------------------------------------------------------

COMMENT ON COLUMN @extschema@.jdy_runs.run_id IS 'number of the run';
COMMENT ON COLUMN @extschema@.jdy_runs.name IS 'stream or push';
COMMENT ON COLUMN @extschema@.jdy_runs.kind IS 'pull | push';
COMMENT ON COLUMN @extschema@.jdy_runs.status IS 'queued | running | ok | failed | cancelled | interrupted (its process died)';
COMMENT ON COLUMN @extschema@.jdy_runs.started_at IS 'NULL while queued';
COMMENT ON COLUMN @extschema@.jdy_runs.finished_at IS 'NULL while it runs';
COMMENT ON COLUMN @extschema@.jdy_runs.mode IS 'auto | full | verify | audit | range (jdy_resync) | remedy (by the stream''s second schedule)';
COMMENT ON COLUMN @extschema@.jdy_runs.listed IS 'list rows read and landed; one that several windows hold counts in each; push: records of its source that it looked at';
COMMENT ON COLUMN @extschema@.jdy_runs.details IS 'details fetched and landed';
COMMENT ON COLUMN @extschema@.jdy_runs.inserted IS 'records new to staging';
COMMENT ON COLUMN @extschema@.jdy_runs.updated IS 'known records whose content changed';
COMMENT ON COLUMN @extschema@.jdy_runs.unchanged IS 'records read again and found equal: nothing was written';
COMMENT ON COLUMN @extschema@.jdy_runs.deleted IS 'records marked deleted; push: deleted at the target';
COMMENT ON COLUMN @extschema@.jdy_runs.rejected IS 'rows set aside because PostgreSQL cannot hold them: jdy_rejects';
COMMENT ON COLUMN @extschema@.jdy_runs.pending IS 'push: records that were to be sent';
COMMENT ON COLUMN @extschema@.jdy_runs.delivered IS 'push: records that the target acknowledged';
COMMENT ON COLUMN @extschema@.jdy_runs.verified IS 'push: of those delivered, records found by asking the target what it has';
COMMENT ON COLUMN @extschema@.jdy_runs.failed IS 'push: records of which it is not known whether they arrived';
COMMENT ON COLUMN @extschema@.jdy_runs.dead IS 'push: records that the target refuses: jdy_deliveries says why';
COMMENT ON COLUMN @extschema@.jdy_runs.calls IS 'HTTP attempts, tokens and repeats included';
COMMENT ON COLUMN @extschema@.jdy_runs.retries IS 'attempts beyond each call''s first';
COMMENT ON COLUMN @extschema@.jdy_runs.elapsed IS 'from start to end; NULL while it runs';
COMMENT ON COLUMN @extschema@.jdy_runs.sqlstate IS 'of the error that ended it';
COMMENT ON COLUMN @extschema@.jdy_runs.error IS 'what ended it, its owner''s to read; NULL = nothing did';
COMMENT ON COLUMN @extschema@.jdy_runs.detail IS 'the error''s particulars, the service''s own words among them; its owner''s to read';
COMMENT ON COLUMN @extschema@.jdy_runs.hint IS 'what to do; its owner''s to read';

COMMENT ON COLUMN @extschema@.jdy_calls.run_id IS 'run that made the call';
COMMENT ON COLUMN @extschema@.jdy_calls.at IS 'when it was sent';
COMMENT ON COLUMN @extschema@.jdy_calls.method IS 'HTTP method';
COMMENT ON COLUMN @extschema@.jdy_calls.url IS 'values masked but for times and paging';
COMMENT ON COLUMN @extschema@.jdy_calls.attempt IS '1 = first';
COMMENT ON COLUMN @extschema@.jdy_calls.http_status IS 'NULL = no reply';
COMMENT ON COLUMN @extschema@.jdy_calls.errcode IS 'the service''s own code; NULL or 0 = success';
COMMENT ON COLUMN @extschema@.jdy_calls.ms IS 'milliseconds from sending to the end of the reply';
COMMENT ON COLUMN @extschema@.jdy_calls.bytes IS 'bytes received, headers included';
COMMENT ON COLUMN @extschema@.jdy_calls.error IS 'NULL = the reply was used';
COMMENT ON COLUMN @extschema@.jdy_calls.id IS 'the record whose detail was asked for; NULL = another call';

COMMENT ON COLUMN @extschema@.jdy_rejects.reject_id IS 'number of the reject';
COMMENT ON COLUMN @extschema@.jdy_rejects.name IS 'stream';
COMMENT ON COLUMN @extschema@.jdy_rejects.id IS 'the record''s id, where it has one';
COMMENT ON COLUMN @extschema@.jdy_rejects.reason IS 'why PostgreSQL cannot hold it';
COMMENT ON COLUMN @extschema@.jdy_rejects.at IS 'when it came first';
COMMENT ON COLUMN @extschema@.jdy_rejects.run_id IS 'run that met it first';
COMMENT ON COLUMN @extschema@.jdy_rejects.raw IS 'its bytes as they came; its owner''s to read';

COMMENT ON COLUMN @extschema@.jdy_incidents.id IS 'number of the incident';
COMMENT ON COLUMN @extschema@.jdy_incidents.opened_at IS 'since when it is so';
COMMENT ON COLUMN @extschema@.jdy_incidents.closed_at IS 'NULL = it is still so';
COMMENT ON COLUMN @extschema@.jdy_incidents.severity IS 'info | warning | critical';
COMMENT ON COLUMN @extschema@.jdy_incidents.name IS 'stream or push; server …: all that calls it; server … of …: all that this role owns and calls it; (this database)';
COMMENT ON COLUMN @extschema@.jdy_incidents.what IS 'the kind of trouble';
COMMENT ON COLUMN @extschema@.jdy_incidents.advice IS 'what to do';
COMMENT ON COLUMN @extschema@.jdy_incidents.detail IS 'particulars of this case, its owner''s to read';
COMMENT ON COLUMN @extschema@.jdy_incidents_dingtalk.id IS 'number of the incident';
COMMENT ON COLUMN @extschema@.jdy_incidents_dingtalk.payload IS 'message: it changes when the incident is over';
COMMENT ON COLUMN @extschema@.jdy_incidents_wecom.id IS 'number of the incident';
COMMENT ON COLUMN @extschema@.jdy_incidents_wecom.payload IS 'message: it changes when the incident is over';
COMMENT ON COLUMN @extschema@.jdy_incidents_feishu.id IS 'number of the incident';
COMMENT ON COLUMN @extschema@.jdy_incidents_feishu.payload IS 'message: it changes when the incident is over';

COMMENT ON COLUMN @extschema@.jdy_status.name IS 'stream or push';
COMMENT ON COLUMN @extschema@.jdy_status.kind IS 'pull | push';
COMMENT ON COLUMN @extschema@.jdy_status.status IS 'ok | late (due for over a minute) | failing (its last run failed, or its target is away) | held (a push whose changes wait for jdy_resume; everything in a copied database) | paused (runs only when it is named, or jdysync.enabled is off) | never ran';
COMMENT ON COLUMN @extschema@.jdy_status.last_run_id IS 'its last run that ended; cancelled ones do not count';
COMMENT ON COLUMN @extschema@.jdy_status.last_run IS 'when that ended; of one whose process died, when it began';
COMMENT ON COLUMN @extschema@.jdy_status.lag IS 'how old the newest is that is surely here, or there: pull, since when changes are not listed, or its last good run began; push, since its last good run began';
COMMENT ON COLUMN @extschema@.jdy_status.next_run IS 'when it is due, or tried again after a failure; NULL = it runs only by hand, or is paused';
COMMENT ON COLUMN @extschema@.jdy_status.why IS 'the status in a sentence, with what to look at; texts of errors are its owner''s to read';

COMMENT ON COLUMN @extschema@.jdy_health.name IS 'stream or push';
COMMENT ON COLUMN @extschema@.jdy_health.kind IS 'pull | push';
COMMENT ON COLUMN @extschema@.jdy_health.status IS 'as in jdy_status';
COMMENT ON COLUMN @extschema@.jdy_health.last_ok IS 'when the last run that went well ended';
COMMENT ON COLUMN @extschema@.jdy_health.lag IS 'as in jdy_status';
COMMENT ON COLUMN @extschema@.jdy_health.next_run IS 'as in jdy_status';
COMMENT ON COLUMN @extschema@.jdy_health.last_run_id IS 'as in jdy_status';
COMMENT ON COLUMN @extschema@.jdy_health.last_elapsed IS 'time that the last run took';
COMMENT ON COLUMN @extschema@.jdy_health.last_records IS 'records that the last run wrote, or delivered';
COMMENT ON COLUMN @extschema@.jdy_health.last_calls IS 'HTTP attempts of the last run';
COMMENT ON COLUMN @extschema@.jdy_health.details_due IS 'details still to be fetched; 10000 = at least so many';
COMMENT ON COLUMN @extschema@.jdy_health.set_aside IS 'records that cannot be had for now, as in jdy_coverage; 10000 = at least so many';
COMMENT ON COLUMN @extschema@.jdy_health.pending IS 'push: dead letters that are sent again by the next run; 10000 = at least so many';
COMMENT ON COLUMN @extschema@.jdy_health.sent IS 'push: records under way';
COMMENT ON COLUMN @extschema@.jdy_health.in_doubt IS 'push: records of which no answer told whether they arrived';
COMMENT ON COLUMN @extschema@.jdy_health.dead IS 'push: dead letters that were not discarded; 10000 = at least so many';
COMMENT ON COLUMN @extschema@.jdy_health.listed_until IS 'as in jdy_coverage';
COMMENT ON COLUMN @extschema@.jdy_health.complete_until IS 'as in jdy_coverage';
COMMENT ON COLUMN @extschema@.jdy_health.gaps IS 'number of spans in jdy_coverage.gaps';
COMMENT ON COLUMN @extschema@.jdy_health.certified IS 'instant of the last certificate in jdy_certificates';
COMMENT ON COLUMN @extschema@.jdy_health.audited IS 'when the last audit in jdy_audits was done';

COMMENT ON COLUMN @extschema@.jdy_totals.name IS 'stream or push';
COMMENT ON COLUMN @extschema@.jdy_totals.kind IS 'pull | push';
COMMENT ON COLUMN @extschema@.jdy_totals.day IS 'day on which the runs ended, in the zone of log_timezone; NULL = all since it was added';
COMMENT ON COLUMN @extschema@.jdy_totals.status IS 'ok | failed | cancelled | interrupted';
COMMENT ON COLUMN @extschema@.jdy_totals.runs IS 'runs that ended so';
COMMENT ON COLUMN @extschema@.jdy_totals.seconds IS 'time that they took; of interrupted ones it is not known';
COMMENT ON COLUMN @extschema@.jdy_totals.listed IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.details IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.inserted IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.updated IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.deleted IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.rejected IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.delivered IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.dead IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.calls IS 'added up, as in jdy_runs';
COMMENT ON COLUMN @extschema@.jdy_totals.retries IS 'added up, as in jdy_runs';

COMMENT ON COLUMN @extschema@.jdy_budgets.server IS 'foreign server';
COMMENT ON COLUMN @extschema@.jdy_budgets.role IS 'whose user mapping';
COMMENT ON COLUMN @extschema@.jdy_budgets."limit" IS 'calls that the account may make in a window, the smallest that any server of it asks for';
COMMENT ON COLUMN @extschema@.jdy_budgets.calls IS 'calls counted in the window that ends now';
COMMENT ON COLUMN @extschema@.jdy_budgets."left" IS 'calls that may be made at once; fewer than limit - calls after the service refused one';
COMMENT ON COLUMN @extschema@.jdy_budgets.rate_window IS 'the window';
COMMENT ON COLUMN @extschema@.jdy_budgets.paused_until IS 'no call before this: the service refused one, or the server started just now; NULL = not paused';

COMMENT ON COLUMN @extschema@.jdy_coverage.name IS 'stream';
COMMENT ON COLUMN @extschema@.jdy_coverage.listed_until IS 'every change stamped before this was listed';
COMMENT ON COLUMN @extschema@.jdy_coverage.complete_until IS 'every change stamped before this is in staging, detail included, but for `exceptions`; of a list without a time filter, what its last certificate proves; NULL = not yet';
COMMENT ON COLUMN @extschema@.jdy_coverage.windows IS 'proven spans of modify time, half-open';
COMMENT ON COLUMN @extschema@.jdy_coverage.gaps IS 'spans between them that are not proven';
COMMENT ON COLUMN @extschema@.jdy_coverage.details_due IS 'details still to be fetched';
COMMENT ON COLUMN @extschema@.jdy_coverage.set_aside IS 'records that cannot be had for now: their detail is refused, or PostgreSQL cannot hold their list row (jdy_rejects)';
COMMENT ON COLUMN @extschema@.jdy_coverage.exceptions IS 'the first 100 of these ids, ? for a row without one; its owner''s to read';
COMMENT ON COLUMN @extschema@.jdy_coverage.uncertified IS 'what cannot be proven of it, and why; NULL = nothing is wrong';
COMMENT ON COLUMN @extschema@.jdy_coverage.loaded_at IS 'end of the first load; NULL = not over';

COMMENT ON COLUMN @extschema@.jdy_contract.name IS 'stream';
COMMENT ON COLUMN @extschema@.jdy_contract.question IS 'filter | start edge | end edge | grain | page size | echoed size | offset | order | past the end | count | clock | list rows';
COMMENT ON COLUMN @extschema@.jdy_contract.answer IS 'what the service does; unknown = that could not be found out';
COMMENT ON COLUMN @extschema@.jdy_contract.since IS 'since when the answer is this';
COMMENT ON COLUMN @extschema@.jdy_contract.asked_at IS 'when it was asked last; it is asked again a week later';
COMMENT ON COLUMN @extschema@.jdy_contract.evidence IS 'what was seen, or why it is unknown; its owner''s to read';
COMMENT ON COLUMN @extschema@.jdy_certificates.certificate_id IS 'number of the certificate';
COMMENT ON COLUMN @extschema@.jdy_certificates.name IS 'stream';
COMMENT ON COLUMN @extschema@.jdy_certificates.at IS 'when it was made';
COMMENT ON COLUMN @extschema@.jdy_certificates.proven IS 'at `instant` the list held exactly the ids that jdy_certified names, if it is the last one proven; false: `why` says why not';
COMMENT ON COLUMN @extschema@.jdy_certificates.instant IS 'when the list was counted, by the service''s clock; NULL = it was not';
COMMENT ON COLUMN @extschema@.jdy_certificates."count" IS 'what the service counted then';
COMMENT ON COLUMN @extschema@.jdy_certificates.digest IS 'SHA-256 of the ids in order of their bytes, a line feed between two';
COMMENT ON COLUMN @extschema@.jdy_certificates.calls IS 'calls of its own: counts and pages';
COMMENT ON COLUMN @extschema@.jdy_certificates.missed IS 'records in the list that no window had listed; they were landed';
COMMENT ON COLUMN @extschema@.jdy_lag.name IS 'stream';
COMMENT ON COLUMN @extschema@.jdy_lag.settle IS 'what it is now: kept at twice the longest lag that was seen';
COMMENT ON COLUMN @extschema@.jdy_lag.up_to IS 'end of the bucket, which begins where the one before ends; NULL = no end';
COMMENT ON COLUMN @extschema@.jdy_lag.changes IS 'changes that were visible so long after their modify time, when they were listed first: the interval between runs is in it';
COMMENT ON COLUMN @extschema@.jdy_lag.late IS 'changes that were surely not visible yet so long after it: an answer that covered it had not shown them';
COMMENT ON COLUMN @extschema@.jdy_lag.highest IS 'the longest of these; NULL = none was late';
COMMENT ON COLUMN @extschema@.jdy_lag.highest_at IS 'when that was seen';
COMMENT ON COLUMN @extschema@.jdy_lag.seconds IS 'of all buckets: sum of what changes counts';
COMMENT ON COLUMN @extschema@.jdy_missed.name IS 'stream';
COMMENT ON COLUMN @extschema@.jdy_missed.id IS 'record';
COMMENT ON COLUMN @extschema@.jdy_missed.cause IS 'late: it became visible later than settle and overlap allow; dated back: its modify time lies far before a time when the service surely did not have it; not stamped: changed without a new modify time; edge: it lies on the edge of two windows; paging: the first load should have shown it; unknown';
COMMENT ON COLUMN @extschema@.jdy_missed.later_than IS 'it became visible later than this after its modify time';
COMMENT ON COLUMN @extschema@.jdy_missed.modified_at IS 'modify time of the change; NULL = its detail states none';
COMMENT ON COLUMN @extschema@.jdy_missed.unseen_at IS 'server time at which the service surely did not show it: the last certificate, or the detail that was here';
COMMENT ON COLUMN @extschema@.jdy_missed.shown_at IS 'server time at which it was found';
COMMENT ON COLUMN @extschema@.jdy_missed.found_by IS 'certificate, or the audit';
COMMENT ON COLUMN @extschema@.jdy_missed.found_at IS 'when that was written';
COMMENT ON COLUMN @extschema@.jdy_missed.run_id IS 'run that found it';
COMMENT ON COLUMN @extschema@.jdy_certificates.missed_ids IS 'the first 100 of these; its owner''s to read';
COMMENT ON COLUMN @extschema@.jdy_certificates.absent IS 'records in staging, not marked yet, that were not in the list';
COMMENT ON COLUMN @extschema@.jdy_certificates.why IS 'why there is no certificate; NULL = there is one';
COMMENT ON COLUMN @extschema@.jdy_certificates.run_id IS 'run that made it';
COMMENT ON COLUMN @extschema@.jdy_certificates.assumptions IS 'what it rests on: settle, what was found out about the service, ids known before';
COMMENT ON COLUMN @extschema@.jdy_certificates.evidence IS 'its calls in order, by our clock: when asked and answered, page, rows, count';

COMMENT ON COLUMN @extschema@.jdy_audits.audit_id IS 'number of the audit';
COMMENT ON COLUMN @extschema@.jdy_audits.name IS 'stream';
COMMENT ON COLUMN @extschema@.jdy_audits.began_at IS 'when it began';
COMMENT ON COLUMN @extschema@.jdy_audits.ended_at IS 'when it was done; NULL = the next one goes on with it';
COMMENT ON COLUMN @extschema@.jdy_audits.compared_until IS 'every record with a modify time before this was where the service says it is, or was found; NULL = not compared';
COMMENT ON COLUMN @extschema@.jdy_audits.windows IS 'spans of modify time that were compared';
COMMENT ON COLUMN @extschema@.jdy_audits.details IS 'records whose details were read again: a quarter of all';
COMMENT ON COLUMN @extschema@.jdy_audits.calls IS 'calls of its own';
COMMENT ON COLUMN @extschema@.jdy_audits.found IS 'records that were not here as the service has them; they are now';
COMMENT ON COLUMN @extschema@.jdy_audits.findings IS 'the first 100 of these, with id, cause, names of the fields that changed, modify time now and before, when it was read before; its owner''s to read';
COMMENT ON COLUMN @extschema@.jdy_audits.why IS 'why a part of it could not be done';
COMMENT ON COLUMN @extschema@.jdy_audits.run_id IS 'run that went on with it last';

COMMENT ON COLUMN @extschema@.jdy_certified.name IS 'stream';
COMMENT ON COLUMN @extschema@.jdy_certified.id IS 'record';

COMMENT ON COLUMN @extschema@.jdy_progress.run_id IS 'open run';
COMMENT ON COLUMN @extschema@.jdy_progress.name IS 'stream or push';
COMMENT ON COLUMN @extschema@.jdy_progress.phase IS 'starting | loading (the whole list) | listing (windows) | details | verifying (for a certificate) | auditing | scanning (a push''s source) | pushing | finishing';
COMMENT ON COLUMN @extschema@.jdy_progress.percent IS 'of the calls that are known to be needed, or of the records to be sent; NULL = not known';
COMMENT ON COLUMN @extschema@.jdy_progress.eta IS 'when it ends, by its pace so far and the budget; NULL = not known';
COMMENT ON COLUMN @extschema@.jdy_progress.waiting_for IS 'service or target (their answer) | budget | Retry-After (they said 429) | back-off | settle (so that a count can be believed) | token | lock (in this database: pg_blocking_pids(pid)); with the time until when, where it is known';
COMMENT ON COLUMN @extschema@.jdy_progress.listed IS 'list rows landed so far';
COMMENT ON COLUMN @extschema@.jdy_progress.list_total IS 'rows that the service says there are; NULL = it does not';
COMMENT ON COLUMN @extschema@.jdy_progress.details IS 'details landed so far';
COMMENT ON COLUMN @extschema@.jdy_progress.details_due IS 'details still to be fetched; NULL = not known yet';
COMMENT ON COLUMN @extschema@.jdy_progress.calls IS 'HTTP attempts so far';
COMMENT ON COLUMN @extschema@.jdy_progress.calls_left IS 'calls that its account may make at once (jdy_budgets); NULL = it has no limit';
COMMENT ON COLUMN @extschema@.jdy_progress.pending IS 'push: records to be sent, as far as they were counted';
COMMENT ON COLUMN @extschema@.jdy_progress.delivered IS 'push: acknowledged so far';
COMMENT ON COLUMN @extschema@.jdy_progress.dead IS 'push: refused so far';
COMMENT ON COLUMN @extschema@.jdy_progress.pages IS 'answers of the list asked for so far';
COMMENT ON COLUMN @extschema@.jdy_progress.reading IS 'the window of modify time that was asked for last, without an end on either side: the whole list; NULL = none yet';
COMMENT ON COLUMN @extschema@.jdy_progress.inserted IS 'so far';
COMMENT ON COLUMN @extschema@.jdy_progress.updated IS 'so far';
COMMENT ON COLUMN @extschema@.jdy_progress.unchanged IS 'so far';
COMMENT ON COLUMN @extschema@.jdy_progress.rejected IS 'so far';
COMMENT ON COLUMN @extschema@.jdy_progress.retries IS 'attempts beyond each call''s first so far';
COMMENT ON COLUMN @extschema@.jdy_progress.pid IS 'process that makes it: in pg_stat_activity';
COMMENT ON COLUMN @extschema@.jdy_progress.started_at IS 'start of the run';
COMMENT ON COLUMN @extschema@.jdy_progress.updated_at IS 'when this line was last brought up to date';

COMMENT ON COLUMN @extschema@.jdy_deliveries.push IS 'push';
COMMENT ON COLUMN @extschema@.jdy_deliveries.id IS 'record';
COMMENT ON COLUMN @extschema@.jdy_deliveries.status IS 'pending (to be sent again) | sent | delivered | in_doubt (no answer came) | dead (refused)';
COMMENT ON COLUMN @extschema@.jdy_deliveries.version IS '+1 for each content sent';
COMMENT ON COLUMN @extschema@.jdy_deliveries.attempts IS 'dead: versions refused; in_doubt: runs without an answer';
COMMENT ON COLUMN @extschema@.jdy_deliveries.last_error IS 'why it is dead or in doubt';
COMMENT ON COLUMN @extschema@.jdy_deliveries.http_status IS 'of the last reply; NULL = none came, or it was fine';
COMMENT ON COLUMN @extschema@.jdy_deliveries.errcode IS 'the target''s own code';
COMMENT ON COLUMN @extschema@.jdy_deliveries.changed_at IS 'since when it stands so';
COMMENT ON COLUMN @extschema@.jdy_deliveries.discarded IS 'reason given to jdy_discard';
COMMENT ON COLUMN @extschema@.jdy_deliveries.request IS 'dead: its body; sent, in_doubt: the body that it is part of; its owner''s to read';
COMMENT ON COLUMN @extschema@.jdy_deliveries.reply IS 'dead: what the target answered; its owner''s to read';
COMMENT ON COLUMN @extschema@.jdy_deliveries.deletion IS 'what was sent is the record''s deletion: it is gone from the source';
COMMENT ON COLUMN @extschema@.jdy_deliveries.target_id IS 'its id at a target that gives its own (Kingdee); NULL = not known';

COMMENT ON COLUMN @extschema@.jdy_catalog.entry IS 'name to give jdy_add_stream';
COMMENT ON COLUMN @extschema@.jdy_catalog.title IS 'the list''s Chinese name';
COMMENT ON COLUMN @extschema@.jdy_catalog.api IS 'path of the list';
COMMENT ON COLUMN @extschema@.jdy_catalog.id_fields IS 'fields that make a row unique; of several, one with ? behind it may be empty; * = the whole row';
COMMENT ON COLUMN @extschema@.jdy_catalog.number_field IS 'field shown as number';
COMMENT ON COLUMN @extschema@.jdy_catalog.detail_api IS 'path of the detail; NULL = the service has none';
COMMENT ON COLUMN @extschema@.jdy_catalog.start_param IS 'parameter for a window''s start; NULL = the list has no time filter';
COMMENT ON COLUMN @extschema@.jdy_catalog.end_param IS 'parameter for a window''s end';
COMMENT ON COLUMN @extschema@.jdy_catalog.window_format IS 'ms and s = epoch; datetime and date = text in the server''s time_zone';
COMMENT ON COLUMN @extschema@.jdy_catalog.kind IS 'list = records; report = figures that the service works out when it is asked';
COMMENT ON COLUMN @extschema@.jdy_catalog.window_off IS 'what stands for a window''s open side; NULL = the parameter is not sent';
COMMENT ON COLUMN @extschema@.jdy_catalog.range_param IS 'its rows belong to a month: parameter for the month''s first day, or its period; NULL = to none';
COMMENT ON COLUMN @extschema@.jdy_catalog.range_end_params IS 'parameters for the month''s last day, or its period again';
COMMENT ON COLUMN @extschema@.jdy_catalog.range_format IS 'date = yyyy-MM-dd; period = yyyyMM';
COMMENT ON COLUMN @extschema@.jdy_catalog.page_param IS 'parameter for the page''s number; NULL = no pages, one answer is all of it';
COMMENT ON COLUMN @extschema@.jdy_catalog.size_param IS 'parameter for the rows of a page';
COMMENT ON COLUMN @extschema@.jdy_catalog.count_type IS 'how the documents show the count: string or integer; NULL = none is told';
COMMENT ON COLUMN @extschema@.jdy_catalog.fixed IS 'parameters always sent unless metadata sends them';
COMMENT ON COLUMN @extschema@.jdy_catalog.required IS 'parameters that metadata must give: the service refuses the list without them';
COMMENT ON COLUMN @extschema@.jdy_catalog.list_secrets IS 'encrypted fields of list rows';
COMMENT ON COLUMN @extschema@.jdy_catalog.detail_secrets IS 'encrypted fields of details';

COMMENT ON COLUMN jdysync.stream.stream_id IS 'number of the stream; its runner locks it';
COMMENT ON COLUMN jdysync.stream.name IS 'name of the stream';
COMMENT ON COLUMN jdysync.stream.server IS 'foreign server it calls';
COMMENT ON COLUMN jdysync.stream.metadata IS 'as the user gave it';
COMMENT ON COLUMN jdysync.stream.schedule IS 'interval or cron, by the server''s time_zone; NULL = it runs only by hand';
COMMENT ON COLUMN jdysync.stream.start_from IS 'nothing modified before this is claimed; NULL = everything';
COMMENT ON COLUMN jdysync.stream.detail IS 'as given; NULL = as the catalogue says for the api';
COMMENT ON COLUMN jdysync.stream.decrypt IS 'sensitive fields are decrypted';
COMMENT ON COLUMN jdysync.stream.enabled IS 'runs with jdy_sync() without a name';
COMMENT ON COLUMN jdysync.stream.loaded_at IS 'end of the first load';

COMMENT ON COLUMN jdysync.listing.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.listing.id IS 'record';
COMMENT ON COLUMN jdysync.listing.attempts IS 'that failed since the detail became due';
COMMENT ON COLUMN jdysync.listing.next_try IS 'not to be tried before';

COMMENT ON COLUMN jdysync."window".stream_id IS 'stream';
COMMENT ON COLUMN jdysync."window".epoch IS 'epoch of the stream it counts for';
COMMENT ON COLUMN jdysync."window".calls IS 'calls it took';
COMMENT ON COLUMN jdysync."window".run_id IS 'run that proved it';
COMMENT ON COLUMN jdysync."window".proven_at IS 'when it was committed';

COMMENT ON COLUMN jdysync.run.run_id IS 'number of the run';
COMMENT ON COLUMN jdysync.run.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.run.name IS 'its name then';
COMMENT ON COLUMN jdysync.run.kind IS 'pull | push';
COMMENT ON COLUMN jdysync.run.mode IS 'auto | full | verify | audit | range (jdy_resync) | remedy (by the stream''s second schedule)';
COMMENT ON COLUMN jdysync.run.status IS 'queued | running | ok | failed | cancelled | interrupted';
COMMENT ON COLUMN jdysync.run.from_time IS 'modes range and remedy: start';
COMMENT ON COLUMN jdysync.run.to_time IS 'modes range and remedy: end';
COMMENT ON COLUMN jdysync.run.requested_by IS 'role that queued it with jdy_start, by the name it had then: it must still be a member of the stream''s owner when the run begins; NULL = a caller waits for it';
COMMENT ON COLUMN jdysync.run.queued_at IS 'when it was asked for';
COMMENT ON COLUMN jdysync.run.started_at IS 'NULL while queued';
COMMENT ON COLUMN jdysync.run.finished_at IS 'NULL while it runs';
COMMENT ON COLUMN jdysync.run.listed IS 'list rows landed';
COMMENT ON COLUMN jdysync.run.details IS 'details landed';
COMMENT ON COLUMN jdysync.run.inserted IS 'records new to staging';
COMMENT ON COLUMN jdysync.run.updated IS 'known records that changed';
COMMENT ON COLUMN jdysync.run.unchanged IS 'records found equal';
COMMENT ON COLUMN jdysync.run.deleted IS 'records marked deleted';
COMMENT ON COLUMN jdysync.run.rejected IS 'rows set aside';
COMMENT ON COLUMN jdysync.run.pending IS 'push: records that were to be sent';
COMMENT ON COLUMN jdysync.run.delivered IS 'push: records acknowledged';
COMMENT ON COLUMN jdysync.run.verified IS 'push: of those delivered, records found by asking the target';
COMMENT ON COLUMN jdysync.run.failed IS 'push: records in doubt';
COMMENT ON COLUMN jdysync.run.dead IS 'push: records refused';
COMMENT ON COLUMN jdysync.run.calls IS 'HTTP attempts';
COMMENT ON COLUMN jdysync.run.retries IS 'attempts beyond each call''s first';
COMMENT ON COLUMN jdysync.run.sqlstate IS 'of the error that ended it';
COMMENT ON COLUMN jdysync.run.error IS 'what ended it';
COMMENT ON COLUMN jdysync.run.detail IS 'particulars';
COMMENT ON COLUMN jdysync.run.hint IS 'what to do';

COMMENT ON COLUMN jdysync.call.run_id IS 'run';
COMMENT ON COLUMN jdysync.call.at IS 'when it was sent';
COMMENT ON COLUMN jdysync.call.method IS 'HTTP method';
COMMENT ON COLUMN jdysync.call.url IS 'masked';
COMMENT ON COLUMN jdysync.call.attempt IS '1 = first';
COMMENT ON COLUMN jdysync.call.http_status IS 'NULL = no reply';
COMMENT ON COLUMN jdysync.call.errcode IS 'the service''s own code';
COMMENT ON COLUMN jdysync.call.ms IS 'milliseconds';
COMMENT ON COLUMN jdysync.call.bytes IS 'received, headers included';
COMMENT ON COLUMN jdysync.call.error IS 'NULL = the reply was used';
COMMENT ON COLUMN jdysync.call.id IS 'the record whose detail was asked for';
COMMENT ON COLUMN jdysync.call.segment IS 'part of the log that it is in';
DO $$
DECLARE
	col record;
BEGIN
	FOR i IN 1 .. 10 LOOP
		EXECUTE pg_catalog.format('COMMENT ON TABLE jdysync.call_%s IS %L', i, 'part of jdysync.call');
		FOR col IN SELECT a.attname, pg_catalog.col_description(a.attrelid, a.attnum) AS text FROM pg_catalog.pg_attribute a
				WHERE a.attrelid = 'jdysync.call'::pg_catalog.regclass AND a.attnum > 0 LOOP
			EXECUTE pg_catalog.format('COMMENT ON COLUMN jdysync.call_%s.%I IS %L', i, col.attname, col.text);
		END LOOP;
	END LOOP;
END $$;

COMMENT ON COLUMN jdysync.tally.stream_id IS 'stream or push';
COMMENT ON COLUMN jdysync.tally.day IS 'day on which the runs ended, by log_timezone; -infinity = any';
COMMENT ON COLUMN jdysync.tally.status IS 'how they ended';
COMMENT ON COLUMN jdysync.tally.runs IS 'how many';
COMMENT ON COLUMN jdysync.tally.seconds IS 'from start to end; of interrupted ones nothing';
COMMENT ON COLUMN jdysync.tally.listed IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.details IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.inserted IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.updated IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.deleted IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.rejected IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.delivered IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.dead IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.calls IS 'as in jdysync.run';
COMMENT ON COLUMN jdysync.tally.retries IS 'as in jdysync.run';

COMMENT ON COLUMN jdysync.reject.reject_id IS 'number of the reject';
COMMENT ON COLUMN jdysync.reject.stream_id IS 'stream';
COMMENT ON COLUMN jdysync.reject.run_id IS 'run that met it first';
COMMENT ON COLUMN jdysync.reject.at IS 'when';
COMMENT ON COLUMN jdysync.reject.id IS 'the record''s id, where it has one';
COMMENT ON COLUMN jdysync.reject.reason IS 'why PostgreSQL cannot hold it';
COMMENT ON COLUMN jdysync.reject.digest IS 'SHA-256 of raw: each distinct row is kept once';
COMMENT ON COLUMN jdysync.reject.raw IS 'its bytes as they came';

COMMENT ON COLUMN jdysync.incident.id IS 'number of the incident';
COMMENT ON COLUMN jdysync.incident.name IS 'stream or push; server …: all that calls it; server … of …: all that this role owns and calls it; (this database)';
COMMENT ON COLUMN jdysync.incident.opened_at IS 'since when';
COMMENT ON COLUMN jdysync.incident.closed_at IS 'NULL = it is still so';
COMMENT ON COLUMN jdysync.incident.severity IS 'info | warning | critical';
COMMENT ON COLUMN jdysync.incident.what IS 'the kind of trouble';
COMMENT ON COLUMN jdysync.incident.detail IS 'particulars';
COMMENT ON COLUMN jdysync.incident.advice IS 'what to do';

COMMENT ON COLUMN jdysync.account.key IS 'SHA-256 of what identifies the account';
COMMENT ON COLUMN jdysync.account.last_call_at IS 'calls were made until here at the latest';
COMMENT ON COLUMN jdysync.account.last_token_at IS 'the last token call';

COMMENT ON COLUMN jdysync.catalog.entry IS 'name to give jdy_add_stream';
COMMENT ON COLUMN jdysync.catalog.title IS 'the list''s Chinese name';
COMMENT ON COLUMN jdysync.catalog.api IS 'path of the list';
COMMENT ON COLUMN jdysync.catalog.method IS 'HTTP method of the list';
COMMENT ON COLUMN jdysync.catalog.number_field IS 'field shown as number';
COMMENT ON COLUMN jdysync.catalog.detail_api IS 'path of the detail; NULL = none';
COMMENT ON COLUMN jdysync.catalog.detail_param IS 'parameter of the detail that takes the id';
COMMENT ON COLUMN jdysync.catalog.start_param IS 'parameter for a window''s start; NULL = no time filter';
COMMENT ON COLUMN jdysync.catalog.end_param IS 'parameter for a window''s end';
COMMENT ON COLUMN jdysync.catalog.window_format IS 'ms and s = epoch; datetime and date = text in the server''s time_zone';

COMMENT ON SEQUENCE jdysync.stream_stream_id_seq IS 'numbers of streams';
COMMENT ON SEQUENCE jdysync.run_run_id_seq IS 'numbers of runs';
COMMENT ON SEQUENCE jdysync.audit_audit_id_seq IS 'numbers of audits';
COMMENT ON SEQUENCE jdysync.certificate_certificate_id_seq IS 'numbers of certificates';
COMMENT ON SEQUENCE jdysync.batch_batch_id_seq IS 'numbers of requests';
COMMENT ON SEQUENCE jdysync.reject_reject_id_seq IS 'numbers of rejects';
COMMENT ON SEQUENCE jdysync.incident_id_seq IS 'numbers of incidents';

---------------------------------------------------------------------------
-- Tables that stay small
---------------------------------------------------------------------------

/*
 * As long as nothing is known of them, they are taken for tables of hundreds of rows, and autovacuum does not look
 * at a handful: each look at jdy_status would be compiled for its supposed cost.
 */
ANALYZE jdysync.stream, jdysync.contract, jdysync.push, jdysync.agenda, jdysync.breaker;

---------------------------------------------------------------------------
-- What a dump must hold
---------------------------------------------------------------------------

SELECT pg_catalog.pg_extension_config_dump('jdysync.stream', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.contract', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.listing', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync."window"', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.sighted', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.certificate', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.certificate_certificate_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.audit', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.audit_audit_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.absent', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.lag', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.missed', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.push', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.agenda', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.home', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.delivery', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.delivered', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.counterpart', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.batch', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.batch_batch_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.run', '');
DO $$
BEGIN
	FOR i IN 1 .. 10 LOOP
		PERFORM pg_catalog.pg_extension_config_dump(pg_catalog.format('jdysync.call_%s', i)::pg_catalog.regclass, '');
	END LOOP;
END $$;
SELECT pg_catalog.pg_extension_config_dump('jdysync.call_segment', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.tally', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.reject', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.incident', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.account', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.breaker', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.mapped_view', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.stream_stream_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.run_run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.reject_reject_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('jdysync.incident_id_seq', '');
