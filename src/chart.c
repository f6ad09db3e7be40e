/*-------------------------------------------------------------------------
 * chart.c
 *		Stacked bars over time, as inline SVG.
 *
 * One picture is as wide as a phone's screen, so that its letters are the same size
 * everywhere; wider screens get several beside each other.  Colours come from the page's style,
 * so that they follow light, dark and paper.
 *
 * Pure.  Called by report.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "chart.h"

#define WIDTH 360
#define HEIGHT 170
#define LEFT 42					/* room for the numbers */
#define RIGHT 6
#define TOP 10
#define BOTTOM 22				/* room for the times */
#define TICKS 4
#define NAME_EVERY 6			/* bars: a quarter of a day; others overlap */

static double bar_total(const Chart *chart, int bar);
static double tick_step(double highest);
static void put_axes(StringInfo page, const Chart *chart, double step, int ticks);
static void put_bars(StringInfo page, const Chart *chart, double top);
static void put_legend(StringInfo page, const Chart *chart);
static void put_short(StringInfo page, double number);
static double x_of(const Chart *chart, double bar);
static double y_of(double value, double top);

void
jdy_chart(StringInfo page, const Chart *chart)
{
	double		highest = 0;
	double		step;
	int			ticks;

	for (int bar = 0; bar < chart->nbars; bar++)
		highest = Max(highest, bar_total(chart, bar));

	appendStringInfoString(page, "<figure><figcaption><b>");
	jdy_html_label(page, chart->title);
	appendStringInfoString(page, "</b> <small>");
	jdy_html_label(page, chart->unit);
	appendStringInfoString(page, "</small></figcaption>\n");
	if (highest <= 0)
	{
		appendStringInfoString(page, "<p class=\"empty\">");
		jdy_html_label(page, chart->empty);
		appendStringInfoString(page, "</p></figure>\n");
		return;
	}
	step = tick_step(highest);
	ticks = (int) ceil(highest / step);
	appendStringInfo(page, "<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
	put_axes(page, chart, step, ticks);
	put_bars(page, chart, step * ticks);
	appendStringInfoString(page, "</svg>\n");
	put_legend(page, chart);
	appendStringInfoString(page, "</figure>\n");
}

static double
bar_total(const Chart *chart, int bar)
{
	double		total = 0;

	for (int s = 0; s < chart->nseries; s++)
		total += chart->series[s].values[bar];
	return total;
}

/* 1, 2 or 5 times a power of ten, so that at most TICKS of them reach the highest; counts have no fractions. */
static double
tick_step(double highest)
{
	double		power = pow(10, floor(log10(highest / TICKS)));
	double		rest = highest / TICKS / power;

	return Max(1, power * (rest <= 1 ? 1 : rest <= 2 ? 2 : rest <= 5 ? 5 : 10));
}

static void
put_axes(StringInfo page, const Chart *chart, double step, int ticks)
{
	for (int tick = 0; tick <= ticks; tick++)
	{
		double		y = y_of(tick, ticks);

		appendStringInfo(page, "<path class=\"%s\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
						 tick == 0 ? "axis" : "grid", LEFT, y, WIDTH - RIGHT, LEFT - 5, y + 3.5);
		put_short(page, tick * step);
		appendStringInfoString(page, "</text>\n");
	}
	/* From the right: the newest has a name. */
	for (int bar = chart->nbars - 1; bar >= 0; bar -= NAME_EVERY)
	{
		double		x = Min(Max(x_of(chart, bar + 0.5), LEFT + 16), WIDTH - 18);

		appendStringInfo(page, "<path class=\"axis\" d=\"M%.1f %dv3\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
						 x_of(chart, bar + 0.5), HEIGHT - BOTTOM, x, HEIGHT - 7, chart->names[bar]);
	}
}

static void
put_bars(StringInfo page, const Chart *chart, double top)
{
	for (int bar = 0; bar < chart->nbars; bar++)
	{
		double		below = 0;

		if (bar_total(chart, bar) <= 0)
			continue;
		appendStringInfoString(page, "<g>");
		for (int s = 0; s < chart->nseries; s++)
		{
			double		value = chart->series[s].values[bar];
			double		y = y_of(below + value, top);
			double		height = y_of(below, top) - y;

			if (value <= 0)
				continue;
			/* What is there is seen, however much else there is. */
			if (height < 1)
			{
				y -= 1 - height;
				height = 1;
			}
			appendStringInfo(page, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
							 chart->series[s].css_class, x_of(chart, bar) + 0.5, y, x_of(chart, 1) - x_of(chart, 0) - 1, height);
			below += value;
		}
		appendStringInfo(page, "<title>%s:", chart->names[bar]);
		for (int s = 0; s < chart->nseries; s++)
		{
			appendStringInfo(page, " %s ", chart->series[s].name.en);
			jdy_html_number(page, (int64) chart->series[s].values[bar]);
		}
		appendStringInfoString(page, "</title></g>\n");
	}
}

/* With the sum of each, so that paper and screen readers have the numbers. */
static void
put_legend(StringInfo page, const Chart *chart)
{
	appendStringInfoString(page, "<ul class=\"legend\">");
	for (int s = 0; s < chart->nseries; s++)
	{
		double		total = 0;

		for (int bar = 0; bar < chart->nbars; bar++)
			total += chart->series[s].values[bar];
		appendStringInfo(page, "<li><svg viewBox=\"0 0 10 10\"><rect class=\"%s\" width=\"10\" height=\"10\"/></svg>",
						 chart->series[s].css_class);
		jdy_html_label(page, chart->series[s].name);
		appendStringInfoString(page, " <b>");
		jdy_html_number(page, (int64) total);
		appendStringInfoString(page, "</b></li>");
	}
	appendStringInfoString(page, "</ul>\n");
}

/* 950, 12k, 1.5M */
static void
put_short(StringInfo page, double number)
{
	static const char units[] = {'\0', 'k', 'M', 'G', 'T', 'P', 'E'};
	int			unit = 0;

	while (number >= 1000 && unit < lengthof(units) - 1)
	{
		number /= 1000;
		unit++;
	}
	appendStringInfo(page, "%g", number);
	if (unit > 0)
		appendStringInfoChar(page, units[unit]);
}

static double
x_of(const Chart *chart, double bar)
{
	return LEFT + bar * (WIDTH - LEFT - RIGHT) / chart->nbars;
}

static double
y_of(double value, double top)
{
	return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
}
