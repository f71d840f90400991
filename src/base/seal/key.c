/* SPDX-License-Identifier: Apache-2.0 */
/* Pairs of keys and the file of the long-lived one: "mcp-seal-key 1 <base64>\n". */
#include "base/seal/priv.h"

#include "base/base64/base64.h"
#include "base/file/file.h"
#include "base/rnd/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define FILE_HEAD "mcp-seal-key 1 "
#define FILE_MAX 128u
#define ATTEMPTS 3

int seal_key_from(const uint8_t private_key[SEAL_KEY_SIZE], struct seal_key **ret, struct err *e)
{
    size_t len = SEAL_KEY_SIZE;
    _cleanup_seal_key_ struct seal_key *k = xcalloc(1, sizeof *k);
    k->private_half = secret_new(private_key, SEAL_KEY_SIZE);
    k->pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, SEAL_KEY_SIZE);
    if (!k->pair || EVP_PKEY_get_raw_public_key(k->pair, k->public_half, &len) != 1
        || len != SEAL_KEY_SIZE)
        return err_set(e, ERR_FAILED, "the cryptographic library failed: X25519");
    *ret = util_steal_ptr(&k);
    return 0;
}

int seal_key_make(struct seal_key **ret, struct err *e)
{
    uint8_t raw[SEAL_KEY_SIZE];
    rnd_bytes(raw, sizeof raw);
    int r = seal_key_from(raw, ret, e);
    secret_wipe(raw, sizeof raw);
    return r;
}

void seal_key_free(struct seal_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pair);
    secret_free(key->private_half);
    free(key);
}

const uint8_t *seal_public(const struct seal_key *key)
{
    return key->public_half;
}

const uint8_t *seal_key_private(const struct seal_key *key)
{
    return secret_bytes(key->private_half);
}

void seal_public_format(const uint8_t public_key[SEAL_KEY_SIZE], char out[SEAL_PUBLIC_TEXT_SIZE])
{
    _cleanup_str_ struct str text = STR_INIT;
    base64_encode(public_key, SEAL_KEY_SIZE, &text);
    str_copy(out, SEAL_PUBLIC_TEXT_SIZE, text.buf);
}

int seal_public_parse(const char *text, uint8_t ret_public[SEAL_KEY_SIZE], struct err *e)
{
    size_t n;
    int r = base64_decode_into(text, strlen(text), ret_public, SEAL_KEY_SIZE, &n, e);
    if (r < 0 || n != SEAL_KEY_SIZE)
        return err_set(e, ERR_INVALID, "not a public sealing key");
    return 0;
}

/* ---- the file */

static int parse_file(const struct str *text, struct seal_key **ret, struct err *e)
{
    uint8_t raw[SEAL_KEY_SIZE];
    size_t head = sizeof FILE_HEAD - 1, n = 0, len = text->len;
    if (len && text->buf[len - 1] == '\n')
        len--;
    if (len < head || memcmp(text->buf, FILE_HEAD, head) != 0
        || base64_decode_into(text->buf + head, len - head, raw, sizeof raw, &n, NULL) < 0
        || n != sizeof raw)
        return err_set(e, ERR_INVALID, "not a sealing key of format 1");
    int r = seal_key_from(raw, ret, e);
    secret_wipe(raw, sizeof raw);
    return r;
}

static int read_open(int fd, struct seal_key **ret, struct err *e)
{
    struct stat st;
    char raw[FILE_MAX];
    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, "stat");
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) || (st.st_uid != geteuid() && geteuid() != 0)) {
        err_set(e, ERR_DENIED, "a sealing key must be a file that only its owner can read");
        err_fix(e, "chmod 600 and chown to the user of control, if it never was readable to others");
        return ERR_DENIED;
    }
    ssize_t n = read(fd, raw, sizeof raw);
    if (n < 0)
        return err_errno(e, errno, "read");
    const struct str text = {.buf = raw, .len = (size_t)n};
    int r = parse_file(&text, ret, e);
    secret_wipe(raw, sizeof raw);
    return r;
}

int seal_key_load(const char *path, struct seal_key **ret, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    int r = read_open(fd, ret, e);
    if (r < 0)
        err_wrap(e, "%s", path);
    return r;
}

static int write_key(const char *temp, const struct seal_key *key, struct err *e)
{
    _cleanup_secret_str_ struct str text = STR_INIT;
    str_reserve(&text, FILE_MAX); /* so that it does not move and leave a copy */
    str_add(&text, FILE_HEAD);
    base64_encode(seal_key_private(key), SEAL_KEY_SIZE, &text);
    str_add_ch(&text, '\n');
    return file_write_durable(temp, text.buf, text.len, 0600, e);
}

/* A link never replaces: of two that make the key at once one wins, and both use that one. */
static int make_file(const char *path, struct err *e)
{
    _cleanup_seal_key_ struct seal_key *key = NULL;
    uint64_t tag;
    rnd_bytes(&tag, sizeof tag);
    _cleanup_free_ char *temp = xasprintf("%s.%016llx.new", path, (unsigned long long)tag);
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir =
        slash ? xasprintf("%.*s", (int)MAX(slash - path, 1), path) : xstrdup(".");
    int r = seal_key_make(&key, e);
    if (r >= 0)
        r = write_key(temp, key, e);
    if (r < 0)
        return r;
    if (link(temp, path) < 0 && errno != EEXIST)
        r = err_errno(e, errno, "link %s", path);
    unlink(temp);
    return r < 0 ? r : file_fsync_dir(dir, e);
}

int seal_key_load_or_make(const char *path, struct seal_key **ret, struct err *e)
{
    for (int i = 0;; i++) {
        struct err missing = {0};
        int r = seal_key_load(path, ret, &missing);
        if (r != ERR_NOT_FOUND || i == ATTEMPTS) {
            if (r < 0 && e)
                *e = missing;
            return r;
        }
        r = make_file(path, e);
        if (r < 0)
            return r;
    }
}
