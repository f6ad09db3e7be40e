/*-------------------------------------------------------------------------
 * qeasy.c
 *		The token call of the Qeasy platform's open API.
 *
 * POST /v2/oauth {"app_key","app_secret"} answers {"success":true,"code":0,"message":…,
 * "content":{"access_token":…,"expires_in":7200}}; the token goes as a bearer into all
 * other calls.  There is no authorisation before it and no signature, so all
 * else is as for any target (reference/kingdee-api.md §8.6).
 *
 * Pure but for memory.  Called by signin.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "jsonbtext.h"
#include "lib/stringinfo.h"
#include "page.h"
#include "qeasy.h"
#include "utils/json.h"

#define DEFAULT_LIFE_S 7200		/* as documented, when the reply does not say */
#define MAX_LIFE_S (30 * 24 * 3600) /* nothing longer is believed */

char *
jdy_qeasy_token_body(const char *app_key, const char *app_secret)
{
	StringInfoData body;

	initStringInfo(&body);
	appendStringInfoString(&body, "{\"app_key\":");
	escape_json(&body, app_key);
	appendStringInfoString(&body, ",\"app_secret\":");
	escape_json(&body, app_secret);
	appendStringInfoChar(&body, '}');
	return body.data;
}

void
jdy_qeasy_read_token(const char *body, size_t length, QeasyToken *token)
{
	PageShape	shape = {.rows_path = "content",.single = true};
	ListPage   *page = jdy_page_parse(body, length, &shape);
	int64		life_s = 0;

	memset(token, 0, sizeof(*token));
	token->errcode = page->errcode;
	token->message = page->description;
	token->well_formed = page->problem == NULL;
	if (!token->well_formed || token->errcode != 0)
		return;
	if (page->nrows == 1)
	{
		Row			row = {.text = page->rows[0].text,.length = page->rows[0].length};
		const char *problem;
		Jsonb	   *content = jdy_row_jsonb(&row, &problem);
		char	   *life = content != NULL ? jdy_jsonb_text(content, "expires_in") : NULL;

		token->token = content != NULL ? jdy_jsonb_text(content, "access_token") : NULL;
		life_s = life != NULL ? strtoll(life, NULL, 10) : 0;
	}
	if (token->token == NULL || token->token[0] == '\0')
	{
		token->token = NULL;
		token->well_formed = false;
		return;
	}
	if (life_s <= 0)
		life_s = DEFAULT_LIFE_S;
	token->life_us = Min(life_s, MAX_LIFE_S) * INT64CONST(1000000);
}
