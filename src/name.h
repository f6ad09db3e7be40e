/*-------------------------------------------------------------------------
 * name.h
 *		What a stream may be called.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_NAME_H
#define JDY_NAME_H

#include "postgres.h"

/*
 * Raises an error unless `name` has 1 to 50 bytes, all of them letters of any
 * script, digits or _, and the views that are to be called after it are not
 * taken.  In a transaction.
 */
extern void jdy_name_check(const char *name);

#endif							/* JDY_NAME_H */
