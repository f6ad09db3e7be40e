/*-------------------------------------------------------------------------
 * expression.h
 *		_function: one PostgreSQL expression out of metadata.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_EXPRESSION_H
#define JDY_EXPRESSION_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "value.h"

/*
 * The text of an expression's value, NULL for null.  Times are put in as digits,
 * fields of the record bound as parameters: numbers as numeric, else text; missing ones are NULL.  Runs
 * read-only as the current role, in a transaction with SPI connected.
 */
extern char *jdy_expression_text(const char *expression, Jsonb *record, const ValueTimes *times);

#endif							/* JDY_EXPRESSION_H */
