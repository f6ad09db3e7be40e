/*-------------------------------------------------------------------------
 * tokens.c
 *		The access tokens that one service has issued.
 *
 * None is ever forgotten before a reset, so that a token that has ended can be
 * told from one that never was: services answer these differently.
 *
 * Guarded by the simulator's lock.
 *-------------------------------------------------------------------------
 */
#include "tokens.h"

#include "buf.h"
#include "config.h"

#include <stdlib.h>
#include <string.h>

Token *
tokens_add(Tokens *tokens, int64_t lifetime_s)
{
	Token	   *token;

	tokens->items = sim_realloc(tokens->items, (tokens->n + 1) * sizeof(Token));
	token = &tokens->items[tokens->n++];
	memset(token, 0, sizeof(*token));
	token->expires_ms = sim_now_ms() + lifetime_s * 1000;
	return token;
}

const Token *
tokens_find(const Tokens *tokens, const char *text)
{
	size_t		i = tokens->n;

	while (i-- > 0)				/* the newest first */
		if (strcmp(tokens->items[i].text, text) == 0)
			return &tokens->items[i];
	return NULL;
}

bool
token_is_expired(const Token *token)
{
	return token->expires_ms <= sim_now_ms();
}

void
tokens_kill(Tokens *tokens)
{
	size_t		i;

	for (i = 0; i < tokens->n; i++)
		tokens->items[i].killed = true;
}

void
tokens_expire(Tokens *tokens)
{
	size_t		i;

	for (i = 0; i < tokens->n; i++)
		tokens->items[i].expires_ms = 0;
}

void
tokens_clear(Tokens *tokens)
{
	free(tokens->items);
	memset(tokens, 0, sizeof(*tokens));
}
