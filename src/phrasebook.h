/*-------------------------------------------------------------------------
 * phrasebook.h
 *		In Chinese: what jdysync itself says of incidents, statuses and rejects.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_PHRASEBOOK_H
#define JDY_PHRASEBOOK_H

#include "postgres.h"

/*
 * The text in Chinese (UTF-8), in the current memory context: names, numbers, times, statements
 * and whatever else is not a phrase of ours stay as they are.  NULL when nothing in it is known.
 */
extern char *jdy_in_chinese(const char *text);

#endif							/* JDY_PHRASEBOOK_H */
