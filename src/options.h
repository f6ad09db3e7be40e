/*-------------------------------------------------------------------------
 * options.h
 *		The options of servers and user mappings: their names, and what each may say.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_OPTIONS_H
#define JDY_OPTIONS_H

#include "postgres.h"

#include "endpoint.h"
#include "nodes/pg_list.h"

/*
 * Checks `options` (of DefElem) of the object that `catalog` keeps and reads them
 * into `endpoint`, in the current memory context; fields without an option stay as they are.
 * <option>_file: user_id must be allowed to read files of the server; read_files = false
 * leaves it at that.  Errors: unknown option, bad value, unreadable secret file.
 */
extern void jdy_options_read(Endpoint *endpoint, Oid catalog, List *options, Oid user_id, bool read_files);

/*
 * The i-th option that a user mapping can have: its name, and its value in
 * `endpoint` (NULL = not given).  NULL behind the last; the order is the same for everybody.
 */
extern const char *jdy_credential(const Endpoint *endpoint, int i, const char **value);

/* "kingdee", "bearer", … */
extern const char *jdy_auth_name(AuthKind auth);

#endif							/* JDY_OPTIONS_H */
