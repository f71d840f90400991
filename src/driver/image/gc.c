/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/image/priv.h"

#include "base/file/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define PARTIAL_S 86400 /* a transfer that nobody went on with */

/* The file names (hex digests) that stay. */
struct keep {
    char **names;
    size_t n, cap;
};

static void keep_add(struct keep *k, const char *digest)
{
    *GROW(k->names, k->n, k->cap) = xstrdup(digest + strlen("sha256:"));
}

static bool keep_has(const struct keep *k, const char *name)
{
    for (size_t i = 0; i < k->n; i++)
        if (!strcmp(k->names[i], name))
            return true;
    return false;
}

static void keep_done(struct keep *k)
{
    for (size_t i = 0; i < k->n; i++)
        free(k->names[i]);
    free(k->names);
}

static int read_document(const char *root, const char *digest, struct str *text, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/blobs/sha256/%s", root, digest + strlen("sha256:"));
    str_clear(text);
    return file_read(path, OCI_DOCUMENT_MAX, text, e);
}

/* An image that cannot be read keeps nothing but its own names: there is nothing to run of it. */
static bool keep_image(
    struct keep *blobs, struct keep *layers, const char *root, const char *digest, struct arena *a)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct oci_manifest m;
    struct oci_image config;
    struct err e = {0};
    keep_add(blobs, digest);
    if (read_document(root, digest, &text, &e) < 0
        || oci_manifest_parse(a, str_cstr(&text), text.len, &m, &e) < 0)
        return false;
    keep_add(blobs, m.config.digest);
    for (size_t i = 0; i < m.n_layers; i++)
        keep_add(blobs, m.layers[i].digest);
    if (read_document(root, m.config.digest, &text, &e) < 0
        || oci_image_parse(a, str_cstr(&text), text.len, &config, &e) < 0)
        return false;
    for (size_t i = 0; i < config.n_layers; i++)
        keep_add(layers, config.diff_ids[i]);
    return true;
}

struct sweep {
    const char *root, *folder;
    const struct keep *keep; /* NULL: nothing of it */
    int64_t before_s;        /* what changed later stays */
    bool dry_run, locked;    /* locked: somebody may be writing */
    size_t *count;
    int64_t *bytes;
};

/* When it came here: a rename sets it, no archive can. */
static bool is_old(const struct sweep *w, const char *path, struct stat *st)
{
    return lstat(path, st) == 0 && st->st_ctime < w->before_s;
}

static bool in_use(const struct sweep *w, const char *path)
{
    if (!w->locked)
        return false;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

static int sweep_one(const struct sweep *w, const char *path, struct err *e)
{
    struct stat st;
    if (!is_old(w, path, &st) || in_use(w, path))
        return 0;
    ++*w->count;
    *w->bytes += S_ISREG(st.st_mode) ? st.st_size : 0;
    return w->dry_run ? 0 : file_remove_tree(path, e);
}

static int sweep(const struct sweep *w, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/%s", w->root, w->folder);
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : err_errno(e, errno, "read %s", dir);
    int r = 0;
    for (struct dirent *entry; r >= 0 && (entry = readdir(d));) {
        const char *name = entry->d_name;
        if (!strcmp(name, ".") || !strcmp(name, "..") || (w->keep && keep_has(w->keep, name)))
            continue;
        _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
        r = sweep_one(w, path, e);
    }
    closedir(d);
    return r;
}

static int lock_existing(const char *root, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/lock", root);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR) {
            int r = err_errno(e, errno, "lock %s", path);
            close(fd);
            return r;
        }
    return fd;
}

static int keep_all(const char *root, const struct image_gc *g, struct keep *blobs,
    struct keep *layers, struct keep *files, struct err *e)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    for (size_t i = 0; i < g->n_images; i++) {
        if (!digest_valid(g->images[i]))
            continue;
        if (!keep_image(blobs, layers, root, g->images[i], a) && i < g->n_running)
            return err_set(e, ERR_UNAVAILABLE,
                "%.19s runs and its documents are not here: nothing is removed", g->images[i]);
    }
    for (size_t i = 0; i < g->n_files; i++)
        if (digest_valid(g->files[i]))
            keep_add(files, g->files[i]);
    return 0;
}

static int sweep_all(const char *root, const struct image_gc *g, const struct keep keep[3],
    struct image_gc_done *ret, struct err *e)
{
    int64_t before = (int64_t)time(NULL) - (int64_t)g->grace_s + 1;
    int64_t unused = 0, partial_before = g->grace_s ? before - PARTIAL_S : before;
    const struct sweep rows[] = {
        {root, "layers", &keep[1], before, g->dry_run, false, &ret->layers, &unused},
        {root, "blobs/sha256", &keep[0], before, g->dry_run, false, &ret->blobs, &ret->bytes},
        {root, "files/sha256", &keep[2], before, g->dry_run, false, &ret->files, &ret->bytes},
        {root, "partial", NULL, partial_before, g->dry_run, true, &ret->partials, &ret->bytes},
    };
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rows) && r >= 0; i++)
        r = sweep(&rows[i], e);
    return r;
}

int image_gc(const char *root, const struct image_gc *g, struct image_gc_done *ret, struct err *e)
{
    *ret = (struct image_gc_done){0};
    _cleanup_free_ char *path = xasprintf("%s/lock", root);
    if (!file_exists(path))
        return 0; /* nothing was ever stored */
    _cleanup_close_ int lock = lock_existing(root, e);
    if (lock < 0)
        return lock;
    struct keep keep[3] = {0}; /* blobs, layers, files */
    int r = keep_all(root, g, &keep[0], &keep[1], &keep[2], e);
    if (r >= 0)
        r = sweep_all(root, g, keep, ret, e);
    for (size_t i = 0; i < ARRAY_SIZE(keep); i++)
        keep_done(&keep[i]);
    return r;
}
