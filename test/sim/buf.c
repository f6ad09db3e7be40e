/*-------------------------------------------------------------------------
 * buf.c
 *		A growing byte buffer, and JSON text written straight into it.
 *
 * Replies are written as text rather than built as a tree: a page of a
 * hundred rows must cost well under half a millisecond.  A tree (jansson) is
 * used only where JSON is read.
 *-------------------------------------------------------------------------
 */
#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
out_of_memory(void)
{
	fputs("jdysim: out of memory\n", stderr);
	exit(1);
}

void *
sim_alloc(size_t n)
{
	void	   *p = calloc(1, n ? n : 1);

	if (p == NULL)
		out_of_memory();
	return p;
}

void *
sim_realloc(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	if (p == NULL)
		out_of_memory();
	return p;
}

char *
sim_strdup(const char *text)
{
	char	   *p = strdup(text);

	if (p == NULL)
		out_of_memory();
	return p;
}

/* Makes room for n more bytes and the closing NUL. */
static void
reserve(Buf *b, size_t n)
{
	size_t		want = b->len + n + 1;

	if (want <= b->cap)
		return;
	b->cap = b->cap ? b->cap : 256;
	while (b->cap < want)
		b->cap *= 2;
	b->data = sim_realloc(b->data, b->cap);
}

void
buf_bytes(Buf *b, const void *bytes, size_t n)
{
	reserve(b, n);
	if (n > 0)
		memcpy(b->data + b->len, bytes, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void
buf_text(Buf *b, const char *text)
{
	buf_bytes(b, text, strlen(text));
}

void
buf_char(Buf *b, char c)
{
	buf_bytes(b, &c, 1);
}

void
buf_fill(Buf *b, char c, size_t n)
{
	reserve(b, n);
	memset(b->data + b->len, c, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void
buf_int(Buf *b, int64_t value)
{
	char		digits[24];
	char	   *p = digits + sizeof(digits);
	uint64_t	left = value < 0 ? -(uint64_t) value : (uint64_t) value;

	do
		*--p = (char) ('0' + left % 10);
	while ((left /= 10) > 0);
	if (value < 0)
		*--p = '-';
	buf_bytes(b, p, (size_t) (digits + sizeof(digits) - p));
}

void
buf_printf(Buf *b, const char *fmt,...)
{
	va_list		args;
	int			n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	reserve(b, (size_t) n);
	va_start(args, fmt);
	vsnprintf(b->data + b->len, (size_t) n + 1, fmt, args);
	va_end(args);
	b->len += (size_t) n;
}

void
buf_json(Buf *b, const char *text, size_t n)
{
	size_t		done = 0;
	size_t		i;

	reserve(b, n + 2);
	buf_char(b, '"');
	for (i = 0; i < n; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_bytes(b, text + done, i - done);
		if (c < 0x20)
			buf_printf(b, "\\u%04x", c);
		else
		{
			buf_char(b, '\\');
			buf_char(b, (char) c);
		}
		done = i + 1;
	}
	buf_bytes(b, text + done, n - done);
	buf_char(b, '"');
}

void
buf_free(Buf *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}
