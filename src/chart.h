/*-------------------------------------------------------------------------
 * chart.h
 *		Stacked bars over time, as inline SVG.
 *-------------------------------------------------------------------------
 */
#ifndef JDY_CHART_H
#define JDY_CHART_H

#include "postgres.h"

#include "html.h"

#define CHART_MOST_BARS 31
#define CHART_MOST_SERIES 3

typedef struct Chart
{
	Label		title;
	Label		unit;			/* of a bar's height, per what */
	Label		empty;			/* said instead of a picture without bars */
	int			nbars;
	char		names[CHART_MOST_BARS][16]; /* of bars, ASCII: hours or days */
	int			nseries;
	struct
	{
		Label		name;
		const char *css_class;	/* its colour */
		double		values[CHART_MOST_BARS];
	}			series[CHART_MOST_SERIES];	/* from the bottom up */
} Chart;

extern void jdy_chart(StringInfo page, const Chart *chart);

#endif							/* JDY_CHART_H */
