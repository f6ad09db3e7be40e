/*-------------------------------------------------------------------------
 * save.h
 *		Customers saved and deleted by callers of the signed form.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SAVE_H
#define SIM_SAVE_H

#include "request.h"

extern void save_customer(Request *req);	/* POST /jdy/v2/bd/customer */
extern void save_operate(Request *req); /* POST /jdy/v2/sys/common_operate */

#endif
