/*-------------------------------------------------------------------------
 * build.h
 *		A record's text as jsonb, the quick way.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_BUILD_H
#define JDY_BUILD_H

#include "postgres.h"

#include "utils/jsonb.h"

/*
 * The jsonb that jsonb_in makes of `text` (valid UTF-8, no U+0000 nor half a
 * surrogate pair in it), in the current memory context; NULL when it is not plain
 * enough, or wrong: then jsonb_in has the last word.  Raises no error for
 * anything in the text.  Only where the database's encoding is UTF-8.
 */
extern Jsonb *jdy_build_jsonb(const char *text, size_t length);

#endif							/* JDY_BUILD_H */
