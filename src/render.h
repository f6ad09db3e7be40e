/*-------------------------------------------------------------------------
 * render.h
 *		jdy_render: {{path}} templates inside any JSON, filled from a record.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_RENDER_H
#define JDY_RENDER_H

#include "postgres.h"

/*
 * An error, with the SQL way in its HINT, unless a template's text holds nothing but
 * what a record can fill: no _function, no looking up of other records, no times of
 * a run, filters datetime and timestamp_ms only, and paths without empty names.
 */
extern void jdy_template_check(const char *text);

#endif							/* JDY_RENDER_H */
