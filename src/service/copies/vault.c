/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/copies.h"

#include "proto/binlog/binlog.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (256u * 1024)

static int format(const struct gtid_set *s, char out[COPIES_GTID_MAX], struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    gtid_set_format(s, &text);
    return str_copy(out, COPIES_GTID_MAX, str_cstr(&text))
               ? 0
               : err_set(e, ERR_LIMIT, "a GTID position of %zu bytes", text.len);
}

static int read_whole(int fd, struct binlog_reader *r, bool *ret_torn, struct err *e)
{
    _cleanup_free_ uint8_t *piece = xmalloc(PIECE);
    struct err damage;
    ssize_t n;
    *ret_torn = false;
    while ((n = read(fd, piece, PIECE)) > 0)
        if (binlog_reader_feed(r, piece, (size_t)n, &damage) < 0) {
            *ret_torn = true;
            if (damage.code == ERR_INVALID)
                return 0;
            *e = damage;
            return e->code;
        }
    *ret_torn = !binlog_reader_whole(r);
    return n < 0 ? err_errno(e, errno, "read") : 0;
}

static int look(struct copies_log *log, struct err *e)
{
    struct stat st;
    struct binlog_reader *r = xmalloc(sizeof *r);
    int fd = open(log->path, O_RDONLY | O_CLOEXEC);
    binlog_reader_init(r);
    int ret = fd < 0 || fstat(fd, &st) < 0 ? err_errno(e, errno, "open") : 0;
    if (ret >= 0)
        ret = read_whole(fd, r, &log->torn, e);
    if (ret >= 0)
        ret = format(&r->from, log->from, e);
    if (ret >= 0)
        ret = format(&r->to, log->to, e);
    if (ret >= 0) {
        log->bytes = (uint64_t)st.st_size;
        log->first_s = r->first_s;
        log->last_s = r->last_s;
    }
    binlog_reader_done(r);
    free(r);
    if (fd >= 0)
        close(fd);
    return ret < 0 ? err_wrap(e, "%s", log->path) : 0;
}

static int by_place(const void *a, const void *b)
{
    const struct copies_log *x = a, *y = b;
    return x->server != y->server ? (x->server < y->server ? -1 : 1) : strcmp(x->path, y->path);
}

static int list_server(
    const char *dir, uint32_t server, struct copies_log *v, size_t *n, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%u", dir, server);
    DIR *d = opendir(path);
    struct dirent *entry;
    int ret = 0;
    if (!d)
        return err_errno(e, errno, "open %s", path);
    while (ret >= 0 && (entry = readdir(d))) {
        if (entry->d_name[0] == '.')
            continue;
        struct copies_log *log = &v[*n];
        *log = (struct copies_log){.server = server};
        int len = snprintf(log->path, sizeof log->path, "%s/%s", path, entry->d_name);
        if (*n == COPIES_LOGS_MAX || len >= (int)sizeof log->path)
            ret = err_set(e, ERR_LIMIT, "%s holds over %u logs", dir, COPIES_LOGS_MAX);
        else if ((ret = look(log, e)) >= 0)
            ++*n;
    }
    closedir(d);
    return ret;
}

int copies_vault_list(const char *dir, struct copies_log **ret, size_t *ret_n, struct err *e)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    struct copies_log *v = xcalloc(COPIES_LOGS_MAX, sizeof *v);
    size_t n = 0;
    int r = 0;
    if (!d) {
        free(v);
        return err_errno(e, errno, "vault %s", dir);
    }
    while (r >= 0 && (entry = readdir(d))) {
        uint64_t server;
        if (str_to_u64(entry->d_name, UINT32_MAX, &server))
            r = list_server(dir, (uint32_t)server, v, &n, e);
    }
    closedir(d);
    if (r < 0) {
        free(v);
        return r;
    }
    qsort(v, n, sizeof *v, by_place);
    *ret = v;
    *ret_n = n;
    return 0;
}
