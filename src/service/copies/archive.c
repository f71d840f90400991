/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/priv.h"

#include "base/clock/clock.h"
#include "base/digest/digest.h"
#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define INFO_MAX 65536u

/* "GTID of the last change '1-1-5'" of xtrabackup_info, or the third column of
 * xtrabackup_binlog_info. */
static int gtid_of_info(const char *dir, char out[COPIES_GTID_MAX], char version[64], struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *path = xasprintf("%s/xtrabackup_info", dir);
    if (file_read(path, INFO_MAX, &text, e) < 0)
        return err_wrap(e, "mariadb-backup left no information");
    static const char words[] = "GTID of the last change '", server[] = "server_version = ";
    const char *p = strstr(str_cstr(&text), words), *v = strstr(str_cstr(&text), server);
    if (!p)
        return err_set(e, ERR_FAILED, "%s names no GTID: are binary logs on?", path);
    p += sizeof words - 1;
    size_t len = strcspn(p, "'");
    if (len >= COPIES_GTID_MAX)
        return err_set(e, ERR_LIMIT, "a GTID of %zu bytes", len);
    snprintf(out, COPIES_GTID_MAX, "%.*s", (int)len, p);
    if (v)
        snprintf(version, 64, "%.*s", (int)MIN(strcspn(v + sizeof server - 1, "\n"), 63u),
            v + sizeof server - 1);
    return 0;
}

json_t *copies_manifest_json(const struct copies_archive *a)
{
    return json_pack("{s:i,s:s,s:s,s:s,s:I,s:I,s:I}", "format", 1, "gtid", a->gtid, "digest",
        a->digest, "version", a->version, "bytes", (json_int_t)a->bytes, "begun_ms",
        (json_int_t)a->begun_ms, "ended_ms", (json_int_t)a->ended_ms);
}

int copies_manifest_read(const char *path, struct copies_archive *ret, struct err *e)
{
    _cleanup_free_ char *name = xasprintf("%s.json", path);
    _cleanup_json_ json_t *j = NULL;
    const char *gtid, *digest;
    int64_t bytes;
    if (json_read_file(name, INFO_MAX, &j, e) < 0 || json_get_str(j, "gtid", &gtid, e) < 0
        || json_get_str(j, "digest", &digest, e) < 0
        || json_get_int(j, "bytes", 0, INT64_MAX, &bytes, e) < 0)
        return err_wrap(e, "manifest %s", name);
    *ret = (struct copies_archive){.bytes = (uint64_t)bytes,
        .begun_ms = json_opt_int(j, "begun_ms", 0),
        .ended_ms = json_opt_int(j, "ended_ms", 0)};
    if (!str_copy(ret->gtid, sizeof ret->gtid, gtid)
        || !str_copy(ret->digest, sizeof ret->digest, digest))
        return err_set(e, ERR_LIMIT, "manifest %s: a text is too long", name);
    str_copy(ret->version, sizeof ret->version, json_opt_str(j, "version", ""));
    return 0;
}

static int stream(const struct copies_source *s, const char *info_dir, int output,
    struct sql_stop *stop, struct err *e)
{
    _cleanup_free_ char *socket = xasprintf("--socket=%s", s->socket),
                        *user = xasprintf("--user=%s", s->user),
                        *data = xasprintf("--datadir=%s", s->data_dir),
                        *info = xasprintf("--extra-lsndir=%s", info_dir),
                        *temp = xasprintf("--target-dir=%s", info_dir),
                        *throttle = xasprintf("--throttle=%u", s->throttle);
    const char *const backup[] = {"mariadb-backup", "--no-defaults", "--backup",
        "--stream=xbstream", socket, user, data, info, temp, s->throttle ? throttle : NULL, NULL};
    const char *const zstd[] = {"zstd", "-q", "-3", "-c", NULL};
    return copies_pipe(backup, zstd, -1, output, stop, e);
}

int copies_sync_folder_of(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir = slash ? xasprintf("%.*s", (int)(slash - path), path) : xasprintf(".");
    return file_fsync_dir(dir, e);
}

static int finish(
    const char *part, const char *path, int fd, struct copies_archive *a, struct err *e)
{
    struct stat st;
    _cleanup_free_ char *manifest = xasprintf("%s.json", path);
    if (fsync(fd) < 0 || fstat(fd, &st) < 0)
        return err_errno(e, errno, "write %s", part);
    if (digest_file(part, a->digest, e) < 0)
        return e->code;
    a->bytes = (uint64_t)st.st_size;
    a->ended_ms = clock_wall_ms();
    _cleanup_json_ json_t *j = copies_manifest_json(a);
    _cleanup_free_ char *text = json_text_pretty(j);
    if (file_write_durable(manifest, text, strlen(text), 0600, e) < 0)
        return e->code;
    if (rename(part, path) < 0)
        return err_errno(e, errno, "rename %s", part);
    return copies_sync_folder_of(path, e);
}

int copies_make(const struct copies_source *s, const char *path, const char *work_dir,
    struct sql_stop *stop, struct copies_archive *ret, struct err *e)
{
    _cleanup_free_ char *part = xasprintf("%s.part", path),
                        *info = xasprintf("%s/info-XXXXXX", work_dir);
    struct copies_archive a = {.begun_ms = clock_wall_ms()};
    if (!mkdtemp(info))
        return err_errno(e, errno, "folder %s", info);
    struct err ignored;
    int fd = open(part, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    int r = fd < 0 ? err_errno(e, errno, "open %s", part) : stream(s, info, fd, stop, e);
    if (r >= 0)
        r = gtid_of_info(info, a.gtid, a.version, e);
    if (r >= 0)
        r = finish(part, path, fd, &a, e);
    if (fd >= 0)
        close(fd);
    if (r < 0)
        unlink(part);
    (void)!file_remove_tree(info, &ignored);
    if (r < 0)
        return err_wrap(e, "copy of %s", s->data_dir);
    *ret = a;
    return 0;
}

int copies_check(const char *path, struct sql_stop *stop, struct err *e)
{
    struct copies_archive a;
    char digest[DIGEST_SIZE];
    if (copies_manifest_read(path, &a, e) < 0 || digest_file(path, digest, e) < 0)
        return e->code;
    if (!str_eq(digest, a.digest)) {
        err_set(e, ERR_INVALID, "%s is not what its manifest says: %s", path, digest);
        err_fix(e, "it is damaged; use another backup");
        return e->code;
    }
    const char *const zstd[] = {"zstd", "-q", "-t", path, NULL};
    return copies_pipe(zstd, NULL, -1, -1, stop, e);
}

static int unpack(const char *path, const char *dir, struct sql_stop *stop, struct err *e)
{
    _cleanup_free_ char *target = xasprintf("--target-dir=%s", dir);
    const char *const zstd[] = {"zstd", "-q", "-d", "-c", path, NULL};
    const char *const open_up[] = {"mbstream", "-x", "-C", dir, NULL};
    const char *const prepare[] = {"mariadb-backup", "--no-defaults", "--prepare", target, NULL};
    int r = copies_pipe(zstd, open_up, -1, -1, stop, e);
    return r < 0 ? r : copies_pipe(prepare, NULL, -1, -1, stop, e);
}

int copies_unpack(const char *path, const char *dir, struct sql_stop *stop,
    char gtid[COPIES_GTID_MAX], struct err *e)
{
    char version[64];
    if (mkdir(dir, 0700) < 0)
        return err_errno(e, errno, "folder %s", dir);
    int r = unpack(path, dir, stop, e);
    if (r >= 0)
        r = gtid_of_info(dir, gtid, version, e);
    if (r < 0) {
        struct err ignored;
        (void)!file_remove_tree(dir, &ignored);
        return err_wrap(e, "unpack %s", path);
    }
    return 0;
}
