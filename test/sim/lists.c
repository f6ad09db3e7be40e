/*-------------------------------------------------------------------------
 * lists.c
 *		List pages and details.
 *
 * A page is cut from a listing by the rules the service is known for: at most
 * cap rows however many are asked, a total_page that follows the asked size
 * all the same, parameters it does not know ignored in silence.  Count and
 * rows may come from different moments when a lag is set.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "lists.h"

#include "config.h"
#include "faults.h"
#include "listing.h"
#include "otherlist.h"
#include "shape.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)
#define CHINA_OFFSET_S (8 * 3600)
#define SHUFFLE_BLOCK 7			/* does not divide any usual page size */

/* One page, before it is written. */
typedef struct Page
{
	int64_t		number;			/* asked */
	int64_t		echo;			/* written as page and current_page */
	int64_t		asked_size;
	int64_t		size;			/* after the cap */
	int64_t		stride;			/* rows from one page's start to the next */
	int64_t		count;			/* as it is told */
	size_t		first;			/* position of the first row */
	size_t		n;				/* rows on it */
	size_t		length;			/* of the listing with its duplicates */
	size_t		n_duplicates;
	uint64_t	shuffle;		/* 0 = stable order */
	const Listing *listing;
} Page;

static void
refuse(Request *req, bool plain, int64_t errcode, const char *description)
{
	if (!plain)
	{
		reply_error(&req->reply, 200, errcode, description, true);
		return;
	}
	reply_json(&req->reply, 200, "{\"code\":");
	buf_printf(&req->reply.body, "%lld,\"msg\":\"%s\",\"data\":null}",
			   (long long) errcode, description);
}

/* Reads an integer parameter; an absent or empty one keeps *value. */
static bool
int_param(const Request *req, const char *name, int64_t *value)
{
	const char *text = request_param(req, name);
	char	   *end;

	if (text == NULL || text[0] == '\0')
		return true;
	errno = 0;
	*value = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0';
}

/* Marks every group whose id stands in the parameter, however it is listed. */
static uint64_t
groups_asked(const char *text)
{
	uint64_t	groups = 0;

	while (text != NULL && *text != '\0')
	{
		int			group = shape_group_of(strtoll(text, NULL, 10));

		if (group >= 0)
			groups |= UINT64_C(1) << group;
		text += strspn(text, "0123456789");
		text += strcspn(text, "0123456789");
	}
	return groups;
}

static int32_t
order_asked(const Request *req, Entity entity)
{
	const char *text = request_param(req, "order_by");

	if (entity == SAL_ORDER)
		return BY_CREATE_DESC;
	if (entity != CUSTOMER || text == NULL)
		return BY_NUMBER;
	if (strcmp(text, "number desc") == 0)
		return BY_NUMBER_DESC;
	if (strcmp(text, "name asc") == 0)
		return BY_NAME;
	if (strcmp(text, "name desc") == 0)
		return BY_NAME_DESC;
	return BY_NUMBER;
}

/* All digits, and no more of them than that; at most 18. */
static bool
parse_digits(const char *text, size_t most, int64_t *number)
{
	size_t		n = strlen(text);

	if (n == 0 || n > most || strspn(text, "0123456789") != n)
		return false;
	*number = strtoll(text, NULL, 10);
	return true;
}

/* Exactly yyyy-MM-dd, or that with HH:mm:ss, of a day that exists; China time. */
static bool
parse_clock(const char *text, const char *format, int64_t *ms)
{
	struct tm	tm = {0};
	char		again[32];
	const char *end = strptime(text, format, &tm);
	time_t		at;

	if (end == NULL || *end != '\0')
		return false;
	at = timegm(&tm);
	strftime(again, sizeof(again), format, &tm);
	*ms = ((int64_t) at - CHINA_OFFSET_S) * 1000;
	return strcmp(again, text) == 0;
}

/* How times of filters are written. */
static int64_t
format_of(const Request *req)
{
	return req->list != NULL ? req->list->format : config.window_format;
}

/* yyyyMM as the first instant of that month and of the next one. */
static bool
parse_period(const char *text, int64_t *from, int64_t *to)
{
	int64_t		period;
	int			year;
	int			month;
	char		day[32];

	if (strlen(text) != 6 || !parse_digits(text, 6, &period))
		return false;
	year = (int) (period / 100);
	month = (int) (period % 100);
	snprintf(day, sizeof(day), "%04d-%02d-01", year, month);
	if (!parse_clock(day, "%Y-%m-%d", from))
		return false;
	snprintf(day, sizeof(day), "%04d-%02d-01", month == 12 ? year + 1 : year, month % 12 + 1);
	return parse_clock(day, "%Y-%m-%d", to);
}

/* The span of a report, in whole days or periods; false when it is not one. */
static bool
read_range(const Request *req, Filter *f)
{
	const char *start = request_param(req, req->list->range_start);
	const char *end = request_param(req, req->list->range_end);
	int64_t		ignored;

	if (start == NULL || end == NULL)
		return false;
	if (req->list->range_format == FORMAT_PERIOD)
	{
		if (!parse_period(start, &f->modify_from, &ignored) || !parse_period(end, &ignored, &f->modify_to))
			return false;
	}
	else
	{
		if (!parse_clock(start, "%Y-%m-%d", &f->modify_from) || !parse_clock(end, "%Y-%m-%d", &f->modify_to))
			return false;
		f->modify_to += DAY_MS;
	}
	f->modify_to--;
	return f->modify_from <= f->modify_to;
}

/* A value of that format as an instant; false when it has another one. */
static bool
parse_time(const Request *req, const char *text, int64_t *ms)
{
	switch (format_of(req))
	{
		case FORMAT_S:
			/* Twelve digits and more are milliseconds. */
			if (!parse_digits(text, 11, ms))
				return false;
			*ms *= 1000;
			return true;
		case FORMAT_DATETIME:
			return parse_clock(text, "%Y-%m-%d %H:%M:%S", ms);
		case FORMAT_DATE:
			return parse_clock(text, "%Y-%m-%d", ms);
		default:
			return parse_digits(text, 18, ms);
	}
}

static bool
means_no_edge(const Request *req, const char *text)
{
	return req->list != NULL && req->list->off[0] != '\0' && strcmp(text, req->list->off) == 0;
}

/* The lower bound as the first instant that belongs to the window. */
static void
read_start(const Request *req, const char *name, int64_t *from)
{
	const char *text = request_param(req, name);
	int64_t		unit = format_of(req) == FORMAT_DATE ? DAY_MS : 1;
	int64_t		at;

	if (text != NULL && !means_no_edge(req, text) && parse_time(req, text, &at))
		*from = config.lower_edge == EDGE_EXCLUSIVE ? at + unit : at;
}

/* The upper bound as the last one; of a date that is its last millisecond. */
static void
read_end(const Request *req, const char *name, int64_t *to)
{
	const char *text = request_param(req, name);
	int64_t		unit = format_of(req) == FORMAT_DATE ? DAY_MS : 1;
	int64_t		at;

	if (text != NULL && !means_no_edge(req, text) && parse_time(req, text, &at))
		*to = config.upper_edge == EDGE_EXCLUSIVE ? at - 1 : at + unit - 1;
}

/*
 * Time bounds, closed whatever the edge switches say.  A value of another
 * format is a filter that the service does not know: ignored in silence.
 */
static void
read_times(const Request *req, Filter *f)
{
	if (config.filter_ignored)
		return;
	if (req->list != NULL)
	{
		if (req->list->start[0] != '\0')
		{
			if (config.window_default == WINDOW_NOTHING && req->list->off[0] != '\0' &&
				request_param(req, req->list->start) == NULL)
				f->modify_from = INT64_MAX;
			read_start(req, req->list->start, &f->modify_from);
			read_end(req, req->list->end, &f->modify_to);
		}
		return;
	}
	read_start(req, "modify_start_time", &f->modify_from);
	read_end(req, "modify_end_time", &f->modify_to);
	read_start(req, "create_start_time", &f->create_from);
	read_end(req, "create_end_time", &f->create_to);
}

static bool
read_filter(const Request *req, Entity entity, Filter *f)
{
	const char *search = request_param(req, "search");
	const char *bill_no = request_param(req, "bill_no");
	const char *status = request_param(req, "bill_status");
	int64_t		enable = config.enable_default == ENABLE_ENABLED ? 1 : -1;

	memset(f, 0, sizeof(*f));
	f->modify_from = f->create_from = INT64_MIN;
	f->modify_to = f->create_to = INT64_MAX;
	f->order = order_asked(req, entity);
	f->enable = -1;
	if (search != NULL && entity != SAL_ORDER)
		snprintf(f->search, sizeof(f->search), "%s", search);
	if (entity == SAL_ORDER)
	{
		if (bill_no != NULL)
			snprintf(f->number, sizeof(f->number), "%s", bill_no);
		if (status != NULL && status[0] != '\0')
			f->enable = status[0] == 'C';
	}
	else
	{
		if (!int_param(req, "enable", &enable))
			return false;
		f->enable = enable == 0 || enable == 1 ? (int32_t) enable : -1;
		f->groups = groups_asked(request_param(req, entity == MATERIAL ? "parent" : "group"));
	}
	if (req->list != NULL && req->list->range_start[0] != '\0')
		return read_range(req, f);
	read_times(req, f);
	return true;
}

static void
count_duplicates(Page *p)
{
	size_t		n = p->listing->n;
	double		wanted = config.duplicates < 1 ?
		config.duplicates * (double) n : config.duplicates;

	p->n_duplicates = (size_t) wanted;
	if (p->n_duplicates > n / 2)
		p->n_duplicates = n / 2;
	p->length = n;
	if (config.duplicates_mode == DUPLICATES_EXTRA)
		p->length += p->n_duplicates;
}

/* Which row of the listing duplicate j repeats or displaces. */
static size_t
duplicate_at(const Page *p, size_t j)
{
	return (j + 1) * p->listing->n / (p->n_duplicates + 1);
}

/*
 * Extra: copy j stands right behind its original.  Returns the position in
 * the listing that a position of the longer list shows.
 */
static size_t
skip_extra(const Page *p, size_t position)
{
	size_t		lo = 0;
	size_t		hi = p->n_duplicates;

	while (lo < hi)
	{
		size_t		mid = (lo + hi) / 2;

		if (duplicate_at(p, mid) + mid + 1 <= position)
			lo = mid + 1;
		else
			hi = mid;
	}
	return position - lo;
}

/* Displace: row j is not shown, the row before it is shown twice. */
static size_t
skip_displaced(const Page *p, size_t position)
{
	size_t		lo = 0;
	size_t		hi = p->n_duplicates;

	while (lo < hi)
	{
		size_t		mid = (lo + hi) / 2;

		if (duplicate_at(p, mid) < position)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < p->n_duplicates && duplicate_at(p, lo) == position && position > 0)
		return position - 1;
	return position;
}

/* Rows within a small block change places; the last partial block does not. */
static size_t
shuffled(const Page *p, size_t position)
{
	size_t		start = position / SHUFFLE_BLOCK * SHUFFLE_BLOCK;
	uint64_t	turn;

	if (p->shuffle == 0 || start + SHUFFLE_BLOCK > p->length)
		return position;
	turn = mix64(p->shuffle + start);
	return start + (position - start + turn) % SHUFFLE_BLOCK;
}

static Version *
row_at(const Page *p, size_t position)
{
	position = shuffled(p, position);
	if (p->n_duplicates > 0)
		position = config.duplicates_mode == DUPLICATES_EXTRA ?
			skip_extra(p, position) : skip_displaced(p, position);
	return listing_at(p->listing, position);
}

/* Cuts the page out of the listing; false when it lies behind an error. */
static bool
place_page(Page *p)
{
	int64_t		last = p->length == 0 ? 1 :
		((int64_t) p->length + p->stride - 1) / p->stride;

	p->echo = p->number;
	if (p->number > last)
	{
		if (config.past_end == PAST_ERROR)
			return false;
		if (config.past_end_echo == ECHO_LAST)
			p->echo = last;
		if (config.past_end == PAST_EMPTY)
			return true;
		p->number = last;
	}
	p->first = (size_t) ((p->number - 1) * p->stride);
	p->n = p->first < p->length ? p->length - p->first : 0;
	if (p->n > (size_t) p->size)
		p->n = (size_t) p->size;
	return true;
}

/* What a row of a signed list shows. */
static Form
list_form(const Request *req)
{
	const char *contacts = request_param(req, "show_contact_detail");

	if (contacts == NULL || strcmp(contacts, "true") != 0 || config.contact_detail == CONTACTS_IGNORED)
		return FORM_LIST;
	return config.contact_detail == CONTACTS_AND_ALL ? FORM_UNION : FORM_CONTACTS;
}

/* Writes one row, bent by a fault when it is that fault's row. */
static void
put_row(Request *req, Buf *out, const Version *v, size_t row, bool plain)
{
	Form		form = plain ? FORM_PLAIN : list_form(req);
	Twist		twist;

	if (row > 0)
		buf_char(out, ',');
	fault_twist(req, (int64_t) row, &twist);
	if (req->list != NULL)
	{
		otherlist_row(out, req->list, v, false);
		if (twist.name_raw != NULL)
		{
			out->len--;			/* the brace */
			buf_printf(out, ",\"note\":\"%s\"}", twist.name_raw);
		}
		buf_free(&twist.tail);
		return;
	}
	shape_row(out, v, form, true, &twist);
	buf_free(&twist.tail);
	if (req->fault == NULL || req->fault->row != (int64_t) row)
		return;
	if (fault_is(req, FAULT_DUP_ROW))
	{
		buf_char(out, ',');
		shape_row(out, v, form, true, NULL);
	}
	if (fault_is(req, FAULT_CONFLICT_ROW))
	{
		Version		other = *v;

		other.rev += 1000;
		other.contact_rev += 1000;
		buf_char(out, ',');
		shape_row(out, &other, form, true, NULL);
	}
}

static void
put_rows(Request *req, Buf *out, const Page *p, bool plain)
{
	size_t		i;

	buf_char(out, '[');
	for (i = 0; i < p->n; i++)
		put_row(req, out, row_at(p, p->first + i), i, plain);
	buf_char(out, ']');
}

static void
put_count(Buf *out, Entity entity, int64_t count)
{
	int64_t		type = config.count_type;

	if (type == COUNT_MISSING)
		return;
	if (type == COUNT_DOC)
		type = entity == SAL_ORDER ? COUNT_INT : COUNT_STRING;
	buf_printf(out, type == COUNT_STRING ? "\"count\":\"%lld\"," : "\"count\":%lld,",
			   (long long) count);
}

/* The envelope as the documents of the list show it. */
static void
put_other_page(Request *req, const Page *p)
{
	const OtherList *list = req->list;
	Buf		   *out = &req->reply.body;
	int64_t		count = p->count + config.count_lie;
	const char *quote = list->count_is_text ? "\"" : "";

	reply_json(&req->reply, 200, "{\"data\":{");
	if (list->count[0] != '\0' && config.count_type != COUNT_MISSING)
		buf_printf(out, "\"%s\":%s%lld%s,", list->count, quote, (long long) count, quote);
	if (list->echo[0] != '\0')
		buf_printf(out, "\"%s\":%zu,\"page\":%lld,\"page_size\":%lld,\"total_page\":%lld,", list->echo, p->n,
				   (long long) p->echo, (long long) p->asked_size,
				   (long long) ((count + p->asked_size - 1) / p->asked_size));
	buf_text(out, "\"rows\":");
	put_rows(req, out, p, false);
	buf_text(out, "},\"description\":\"success\",\"errcode\":0}");
}

static void
put_page(Request *req, Entity entity, const Page *p)
{
	Buf		   *out = &req->reply.body;
	int64_t		per_page = config.cap_wrong_total_page ? p->asked_size : p->size;
	int64_t		count = p->count + config.count_lie;

	if (fault_is(req, FAULT_COUNT_LIE))
		count += req->fault->n;
	reply_json(&req->reply, 200, "{\"data\":{");
	if (!fault_is(req, FAULT_NO_COUNT))
		put_count(out, entity, count);
	buf_printf(out, "\"current_page\":%lld,\"current_page_size\":%zu,\"page\":%lld,\"page_size\":%lld,",
			   (long long) p->echo, p->n, (long long) p->echo,
			   (long long) (config.echo_page_size == SIZE_CAP ? p->size : p->asked_size));
	if (!fault_is(req, FAULT_NO_ROWS))
	{
		buf_text(out, "\"rows\":");
		put_rows(req, out, p, false);
		buf_char(out, ',');
	}
	buf_printf(out, "\"total_page\":%lld},\"description\":\"success\",\"errcode\":0}",
			   (long long) ((count + per_page - 1) / per_page));
}

static bool
read_page(Request *req, Page *p)
{
	const char *page = req->list != NULL ? req->list->page : "page";
	const char *size = req->list != NULL ? req->list->size : "page_size";

	p->number = 1;
	p->asked_size = 10;
	if (page[0] == '\0')
	{
		p->size = p->stride = p->asked_size = INT32_MAX;
		return true;
	}
	if (!int_param(req, page, &p->number) ||
		!int_param(req, size, &p->asked_size))
		return false;
	if (p->number < 1)
		p->number = 1;
	if (p->asked_size < 1)
		p->asked_size = 10;
	if (fault_is(req, FAULT_WRONG_PAGE))
		p->number = req->fault->n > 0 ? req->fault->n : p->number + 1;
	p->size = config.cap > 0 && p->asked_size > config.cap ? config.cap : p->asked_size;
	p->stride = config.offset_rule == SIZE_CAP ? p->size : p->asked_size;
	return p->number < INT32_MAX && p->asked_size < INT32_MAX;
}

void
lists_page(Request *req, Entity entity, bool plain)
{
	View	   *seen = data_see(entity, SEES_ROWS);
	View	   *counted = data_see(entity, SEES_COUNT);
	Page		page = {0};
	Filter		filter;

	if (req->list != NULL && otherlist_lacks(req->list, req) != NULL)
	{
		char		words[100];

		snprintf(words, sizeof(words), "%s不能为空", otherlist_lacks(req->list, req));
		refuse(req, plain, 1030002000, words);
		return;
	}
	if (!read_page(req, &page) || !read_filter(req, entity, &filter))
	{
		refuse(req, plain, 1030002001, "参数类型不正确");
		return;
	}
	page.listing = listing_get(seen, &filter);
	page.count = counted == seen ? (int64_t) page.listing->n :
		(int64_t) listing_count(counted, &filter);
	if (config.unstable_order)
		page.shuffle = data_random();
	count_duplicates(&page);
	if (!place_page(&page))
	{
		refuse(req, plain, 1030002001, "page超出范围");
		return;
	}
	req->rows_served = (int) page.n;
	if (req->list != NULL)
	{
		put_other_page(req, &page);
		return;
	}
	if (!plain)
	{
		put_page(req, entity, &page);
		return;
	}
	reply_json(&req->reply, 200, "{\"code\":200,\"data\":");
	put_rows(req, &req->reply.body, &page, true);
	buf_char(&req->reply.body, '}');
}

static void
not_found(Request *req, Entity entity)
{
	static const char *const texts[N_ENTITIES] = {
		"客户不存在", "供应商不存在", "商品不存在", "销售订单不存在"
	};

	switch (config.not_found)
	{
		case MISSING_NULL_DATA:
			reply_error(&req->reply, 200, 0, "success", true);
			break;
		case MISSING_EMPTY_DATA:
			reply_json(&req->reply, 200,
					   "{\"data\":{},\"description\":\"success\",\"errcode\":0}");
			break;
		case MISSING_HTTP404:
			reply_error(&req->reply, 404, 404, "not found", true);
			break;
		default:
			reply_error(&req->reply, 200, 1030002003, texts[entity], true);
			break;
	}
}

void
lists_detail(Request *req, Entity entity)
{
	View	   *seen = data_see(entity, SEES_DETAILS);
	const char *id = request_param(req, req->list != NULL ? req->list->detail_param : "id");
	const char *number = request_param(req, "number");
	Version    *v;
	Twist		twist;

	if (number == NULL)
		number = request_param(req, "bill_no");
	if (id == NULL && number == NULL)
	{
		refuse(req, false, 1030002000, "id不能为空");
		return;
	}
	v = id != NULL ? data_by_id(seen, strtoll(id, NULL, 10)) :
		data_by_number(seen, number);
	if (v == NULL)
	{
		not_found(req, entity);
		return;
	}
	reply_json(&req->reply, 200, "{\"data\":");
	if (req->list != NULL)
		otherlist_row(&req->reply.body, req->list, v, true);
	else
	{
		fault_twist(req, 0, &twist);
		shape_row(&req->reply.body, v, FORM_DETAIL, true, &twist);
		buf_free(&twist.tail);
	}
	buf_text(&req->reply.body, ",\"description\":\"success\",\"errcode\":0}");
}
