/*-------------------------------------------------------------------------
 * testing.c
 *		Doors to internals for the regression tests.
 *
 * The install script declares none of these: a test that needs one creates it
 * (CREATE FUNCTION … AS '$libdir/jdysync', 'jdy_test_…'), which only a superuser can.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
