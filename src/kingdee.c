/*-------------------------------------------------------------------------
 * kingdee.c
 *		Signature and decryption of 星辰 V2.
 *
 * The signature covers method, path and query, never the body, and it is the
 * base64 of the 64 hexadecimal characters of the HMAC, not of its 32 bytes.  The
 * server encodes the query that it received once more, so what is signed is one
 * more encoding of what is on the wire; with RFC 3986's unreserved set both
 * sides agree on every character.
 *
 * Sensitive fields are AES-256-CBC under the client secret's 32 characters with
 * a fixed IV and carry no mark, so a value counts as ciphertext only if every
 * step of its decryption works; anything else is kept as it is.
 *
 * Pure but for memory: no SPI, no clock.  Called by client.c (signing), pull.c
 * (decryption) and check.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "client.h"
#include "kingdee.h"
#include "mb/pg_wchar.h"
#include "percent.h"
#include "utils/memutils.h"

#define HMAC_LENGTH 32			/* bytes of an HMAC-SHA256 */
#define SIGNATURE_LENGTH 88		/* base64 of its 64 hexadecimal characters */
#define NONCE_LENGTH 10			/* decimal digits, as the vendor's SDK sends */
#define AES_KEY_LENGTH 32
#define AES_BLOCK 16
#define AES_IV "5e8y6w45ju8w9jq8"
#define MAX_PATHS 64			/* paths looked for in one pass: bits of a uint64 */

/* A field's path cut into its parts. */
typedef struct FieldPath
{
	const char *text;
	bool		root;			/* "Row." was taken off: the rest is of the record itself */
} FieldPath;

/* One pass over a record. */
typedef struct Decryption
{
	FieldPath	paths[MAX_PATHS];
	int			npaths;
	const char *client_secret;
	bool		changed;
	uint64	   *levels;			/* which paths lead into the container at each level */
	int			nlevels;
} Decryption;

static char *sign(const char *key, const char *message, int length);
static int	compare_params(const ListCell *a, const ListCell *b);
static char *strict_base64(const char *text, int *length);
static int	aes_decrypt(const char *key, const char *cipher, int length, char *plain);
static Jsonb *decrypt_pass(Jsonb *data, Decryption *pass);
static uint64 matching(const Decryption *pass, uint64 among, int depth, const JsonbValue *key, bool *is_field);
static bool part_matches(const FieldPath *path, int depth, const JsonbValue *key, bool *is_last);
static void decrypt_value(Decryption *pass, JsonbValue *value);

List *
jdy_kingdee_sorted(const List *params)
{
	List	   *sorted = NIL;
	ListCell   *cell;

	foreach(cell, params)
	{
		CallParam  *param = lfirst(cell);

		if (param->name[0] != '\0')
			sorted = lappend(sorted, param);
	}
	list_sort(sorted, compare_params);
	return sorted;
}

char *
jdy_kingdee_signature(const char *client_secret, const char *method, const char *path,
					  const List *params, const char *nonce, const char *timestamp_ms)
{
	StringInfoData text;
	ListCell   *cell;
	char	   *signature;
	bool		first = true;

	initStringInfo(&text);
	appendStringInfo(&text, "%s\n%s\n", method, jdy_percent_encode(path, false));
	foreach(cell, jdy_kingdee_sorted(params))
	{
		CallParam  *param = lfirst(cell);

		appendStringInfo(&text, "%s%s=%s", first ? "" : "&",
						 jdy_percent_encode(jdy_percent_encode(param->name, false), false),
						 jdy_percent_encode(jdy_percent_encode(param->value, false), false));
		first = false;
	}
	appendStringInfo(&text, "\nx-api-nonce:%s\nx-api-timestamp:%s\n", nonce, timestamp_ms);

	signature = sign(client_secret, text.data, text.len);
	pfree(text.data);
	return signature;
}

char *
jdy_kingdee_app_signature(const char *app_key, const char *app_secret)
{
	return sign(app_secret, app_key, strlen(app_key));
}

char *
jdy_kingdee_nonce(void)
{
	char	   *nonce = palloc(NONCE_LENGTH + 1);
	uint8		bytes[NONCE_LENGTH];
	int			i;

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random numbers")));

	/* The first digit is not 0: the nonce is documented as a positive integer. */
	nonce[0] = '1' + bytes[0] % 9;
	for (i = 1; i < NONCE_LENGTH; i++)
		nonce[i] = '0' + bytes[i] % 10;
	nonce[NONCE_LENGTH] = '\0';
	return nonce;
}

char *
jdy_base64(const char *text)
{
	size_t		length = strlen(text);
	char	   *encoded = palloc((length + 2) / 3 * 4 + 1);

	EVP_EncodeBlock((unsigned char *) encoded, (const unsigned char *) text, length);
	return encoded;
}

char *
jdy_kingdee_decrypt_text(const char *client_secret, const char *value)
{
	char	   *cipher;
	char	   *plain = NULL;
	int			length;

	/* Most values that are not ciphertext end here. */
	if (client_secret == NULL || strlen(client_secret) != AES_KEY_LENGTH)
		return NULL;
	cipher = strict_base64(value, &length);
	if (cipher == NULL)
		return NULL;

	if (length > 0 && length % AES_BLOCK == 0)
	{
		plain = palloc(length + 1);
		length = aes_decrypt(client_secret, cipher, length, plain);
		if (length < 0 || pg_encoding_verifymbstr(PG_UTF8, plain, length) != length)
		{
			pfree(plain);
			plain = NULL;
		}
		else
		{
			plain[length] = '\0';
			plain = pg_any_to_server(plain, length, PG_UTF8);
		}
	}
	pfree(cipher);
	return plain;
}

Jsonb *
jdy_kingdee_decrypt(Jsonb *data, const List *paths, const char *client_secret)
{
	Decryption	pass;
	ListCell   *cell = list_head(paths);

	while (cell != NULL)
	{
		memset(&pass, 0, sizeof(pass));
		pass.client_secret = client_secret;
		for (; cell != NULL && pass.npaths < MAX_PATHS; cell = lnext(paths, cell))
		{
			const char *text = lfirst(cell);
			bool		root = pg_strncasecmp(text, "Row.", 4) == 0;

			pass.paths[pass.npaths].text = root ? text + 4 : text;
			pass.paths[pass.npaths++].root = root;
		}
		data = decrypt_pass(data, &pass);
	}
	return data;
}

/* base64(hex(HMAC-SHA256(key, message))). */
static char *
sign(const char *key, const char *message, int length)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned char hex[2 * HMAC_LENGTH];
	char	   *signature = palloc(SIGNATURE_LENGTH + 1);
	unsigned int mac_length;
	int			i;

	if (HMAC(EVP_sha256(), key, strlen(key), (const unsigned char *) message, length, mac, &mac_length) == NULL ||
		mac_length != HMAC_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a signature"),
				 errdetail("OpenSSL refused HMAC-SHA256.")));
	for (i = 0; i < HMAC_LENGTH; i++)
	{
		hex[2 * i] = digits[mac[i] >> 4];
		hex[2 * i + 1] = digits[mac[i] & 0x0f];
	}
	if (EVP_EncodeBlock((unsigned char *) signature, hex, sizeof(hex)) != SIGNATURE_LENGTH)
		elog(ERROR, "unexpected length of a signature");
	return signature;
}

static int
compare_params(const ListCell *a, const ListCell *b)
{
	return strcmp(((CallParam *) lfirst(a))->name, ((CallParam *) lfirst(b))->name);
}

/* Decodes base64 that is exactly what an encoder writes; else NULL. */
static char *
strict_base64(const char *text, int *length)
{
	size_t		text_length = strlen(text);
	char	   *bytes;
	char	   *again;
	int			padding;
	bool		same;

	if (text_length == 0 || text_length % 4 != 0 || text_length > MaxAllocSize / 2)
		return NULL;
	padding = (text[text_length - 1] == '=') + (text[text_length - 2] == '=');

	bytes = palloc(text_length / 4 * 3 + 1);
	*length = EVP_DecodeBlock((unsigned char *) bytes, (const unsigned char *) text, text_length);
	if (*length < 0 || *length != text_length / 4 * 3)
	{
		pfree(bytes);
		return NULL;
	}
	*length -= padding;

	/* OpenSSL forgives blanks and stray bits; encoding it again does not. */
	again = palloc(text_length + 1);
	EVP_EncodeBlock((unsigned char *) again, (const unsigned char *) bytes, *length);
	same = strcmp(again, text) == 0;
	pfree(again);
	if (!same)
	{
		pfree(bytes);
		return NULL;
	}
	return bytes;
}

/*
 * Decrypts into `plain` (length bytes at least); the length of the text, or -1
 * when the padding is not PKCS#7.  The cipher's context is kept: to set one up
 * costs more than a field.
 */
static int
aes_decrypt(const char *key, const char *cipher, int length, char *plain)
{
	static EVP_CIPHER_CTX *context = NULL;
	int			n;
	int			last;

	if (context == NULL)
	{
		EVP_CIPHER_CTX *fresh = EVP_CIPHER_CTX_new();

		if (fresh == NULL ||
			EVP_DecryptInit_ex(fresh, EVP_aes_256_cbc(), NULL, NULL, NULL) != 1 ||
			EVP_CIPHER_CTX_key_length(fresh) != AES_KEY_LENGTH)
		{
			EVP_CIPHER_CTX_free(fresh);
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not set up decryption"),
					 errdetail("OpenSSL refused AES-256-CBC.")));
		}
		context = fresh;
	}
	if (EVP_DecryptInit_ex(context, NULL, NULL, (const unsigned char *) key, (const unsigned char *) AES_IV) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not set up decryption"),
				 errdetail("OpenSSL refused the key.")));
	if (EVP_DecryptUpdate(context, (unsigned char *) plain, &n, (const unsigned char *) cipher, length) != 1 ||
		EVP_DecryptFinal_ex(context, (unsigned char *) plain + n, &last) != 1)
		return -1;
	return n + last;
}

/*
 * Walks the record once and copies it with the named fields decrypted.  Arrays
 * do not count in a path: "bomentity.phone" is the field of each element.
 */
static Jsonb *
decrypt_pass(Jsonb *data, Decryption *pass)
{
	JsonbIterator *it = JsonbIteratorInit(&data->root);
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbValue	value;
	JsonbIteratorToken token;
	int			level = -1;		/* of the innermost open container */
	int			depth = -1;		/* of the innermost open object: arrays do not count */
	uint64		into = pass->npaths == MAX_PATHS ? PG_UINT64_MAX : (UINT64CONST(1) << pass->npaths) - 1;
	bool		is_field = false;

	pass->nlevels = 16;
	pass->levels = palloc(pass->nlevels * sizeof(uint64));
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_ARRAY:
			case WJB_BEGIN_OBJECT:
				if (++level == pass->nlevels)
				{
					pass->nlevels *= 2;
					pass->levels = repalloc(pass->levels, pass->nlevels * sizeof(uint64));
				}
				pass->levels[level] = into;
				depth += token == WJB_BEGIN_OBJECT;
				break;
			case WJB_END_ARRAY:
			case WJB_END_OBJECT:
				depth -= token == WJB_END_OBJECT;
				level--;
				/* Back in an array, its further elements are entered by the same paths. */
				if (level >= 0)
					into = pass->levels[level];
				is_field = false;
				break;
			case WJB_KEY:
				into = matching(pass, pass->levels[level], depth, &value, &is_field);
				break;
			case WJB_VALUE:
			case WJB_ELEM:
				if (is_field && value.type == jbvString)
					decrypt_value(pass, &value);
				break;
			default:
				break;
		}
		result = pushJsonbValue(&state, token,
								token < WJB_BEGIN_ARRAY || (token == WJB_BEGIN_ARRAY && value.val.array.rawScalar) ?
								&value : NULL);
	}
	pfree(pass->levels);
	return pass->changed ? JsonbValueToJsonb(result) : data;
}

/* Which of the paths `among` go through or end at this key; *is_field: one ends here. */
static uint64
matching(const Decryption *pass, uint64 among, int depth, const JsonbValue *key, bool *is_field)
{
	uint64		into = 0;
	int			i;

	*is_field = false;
	for (i = 0; among != 0; i++, among >>= 1)
	{
		bool		is_last;

		if ((among & 1) != 0 && part_matches(&pass->paths[i], depth, key, &is_last))
		{
			if (is_last)
				*is_field = true;
			else
				into |= UINT64CONST(1) << i;
		}
	}
	return into;
}

static bool
part_matches(const FieldPath *path, int depth, const JsonbValue *key, bool *is_last)
{
	const char *part = path->text;
	size_t		length;
	int			i;

	for (i = 0; i < depth; i++)
	{
		part = strchr(part, '.');
		if (part == NULL)
			return false;
		part++;
	}
	length = strcspn(part, ".");
	*is_last = part[length] == '\0';
	if (length != key->val.string.len)
		return false;

	/* The documents and the service spell the names of arrays differently. */
	if (depth == 0 && !path->root)
		return pg_strncasecmp(part, key->val.string.val, length) == 0;
	return memcmp(part, key->val.string.val, length) == 0;
}

static void
decrypt_value(Decryption *pass, JsonbValue *value)
{
	char	   *text = pnstrdup(value->val.string.val, value->val.string.len);
	char	   *plain = jdy_kingdee_decrypt_text(pass->client_secret, text);

	pfree(text);
	if (plain != NULL)
	{
		value->val.string.val = plain;
		value->val.string.len = strlen(plain);
		pass->changed = true;
	}
}
