/*-------------------------------------------------------------------------
 * mapping.h
 *		Views over staging tables: made, replaced, remembered.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_MAPPING_H
#define JDY_MAPPING_H

#include "postgres.h"

#include "compile.h"

#endif							/* JDY_MAPPING_H */
