/*-------------------------------------------------------------------------
 * home.h
 *		Whether this is the database that the state was made in, or a copy of it.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_HOME_H
#define JDY_HOME_H

#include "postgres.h"

/* All in a transaction with SPI.  note: state is made here; the first database that says so is its home. */
extern void jdy_home_note(void);

extern bool jdy_home_is_here(void);

/* Raises an error with what to do unless it is. */
extern void jdy_home_check(void);

#endif							/* JDY_HOME_H */
