/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/priv.h"

#include "base/digest/digest.h"
#include "base/file/file.h"
#include "proto/binlog/binlog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (256u * 1024)
#define MANIFEST_MAX 65536u
#define PACKED ".zst"

static int format(const struct gtid_set *s, char out[COPIES_GTID_MAX], struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(s, &text);
    return str_copy(out, COPIES_GTID_MAX, str_cstr(&text))
               ? 0
               : err_set(e, ERR_LIMIT, "a GTID position of %zu bytes", text.len);
}

/* ---- raw ones ---- */

static int read_whole(int fd, uint64_t limit, struct binlog_reader *r, bool *ret_torn, struct err *e)
{
    _cleanup_free_ uint8_t *piece = xmalloc(PIECE);
    struct err damage;
    ssize_t n;
    uint64_t left = limit;
    *ret_torn = false;
    while (left && (n = read(fd, piece, MIN(PIECE, left))) != 0) {
        if (n < 0)
            return err_errno(e, errno, "read");
        left -= (uint64_t)n;
        if (binlog_reader_feed(r, piece, (size_t)n, &damage) < 0) {
            *ret_torn = true;
            if (damage.code == ERR_INVALID)
                return 0;
            *e = damage;
            return e->code;
        }
    }
    *ret_torn = !binlog_reader_whole(r);
    return 0;
}

/* reader: initialised, of whoever calls. */
static int scan(
    const char *path, uint64_t limit, struct binlog_reader *r, bool *ret_torn, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    int ret = fd < 0 ? err_errno(e, errno, "open") : read_whole(fd, limit, r, ret_torn, e);
    return ret < 0 ? err_wrap(e, "%s", path) : 0;
}

static int look_raw(struct copies_log *log, struct err *e)
{
    struct stat st;
    if (stat(log->path, &st) < 0)
        return err_errno(e, errno, "look at %s", log->path);
    struct binlog_reader *r = xmalloc(sizeof *r);
    binlog_reader_init(r);
    int ret = scan(log->path, UINT64_MAX, r, &log->torn, e);
    if (ret >= 0)
        ret = format(&r->from, log->from, e);
    if (ret >= 0)
        ret = format(&r->to, log->to, e);
    log->bytes = log->stored = (uint64_t)st.st_size;
    log->whole = r->whole;
    log->first_s = r->first_s;
    log->last_s = r->last_s;
    binlog_reader_done(r);
    free(r);
    return ret;
}

int copies_log_before(const char *path, uint64_t whole, uint32_t until_s, const char *until,
    char to[COPIES_GTID_MAX], bool *ret_past, struct err *e)
{
    bool torn;
    _cleanup_gtid_ struct gtid_set set = {0};
    if (until && gtid_set_parse(GTID_MARIADB, until, strlen(until), &set, e) < 0)
        return e->code;
    struct binlog_reader *r = xmalloc(sizeof *r);
    binlog_reader_init(r);
    r->until_s = until_s;
    r->until = until ? &set : NULL;
    int ret = scan(path, whole, r, &torn, e);
    if (ret >= 0)
        ret = format(&r->to, to, e);
    *ret_past = r->past;
    binlog_reader_done(r);
    free(r);
    return ret;
}

/* ---- packed ones ---- */

static json_t *manifest_of(const struct copies_log *log)
{
    return json_pack("{s:i,s:s,s:I,s:I,s:I,s:I,s:s,s:s,s:b}", "format", 1, "digest", log->digest,
        "bytes", (json_int_t)log->bytes, "stored", (json_int_t)log->stored, "first_s",
        (json_int_t)log->first_s, "last_s", (json_int_t)log->last_s, "from", log->from, "to",
        log->to, "torn", (int)log->torn);
}

static int read_manifest(struct copies_log *log, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s.json", log->path);
    _cleanup_json_ json_t *j = NULL;
    const char *digest, *from, *to;
    if (json_read_file(path, MANIFEST_MAX, &j, e) < 0 || json_get_str(j, "digest", &digest, e) < 0
        || json_get_str(j, "from", &from, e) < 0 || json_get_str(j, "to", &to, e) < 0)
        return e->code;
    log->bytes = log->whole = (uint64_t)MAX(json_opt_int(j, "bytes", 0), 0);
    log->first_s = json_opt_int(j, "first_s", 0);
    log->last_s = json_opt_int(j, "last_s", 0);
    log->torn = json_opt_bool(j, "torn", false);
    bool fits = str_copy(log->digest, sizeof log->digest, digest)
                && str_copy(log->from, sizeof log->from, from)
                && str_copy(log->to, sizeof log->to, to);
    return fits ? 0 : err_set(e, ERR_LIMIT, "manifest %s: a text is too long", path);
}

static int look_packed(struct copies_log *log, struct err *e)
{
    struct stat st;
    struct err why;
    if (stat(log->path, &st) < 0)
        return err_errno(e, errno, "look at %s", log->path);
    log->packed = true;
    log->stored = (uint64_t)st.st_size;
    if (read_manifest(log, &why) < 0)
        snprintf(log->why, sizeof log->why, "%.*s", (int)str_utf8_cut(why.message, 159), why.message);
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n > k && !strcmp(text + n - k, end);
}

int copies_log_pack(const char *path, struct sql_stop *stop, struct err *e)
{
    struct copies_log log = {0};
    _cleanup_free_ char *packed = xasprintf("%s" PACKED, path),
                        *part = xasprintf("%s.part", packed),
                        *manifest = xasprintf("%s.json", packed);
    if (!str_copy(log.path, sizeof log.path, path))
        return err_set(e, ERR_LIMIT, "%s: too long", path);
    if (look_raw(&log, e) < 0)
        return e->code;
    const char *const zstd[] = {"zstd", "-q", "-3", "-c", NULL};
    _cleanup_close_ int in = open(path, O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int out = open(part, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    struct stat st;
    int r = in < 0 || out < 0 ? err_errno(e, errno, "pack %s", path)
                              : copies_pipe(zstd, NULL, in, out, stop, e);
    if (r >= 0 && (fsync(out) < 0 || fstat(out, &st) < 0))
        r = err_errno(e, errno, "write %s", part);
    if (r >= 0)
        r = digest_file(part, log.digest, e);
    if (r < 0) {
        unlink(part);
        return r;
    }
    log.stored = (uint64_t)st.st_size;
    _cleanup_json_ json_t *j = manifest_of(&log);
    _cleanup_free_ char *text = json_text_pretty(j);
    r = file_write_durable(manifest, text, strlen(text), 0600, e);
    if (r >= 0 && rename(part, packed) < 0)
        r = err_errno(e, errno, "rename %s", part);
    if (r >= 0)
        r = copies_sync_folder_of(packed, e);
    if (r >= 0 && unlink(path) < 0)
        r = err_errno(e, errno, "remove %s", path);
    return r;
}

static int copy_raw(const struct copies_log *log, const char *out, struct err *e)
{
    _cleanup_free_ uint8_t *piece = xmalloc(PIECE);
    _cleanup_close_ int from = open(log->path, O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int to = open(out, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (from < 0 || to < 0)
        return err_errno(e, errno, "copy %s", log->path);
    for (uint64_t left = log->whole; left;) {
        ssize_t n = read(from, piece, MIN(PIECE, left));
        if (n <= 0)
            return err_errno(e, n ? errno : EIO, "read %s", log->path);
        if (file_write_fd(to, piece, (size_t)n, e) < 0)
            return err_wrap(e, "write %s", out);
        left -= (uint64_t)n;
    }
    return 0;
}

static int damaged(const struct copies_log *log, const char *how, struct err *e)
{
    err_set(e, ERR_INVALID, "%s: %s", log->path, how);
    err_fix(e, "take another host's vault, or a backup that is younger than this log: `mcp backup list`");
    return e->code;
}

int copies_log_unpack(
    const struct copies_log *log, const char *out, struct sql_stop *stop, struct err *e)
{
    char digest[DIGEST_SIZE];
    if (!log->packed)
        return copy_raw(log, out, e);
    if (*log->why)
        return damaged(log, log->why, e);
    if (digest_file(log->path, digest, e) < 0)
        return e->code;
    if (!str_eq(digest, log->digest))
        return damaged(log, "it is not what its manifest says", e);
    const char *const zstd[] = {"zstd", "-q", "-d", "-f", log->path, "-o", out, NULL};
    if (copies_pipe(zstd, NULL, -1, -1, stop, e) < 0)
        return err_wrap(e, "%s", log->path);
    return log->torn && truncate(out, (off_t)log->whole) < 0 ? err_errno(e, errno, "cut %s", out) : 0;
}

/* ---- folders ---- */

static int by_place(const void *a, const void *b)
{
    const struct copies_log *x = a, *y = b;
    return x->server != y->server ? (x->server < y->server ? -1 : 1) : strcmp(x->path, y->path);
}

/* "binlog.index" and "binlog.state" of a server are not logs; what is half done has its end. */
static bool is_log(const char *name)
{
    return name[0] != '.' && !ends_with(name, ".json") && !ends_with(name, ".part")
           && !ends_with(name, ".index") && !ends_with(name, ".state");
}

int copies_logs_add(
    const char *folder, uint32_t server, struct copies_log *v, size_t *n, struct err *e)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    int ret = 0;
    if (!d)
        return err_errno(e, errno, "open %s", folder);
    while (ret >= 0 && (entry = readdir(d))) {
        if (!is_log(entry->d_name))
            continue;
        if (*n == COPIES_LOGS_MAX) {
            ret = err_set(e, ERR_LIMIT, "%s holds over %u logs", folder, COPIES_LOGS_MAX);
            break;
        }
        struct copies_log *log = &v[*n];
        *log = (struct copies_log){.server = server};
        if (snprintf(log->path, sizeof log->path, "%s/%s", folder, entry->d_name)
            >= (int)sizeof log->path)
            ret = err_set(e, ERR_LIMIT, "%s: a name is too long", folder);
        else
            ret = ends_with(log->path, PACKED) ? look_packed(log, e) : look_raw(log, e);
        *n += ret >= 0;
    }
    closedir(d);
    return ret;
}

/* Between packing and removing the raw one, both are there. */
static void drop_doubles(struct copies_log *v, size_t *n)
{
    size_t k = 0;
    for (size_t i = 0; i < *n; i++) {
        size_t len = k ? strlen(v[k - 1].path) : 0;
        bool twice = k && v[i].packed && !v[k - 1].packed && !strncmp(v[i].path, v[k - 1].path, len)
                     && str_eq(v[i].path + len, PACKED);
        if (twice)
            k--;
        if (k != i)
            v[k] = v[i];
        k++;
    }
    *n = k;
}

int copies_vault_list(const char *dir, struct copies_log **ret, size_t *ret_n, struct err *e)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    if (!d && errno != ENOENT)
        return err_errno(e, errno, "vault %s", dir);
    struct copies_log *v = xcalloc(COPIES_LOGS_MAX, sizeof *v);
    size_t n = 0;
    int r = 0;
    while (d && r >= 0 && (entry = readdir(d))) {
        uint64_t server;
        _cleanup_free_ char *folder = xasprintf("%s/%s", dir, entry->d_name);
        if (str_to_u64(entry->d_name, UINT32_MAX, &server))
            r = copies_logs_add(folder, (uint32_t)server, v, &n, e);
    }
    if (d)
        closedir(d);
    if (r < 0) {
        free(v);
        return r;
    }
    qsort(v, n, sizeof *v, by_place);
    drop_doubles(v, &n);
    *ret = v;
    *ret_n = n;
    return 0;
}

json_t *copies_gaps(const struct copies_log *v, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 1; i < n; i++)
        if (v[i].server == v[i - 1].server && *v[i].from && !copies_is_behind(v[i].from, v[i - 1].to))
            json_array_append_new(list, json_pack("{s:I,s:s,s:s}", "server",
                (json_int_t)v[i].server, "after", v[i - 1].to, "from", v[i].from));
    return list;
}

json_t *copies_log_json(const struct copies_log *log)
{
    const char *name = strrchr(log->path, '/');
    return json_pack("{s:I,s:s,s:I,s:I,s:s,s:s,s:I,s:I,s:b,s:b,s:s}", "server",
        (json_int_t)log->server, "name", name ? name + 1 : log->path, "bytes",
        (json_int_t)log->bytes, "stored", (json_int_t)log->stored, "from", log->from, "to", log->to,
        "first_s", (json_int_t)log->first_s, "last_s", (json_int_t)log->last_s, "packed",
        (int)log->packed, "torn", (int)log->torn, "why", log->why);
}
