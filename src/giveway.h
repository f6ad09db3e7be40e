/*-------------------------------------------------------------------------
 * giveway.h
 *		Our workers leave a database that somebody changes as a whole.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_GIVEWAY_H
#define JDY_GIVEWAY_H

/* From _PG_init, while preload libraries are loaded. */
extern void jdy_giveway_register(void);

#endif							/* JDY_GIVEWAY_H */
