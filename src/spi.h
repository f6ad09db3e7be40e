/*-------------------------------------------------------------------------
 * spi.h
 *		Fixed SQL on the extension's own tables, and transactions of workers.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_SPI_H
#define JDY_SPI_H

#include "postgres.h"

#include "executor/spi.h"
#include "storage/lock.h"

#define JDY_MAX_ARGS 24

/* Workers set search_path to exactly this: statements then need not pin it one by one. */
#define JDY_SAFE_SEARCH_PATH "pg_catalog, pg_temp"

/*
 * One statement with its saved plan.  Define it static and const but for the
 * plan; the text is fully qualified, operators included where a user could
 * shadow them (search_path is pinned to pg_catalog, pg_temp while it runs).
 */
typedef struct JdyStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[JDY_MAX_ARGS];
	SPIPlanPtr	plan;
	bool		by_index;		/* it finds rows by their keys: never plan to read a whole table for that */
} JdyStatement;

/*
 * Runs a statement as the owner of the extension, whatever role is current.
 * Between SPI_connect and SPI_finish.  nulls as in SPI_execute_plan (NULL: no
 * nulls).  Result in SPI_processed and SPI_tuptable; raises every error.  The
 * current memory context stays as it was (SPI alone would leave its own).
 */
extern void jdy_execute(JdyStatement *statement, Datum *values, const char *nulls);

/*
 * The same for more rows than should lie in memory: each goes to `receiver`, with the
 * extension owner's id current, and there is no SPI_tuptable.  No value is null.
 */
extern void jdy_execute_into(JdyStatement *statement, Datum *values, DestReceiver *receiver);

/* The same as the current role: for staging tables and users' expressions. */
extern void jdy_execute_as_user(JdyStatement *statement, Datum *values, const char *nulls);

/* Utility text (CREATE TABLE …) as the extension's owner; text built with quote_identifier. */
extern void jdy_execute_utility(const char *sql);

/* The same as the current role, search_path pinned as well: nothing that stands in his own can slip in. */
extern void jdy_execute_utility_as_user(const char *sql);

/* The extension's oid, owner and schema in this database; InvalidOid / NULL when it is not here. */
extern Oid	jdy_extension_oid(void);
extern Oid	jdy_extension_owner(void);
extern const char *jdy_extension_schema(void);

/*
 * Whether `extension` is still the oid of the extension; if so, nobody can drop it
 * before the end of the transaction.
 */
extern bool jdy_extension_hold(Oid extension);

/*
 * A worker's unit of work: begin opens a transaction, SPI and a snapshot and
 * reports `activity` (constant, no names, no secrets); commit ends all three.
 * Both raise an error when what jdy_tx_guard asks for does not hold.
 */
extern void jdy_tx_begin(const char *activity);
extern void jdy_tx_commit(void);

/*
 * Runs work(arg) in a subtransaction: NULL when that was kept, else the error for which
 * it was rolled back.  The current memory context stays current and holds the error.
 */
extern ErrorData *jdy_try(void (*work) (void *arg), void *arg);

/*
 * Whether an error is not about what was tried, however that is changed: cancel,
 * shutdown, lack of memory, our own bugs.
 */
extern bool jdy_error_is_the_servers(const ErrorData *error);

/*
 * From here on every unit of work of this process is for the extension with this
 * oid, however another may be called by then, and while the process holds `lock`
 * (exclusively).  InvalidOid, NULL: does not matter.
 */
extern void jdy_tx_guard(Oid extension, const LOCKTAG *lock);

/* Whether another process waits for that lock. */
extern bool jdy_tx_lock_is_wanted(void);

/* Column `column`, from 1, of row `row`, from 0, of SPI_tuptable; NULL or when_null where it is null.  text: palloc'ed. */
extern char *jdy_spi_text(uint64 row, int column);
extern int64 jdy_spi_int64(uint64 row, int column, int64 when_null);
extern Datum jdy_spi_datum(uint64 row, int column, bool *isnull);

/* An array of text, bytea, jsonb, integer, bigint, boolean or timestamptz for unnest. */
extern Datum jdy_make_array(Datum *values, bool *nulls, int n, Oid type);
extern Datum jdy_text_array(char **texts, int n);

/* A bytea of these bytes, palloc'ed. */
extern Datum jdy_make_bytea(const void *bytes, size_t length);

#endif							/* JDY_SPI_H */
