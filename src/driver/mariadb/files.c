/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/mariadb/priv.h"

#include "base/file/file.h"
#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int put(const char *dir, const char *name, const char *text, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    return text ? file_write_durable(path, text, strlen(text), 0600, e) : 0;
}

static int make_folders(const char *dir, struct err *e)
{
    static const struct {
        const char *name;
        mode_t mode;
    } folders[] = {{"run", 0755}, /* the mesh connects to the socket in it */
        {"tls", 0700}, {"binlog", 0700}, {"relay", 0700}, {"tmp", 0700}, {"spool", 0700},
        {"vault", 0700}, {"evidence", 0700}};
    int r = file_mkdirs(dir, 0711, e);
    if (r >= 0 && chmod(dir, 0711) < 0)
        r = err_errno(e, errno, "mode of %s", dir);
    for (size_t i = 0; i < ARRAY_SIZE(folders) && r >= 0; i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", dir, folders[i].name);
        r = file_mkdirs(path, folders[i].mode, e);
        if (r >= 0 && chmod(path, folders[i].mode) < 0)
            r = err_errno(e, errno, "mode of %s", path);
    }
    return r;
}

/* Left by a server that was killed: the next one would find somebody else's lock, or a client a
 * socket that nobody listens at. Who runs here now is us, after the last one's end. */
static void remove_stale(const char *dir)
{
    static const char *const names[] = {"db.sock", "db.sock.lock", "db.pid"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *path = xasprintf("%s/run/%s", dir, names[i]);
        unlink(path);
    }
}

static int move(const char *dir, const char *from, const char *to, struct err *e)
{
    _cleanup_free_ char *a = xasprintf("%s/%s", dir, from);
    _cleanup_free_ char *b = xasprintf("%s/%s", dir, to);
    if (!file_exists(a))
        return 0;
    return rename(a, b) < 0 ? err_errno(e, errno, "rename %s to %s", a, b) : 0;
}

/* Another data folder was put ready. What was there goes aside with its logs, which tell of another
 * past; each step is done or not, and the mark goes last. */
static int take_seed(const char *dir, struct err *e)
{
    _cleanup_free_ char *mark = xasprintf("%s/seed.ready", dir);
    _cleanup_free_ char *data = xasprintf("%s/data", dir);
    _cleanup_free_ char *seed = xasprintf("%s/seed", dir);
    _cleanup_free_ char *before = xasprintf("%s/before", dir);
    int r = 0;
    if (!file_exists(mark))
        return 0;
    if (file_exists(seed) && file_exists(data)) {
        r = file_remove_tree(before, e);
        if (r >= 0)
            r = file_mkdirs(before, 0700, e);
        if (r >= 0)
            r = move(dir, "data", "before/data", e);
    }
    if (r >= 0 && file_exists(seed)) {
        r = file_mkdirs(before, 0700, e);
        if (r >= 0 && !file_exists(data))
            r = move(dir, "binlog", "before/binlog", e);
        if (r >= 0)
            r = move(dir, "relay", "before/relay", e);
        if (r >= 0)
            r = move(dir, "seed", "data", e);
    }
    if (r >= 0)
        r = file_fsync_dir(dir, e);
    if (r >= 0 && unlink(mark) < 0)
        r = err_errno(e, errno, "remove %s", mark);
    return r < 0 ? err_wrap(e, "take the seed of %s", dir) : 0;
}

static int make_data(const struct mariadb_files *f, struct err *e)
{
    _cleanup_free_ char *data = xasprintf("%s/data", f->dir);
    _cleanup_free_ char *temp = xasprintf("%s/data.new", f->dir);
    _cleanup_free_ char *template = NULL;
    if (file_exists(data))
        return 0;
    int r = file_remove_tree(temp, e);
    if (r >= 0)
        r = file_mkdirs(f->templates, 0700, e);
    if (r >= 0)
        r = template_get(f->templates, &template, e);
    if (r >= 0)
        r = tree_copy(template, temp, e);
    if (r >= 0 && rename(temp, data) < 0)
        r = err_errno(e, errno, "rename to %s", data);
    return r < 0 ? r : file_fsync_dir(f->dir, e);
}

/* The server does not start without. */
static int check_tls(const char *tls, struct err *e)
{
    _cleanup_free_ char *cert = xasprintf("%s/cert.pem", tls);
    return file_exists(cert) ? 0
                             : err_set(e, ERR_UNAVAILABLE,
                                 "this host has no certificate for databases yet");
}

int mariadb_prepare(const struct mariadb_files *f, struct err *e)
{
    _cleanup_free_ char *tls = xasprintf("%s/tls", f->dir);
    if (!mariadb_server(e))
        return e->code;
    int r = file_mkdirs(f->dir, 0711, e);
    if (r >= 0)
        r = take_seed(f->dir, e);
    if (r >= 0)
        r = make_folders(f->dir, e);
    if (r >= 0)
        r = put(f->dir, "my.cnf", f->config, e);
    if (r >= 0)
        r = put(tls, "ca.pem", f->ca, e);
    if (r >= 0)
        r = put(tls, "cert.pem", f->cert, e);
    if (r >= 0)
        r = put(tls, "key.pem", f->key, e);
    if (r >= 0)
        r = check_tls(tls, e);
    if (r >= 0)
        r = make_data(f, e);
    if (r < 0)
        return r;
    remove_stale(f->dir);
    return 0;
}
