/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "domain/replication/archive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ARCHIVE ".xb.zst"
#define MANIFEST ".xb.zst.json"
#define PARTS_MAX 1000

static bool cut_end(const char *name, const char *end, char *out, size_t size)
{
    size_t n = strlen(name), k = strlen(end);
    if (n <= k || strcmp(name + n - k, end) != 0 || n - k >= size)
        return false;
    snprintf(out, size, "%.*s", (int)(n - k), name);
    return true;
}

static bool look(const char *folder, const char *database, const char *id, struct copies_backup *ret)
{
    struct archive_id parts;
    struct err ignored;
    struct stat st;
    *ret = (struct copies_backup){0};
    if (!archive_id_parse(id, &parts) || !str_eq(parts.database, database)
        || !str_copy(ret->id, sizeof ret->id, id)
        || snprintf(ret->path, sizeof ret->path, "%s/%s" ARCHIVE, folder, id) >= (int)sizeof ret->path)
        return false;
    ret->begun_ms = parts.begun_ms;
    ret->whole = copies_manifest_read(ret->path, &ret->a, &ignored) >= 0
                 && stat(ret->path, &st) == 0 && (uint64_t)st.st_size == ret->a.bytes;
    return true;
}

static int newest_first(const void *a, const void *b)
{
    const struct copies_backup *x = a, *y = b;
    return x->begun_ms != y->begun_ms ? (x->begun_ms < y->begun_ms) - (x->begun_ms > y->begun_ms)
                                      : strcmp(x->id, y->id);
}

static char *folder_of(const struct copies_place *p)
{
    return xasprintf("%s/%s", p->directory, p->database);
}

int copies_store_list(
    const struct copies_place *p, struct copies_backup **ret, size_t *ret_n, struct err *e)
{
    _cleanup_free_ char *folder = folder_of(p);
    DIR *d = opendir(folder);
    struct dirent *entry;
    char id[ARCHIVE_ID_SIZE];
    size_t n = 0;
    if (!d && errno != ENOENT)
        return err_errno(e, errno, "open %s", folder);
    struct copies_backup *v = xcalloc(COPIES_BACKUPS_MAX, sizeof *v);
    while (d && (entry = readdir(d)) && n < COPIES_BACKUPS_MAX)
        if (cut_end(entry->d_name, MANIFEST, id, sizeof id) && look(folder, p->database, id, &v[n]))
            n++;
    if (d)
        closedir(d);
    qsort(v, n, sizeof *v, newest_first);
    *ret = v;
    *ret_n = n;
    return 0;
}

int copies_store_find(
    const struct copies_place *p, const char *id, struct copies_backup *ret, struct err *e)
{
    _cleanup_free_ char *folder = folder_of(p);
    if (!look(folder, p->database, id, ret) || !file_exists(ret->path)) {
        err_set(e, ERR_NOT_FOUND, "there is no backup %s here", id);
        err_fix(e, "`mcp backup list` lists them");
        return e->code;
    }
    return 0;
}

/* What one that was killed left. Only under the lock. */
static void remove_parts(const char *folder)
{
    char id[ARCHIVE_ID_SIZE];
    struct dirent *entry;
    struct err ignored;
    DIR *d = opendir(folder);
    for (int i = 0; d && i < PARTS_MAX && (entry = readdir(d)); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", folder, entry->d_name);
        _cleanup_free_ char *archive = NULL;
        if (cut_end(entry->d_name, MANIFEST, id, sizeof id))
            archive = xasprintf("%s/%s" ARCHIVE, folder, id);
        if (str_starts(entry->d_name, "info-"))
            (void)!file_remove_tree(path, &ignored);
        else if (cut_end(entry->d_name, ".part", id, sizeof id) || (archive && !file_exists(archive)))
            unlink(path);
    }
    if (d)
        closedir(d);
}

static void prune(const struct copies_place *p)
{
    struct err ignored;
    _cleanup_free_ struct copies_backup *v = NULL;
    size_t n = 0;
    if (!p->keep_ms || copies_store_list(p, &v, &n, &ignored) < 0)
        return;
    _cleanup_free_ struct archive_item *items = xcalloc(n + 1, sizeof *items);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct archive_item){v[i].begun_ms, v[i].whole, false};
    archive_keep(items, n, p->keep_ms, clock_wall_ms());
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *manifest = xasprintf("%s.json", v[i].path);
        if (!items[i].keep && unlink(v[i].path) == 0)
            unlink(manifest);
    }
}

/* Better not begun than the disk filled; the last one tells how much it takes. */
static int check_space(const struct copies_place *p, const char *folder, struct err *e)
{
    struct statvfs fs;
    _cleanup_free_ struct copies_backup *v = NULL;
    size_t n = 0;
    if (statvfs(folder, &fs) < 0)
        return err_errno(e, errno, "look at %s", folder);
    if (copies_store_list(p, &v, &n, e) < 0)
        return e->code;
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize, last = n ? v[0].a.bytes : 0;
    if (room > last + last / 4)
        return 0;
    err_set(e, ERR_LIMIT, "%s has room for %llu MiB, and the last backup took %llu MiB", folder,
        (unsigned long long)(room >> 20), (unsigned long long)(last >> 20));
    err_fix(e, "make room, or declare a shorter `backup.keep` or another `backup.directory`");
    return e->code;
}

static int open_folder(const char *folder, int *ret_lock, struct err *e)
{
    _cleanup_free_ char *lock = xasprintf("%s/.lock", folder);
    if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
        err_errno(e, errno, "folder %s", folder);
        err_fix(e, "as root on this host: install -d -o mysql -g mysql -m 700 %s", folder);
        return e->code;
    }
    *ret_lock = open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (*ret_lock < 0)
        return err_errno(e, errno, "open %s", lock);
    return flock(*ret_lock, LOCK_EX | LOCK_NB) < 0
               ? err_set(e, ERR_CONFLICT, "a backup to %s is under way", folder)
               : 0;
}

int copies_store_make(const struct copies_place *p, const struct copies_source *s,
    struct copies_part *part, struct sql_stop *stop, struct copies_backup *ret, struct err *e)
{
    _cleanup_free_ char *folder = folder_of(p);
    _cleanup_close_ int lock = -1;
    struct copies_backup b = {.begun_ms = clock_wall_ms() / 1000 * 1000, .whole = true};
    int r = open_folder(folder, &lock, e);
    if (r >= 0) {
        remove_parts(folder);
        r = check_space(p, folder, e);
    }
    if (r < 0)
        return r;
    archive_id_format(p->database, p->host, b.begun_ms, b.id);
    if (snprintf(b.path, sizeof b.path, "%s/%s" ARCHIVE, folder, b.id) + 6 >= (int)sizeof b.path)
        return err_set(e, ERR_LIMIT, "%s: too long", folder);
    snprintf(part->path, sizeof part->path, "%.500s.part", b.path);
    atomic_store(&part->named, true);
    r = copies_make(s, b.path, folder, stop, &b.a, e);
    if (r < 0)
        return r;
    prune(p);
    *ret = b;
    return 0;
}
