/* SPDX-License-Identifier: Apache-2.0 */
#include "service/vault/priv.h"

#include "base/file/file.h"
#include "base/str/str.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER (256u * 1024)
#define MAGIC "\xfe\x62\x69\x6e"
#define STAMP 10 /* digits: names sort by time until 2286 */

void open_log_init(struct open_log *f)
{
    *f = (struct open_log){.fd = -1, .buffer = xmalloc(BUFFER)};
    f->reader = xmalloc(sizeof *f->reader);
    binlog_reader_init(f->reader);
}

void open_log_done(struct open_log *f)
{
    if (f->fd >= 0)
        close(f->fd);
    binlog_reader_done(f->reader);
    free(f->reader);
    free(f->buffer);
}

static void forget(struct open_log *f)
{
    binlog_reader_done(f->reader);
    binlog_reader_init(f->reader);
    f->size = f->buffered = 0;
    f->dirty = false;
}

/* "<stamp>-<name>", nothing behind. */
static bool is_raw(const char *entry, uint32_t *ret_created)
{
    uint64_t created = 0;
    for (int i = 0; i < STAMP; i++) {
        if (!isdigit((unsigned char)entry[i]))
            return false;
        created = created * 10 + (uint64_t)(entry[i] - '0');
    }
    const char *dot = strrchr(entry, '.');
    *ret_created = (uint32_t)created;
    return entry[STAMP] == '-' && dot && isdigit((unsigned char)dot[1])
           && strspn(dot + 1, "0123456789") == strlen(dot + 1) && created <= UINT32_MAX;
}

/* The greatest of those that end so, "" if there is none. */
static void newest(const char *folder, const char *end, char ret[256])
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    uint32_t created;
    ret[0] = '\0';
    while (d && (entry = readdir(d))) {
        char name[256];
        size_t len = strlen(entry->d_name), cut = strlen(end);
        if (len <= cut || len >= sizeof name || strcmp(entry->d_name + len - cut, end) != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(len - cut), entry->d_name);
        if (is_raw(name, &created) && strcmp(name, ret) > 0)
            str_copy(ret, 256, name);
    }
    if (d)
        closedir(d);
}

static int read_all(struct open_log *f, uint64_t limit, struct err *e)
{
    uint64_t at = 0;
    struct err damage;
    while (at < limit) {
        ssize_t n = pread(f->fd, f->buffer, MIN(BUFFER, limit - at), (off_t)at);
        if (n < 0)
            return err_errno(e, errno, "read %s", f->path);
        if (!n || binlog_reader_feed(f->reader, f->buffer, (size_t)n, &damage) < 0)
            return 0;
        at += (uint64_t)n;
    }
    return 0;
}

/* The reader then stands at the end of the last whole event, and so does the file. */
static int cut_to_whole(struct open_log *f, struct err *e)
{
    int r = read_all(f, UINT64_MAX, e);
    uint64_t whole = f->reader->whole;
    if (r < 0)
        return r;
    forget(f);
    if (ftruncate(f->fd, (off_t)whole) < 0)
        return err_errno(e, errno, "cut %s", f->path);
    f->size = whole;
    r = read_all(f, whole, e);
    return r < 0 ? r : lseek(f->fd, 0, SEEK_END) < 0 ? err_errno(e, errno, "seek") : 0;
}

int open_log_resume(struct open_log *f, const char *folder, struct err *e)
{
    char name[256];
    forget(f);
    newest(folder, "", name);
    if (!*name) {
        newest(folder, ".zst", name);
        str_copy(f->name, sizeof f->name, *name ? name + STAMP + 1 : "");
        return 0;
    }
    is_raw(name, &f->created_s);
    if (!str_copy(f->name, sizeof f->name, name + STAMP + 1)
        || snprintf(f->path, sizeof f->path, "%s/%s", folder, name) >= (int)sizeof f->path)
        return err_set(e, ERR_LIMIT, "%s: too long", name);
    f->fd = open(f->path, O_RDWR | O_CLOEXEC);
    if (f->fd < 0)
        return err_errno(e, errno, "open %s", f->path);
    int r = cut_to_whole(f, e);
    if (r < 0 || f->size)
        return r;
    unlink(f->path); /* not even its first bytes had come to the disk */
    return open_log_end(f, e);
}

int open_log_begin(struct open_log *f, const char *folder, const char *name, uint32_t created_s,
    struct err *e)
{
    ASSERT(f->fd < 0);
    forget(f);
    f->created_s = created_s;
    if (!str_copy(f->name, sizeof f->name, name)
        || snprintf(f->path, sizeof f->path, "%s/%0*u-%s", folder, STAMP, created_s, name)
               >= (int)sizeof f->path)
        return err_set(e, ERR_LIMIT, "%s: too long", name);
    f->fd = open(f->path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    if (f->fd < 0)
        return err_errno(e, errno, "open %s", f->path);
    int r = open_log_add(f, (const uint8_t *)MAGIC, 4, e);
    if (r >= 0)
        r = open_log_sync(f, e);
    return r < 0 ? r : file_fsync_dir(folder, e);
}

static int flush(struct open_log *f, struct err *e)
{
    size_t n = f->buffered;
    f->buffered = 0;
    return n && file_write_fd(f->fd, f->buffer, n, e) < 0 ? err_wrap(e, "write %s", f->path) : 0;
}

int open_log_add(struct open_log *f, const uint8_t *event, size_t len, struct err *e)
{
    if (binlog_reader_feed(f->reader, event, len, e) < 0)
        return e->code;
    f->dirty = true;
    f->size += len;
    if (f->buffered + len > BUFFER && flush(f, e) < 0)
        return e->code;
    if (len > BUFFER)
        return file_write_fd(f->fd, event, len, e) < 0 ? err_wrap(e, "write %s", f->path) : 0;
    memcpy(f->buffer + f->buffered, event, len);
    f->buffered += len;
    return 0;
}

int open_log_sync(struct open_log *f, struct err *e)
{
    if (f->fd < 0 || !f->dirty)
        return 0;
    if (flush(f, e) < 0)
        return e->code;
    if (fdatasync(f->fd) < 0)
        return err_errno(e, errno, "sync %s", f->path);
    f->dirty = false;
    return 0;
}

int open_log_end(struct open_log *f, struct err *e)
{
    int r = open_log_sync(f, e);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    return r;
}

bool open_log_is_packed(const char *folder, const char *name, uint32_t created_s)
{
    _cleanup_free_ char *path = xasprintf("%s/%0*u-%s.zst", folder, STAMP, created_s, name);
    return file_exists(path);
}
