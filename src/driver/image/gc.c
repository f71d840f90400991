/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/image/priv.h"

#include "base/file/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

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
static void keep_image(
    struct keep *blobs, struct keep *layers, const char *root, const char *digest, struct arena *a)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct oci_manifest m;
    struct oci_image config;
    struct err e = {0};
    keep_add(blobs, digest);
    if (read_document(root, digest, &text, &e) < 0
        || oci_manifest_parse(a, str_cstr(&text), text.len, &m, &e) < 0)
        return;
    keep_add(blobs, m.config.digest);
    for (size_t i = 0; i < m.n_layers; i++)
        keep_add(blobs, m.layers[i].digest);
    if (read_document(root, m.config.digest, &text, &e) < 0
        || oci_image_parse(a, str_cstr(&text), text.len, &config, &e) < 0)
        return;
    for (size_t i = 0; i < config.n_layers; i++)
        keep_add(layers, config.diff_ids[i]);
}

static int sweep(
    const char *root, const char *folder, const struct keep *k, size_t *removed, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/%s", root, folder);
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : err_errno(e, errno, "read %s", dir);
    int r = 0;
    for (struct dirent *entry; r >= 0 && (entry = readdir(d));) {
        const char *name = entry->d_name;
        if (!strcmp(name, ".") || !strcmp(name, "..") || keep_has(k, name))
            continue;
        _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
        r = file_remove_tree(path, e);
        *removed += r >= 0;
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

int image_gc(
    const char *root, const char *const *keep, size_t n, size_t *ret_removed, struct err *e)
{
    *ret_removed = 0;
    _cleanup_free_ char *path = xasprintf("%s/lock", root);
    if (!file_exists(path))
        return 0; /* nothing was ever imported */
    _cleanup_close_ int lock = lock_existing(root, e);
    if (lock < 0)
        return lock;
    struct keep blobs = {0}, layers = {0};
    struct arena *a = arena_new(0);
    for (size_t i = 0; i < n; i++)
        if (digest_valid(keep[i]))
            keep_image(&blobs, &layers, root, keep[i], a);
    arena_free(a);
    int r = sweep(root, "layers", &layers, ret_removed, e);
    if (r >= 0)
        r = sweep(root, "blobs/sha256", &blobs, ret_removed, e);
    keep_done(&blobs);
    keep_done(&layers);
    return r;
}
