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
#include "utils/acl.h"

#if PG_VERSION_NUM < 150000
#error "jdysync needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
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
	elog(ERROR, "no access check for catalog %u", classid);
	return ACLCHECK_NO_PRIV;	/* not reached */
}
#define object_aclcheck(classid, objectid, roleid, mode) \
	jdy_object_aclcheck(classid, objectid, roleid, mode)
#endif

/* Name and version of the library can be asked since 18. */
#ifndef PG_MODULE_MAGIC_EXT
#define PG_MODULE_MAGIC_EXT(...) PG_MODULE_MAGIC
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

/* CreateWaitEventSet takes a resource owner since 17, a memory context before. */
#if PG_VERSION_NUM >= 170000
#define JDY_CREATE_WAIT_EVENT_SET(nevents) CreateWaitEventSet(NULL, nevents)
#else
#define JDY_CREATE_WAIT_EVENT_SET(nevents) CreateWaitEventSet(TopMemoryContext, nevents)
#endif

#endif							/* JDY_COMPAT_H */
