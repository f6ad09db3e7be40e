/*-------------------------------------------------------------------------
 * home.h
 *		Whether runs may be made here: no copy, and SQL objects that the library knows.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_HOME_H
#define JDY_HOME_H

#include "postgres.h"

/*
 * All in a transaction with SPI.  note: state is made here; the first database that says so is its home.  Raises an
 * error when the library does not know the SQL objects.
 */
extern void jdy_home_note(void);

/* Raises an error with what to do unless runs may be made here. */
extern void jdy_home_check(void);

/* The two halves of it, for the scheduler: false if not; fits tells that to the log. */
extern bool jdy_home_is_here(void);
extern bool jdy_home_fits(void);

#endif							/* JDY_HOME_H */
