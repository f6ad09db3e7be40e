/*-------------------------------------------------------------------------
 * compat.h
 *		PostgreSQL 15 to 18 in one place.
 *
 * Macros carry the names and arguments of the newest API; older servers are
 * mapped to them here, so that no other file asks for PG_VERSION_NUM.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_COMPAT_H
#define JDY_COMPAT_H

#include "postgres.h"

#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "fmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"

#if PG_VERSION_NUM < 150000
#error "jdysync needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_tablespace.h"
#include "catalog/pg_type.h"

/* One access check for every kind of object since 16. */
static inline AclResult
jdy_object_aclcheck(Oid classid, Oid objectid, Oid roleid, AclMode mode)
{
	if (classid == ForeignServerRelationId)
		return pg_foreign_server_aclcheck(objectid, roleid, mode);
	if (classid == NamespaceRelationId)
		return pg_namespace_aclcheck(objectid, roleid, mode);
	if (classid == RelationRelationId)
		return pg_class_aclcheck(objectid, roleid, mode);
	if (classid == TableSpaceRelationId)
		return pg_tablespace_aclcheck(objectid, roleid, mode);
	elog(ERROR, "no access check for catalog %u", classid);
	return ACLCHECK_NO_PRIV;	/* not reached */
}
#define object_aclcheck(classid, objectid, roleid, mode) \
	jdy_object_aclcheck(classid, objectid, roleid, mode)
#define object_ownercheck(classid, objectid, roleid) \
	(AssertMacro((classid) == RelationRelationId || (classid) == DatabaseRelationId), \
	 (classid) == DatabaseRelationId ? pg_database_ownercheck(objectid, roleid) : pg_class_ownercheck(objectid, roleid))
#endif

/* Name and version of the library can be asked since 18. */
#ifndef PG_MODULE_MAGIC_EXT
#define PG_MODULE_MAGIC_EXT(...) PG_MODULE_MAGIC
#endif

/*
 * Input functions and conversions that report bad data instead of raising it came
 * with 16.  Before, the error is caught: only what bad data can cause (class 22,
 * and limits, class 54), and only around functions that touch nothing but memory,
 * since no subtransaction stands around them.
 */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#include "varatt.h"				/* VARSIZE and friends left postgres.h with 16 */
#else
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "nodes/nodes.h"

#define T_ErrorSaveContext T_Invalid

typedef struct ErrorSaveContext
{
	NodeTag		type;
	bool		error_occurred;
} ErrorSaveContext;

/* In a PG_CATCH block: forgets an error that data caused, throws any other on. */
static inline void
jdy_forget_data_error(MemoryContext context)
{
	int			category = ERRCODE_TO_CATEGORY(geterrcode());

	/* \uXXXX in a SQL_ASCII database is "not supported". */
	if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
		category != ERRCODE_FEATURE_NOT_SUPPORTED)
		PG_RE_THROW();
	MemoryContextSwitchTo(context);
	FlushErrorState();
}

static inline bool
DirectInputFunctionCallSafe(PGFunction func, char *str, Oid typioparam, int32 typmod,
							Node *escontext, Datum *result)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		*result = DirectFunctionCall3(func, CStringGetDatum(str), ObjectIdGetDatum(typioparam),
									  Int32GetDatum(typmod));
	}
	PG_CATCH();
	{
		jdy_forget_data_error(context);
		((ErrorSaveContext *) escontext)->error_occurred = true;
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

static inline bool
pg_unicode_to_server_noerror(pg_wchar c, unsigned char *s)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		pg_unicode_to_server(c, s);
	}
	PG_CATCH();
	{
		jdy_forget_data_error(context);
		ok = false;
	}
	PG_END_TRY();
	return ok;
}
#endif

/* Before the declaration since 18, behind it before. */
#ifndef pg_noreturn
#define pg_noreturn __attribute__((noreturn))
#endif

/* Background workers need an exported main function; so does every SQL function. */
#ifndef PGDLLEXPORT
#define PGDLLEXPORT
#endif

/* Owners without LOGIN can be served since 17. */
#if PG_VERSION_NUM >= 170000
#define JDY_SERVES_NOLOGIN true
#define JDY_BGWORKER_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define JDY_SERVES_NOLOGIN false
#define JDY_BGWORKER_FLAGS 0
#endif

/* Named wait events since 17; before, every extension is "Extension". */
#if PG_VERSION_NUM >= 170000
#define JDY_WAIT_EVENT(name) \
	({ static uint32 event_ = 0; if (event_ == 0) event_ = WaitEventExtensionNew(name); event_; })
#else
#define JDY_WAIT_EVENT(name) PG_WAIT_EXTENSION
#endif

/* Whether a lock at least as strong counts can be asked since 17; ours is as strong as they get. */
#if PG_VERSION_NUM < 170000
#define LockHeldByMe(locktag, lockmode, orstronger) LockHeldByMe(locktag, lockmode)
#endif

/* CreateWaitEventSet takes a resource owner since 17, a memory context before. */
#if PG_VERSION_NUM >= 170000
#define JDY_CREATE_WAIT_EVENT_SET(nevents) CreateWaitEventSet(NULL, nevents)
#else
#define JDY_CREATE_WAIT_EVENT_SET(nevents) CreateWaitEventSet(TopMemoryContext, nevents)
#endif

/* Grouping is an entry of the range table of its own since 18; before, no entry is one. */
#if PG_VERSION_NUM < 180000
#define RTE_GROUP ((RTEKind) -1)
#endif

#endif							/* JDY_COMPAT_H */
