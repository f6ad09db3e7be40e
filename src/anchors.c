/*-------------------------------------------------------------------------
 * anchors.c
 *		The rows of a list that were read last, by which the next page is known to overlap them.
 *
 * A row is known again by hashes of its id and of its sort key: one whose key changed has moved, and
 * says nothing of its neighbours.
 *
 * Called by load.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "anchors.h"
#include "common/hashfn.h"

#define SAVED_ANCHORS 8			/* kept for a load that is resumed */

Anchor
jdy_anchor_of(const Row *row)
{
	Anchor		anchor = {0, 0};

	if (row->id != NULL)
		anchor.id = hash_bytes_extended((const unsigned char *) row->id, strlen(row->id), 0);
	if (row->number != NULL)
		anchor.key = hash_bytes_extended((const unsigned char *) row->number, strlen(row->number), 0);
	return anchor;
}

bool
jdy_anchor_equal(Anchor a, Anchor b)
{
	return a.id == b.id && a.key == b.key;
}

void
jdy_anchors_add(Anchors *anchors, Anchor anchor)
{
	anchors->ring[anchors->head] = anchor;
	anchors->head = (anchors->head + 1) % JDY_ANCHORS;
	anchors->n = Min(anchors->n + 1, JDY_ANCHORS);
}

void
jdy_anchors_clear(Anchors *anchors)
{
	anchors->n = anchors->head = 0;
}

Anchor
jdy_anchors_ago(const Anchors *anchors, int ago)
{
	return anchors->ring[(anchors->head - ago + JDY_ANCHORS) % JDY_ANCHORS];
}

int
jdy_anchors_place(const Anchors *anchors, Anchor anchor)
{
	for (int i = 0; i < anchors->n; i++)
		if (jdy_anchor_equal(anchors->ring[i], anchor))
			return (i - anchors->head + JDY_ANCHORS) % JDY_ANCHORS;
	return -1;
}

int
jdy_anchors_last_in(const Anchors *anchors, const ListPage *page)
{
	for (int i = page->nrows - 1; i >= 0; i--)
		if (page->rows[i].id != NULL && jdy_anchors_place(anchors, jdy_anchor_of(&page->rows[i])) >= 0)
			return i;
	return -1;
}

/* ["<id hash> <key hash>", …] */
void
jdy_anchors_append_json(const Anchors *anchors, StringInfo out)
{
	int			n = Min(anchors->n, SAVED_ANCHORS);

	appendStringInfoChar(out, '[');
	for (int ago = n; ago >= 1; ago--)
	{
		Anchor		anchor = jdy_anchors_ago(anchors, ago);

		appendStringInfo(out, "%s\"%016llx %016llx\"", ago < n ? ", " : "",
						 (unsigned long long) anchor.id, (unsigned long long) anchor.key);
	}
	appendStringInfoChar(out, ']');
}

void
jdy_anchors_read_json(Anchors *anchors, Jsonb *state)
{
	JsonbIterator *it = JsonbIteratorInit(&state->root);
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		unsigned long long id;
		unsigned long long key;

		if (token == WJB_ELEM && value.type == jbvString && value.val.string.len == 33 &&
			sscanf(pnstrdup(value.val.string.val, 33), "%16llx %16llx", &id, &key) == 2)
			jdy_anchors_add(anchors, (Anchor) {id, key});
	}
}
