/*-------------------------------------------------------------------------
 * phrasebook.c
 *		In Chinese: what jdysync itself says of incidents, statuses and rejects.
 *
 * These texts are kept as they were written, in English: logs, alarms and programs know
 * them by their words.  A page for people is another matter.  What is said is a closed set
 * of sentences with names, numbers and times in them, so a table turns one into the other;
 * a sentence that it lacks is shown in English.
 *
 * In the table's English a "%" stands for any text, which "%1", "%2", … put into the Chinese
 * as it is; a "~" for text that is a phrase by itself, and is looked up, too.  Neither holds a
 * "; ", which joins phrases: so several in one text need no line of their own.
 *
 * Pure.  Called by html.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "phrasebook.h"

#define MOST_PARTS 9			/* of one phrase */
#define JOINT "; "				/* of phrases */

typedef struct Phrase
{
	const char *en;
	const char *zh;				/* UTF-8 */
} Phrase;

/* What stands at a "%" or a "~". */
typedef struct Part
{
	const char *text;
	size_t		length;
	bool		phrase;
} Part;

/* The first that fits is taken. */
static const Phrase phrases[] = {
	/* Incidents: what. */
	{"failing", "运行失败"},
	{"authorisation refused", "授权被拒绝"},
	{"late", "任务积压"},
	{"dead letters", "有记录被目标拒绝"},
	{"rows set aside", "有数据无法入库"},
	{"licence ends", "账套授权即将到期"},
	{"held", "数据库副本，已停用"},
	{"push held", "推送已暂停：变化过多"},
	{"mass delete", "大批记录消失，未标记删除"},
	{"target away", "推送目标无响应"},
	{"missed by windows", "时间窗漏读"},
	{"settle raised", "settle 已自动调大"},
	{"time filter ignored", "时间过滤无效"},
	{"no stable order", "列表顺序不稳定"},
	{"order not seen", "列表顺序是否稳定未知"},
	{"sort key not known", "排序字段未知"},
	{"end of the list not trusted", "列表末尾不可信"},
	{"no time told", "接口不报时间"},
	{"count not trusted", "计数不可信"},
	{"report not proven", "报表未能证明完整"},
	{"clock went back", "接口的时钟倒退"},
	{"rows removed from staging", "暂存表中的行被删"},
	{"contract changed: ~", "接口行为改变：%1"},

	/* Incidents: detail, and advice. */
	{"Run % failed with SQLSTATE %.", "运行 %1 失败，SQLSTATE %2。"},
	{"SELECT error, detail, hint FROM jdy_runs WHERE run_id = %; says why. ~",
	"原因见 SELECT error, detail, hint FROM jdy_runs WHERE run_id = %1; %2"},
	{"It is tried again by itself, at least every five minutes.", "会自动重试，至少每五分钟一次。"},
	{"Then run it again: %", "处理后请再运行一次：%1"},
	{"SELECT * FROM jdy_check(%); shows which step is refused. Let the customer's administrator authorise the application again, or correct the user mapping.",
	"SELECT * FROM jdy_check(%1); 会指出哪一步被拒。请客户管理员重新授权应用，或改正用户映射。"},
	{"SELECT * FROM jdy_check(%); shows which step is refused. Let the customer's administrator authorise the application again, or correct the user mapping. The runs go on by themselves.",
	"SELECT * FROM jdy_check(%1); 会指出哪一步被拒。请客户管理员重新授权应用，或改正用户映射。之后运行会自动继续。"},
	{"% runs have been waiting for over % minutes, since no worker is to be had; jdysync.max_workers is %.",
	"有 %1 次运行因为没有空闲的工作进程，已等待超过 %2 分钟；jdysync.max_workers 为 %3。"},
	{"SELECT * FROM jdy_progress; shows what the workers do. Raise jdysync.max_workers and, to a few more, max_worker_processes, or let schedules be further apart.",
	"SELECT * FROM jdy_progress; 可以看到工作进程在做什么。请调大 jdysync.max_workers（max_worker_processes 要再大一些），或者把计划的间隔拉长。"},
	{"SELECT id, last_error FROM jdy_deliveries WHERE push = % AND status = 'dead'; says which records the target refuses, and why. Mend them at the source, or after mending the target SELECT jdy_replay(%); jdy_discard gives them up.",
	"目标拒收了哪些记录、为什么，见 SELECT id, last_error FROM jdy_deliveries WHERE push = %1 AND status = 'dead'; 请在源头改正，或在目标修好后 SELECT jdy_replay(%2); 不再需要的用 jdy_discard 放弃。"},
	{"SELECT id, reason FROM jdy_rejects WHERE name = %; says which rows PostgreSQL cannot hold, and why. Mend them at the source; they are read again by themselves.",
	"PostgreSQL 存不下哪些行、为什么，见 SELECT id, reason FROM jdy_rejects WHERE name = %1; 请在源头改正，之后会自动重读。"},
	{"The licence of the account ends at %.", "账套的授权将于 %1 到期。"},
	{"Let the customer renew it before; then no call is answered any more. SELECT * FROM jdy_check(%); tells the account.",
	"请客户在此之前续期，到期后接口不再应答。是哪个账套，见 SELECT * FROM jdy_check(%1);"},
	{"It is a copy of another database: nothing runs here.", "本库是另一个库的副本，这里什么也不会运行。"},
	{"When the original does not run any more: SELECT jdy_adopt();", "确认原库不再运行之后：SELECT jdy_adopt();"},
	{"% of % records would be deleted, and % of % sent.", "将删除 %2 条记录中的 %1 条，并发送 %4 条中的 %3 条。"},
	{"% of % records would be sent.", "将发送 %2 条记录中的 %1 条。"},
	{"If that is meant: SELECT jdy_resume(%, force => true); then push again.",
	"如果确实要这样：SELECT jdy_resume(%1, force => true); 然后再推送。"},
	{"% of % records are not in the list any more. At most % are marked deleted at once, so none of these is.",
	"%2 条记录中有 %1 条已不在列表里。一次最多标记删除 %3 条，所以这些都还没有标记。"},
	{"If they are really gone: SELECT jdy_accept_deletes('%'). Else find out why the service does not list them: rights of the account, a wrong tenant, an accident.",
	"如果确实删除了：SELECT jdy_accept_deletes('%1')。否则请查明接口为什么不再列出它们：账号权限、账套弄错、误操作。"},
	{"What came last instead of an answer: %.", "最近一次得到的不是应答，而是：%1。"},
	{"Pushes to it have stopped and go on by themselves when it answers again; one request is tried at least every five minutes. SELECT * FROM jdy_check(%); tries it now.",
	"发往它的推送已停下，恢复应答后会自动继续；至少每五分钟试一个请求。要立刻试一次：SELECT * FROM jdy_check(%1);"},
	{"1 record was in the list that no window of modify time had listed; it is here now. By cause: %. Found by the %.",
	"列表里有 1 条记录，没有任何修改时间窗列出过它；现在已入库。原因：%1。由 %2 发现。"},
	{"% records were in the list that no window of modify time had listed; they are here now. By cause: %. Found by the %.",
	"列表里有 %1 条记录，没有任何修改时间窗列出过它们；现在已入库。原因：%2。由 %3 发现。"},
	{"Nothing is missing now. SELECT * FROM jdy_missed WHERE name = % ORDER BY found_at DESC; names them, each with its cause. For those that were late settle was raised; what is dated back or not stamped only audits find, or SELECT * FROM jdy_sync(%, 'full');",
	"现在什么也不缺。是哪些记录、各是什么原因，见 SELECT * FROM jdy_missed WHERE name = %1 ORDER BY found_at DESC; 因可见得晚而漏读的，settle 已自动调大；修改时间被改早或没有修改时间的，只有审计或 SELECT * FROM jdy_sync(%2, 'full'); 才能发现。"},
	{"Record \"%\" was modified at %. A list that was asked at % did not show that, one that came at % did. settle was raised from % to %, overlap is %.",
	"记录 \"%1\" 修改于 %2，%3 查询的列表还看不到，%4 返回的列表才看到。settle 已从 %5 调大到 %6，overlap 为 %7。"},
	{"Record \"%\" was modified at %. No window showed that in time, the % did. settle was raised from % to %, overlap is %.",
	"记录 \"%1\" 修改于 %2，没有时间窗及时看到，由 %3 发现。settle 已从 %4 调大到 %5，overlap 为 %6。"},
	{"Nothing must be done: what is proven is so much later from here on, and complete_until in jdy_coverage went back for what was proven too early. SELECT * FROM jdy_lag WHERE name = %; shows what was measured. When it was an accident of the service, lower it: SELECT jdy_alter_stream(%, settle => '...', overlap => '...');",
	"不必处理：此后的证明相应推迟，证明得过早的部分，jdy_coverage 的 complete_until 已退回。测量结果见 SELECT * FROM jdy_lag WHERE name = %1; 如果只是接口的一次意外，可以调小：SELECT jdy_alter_stream(%2, settle => '...', overlap => '...');"},
	{"A window of tomorrow returned rows, so % and % have no effect.", "明天的时间窗竟返回了行，可见 %1 和 %2 不起作用。"},
	{"Every run reads the whole list and every detail. Check the names of the time parameters in the metadata.",
	"现在每次运行都要读整个列表和全部详情。请检查元数据中时间参数的名字。"},
	{"Nothing must be done: the list was read once more by windows of modify time; records without one may be missing. ~",
	"不必处理：列表已按修改时间窗重读一遍；没有修改时间的记录可能缺失。%1"},
	{"Records may be missing, and the list cannot be read by modify time. ~", "可能缺少记录，而且该列表不能按修改时间读取。%1"},
	{"Two answers showed the same rows of the list in different order.", "两次应答中，列表里同样的行顺序不同。"},
	{"Ask for a list with a stable order (order_by in the metadata).", "请为列表指定稳定的排序（元数据中的 order_by）。"},
	{"What the list is sorted by is not known, so a row that moved cannot be told from one that stayed.",
	"不知道列表按什么排序，所以分不清哪些行移动过、哪些没有。"},
	{"Name the field that the list is sorted by as \"number\" in the metadata.", "请在元数据的 \"number\" 中写明列表的排序字段。"},
	{"The service stopped giving rows although its count says that there are more.", "接口不再返回行，而它的计数说还有。"},
	{"Ask the service's support how far a list can be read.", "请向接口方询问列表最多能读到多深。"},
	{"Too few rows of the list were seen twice to tell whether its order is stable.", "列表中两次见到的行太少，无法判断其顺序是否稳定。"},
	{"Load it again at a quieter time.", "请在较空闲时重新加载。"},
	{"The service's replies have no Date, so its clock is not known.", "接口的应答没有 Date 头，无从知道它的时钟。"},
	{"Changes are taken for settled only a day later, by this server's clock. Ask who removes the header: the service, or a proxy.",
	"变更要按本机时钟过一天才算稳定。请查明是谁去掉了这个头：接口本身，还是代理。"},
	{"What was modified from % to % was read and landed, but it came as % records while the service counts %.",
	"%1 至 %2 之间修改的内容已读取入库，但收到 %3 条记录，接口计数却是 %4。"},
	{"What was modified from % to % was read and landed as % records, but some came twice, and the service does not count them.",
	"%1 至 %2 之间修改的内容已读取入库，共 %3 条记录，但有的重复出现，而接口不给出计数。"},
	{"complete_until stays before it; SELECT * FROM jdy_resync(%) proves it once the counts agree.",
	"complete_until 停在它之前；等计数一致后，SELECT * FROM jdy_resync(%1) 即可补上证明。"},
	{"Less time has passed by the service's clock than since the last run, or what was proven lies in its future. What was proven up to later than % is read again.",
	"按接口的时钟，距上次运行过去的时间偏短，或者已证明的部分在它的未来。证明到 %1 之后的部分会重读。"},
	{"Nothing must be done. If it happens often, look at this server's clock, and ask the service's support which of theirs is wrong.",
	"不必处理。如果经常发生，请检查本机时钟，并询问接口方是哪台服务器的时钟不对。"},
	{"What came for % does not show that it is all there is: rows changed meanwhile, were set aside or are equal, or the service counts others.",
	"%1 收到的内容不能说明已经全部返回：其间有行变化、被搁置或相同，或者接口的计数对不上。"},
	{"Nothing was taken for gone there, and rows may be missing. Ask for these months again at a quieter time: SELECT * FROM jdy_resync(%).",
	"那里没有把任何行当作已删除，但可能缺行。请在较空闲时重读这些月份：SELECT * FROM jdy_resync(%1)。"},
	{"The service has them, and they had been in the staging table, but are not any more: %.", "接口里有、暂存表里也曾有，但现在没有了：%1。"},
	{"They are there again; jdy_audits names them. Find out who deletes from the staging table: what should not be seen is for a view to leave out.",
	"已经补回，是哪些见 jdy_audits。请查明是谁从暂存表里删除：不想看到的行，应由视图过滤。"},

	/* The service's contract: questions, and what a changed answer asks for. */
	{"filter", "时间过滤"},
	{"start edge", "时间窗起点"},
	{"end edge", "时间窗终点"},
	{"grain", "时间精度"},
	{"page size", "每页行数"},
	{"echoed size", "回显的每页行数"},
	{"offset", "分页偏移"},
	{"order", "顺序"},
	{"past the end", "末页之后"},
	{"count", "计数"},
	{"clock", "时钟"},
	{"list rows", "列表行"},
	{"The service's answer was \"%\" before and is \"%\" now: %.", "接口原来的表现是 \"%1\"，现在是 \"%2\"：%3。"},
	{"Every run reads the whole list while the filter is of no use. Check the names of the time parameters in the metadata, and ask the service's support.",
	"时间过滤被忽略期间，每次运行都读整个列表。请检查元数据中时间参数的名字，并询问接口方。"},
	{"Windows are asked a tick wider, but for single ticks full of records while both edges are inclusive. After many records were changed at once: SELECT * FROM jdy_sync(%, 'full');",
	"时间窗会多问一个刻度；只有两端都含边界时，装满记录的单个刻度才不多问。若有大批记录同时修改过：SELECT * FROM jdy_sync(%1, 'full');"},
	{"Nothing must be done: windows follow.", "不必处理：时间窗会跟着调整。"},
	{"Nothing must be done: pages of that size are asked for.", "不必处理：会按这个行数分页。"},
	{"Nothing must be done: no rule believes it.", "不必处理：没有规则依赖它。"},
	{"Nothing must be done: pages are anchored to each other.", "不必处理：各页之间互相锚定。"},
	{"A load is read by windows, too, while the order is not stable. Ask for a list with a stable order (order_by in the metadata).",
	"顺序不稳定期间，全量读取之外还要按时间窗再读。请为列表指定稳定的排序（元数据中的 order_by）。"},
	{"Nothing must be done: each variant is understood.", "不必处理：各种表现都能识别。"},
	{"The list is certified only while its count adds up. Ask the service's support; SELECT evidence FROM jdy_contract WHERE name = % AND question = 'count'; says what was counted.",
	"只有计数对得上，才能为列表出具证书。请询问接口方；数到了什么，见 SELECT evidence FROM jdy_contract WHERE name = %1 AND question = 'count';"},
	{"Windows end by the service's clock. Where it is off, correct whichever clock is wrong; where it is not told, ask who removes the header Date.",
	"时间窗按接口的时钟截止。时钟不准，请校正错的那一个；没有报时，请查明是谁去掉了 Date 头。"},
	{"Nothing must be done: details are asked for.", "不必处理：详情会逐条读取。"},

	/* Statuses: why. */
	{"jdysync.enabled is off", "jdysync.enabled 为 off"},
	{"runs only when it is named", "只在点名时运行"},
	{"this database is a copy", "本库是副本"},
	{"SELECT jdy_adopt() when the original does not run any more", "确认原库不再运行之后 SELECT jdy_adopt()"},
	{"jdy_resume was called, the next run lets it go", "已调用 jdy_resume，下次运行放行"},
	{"due since %", "应在 %1 运行"},
	{"the second schedule is due since %", "第二个计划应在 %1 运行"},
	{"its source is gone", "来源已不存在"},
	{"its staging table is gone", "暂存表已不存在"},
	{"the target has not answered since % (%), next try with the next run", "目标自 %1 起没有应答（%2），下次运行时再试"},
	{"the target has not answered since % (%), next try %", "目标自 %1 起没有应答（%2），%3 再试"},
	{"the process of its run died", "运行的进程意外终止"},
	{"run % failed with SQLSTATE %", "运行 %1 失败，SQLSTATE %2"},
	{"run % failed", "运行 %1 失败"},
	{"next try %", "%1 再试"},
	{"last ok %, % days ago", "上次成功 %1，%2 天前"},
	{"last ok %, % h ago", "上次成功 %1，%2 小时前"},
	{"last ok %, % min ago", "上次成功 %1，%2 分钟前"},
	{"last ok %", "上次成功 %1"},
	{"never ok so far", "从未成功"},
	{"more than 1000 dead letters, see jdy_deliveries", "死信超过 1000 条，见 jdy_deliveries"},
	{"% dead letter, see jdy_deliveries", "%1 条死信，见 jdy_deliveries"},
	{"% dead letters, see jdy_deliveries", "%1 条死信，见 jdy_deliveries"},
	{"more than 1000 rows set aside, see jdy_rejects", "超过 1000 行被搁置，见 jdy_rejects"},
	{"% row set aside, see jdy_rejects", "%1 行被搁置，见 jdy_rejects"},
	{"% rows set aside, see jdy_rejects", "%1 行被搁置，见 jdy_rejects"},
	{"% incident, see jdy_incidents", "%1 个事件，见 jdy_incidents"},
	{"% incidents, see jdy_incidents", "%1 个事件，见 jdy_incidents"},
	{"last certificate % ago, see jdy_certificates", "上一份证书已过去 %1，见 jdy_certificates"},
	{"no certificate so far, see jdy_certificates", "还没有证书，见 jdy_certificates"},
	{"a run goes on since %, see jdy_progress", "正在运行，始于 %1，见 jdy_progress"},
	{"a run is queued", "有一次运行在排队"},
	{"uncertified: ~, see jdy_contract", "不能认证：%1，见 jdy_contract"},
	{"uncertified: ~", "不能认证：%1"},
	{"~, see jdy_contract", "%1，见 jdy_contract"},
	{"the service ignores the time filter, so only certificates prove anything", "接口忽略时间过滤，只有证书才能证明"},
	{"the time filter shows nothing of what is there, so only certificates prove anything", "时间过滤什么也查不到，只有证书才能证明"},
	{"the service does not count this list, so there is no certificate", "接口不给这个列表计数，所以没有证书"},
	{"the service's count does not add up, so there is no certificate", "接口的计数对不上，所以没有证书"},
	{"whether the service's count adds up is not known, so there is no certificate", "接口的计数对不对得上尚不清楚，所以没有证书"},
	{"the list has no stable order and cannot be read by modify time, so records may be missing", "列表没有稳定的顺序，又不能按修改时间读取，可能缺少记录"},

	/* Rejects: why PostgreSQL cannot hold a row. */
	{"no id", "没有 id"},
	{"id over 1000 bytes", "id 超过 1000 字节"},
	{"a character that the database's encoding lacks", "有数据库编码里没有的字符"},
	{"not JSON that jsonb can hold", "不是 jsonb 能容纳的 JSON"},
	{"invalid UTF-8", "UTF-8 编码有误"},
	{"character U+0000", "含字符 U+0000"},
	{"half a surrogate pair", "含半个代理对"},
	{"nested too deeply", "嵌套过深"},
	{"row over 16 MB", "一行超过 16 MB"},
	{"not an object", "不是 JSON 对象"},
};

static char *translate_phrase(const char *text, size_t length);
static bool fits(const char *pattern, const char *text, size_t length, Part *parts);
static const char *find_literal(const char *text, const char *end, const char *literal, size_t length, bool last);
static bool holds_joint(const char *text, const char *end);
static void put_chinese(StringInfo out, const char *zh, const Part *parts);

char *
jdy_in_chinese(const char *text)
{
	StringInfoData out;
	bool		known = false;
	char	   *whole = translate_phrase(text, strlen(text));

	if (whole != NULL)
		return whole;
	initStringInfo(&out);
	for (;;)
	{
		const char *joint = strstr(text, JOINT);
		size_t		length = joint != NULL ? joint - text : strlen(text);
		char	   *phrase = translate_phrase(text, length);

		known |= phrase != NULL;
		if (phrase != NULL)
			appendStringInfoString(&out, phrase);
		else
			appendBinaryStringInfo(&out, text, length);
		if (joint == NULL)
			break;
		appendStringInfoString(&out, "；");
		text = joint + strlen(JOINT);
	}
	return known ? out.data : NULL;
}

static char *
translate_phrase(const char *text, size_t length)
{
	Part		parts[MOST_PARTS];
	StringInfoData out;

	for (int i = 0; i < lengthof(phrases); i++)
	{
		if (!fits(phrases[i].en, text, length, parts))
			continue;
		initStringInfo(&out);
		put_chinese(&out, phrases[i].zh, parts);
		return out.data;
	}
	return NULL;
}

/* Each part is as short as it can be, so one pass is enough, whatever others wrote into the text. */
static bool
fits(const char *pattern, const char *text, size_t length, Part *parts)
{
	const char *end = text + length;
	size_t		literal = strcspn(pattern, "%~");
	int			n = 0;

	if (literal > length || memcmp(pattern, text, literal) != 0)
		return false;
	pattern += literal;
	text += literal;
	while (*pattern != '\0')
	{
		bool		phrase = *pattern == '~';
		const char *next;

		pattern++;
		literal = strcspn(pattern, "%~");
		next = find_literal(text, end, pattern, literal, pattern[literal] == '\0');
		if (next == NULL || n == MOST_PARTS || holds_joint(text, next))
			return false;
		parts[n++] = (Part) {text, next - text, phrase};
		pattern += literal;
		text = next + literal;
	}
	return text == end;
}

/* The last literal of a pattern stands at the end of the text. */
static const char *
find_literal(const char *text, const char *end, const char *literal, size_t length, bool last)
{
	if (end - text < (ptrdiff_t) length)
		return NULL;
	if (last)
		return memcmp(end - length, literal, length) == 0 ? end - length : NULL;
	for (; end - text >= (ptrdiff_t) length; text++)
	{
		if (memcmp(text, literal, length) == 0)
			return text;
	}
	return NULL;
}

static bool
holds_joint(const char *text, const char *end)
{
	const char *joint = strstr(text, JOINT);

	return joint != NULL && joint < end;
}

static void
put_chinese(StringInfo out, const char *zh, const Part *parts)
{
	for (; *zh != '\0'; zh++)
	{
		const Part *part;
		char	   *phrase;

		if (*zh != '%')
		{
			appendStringInfoChar(out, *zh);
			continue;
		}
		part = &parts[*++zh - '1'];
		phrase = part->phrase ? translate_phrase(part->text, part->length) : NULL;
		if (phrase != NULL)
			appendStringInfoString(out, phrase);
		else
			appendBinaryStringInfo(out, part->text, part->length);
	}
}
