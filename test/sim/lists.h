/*-------------------------------------------------------------------------
 * lists.h
 *		List pages and details.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_LISTS_H
#define SIM_LISTS_H

#include "data.h"
#include "request.h"

extern void lists_page(Request *req, Entity entity, bool plain);
extern void lists_detail(Request *req, Entity entity);

#endif
