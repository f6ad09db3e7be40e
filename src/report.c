/*-------------------------------------------------------------------------
 * report.c
 *		jdy_report(): one page of HTML that says how all of it stands.
 *
 * For people without psql: made by a cron job, sent by mail, printed.  The page is whole in
 * itself: no script, no picture or letter from outside.  Both languages stand in it; two
 * radio buttons and the style decide which is seen.
 *
 * Everything is read from the views that people read, with the caller's rights, so the page
 * shows what its maker may see.  Each query is bounded: by an index, by the totals that
 * runs leave behind, or by a LIMIT that the page admits.
 *
 * A section is a function; they stand in the order of the page.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "chart.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "html.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "reportstyle.h"
#include "spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define MOST_LINES 500			/* of a table with a line for each stream */
#define MOST_LINES_TEXT CppAsString2(MOST_LINES)

typedef struct Report
{
	StringInfoData body;
	StringInfoData style;		/* what the tables need besides report_style */
	const char *schema;			/* of the views, quoted */
	int64		pulls;
	int64		pushes;
	int64		dead;
} Report;

static void put_head(StringInfo page, const Report *report);
static void put_title(Report *report);
static void put_tiles(Report *report);
static void put_contents(Report *report);
static void put_health(Report *report);
static void put_incidents(Report *report);
static void put_coverage(Report *report);
static void put_deliveries(Report *report);
static void put_last_day(Report *report);
static void put_last_month(Report *report);
static void put_failed_runs(Report *report);
static void put_slowest_calls(Report *report);
static void put_rejects(Report *report);
static void put_dead_letters(Report *report);
static void put_charts(Report *report, int nbars, const char *names, const char *sums, Label empty);
static void put_section(Report *report, const char *id, Label title);
static void put_note(Report *report, Label text);
static void put_rest(Report *report, int64 all);
static void put_tile(Report *report, const char *css_class, int64 number, Label what);
static void find(const Report *report, const char *form);
static bool prefers_chinese(void);

PG_FUNCTION_INFO_V1(jdy_report);

Datum
jdy_report(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Report		report = {.pulls = 0};
	StringInfoData page;

	initStringInfo(&report.body);
	initStringInfo(&report.style);
	initStringInfo(&page);
	report.schema = quote_identifier(jdy_extension_schema());

	SPI_connect();
	put_title(&report);
	put_tiles(&report);
	put_contents(&report);
	put_health(&report);
	put_incidents(&report);
	put_coverage(&report);
	put_deliveries(&report);
	put_last_day(&report);
	put_last_month(&report);
	put_failed_runs(&report);
	put_slowest_calls(&report);
	put_rejects(&report);
	put_dead_letters(&report);
	SPI_finish();

	MemoryContextSwitchTo(caller);
	put_head(&page, &report);
	appendBinaryStringInfo(&page, report.body.data, report.body.len);
	appendStringInfoString(&page, "</main></body></html>");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(page.data, page.len));
}

/* The policy is a second lock behind jdy_html_text: nothing in the page may run, or be fetched. */
static void
put_head(StringInfo page, const Report *report)
{
	bool		chinese = prefers_chinese();

	appendStringInfo(page, "<!DOCTYPE html>\n<html lang=\"%s\">\n<head>\n<meta charset=\"utf-8\">\n"
					 "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
					 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>jdysync</title>\n<style>\n",
					 chinese ? "zh" : "en");
	appendStringInfoString(page, report_style);
	appendBinaryStringInfo(page, report->style.data, report->style.len);
	appendStringInfo(page, "</style>\n</head>\n<body>\n"
					 "<input type=\"radio\" name=\"language\" id=\"zh\" aria-label=\"&#x4E2D;&#x6587;\"%s>"
					 "<input type=\"radio\" name=\"language\" id=\"en\" aria-label=\"English\"%s>\n",
					 chinese ? " checked" : "", chinese ? "" : " checked");
}

static void
put_title(Report *report)
{
	StringInfo	body = &report->body;

	find(report, "SELECT pg_catalog.current_database()::text, current_user::text");
	appendStringInfoString(body, "<header><h1>jdysync &#xB7; <bdi>");
	jdy_html_text(body, jdy_spi_text(0, 1));
	appendStringInfoString(body, "</bdi></h1><p>");
	jdy_html_time(body, GetCurrentTransactionStartTimestamp());
	appendStringInfoString(body, " ");
	jdy_html_text(body, pg_get_timezone_name(session_timezone));
	appendStringInfoString(body, ", ");
	jdy_html_label(body, (Label) {"as seen by ", "查看者 "});
	appendStringInfoString(body, "<bdi>");
	jdy_html_text(body, jdy_spi_text(0, 2));
	appendStringInfoString(body, "</bdi></p><nav><label for=\"zh\">&#x4E2D;&#x6587;</label><label for=\"en\">English</label></nav></header>\n<main>\n");
}

static void
put_tiles(Report *report)
{
	static const struct
	{
		const char *css_class;	/* when the number is not 0 */
		Label		what;
	}			tiles[] = {
		{"bad", {"failing", "失败"}},
		{"warn", {"late", "迟到"}},
		{"warn", {"held", "待放行"}},
		{"calm", {"never ran or paused", "未运行或已暂停"}},
		{"good", {"ok", "正常"}},
		{"bad", {"open incidents", "未结事件"}},
		{"warn", {"dead letters", "死信"}},
		{"warn", {"records set aside", "暂缺的记录"}},
		{"calm", {"details due", "待取详情"}}
	};

	find(report, "SELECT pg_catalog.count(*) FILTER (WHERE h.status = 'failing'), pg_catalog.count(*) FILTER (WHERE h.status = 'late'),"
		 " pg_catalog.count(*) FILTER (WHERE h.status = 'held'), pg_catalog.count(*) FILTER (WHERE h.status IN ('never ran', 'paused')),"
		 " pg_catalog.count(*) FILTER (WHERE h.status = 'ok'),"
		 " (SELECT pg_catalog.count(*) FROM %1$s.jdy_incidents i WHERE i.closed_at IS NULL AND i.severity <> 'info'),"
		 " pg_catalog.sum(h.dead)::bigint, pg_catalog.sum(h.set_aside)::bigint, pg_catalog.sum(h.details_due)::bigint,"
		 " pg_catalog.count(*) FILTER (WHERE h.kind = 'pull'), pg_catalog.count(*) FILTER (WHERE h.kind = 'push')"
		 " FROM %1$s.jdy_health h");
	appendStringInfoString(&report->body, "<ul class=\"tiles\">");
	for (int i = 0; i < lengthof(tiles); i++)
		put_tile(report, tiles[i].css_class, jdy_spi_int64(0, i + 1, 0), tiles[i].what);
	appendStringInfoString(&report->body, "</ul>\n");
	report->dead = jdy_spi_int64(0, 7, 0);
	report->pulls = jdy_spi_int64(0, 10, 0);
	report->pushes = jdy_spi_int64(0, 11, 0);
}

/* With hundreds of streams the page is long. */
static void
put_contents(Report *report)
{
	static const struct
	{
		const char *id;
		Label		title;
	}			sections[] = {
		{"health", {"Health", "健康"}},
		{"incidents", {"Incidents", "事件"}},
		{"coverage", {"Complete", "完整"}},
		{"pushes", {"Pushes", "推送"}},
		{"day", {"24 hours", "24 小时"}},
		{"month", {"30 days", "30 天"}},
		{"failed", {"Failures", "失败"}},
		{"calls", {"Calls", "调用"}},
		{"rejects", {"Rejects", "拒收"}},
		{"dead", {"Dead letters", "死信"}}
	};

	appendStringInfoString(&report->body, "<p class=\"contents\">");
	for (int i = 0; i < lengthof(sections); i++)
	{
		appendStringInfo(&report->body, "<a href=\"#%s\">", sections[i].id);
		jdy_html_label(&report->body, sections[i].title);
		appendStringInfoString(&report->body, "</a> ");
	}
	appendStringInfoString(&report->body, "</p>\n");
}

static void
put_health(Report *report)
{
	static const TableColumn columns[] = {
		{{"Status", "状态"}, CELL_STATUS},
		{{"Name", "名称"}, CELL_NAME},
		{{"Kind", "类型"}, CELL_KIND},
		{{"Why", "原因"}, CELL_SENTENCE},
		{{"Last run", "上次运行"}, CELL_TIME},
		{{"Lag", "滞后"}, CELL_SPAN},
		{{"Next run", "下次运行"}, CELL_TIME}
	};

	put_section(report, "health", (Label) {"Health", "健康状况"});
	/* The sentence begins with the status, which stands beside it. */
	find(report, "SELECT s.status, s.name, s.kind, NULLIF(pg_catalog.substr(s.why, pg_catalog.length(s.status) + 3), ''), s.last_run,"
		 " pg_catalog.date_part('epoch', s.lag), s.next_run"
		 " FROM %1$s.jdy_status s"
		 " ORDER BY pg_catalog.array_position(ARRAY['failing', 'late', 'held', 'never ran', 'paused', 'ok'], s.status), s.name"
		 " LIMIT " MOST_LINES_TEXT);
	jdy_html_table(&report->body, &report->style, "status", columns, lengthof(columns),
				   (Label) {"There is no stream or push that you may see: jdy_add_stream and jdy_add_push make one.",
		"还没有您可以查看的流或推送：用 jdy_add_stream、jdy_add_push 创建。"});
	put_rest(report, report->pulls + report->pushes);
}

static void
put_incidents(Report *report)
{
	static const TableColumn columns[] = {
		{{"Severity", "级别"}, CELL_SEVERITY},
		{{"Since", "开始时间"}, CELL_TIME},
		{{"Name", "名称"}, CELL_NAME},
		{{"What", "事件"}, CELL_SENTENCE},
		{{"Detail", "详情"}, CELL_SENTENCE},
		{{"What to do", "如何处理"}, CELL_SENTENCE}
	};

	put_section(report, "incidents", (Label) {"Open incidents", "未结事件"});
	find(report, "SELECT i.severity, i.opened_at, i.name, i.what, i.detail, i.advice FROM %1$s.jdy_incidents i WHERE i.closed_at IS NULL"
		 " ORDER BY pg_catalog.array_position(ARRAY['critical', 'warning', 'info'], i.severity), i.opened_at DESC LIMIT 100");
	jdy_html_table(&report->body, &report->style, "incident", columns, lengthof(columns), (Label) {"None.", "没有。"});
	if (SPI_processed == 100)
		put_note(report, (Label) {"The first 100; the others are in jdy_incidents.", "只列出前 100 个，其余见 jdy_incidents。"});
}

static void
put_coverage(Report *report)
{
	static const TableColumn columns[] = {
		{{"Name", "名称"}, CELL_NAME},
		{{"Complete until", "完整至"}, CELL_TIME},
		{{"That is ago", "距今"}, CELL_SPAN},
		{{"Listed until", "已列至"}, CELL_TIME},
		{{"Details due", "待取详情"}, CELL_NUMBER},
		{{"Set aside", "暂缺"}, CELL_TROUBLE},
		{{"Gaps", "缺口"}, CELL_TROUBLE},
		{{"Certified", "认证时刻"}, CELL_TIME}
	};

	put_section(report, "coverage", (Label) {"Fresh and complete", "及时与完整"});
	find(report, "SELECT h.name, h.complete_until, pg_catalog.date_part('epoch', pg_catalog.now() - h.complete_until), h.listed_until,"
		 " h.details_due, h.set_aside, h.gaps, h.certified"
		 " FROM %1$s.jdy_health h WHERE h.kind = 'pull' ORDER BY h.complete_until NULLS FIRST, h.name LIMIT " MOST_LINES_TEXT);
	jdy_html_table(&report->body, &report->style, "complete", columns, lengthof(columns), (Label) {"No streams.", "没有流。"});
	if (SPI_processed > 0)
		put_note(report, (Label) {"Every change stamped before \"complete until\" is in the staging table; at \"certified\" it held exactly the records of the list. A dash: not yet.",
			"“完整至”之前的每个变更都已入库；“认证时刻”表中记录与源列表完全一致。短横线表示尚未。"});
	put_rest(report, report->pulls);
}

static void
put_deliveries(Report *report)
{
	static const TableColumn columns[] = {
		{{"Name", "名称"}, CELL_NAME},
		{{"Last success", "上次成功"}, CELL_TIME},
		{{"That is ago", "距今"}, CELL_SPAN},
		{{"To be resent", "待重发"}, CELL_NUMBER},
		{{"Under way", "发送中"}, CELL_NUMBER},
		{{"In doubt", "结果未知"}, CELL_TROUBLE},
		{{"Dead", "死信"}, CELL_TROUBLE}
	};

	put_section(report, "pushes", (Label) {"Pushes", "推送"});
	find(report, "SELECT h.name, h.last_ok, pg_catalog.date_part('epoch', pg_catalog.now() - h.last_ok),"
		 " h.pending, h.sent::bigint, h.in_doubt::bigint, h.dead"
		 " FROM %1$s.jdy_health h WHERE h.kind = 'push' ORDER BY h.dead + h.in_doubt DESC, h.last_ok NULLS FIRST, h.name LIMIT " MOST_LINES_TEXT);
	jdy_html_table(&report->body, &report->style, "push", columns, lengthof(columns), (Label) {"No pushes.", "没有推送。"});
	put_rest(report, report->pushes);
}

static void
put_last_day(Report *report)
{
	put_section(report, "day", (Label) {"Last 24 hours", "最近 24 小时"});
	put_charts(report, 24,
			   "SELECT pg_catalog.to_char(pg_catalog.date_trunc('hour', pg_catalog.now()) - pg_catalog.make_interval(hours => 23 - g.i), 'HH24:MI')"
			   " FROM pg_catalog.generate_series(0, 23) AS g (i) ORDER BY g.i",
			   "SELECT pg_catalog.floor(pg_catalog.date_part('epoch',"
			   "  r.started_at - (pg_catalog.date_trunc('hour', pg_catalog.now()) - interval '23 hours')) / 3600)::bigint, r.status,"
			   " pg_catalog.count(*), pg_catalog.sum(r.calls - r.retries)::bigint, pg_catalog.sum(r.retries)::bigint,"
			   " pg_catalog.sum(r.inserted + r.updated)::bigint, pg_catalog.sum(r.delivered)::bigint, pg_catalog.sum(r.rejected + r.dead)::bigint"
			   " FROM %1$s.jdy_runs r WHERE r.started_at >= pg_catalog.date_trunc('hour', pg_catalog.now()) - interval '23 hours'"
			   " AND r.finished_at IS NOT NULL GROUP BY 1, 2",
			   (Label) {"No runs in the last 24 hours.", "最近 24 小时没有运行。"});
}

static void
put_last_month(Report *report)
{
	put_section(report, "month", (Label) {"Last 30 days", "最近 30 天"});
	put_charts(report, 30,
			   "SELECT pg_catalog.to_char((pg_catalog.now() AT TIME ZONE pg_catalog.current_setting('log_timezone'))::date - (29 - g.i), 'MM-DD')"
			   " FROM pg_catalog.generate_series(0, 29) AS g (i) ORDER BY g.i",
			   "SELECT (t.day - ((pg_catalog.now() AT TIME ZONE pg_catalog.current_setting('log_timezone'))::date - 29))::bigint, t.status,"
			   " pg_catalog.sum(t.runs)::bigint, pg_catalog.sum(t.calls - t.retries)::bigint, pg_catalog.sum(t.retries)::bigint,"
			   " pg_catalog.sum(t.inserted + t.updated)::bigint, pg_catalog.sum(t.delivered)::bigint, pg_catalog.sum(t.rejected + t.dead)::bigint"
			   " FROM %1$s.jdy_totals t WHERE t.day >= (pg_catalog.now() AT TIME ZONE pg_catalog.current_setting('log_timezone'))::date - 29"
			   " GROUP BY 1, 2",
			   (Label) {"No runs in the last 30 days.", "最近 30 天没有运行。"});
}

static void
put_failed_runs(Report *report)
{
	static const TableColumn columns[] = {
		{{"Began", "开始时间"}, CELL_TIME},
		{{"Name", "名称"}, CELL_NAME},
		{{"Status", "状态"}, CELL_STATUS},
		{{"Error", "错误"}, CELL_TEXT},
		{{"Detail", "详情"}, CELL_TEXT}
	};

	put_section(report, "failed", (Label) {"Failed runs of the last 24 hours", "最近 24 小时失败的运行"});
	find(report, "SELECT r.started_at, r.name, r.status, pg_catalog.concat_ws(' ', r.sqlstate, r.error), r.detail FROM %1$s.jdy_runs r"
		 " WHERE r.started_at >= pg_catalog.now() - interval '1 day' AND r.status IN ('failed', 'interrupted')"
		 " ORDER BY r.started_at DESC LIMIT 10");
	jdy_html_table(&report->body, &report->style, "failure", columns, lengthof(columns), (Label) {"None.", "没有。"});
	if (SPI_processed == 10)
		put_note(report, (Label) {"The last 10; all are in jdy_runs.", "只列出最近 10 次，全部见 jdy_runs。"});
}

static void
put_slowest_calls(Report *report)
{
	static const TableColumn columns[] = {
		{{"Took", "耗时"}, CELL_SPAN},
		{{"At", "时间"}, CELL_TIME},
		{{"Name", "名称"}, CELL_NAME},
		{{"HTTP", "HTTP"}, CELL_NUMBER},
		{{"Call", "调用"}, CELL_TEXT},
		{{"Error", "错误"}, CELL_TEXT}
	};

	put_section(report, "calls", (Label) {"Slowest calls of the last 24 hours", "最近 24 小时最慢的调用"});
	find(report, "SELECT k.ms / 1000.0::double precision, k.at, (SELECT r.name FROM %1$s.jdy_runs r WHERE r.run_id = k.run_id),"
		 " k.http_status::bigint, k.method || ' ' || k.url, k.error"
		 " FROM (SELECT c.* FROM %1$s.jdy_calls c WHERE c.at >= pg_catalog.now() - interval '1 day' AND c.run_id >= (SELECT d.run_id"
		 "  FROM %1$s.jdy_runs d WHERE d.started_at >= pg_catalog.now() - interval '1 day' ORDER BY d.started_at LIMIT 1)"
		 "  ORDER BY c.ms DESC LIMIT 10) k ORDER BY k.ms DESC");
	jdy_html_table(&report->body, &report->style, "call", columns, lengthof(columns),
				   (Label) {"None that are kept and that you may see.", "没有保留的、您可以查看的调用。"});
}

static void
put_rejects(Report *report)
{
	static const TableColumn columns[] = {
		{{"Rows", "行数"}, CELL_NUMBER},
		{{"Name", "名称"}, CELL_NAME},
		{{"Reason", "原因"}, CELL_SENTENCE},
		{{"Last", "最近一次"}, CELL_TIME},
		{{"One of the ids", "其中一个 id"}, CELL_TEXT}
	};

	put_section(report, "rejects", (Label) {"Input that PostgreSQL cannot hold", "PostgreSQL 无法存储的数据"});
	find(report, "SELECT pg_catalog.count(*), j.name, j.reason, pg_catalog.max(j.at), pg_catalog.max(j.id)"
		 " FROM (SELECT i.name, i.reason, i.at, i.id FROM %1$s.jdy_rejects i ORDER BY i.reject_id DESC LIMIT 10000) j"
		 " GROUP BY j.name, j.reason ORDER BY 1 DESC, j.name LIMIT 20");
	jdy_html_table(&report->body, &report->style, "reject", columns, lengthof(columns),
				   (Label) {"None that you may see.", "没有您可以查看的。"});
	if (SPI_processed > 0)
		put_note(report, (Label) {"Of the last 10,000; the bytes are in jdy_rejects.", "统计最近 10,000 行；原始字节见 jdy_rejects。"});
}

static void
put_dead_letters(Report *report)
{
	static const TableColumn columns[] = {
		{{"Since", "时间"}, CELL_TIME},
		{{"Push", "推送"}, CELL_NAME},
		{{"Record", "记录"}, CELL_TEXT},
		{{"Refused", "被拒次数"}, CELL_NUMBER},
		{{"HTTP", "HTTP"}, CELL_NUMBER},
		{{"Code", "错误码"}, CELL_NUMBER},
		{{"Reason", "原因"}, CELL_TEXT}
	};

	put_section(report, "dead", (Label) {"Dead letters", "死信"});
	find(report, "SELECT d.changed_at, d.push, d.id, d.attempts::bigint, d.http_status::bigint, d.errcode, d.last_error"
		 " FROM (SELECT l.* FROM %1$s.jdy_deliveries l WHERE l.status = 'dead' AND l.discarded IS NULL LIMIT 10000) d"
		 " ORDER BY d.changed_at DESC, d.push, d.id LIMIT 20");
	if (SPI_processed == 0 && report->dead > 0)
		jdy_html_table(&report->body, &report->style, "letter", columns, lengthof(columns),
					   (Label) {"There are some, but only their owner may read them.", "有死信，但只有其所有者可以查看内容。"});
	else
		jdy_html_table(&report->body, &report->style, "letter", columns, lengthof(columns), (Label) {"None.", "没有。"});
	if (SPI_processed > 0)
		put_note(report, (Label) {"The last 20 at most. When the cause is gone: jdy_replay(push) sends them again, jdy_discard(push, ids, reason) closes them.",
			"最多列出最近 20 条。原因消除后：jdy_replay(推送) 重新发送，jdy_discard(推送, ids, 原因) 关闭。"});
}

/*
 * names: a query of the bars' names.  sums: bar, status, runs, first attempts, retries, records
 * written, delivered, refused.
 */
static void
put_charts(Report *report, int nbars, const char *names, const char *sums, Label empty)
{
	Chart		runs = {
		.title = {"Runs", "运行"}, .unit = {"by how they ended", "按结果"}, .nseries = 3,
		.series = {{{"ok", "正常"}, "good"}, {{"failed", "失败"}, "bad"}, {{"cancelled", "已取消"}, "calm"}}
	};
	Chart		calls = {
		.title = {"Calls", "调用"}, .unit = {"HTTP requests", "HTTP 请求数"}, .nseries = 2,
		.series = {{{"first attempts", "首次"}, "blue"}, {{"retries", "重试"}, "warn"}}
	};
	Chart		records = {
		.title = {"Records", "记录"}, .unit = {"number", "条数"}, .nseries = 3,
		.series = {{{"pulled, new or changed", "拉取（新增或变更）"}, "blue"}, {{"delivered", "已送达"}, "good"}, {{"refused", "被拒"}, "bad"}}
	};
	Chart	   *charts[] = {&runs, &calls, &records};

	find(report, names);
	for (int c = 0; c < lengthof(charts); c++)
	{
		charts[c]->nbars = nbars;
		charts[c]->empty = empty;
		for (int bar = 0; bar < nbars; bar++)
			strlcpy(charts[c]->names[bar], jdy_spi_text(bar, 1), sizeof(charts[c]->names[bar]));
	}
	find(report, sums);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int64		bar = jdy_spi_int64(row, 1, -1);
		const char *status = jdy_spi_text(row, 2);

		/* A clock that was set back leaves runs of the future. */
		if (bar < 0 || bar >= nbars)
			continue;
		runs.series[strcmp(status, "ok") == 0 ? 0 : strcmp(status, "cancelled") == 0 ? 2 : 1].values[bar] += jdy_spi_int64(row, 3, 0);
		for (int s = 0; s < calls.nseries; s++)
			calls.series[s].values[bar] += jdy_spi_int64(row, 4 + s, 0);
		for (int s = 0; s < records.nseries; s++)
			records.series[s].values[bar] += jdy_spi_int64(row, 6 + s, 0);
	}
	if (SPI_processed > 0)
	{
		calls.empty = (Label) {"No calls.", "没有调用。"};
		records.empty = (Label) {"Nothing new or changed.", "没有新增或变更。"};
	}

	appendStringInfoString(&report->body, "<div class=\"charts\">\n");
	for (int c = 0; c < lengthof(charts); c++)
		jdy_chart(&report->body, charts[c]);
	appendStringInfoString(&report->body, "</div>\n");
}

static void
put_section(Report *report, const char *id, Label title)
{
	appendStringInfo(&report->body, "<h2 id=\"%s\">", id);
	jdy_html_label(&report->body, title);
	appendStringInfoString(&report->body, "</h2>\n");
}

static void
put_note(Report *report, Label text)
{
	appendStringInfoString(&report->body, "<p class=\"note\">");
	jdy_html_label(&report->body, text);
	appendStringInfoString(&report->body, "</p>\n");
}

/* Says so when not all lines are shown. */
static void
put_rest(Report *report, int64 all)
{
	if (all > MOST_LINES)
		put_note(report, (Label) {psprintf("The first %d of " INT64_FORMAT "; all are in jdy_health.", MOST_LINES, all),
			psprintf("只列出 " INT64_FORMAT " 个中的前 %d 个，全部见 jdy_health。", all, MOST_LINES)});
}

static void
put_tile(Report *report, const char *css_class, int64 number, Label what)
{
	appendStringInfo(&report->body, "<li class=\"%s\"><b>", number != 0 ? css_class : "");
	jdy_html_number(&report->body, number);
	appendStringInfoString(&report->body, "</b>");
	jdy_html_label(&report->body, what);
	appendStringInfoString(&report->body, "</li>\n");
}

/* Runs a query of the views as the caller; %1$s in it is their schema.  The function pins search_path. */
static void
find(const Report *report, const char *form)
{
	char	   *sql = psprintf(form, report->schema);
	int			result = SPI_execute(sql, true, 0);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "a query of the report failed: %s", SPI_result_code_string(result));
	pfree(sql);
}

/* Where the server speaks Chinese, or lives by China's time; the reader can choose. */
static bool
prefers_chinese(void)
{
	const char *zone = pg_get_timezone_name(session_timezone);

	return pg_strncasecmp(GetConfigOption("lc_messages", false, false), "zh", 2) == 0 ||
		strcmp(zone, "Asia/Shanghai") == 0 || strcmp(zone, "PRC") == 0 || strcmp(zone, "Asia/Chongqing") == 0;
}
