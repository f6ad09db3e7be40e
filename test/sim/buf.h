/*-------------------------------------------------------------------------
 * buf.h
 *		A growing byte buffer, and JSON text written straight into it.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_BUF_H
#define SIM_BUF_H

#include <stddef.h>
#include <stdint.h>

typedef struct Buf
{
	char	   *data;			/* NUL-terminated once anything was added */
	size_t		len;
	size_t		cap;
} Buf;

/* Adds bytes; ends the program when memory is out, so callers never check. */
extern void buf_bytes(Buf *b, const void *bytes, size_t n);
extern void buf_text(Buf *b, const char *text);
extern void buf_char(Buf *b, char c);
extern void buf_fill(Buf *b, char c, size_t n);
extern void buf_int(Buf *b, int64_t value);
extern void buf_printf(Buf *b, const char *fmt,...) __attribute__((format(printf, 2, 3)));

/* Adds a quoted JSON string; bytes above 0x7f pass through as they are. */
extern void buf_json(Buf *b, const char *text, size_t n);

extern void buf_free(Buf *b);

/* malloc and friends that end the program instead of failing. */
extern void *sim_alloc(size_t n);	/* zeroed */
extern void *sim_realloc(void *p, size_t n);
extern char *sim_strdup(const char *text);

#endif
