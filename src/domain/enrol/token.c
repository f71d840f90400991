/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/enrol/token.h"

#include "base/digest/digest.h"
#include "base/str/str.h"

#include <string.h>

#define PREFIX "mcp1-"
#define PREFIX_LEN 5u
#define BODY_BYTES (TOKEN_ID_BYTES + TOKEN_ROOT_BYTES + TOKEN_SECRET_BYTES)
#define BODY_CHARS 64u
#define CHECK_CHARS 4u /* 20 bits: one slip in a million passes, and is then refused as unknown */

_Static_assert(BODY_BYTES * 8 == BODY_CHARS * 5, "no padding");
_Static_assert(DIGEST_SIZE <= TOKEN_HASH_SIZE, "a digest fits");

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

static void encode(const uint8_t *in, size_t n_chars, char *out)
{
    for (size_t i = 0; i < n_chars; i++) {
        unsigned v = 0;
        for (size_t b = 0; b < 5; b++) {
            size_t bit = 5 * i + b;
            v = v << 1 | (in[bit / 8] >> (7 - bit % 8) & 1u);
        }
        out[i] = alphabet[v];
    }
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    const char *p = c ? strchr(alphabet, c) : NULL;
    return p ? (int)(p - alphabet) : -1;
}

static bool decode(const char *in, size_t n_chars, uint8_t *out)
{
    memset(out, 0, n_chars * 5 / 8);
    for (size_t i = 0; i < n_chars; i++) {
        int v = value_of(in[i]);
        if (v < 0)
            return false;
        for (size_t b = 0; b < 5; b++) {
            size_t bit = 5 * i + b;
            if (v >> (4 - b) & 1)
                out[bit / 8] = (uint8_t)(out[bit / 8] | 1u << (7 - bit % 8));
        }
    }
    return true;
}

static uint8_t nibble(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void hash(const void *data, size_t len, uint8_t *out, size_t n)
{
    char text[DIGEST_SIZE];
    digest_mem(data, len, text);
    const char *hex = text + strlen("sha256:");
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
}

static void checksum(const uint8_t body[BODY_BYTES], char out[CHECK_CHARS])
{
    uint8_t sum[3];
    hash(body, BODY_BYTES, sum, sizeof sum);
    encode(sum, CHECK_CHARS, out);
}

void token_format(const struct token *t, char out[TOKEN_TEXT_SIZE])
{
    uint8_t body[BODY_BYTES];
    memcpy(body, t->id, TOKEN_ID_BYTES);
    memcpy(body + TOKEN_ID_BYTES, t->root, TOKEN_ROOT_BYTES);
    memcpy(body + TOKEN_ID_BYTES + TOKEN_ROOT_BYTES, t->secret, TOKEN_SECRET_BYTES);
    memcpy(out, PREFIX, PREFIX_LEN);
    encode(body, BODY_CHARS, out + PREFIX_LEN);
    out[PREFIX_LEN + BODY_CHARS] = '-';
    checksum(body, out + PREFIX_LEN + BODY_CHARS + 1);
    out[TOKEN_TEXT_SIZE - 1] = '\0';
}

static int no_token(struct err *e, const char *why)
{
    err_set(e, ERR_INVALID, "%s", why);
    err_fix(e, "copy it whole, as `mcp host token` printed it");
    return ERR_INVALID;
}

int token_parse(const char *text, struct token *ret, struct err *e)
{
    uint8_t body[BODY_BYTES];
    char sum[CHECK_CHARS];
    if (strncmp(text, PREFIX, PREFIX_LEN) != 0 || strlen(text) != TOKEN_TEXT_SIZE - 1
        || text[PREFIX_LEN + BODY_CHARS] != '-' || !decode(text + PREFIX_LEN, BODY_CHARS, body))
        return no_token(e, "this is no token");
    checksum(body, sum);
    for (size_t i = 0; i < CHECK_CHARS; i++)
        if (value_of(text[PREFIX_LEN + BODY_CHARS + 1 + i]) != value_of(sum[i]))
            return no_token(e, "the token has a slip in it: its checksum is another");
    memcpy(ret->id, body, TOKEN_ID_BYTES);
    memcpy(ret->root, body + TOKEN_ID_BYTES, TOKEN_ROOT_BYTES);
    memcpy(ret->secret, body + TOKEN_ID_BYTES + TOKEN_ROOT_BYTES, TOKEN_SECRET_BYTES);
    return 0;
}

void token_id_format(const struct token *t, char out[TOKEN_ID_SIZE])
{
    for (size_t i = 0; i < TOKEN_ID_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", t->id[i]);
}

void token_hash(const uint8_t secret[TOKEN_SECRET_BYTES], char out[TOKEN_HASH_SIZE])
{
    digest_mem(secret, TOKEN_SECRET_BYTES, out);
}

void token_root_of(const void *der, size_t len, uint8_t out[TOKEN_ROOT_BYTES])
{
    hash(der, len, out, TOKEN_ROOT_BYTES);
}
