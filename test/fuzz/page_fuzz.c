/*-------------------------------------------------------------------------
 * page_fuzz.c
 *		Throws broken replies at jdy_page_parse, outside of a server.
 *
 * The body is handed over in a block of exactly its length, so that under
 * AddressSanitizer a byte read past it is an error.  What must hold for any bytes
 * is checked for each: rows lie in the body in order and are values by themselves,
 * a page with a problem has no rows, a row without a problem has an id.
 *
 * With clang it is a libFuzzer target (make fuzz FUZZER=1); else main() mutates
 * the corpus at random for a number of rounds with a seed that it prints.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "mb/pg_wchar.h"
#include "page.h"
#include "scan.h"

extern int	LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

#define MAX_BLOCKS 100000

static void *blocks[MAX_BLOCKS];
static int	nblocks;

/* What of the server the parser needs: memory, which is given back after each body. */
static void *
remember(void *block)
{
	if (block == NULL || nblocks == MAX_BLOCKS)
		abort();
	return blocks[nblocks++] = block;
}

void *
palloc(Size size)
{
	return remember(malloc(size));
}

void *
palloc0(Size size)
{
	return remember(calloc(1, size));
}

void *
repalloc(void *pointer, Size size)
{
	for (int i = nblocks - 1; i >= 0; i--)
	{
		if (blocks[i] == pointer)
			return blocks[i] = realloc(pointer, size);
	}
	abort();
}

void
pfree(void *pointer)
{
	for (int i = nblocks - 1; i >= 0; i--)
	{
		if (blocks[i] == pointer)
		{
			blocks[i] = blocks[--nblocks];
			free(pointer);
			return;
		}
	}
	abort();
}

char *
pnstrdup(const char *in, Size length)
{
	char	   *copy = palloc(length + 1);

	memcpy(copy, in, length);
	copy[length] = '\0';
	return copy;
}

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

int
pg_mbcliplen(const char *text, int length, int limit)
{
	return Min(length, limit);
}

static void
require(bool holds, const char *what)
{
	if (!holds)
	{
		fprintf(stderr, "does not hold: %s\n", what);
		abort();
	}
}

static void
check_rows(const ListPage *page, const char *body, size_t size)
{
	const char *last = body;

	for (int i = 0; i < page->nrows; i++)
	{
		const Row  *row = &page->rows[i];
		JsonScan	scan;
		Slice		value;

		require(row->text >= last && row->length > 0 && row->text + row->length <= body + size,
				"rows lie in the body, in order");
		last = row->text + row->length;
		jdy_scan_begin(&scan, row->text, row->length);
		require(jdy_scan_value(&scan, &value, NULL, 0) && value.length == row->length,
				"a row is one value");
		require(row->problem != NULL || row->id != NULL, "a good row has an id");
		require(row->id == NULL || pg_encoding_verifymbstr(PG_UTF8, row->id, strlen(row->id)) == strlen(row->id),
				"an id is text");
	}
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static ListCell keys[] = {{.ptr_value = "id"}, {.ptr_value = "seq"}};
	char	   *body = malloc(size ? size : 1);

	memcpy(body, data, size);
	for (int variant = 0; variant < 4; variant++)
	{
		List		id_fields = {.type = T_List,.length = variant == 1 ? 2 : 1,.elements = keys};
		PageShape	shape = {
			.id_fields = &id_fields,
			.number_field = "number",
			.rows_path = variant == 2 ? "data.rows" : NULL,
			.count_path = variant == 2 ? "data.count" : NULL,
			.single = variant == 3
		};
		ListPage   *page = jdy_page_parse(body, size, &shape);

		require(page->problem == NULL || page->nrows == 0, "a page with a problem has no rows");
		check_rows(page, body, size);
		while (nblocks > 0)
			free(blocks[--nblocks]);
	}
	free(body);
	return 0;
}

#ifndef FUZZER

#define MAX_BODY 65536

static uint64 state;

static uint32
chance(uint32 below)
{
	state = state * UINT64CONST(6364136223846793005) + UINT64CONST(1442695040888963407);
	return (uint32) (state >> 33) % below;
}

/* Changes, drops, doubles or inserts something somewhere. */
static size_t
mutate(uint8 *body, size_t size)
{
	static const char *const pieces[] = {
		"\"", "\\", "{", "}", "[", "]", ",", ":", "\\u0000", "\\ud83d", "\\ude00", "null", "\"id\":", "\"rows\":[",
		"\"data\":{", "\"errcode\":", "\xe4\xb8", "\xff", "\xef\xbb\xbf", "-", "1e9", " ", "[[[[[[[["
	};
	size_t		at = size ? chance(size) : 0;
	size_t		n = size ? chance(Min(size - at, 40)) : 0;
	const char *piece = pieces[chance(lengthof(pieces))];

	switch (chance(5))
	{
		case 0:
			if (size > 0)
				body[at] = chance(256);
			return size;
		case 1:
			memmove(body + at, body + at + n, size - at - n);
			return size - n;
		case 2:
			return at;			/* cut */
		case 3:
			n = Min(n, MAX_BODY - size);
			memmove(body + at + n, body + at, size - at);
			return size + n;
		default:
			n = Min(strlen(piece), MAX_BODY - size);
			memmove(body + at + n, body + at, size - at);
			memcpy(body + at, piece, n);
			return size + n;
	}
}

int
main(int argc, char **argv)
{
	long		rounds = argc > 1 ? atol(argv[1]) : 100000;
	static uint8 body[MAX_BODY];

	state = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64) time(NULL);
	printf("%ld rounds over %d files, seed %llu\n", rounds, argc - 3, (unsigned long long) state);
	fflush(stdout);
	for (long round = 0; round < rounds && argc > 3; round++)
	{
		FILE	   *file = fopen(argv[3 + round % (argc - 3)], "rb");
		size_t		size = file ? fread(body, 1, MAX_BODY, file) : 0;

		if (file)
			fclose(file);
		/* The file itself first, then ever more broken. */
		for (int changes = round < argc - 3 ? 0 : 1 + chance(8); changes > 0; changes--)
			size = mutate(body, size);
		LLVMFuzzerTestOneInput(body, size);
	}
	return 0;
}

#endif							/* FUZZER */
