/*-------------------------------------------------------------------------
 * tokens.h
 *		The access tokens that one service has issued.
 *-------------------------------------------------------------------------
 */
#ifndef SIM_TOKENS_H
#define SIM_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Token
{
	char		text[160];
	int64_t		expires_ms;
	bool		killed;			/* by a newer one */
} Token;

typedef struct Tokens
{
	Token	   *items;			/* oldest first */
	size_t		n;
} Tokens;

/* A place for the next token, whose text the caller writes. */
extern Token *tokens_add(Tokens *tokens, int64_t lifetime_s);

/* NULL when it was never issued. */
extern const Token *tokens_find(const Tokens *tokens, const char *text);
extern bool token_is_expired(const Token *token);

extern void tokens_kill(Tokens *tokens);
extern void tokens_expire(Tokens *tokens);
extern void tokens_clear(Tokens *tokens);

#endif
