/*-------------------------------------------------------------------------
 * render.h
 *		jdy_render: {{path}} templates inside any JSON, filled from a record.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_RENDER_H
#define JDY_RENDER_H

#include "postgres.h"

/* An error that names the SQL way when a template's text uses _function or looks other records up. */
extern void jdy_template_check_words(const char *text);

#endif							/* JDY_RENDER_H */
