/*-------------------------------------------------------------------------
 * condition.h
 *		Conditions of a mapping as SQL.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CONDITION_H
#define JDY_CONDITION_H

#include "postgres.h"

#include "fieldsql.h"
#include "utils/jsonb.h"

/*
 * An array of arrays of {field, logic, value, strictMode}, any of which holds when
 * all in it do, as a boolean SQL expression; NULL = it leaves nothing out.
 */
extern char *jdy_condition_sql(const FieldSource *source, const JsonbValue *condition);

#endif							/* JDY_CONDITION_H */
