/*-------------------------------------------------------------------------
 * crypt.c
 *		Signatures, encrypted fields and gzip.
 *
 * Sensitive fields are AES-256-CBC with the 32 ASCII characters of the client
 * secret as key and one fixed IV, so equal texts give equal ciphertexts: that
 * weakness is a fact of the service and is kept.
 *
 * Called with the simulator's lock held: the cipher context is shared.
 *-------------------------------------------------------------------------
 */
#include "crypt.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <zlib.h>

static const char FIELD_IV[] = "5e8y6w45ju8w9jq8";

static EVP_CIPHER_CTX *field_ctx;
static char field_key[33];		/* key field_ctx is set up for */

void
crypt_signature(const char *key, const char *text, size_t n,
				char out[SIGNATURE_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned char hex[64];
	unsigned int maclen = 0;
	int			i;

	HMAC(EVP_sha256(), key, (int) strlen(key),
		 (const unsigned char *) text, n, mac, &maclen);
	for (i = 0; i < 32; i++)
	{
		hex[2 * i] = (unsigned char) digits[mac[i] >> 4];
		hex[2 * i + 1] = (unsigned char) digits[mac[i] & 15];
	}
	EVP_EncodeBlock((unsigned char *) out, hex, sizeof(hex));
}

/*
 * A secret of another length than 32 is cut or filled with zero bytes, so
 * that a test may use any; the real one has 32 characters.
 */
static void
use_key(const char *client_secret)
{
	char		key[33] = {0};

	strncpy(key, client_secret, 32);
	if (field_ctx != NULL && memcmp(key, field_key, sizeof(key)) == 0)
		return;
	if (field_ctx == NULL)
		field_ctx = EVP_CIPHER_CTX_new();
	memcpy(field_key, key, sizeof(key));
	EVP_EncryptInit_ex(field_ctx, EVP_aes_256_cbc(), NULL,
					   (const unsigned char *) key, NULL);
}

void
crypt_base64(Buf *out, const void *bytes, size_t n)
{
	unsigned char *text = sim_alloc(4 * (n / 3 + 1) + 1);

	buf_bytes(out, text, (size_t) EVP_EncodeBlock(text, bytes, (int) n));
	free(text);
}

void
crypt_hmac(Buf *out, const char *key, const char *text)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	HMAC(EVP_sha256(), key, (int) strlen(key), (const unsigned char *) text, strlen(text), mac, &n);
	crypt_base64(out, mac, n);
}

void
crypt_field(Buf *out, const char *client_secret, const char *text, size_t n)
{
	unsigned char cipher[1024 + 16];
	int			len = 0;
	int			last = 0;

	if (n == 0)
		return;
	if (n > 1024)
		n = 1024;
	use_key(client_secret);
	EVP_EncryptInit_ex(field_ctx, NULL, NULL, NULL,
					   (const unsigned char *) FIELD_IV);
	EVP_EncryptUpdate(field_ctx, cipher, &len,
					  (const unsigned char *) text, (int) n);
	EVP_EncryptFinal_ex(field_ctx, cipher + len, &last);
	crypt_base64(out, cipher, (size_t) (len + last));
}

void
crypt_cleanup(void)
{
	EVP_CIPHER_CTX_free(field_ctx);
	field_ctx = NULL;
}

/* Feeds one piece to the compressor; finish ends the stream. */
static void
squeeze(z_stream *z, Buf *out, const void *in, size_t n, int flush)
{
	unsigned char piece[65536];
	int			rc;

	z->next_in = (unsigned char *) in;
	z->avail_in = (unsigned int) n;
	do
	{
		z->next_out = piece;
		z->avail_out = sizeof(piece);
		rc = deflate(z, flush);
		buf_bytes(out, piece, sizeof(piece) - z->avail_out);
	} while (z->avail_out == 0 && rc != Z_STREAM_END);
}

static void
start_gzip(z_stream *z, int level)
{
	memset(z, 0, sizeof(*z));
	deflateInit2(z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}

void
crypt_gzip(Buf *body, int level)
{
	z_stream	z;
	Buf			out = {0};

	start_gzip(&z, level);
	squeeze(&z, &out, body->data, body->len, Z_FINISH);
	deflateEnd(&z);
	buf_free(body);
	*body = out;
}

void
crypt_gzip_bomb(Buf *out, const char *head, char fill, size_t n,
				const char *tail)
{
	static char block[65536];
	z_stream	z;

	memset(block, fill, sizeof(block));
	start_gzip(&z, 9);
	squeeze(&z, out, head, strlen(head), Z_NO_FLUSH);
	while (n > 0)
	{
		size_t		piece = n < sizeof(block) ? n : sizeof(block);

		squeeze(&z, out, block, piece, Z_NO_FLUSH);
		n -= piece;
	}
	squeeze(&z, out, tail, strlen(tail), Z_FINISH);
	deflateEnd(&z);
}
