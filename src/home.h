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

/* The same for the scheduler: false; versions that do not fit are told to the log, a copy by jdy_status. */
extern bool jdy_home_may_act(void);

#endif							/* JDY_HOME_H */
