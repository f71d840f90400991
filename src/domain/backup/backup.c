/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/backup/backup.h"

#include "base/arena/arena.h"
#include "base/digest/digest.h"

#include <string.h>

#define KEY_MAX 400u /* the store's limit less the platform's prefix */

static void add_line(struct str *out, json_t *j)
{
    _cleanup_free_ char *text = json_text(j);
    json_decref(j);
    str_add(out, text);
    str_add_ch(out, '\n');
}

void backup_begin(
    struct str *out, const char *platform, int64_t revision, const char *by, int64_t now_ms)
{
    add_line(out, json_pack("{s:s,s:i,s:s,s:I,s:I,s:s}", "format", "mcp-state", "version",
                      BACKUP_VERSION, "platform", platform, "revision", (json_int_t)revision,
                      "created_ms", (json_int_t)now_ms, "by", by));
}

void backup_add(struct str *out, const char *key, const char *value)
{
    json_t *j = json_pack("{s:s,s:s}", "k", key, "v", value);
    if (j) /* else not UTF-8: nothing of ours */
        add_line(out, j);
}

void backup_end(struct str *out, size_t n_keys)
{
    char digest[DIGEST_SIZE];
    digest_mem(str_cstr(out), out->len, digest);
    add_line(
        out, json_pack("{s:I,s:s}", "keys", (json_int_t)n_keys, "digest", digest));
}

/* ---- reading ---- */

struct reader {
    const char *start, *at, *end;
    unsigned line;
    const char *previous; /* key */
};

static int next_line(struct reader *r, json_t **ret, struct err *e)
{
    const char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
    r->line++;
    if (!newline)
        return err_set(e, ERR_INVALID, "line %u: the file was cut", r->line);
    int k = json_parse(r->at, (size_t)(newline - r->at), ret, e);
    if (k >= 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        k = err_set(e, ERR_INVALID, "no object");
    }
    if (k < 0)
        return err_wrap(e, "line %u", r->line);
    r->at = newline + 1;
    return 0;
}

static int read_head(struct reader *r, struct backup *b, struct err *e)
{
    _cleanup_json_ json_t *head = NULL;
    const char *platform;
    int64_t version;
    int k = next_line(r, &head, e);
    if (k >= 0 && strcmp(json_opt_str(head, "format", ""), "mcp-state") != 0)
        k = err_set(e, ERR_INVALID, "this is no backup of a platform's state");
    if (k >= 0)
        k = json_get_int(head, "version", 1, INT64_MAX, &version, e);
    if (k >= 0 && version > BACKUP_VERSION) {
        k = err_set(e, ERR_INVALID, "a backup of format %lld, this version reads up to %d",
            (long long)version, BACKUP_VERSION);
        err_fix(e, "restore it with the version of mcp that made it, or a newer one");
    }
    if (k >= 0)
        k = json_get_str(head, "platform", &platform, e);
    if (k >= 0)
        k = json_get_int(head, "revision", 0, INT64_MAX, &b->revision, e);
    if (k < 0)
        return k;
    b->platform = arena_strdup(b->arena, platform);
    b->created_ms = json_opt_int(head, "created_ms", 0);
    b->by = arena_strdup(b->arena, json_opt_str(head, "by", ""));
    return 0;
}

static bool key_is_valid(const char *key)
{
    size_t n = strlen(key);
    if (!n || n > KEY_MAX || key[0] == '/' || strstr(key, "//"))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)key[i] <= ' ' || (unsigned char)key[i] > '~')
            return false;
    return true;
}

static int read_pair(struct reader *r, const json_t *row, struct backup *b, struct err *e)
{
    const char *key, *value;
    int k = json_get_str(row, "k", &key, e);
    if (k >= 0)
        k = json_get_str(row, "v", &value, e);
    if (k >= 0 && !key_is_valid(key))
        k = err_set(e, ERR_INVALID, "no key of a state store");
    if (k >= 0 && r->previous && strcmp(r->previous, key) >= 0)
        k = err_set(e, ERR_INVALID, "keys are not in order");
    if (k < 0)
        return err_wrap(e, "line %u", r->line);
    struct backup_pair *p = &b->pairs[b->n++];
    *p = (struct backup_pair){
        arena_strdup(b->arena, key), arena_strdup(b->arena, value), strlen(value)};
    r->previous = p->key;
    return 0;
}

static int check_end(
    const struct reader *r, const char *line, const json_t *end, const struct backup *b,
    struct err *e)
{
    char digest[DIGEST_SIZE];
    digest_mem(r->start, (size_t)(line - r->start), digest);
    if (strcmp(json_opt_str(end, "digest", ""), digest) != 0)
        return err_set(e, ERR_INVALID, "the checksum is another: the file was changed or damaged");
    if (json_opt_int(end, "keys", -1) != (int64_t)b->n)
        return err_set(e, ERR_INVALID, "%zu keys, the last line counts %lld", b->n,
            (long long)json_opt_int(end, "keys", -1));
    return r->at == r->end ? 0 : err_set(e, ERR_INVALID, "something follows the last line");
}

static int read_all(struct reader *r, struct backup *b, struct err *e)
{
    int k = read_head(r, b, e);
    while (k >= 0) {
        _cleanup_json_ json_t *row = NULL;
        const char *line = r->at;
        k = next_line(r, &row, e);
        if (k >= 0 && json_object_get(row, "digest"))
            return check_end(r, line, row, b, e);
        if (k >= 0 && b->n == BACKUP_KEYS_MAX)
            k = err_set(e, ERR_LIMIT, "more than %u keys", BACKUP_KEYS_MAX);
        if (k >= 0)
            k = read_pair(r, row, b, e);
    }
    return k;
}

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 0;
    for (const char *p = text; (p = memchr(p, '\n', len - (size_t)(p - text))); p++)
        n++;
    return MIN(n, (size_t)BACKUP_KEYS_MAX);
}

int backup_parse(const char *text, size_t len, struct backup **ret, struct err *e)
{
    if (len > BACKUP_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "a backup over %u MiB", BACKUP_BYTES_MAX >> 20);
    struct arena *a = arena_new(0);
    struct backup *b = arena_alloc(a, sizeof *b);
    *b = (struct backup){.arena = a};
    b->pairs = xcalloc(count_lines(text, len) + 1, sizeof *b->pairs);
    struct reader r = {.start = text, .at = text, .end = text + len};
    int k = read_all(&r, b, e);
    if (k < 0) {
        backup_free(b);
        return err_wrap(e, "backup");
    }
    *ret = b;
    return 0;
}

void backup_free(struct backup *b)
{
    if (!b)
        return;
    free(b->pairs);
    arena_free(b->arena);
}

/* ---- what is put back ---- */

bool backup_restores(const char *key)
{
    static const char *const of_the_place[] = {
        "lease/", "token/", "host/", "denied/", "ca/", "state/", "audit/"};
    for (size_t i = 0; i < ARRAY_SIZE(of_the_place); i++)
        if (str_starts(key, of_the_place[i]))
            return false;
    return true;
}

bool backup_is_epoch(const char *key)
{
    return str_starts(key, "epoch/");
}

static uint64_t number(const char *text)
{
    uint64_t n = 0;
    return text && str_to_u64(text, INT64_MAX / 2, &n) ? n : 0;
}

int64_t backup_epoch(const char *kept, const char *present)
{
    return (int64_t)(MAX(number(kept), number(present)) + BACKUP_EPOCH_STEP);
}
