/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/image/priv.h"

#include "base/file/file.h"
#include "base/rnd/rnd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TEMP_PREFIX ".tmp-"
#define COPY_BYTES (256u * 1024)

static char *blob_path(const char *root, const char *digest)
{
    return xasprintf("%s/blobs/sha256/%s", root, digest + strlen("sha256:"));
}

static char *layer_path(const char *root, const char *diff_id)
{
    return xasprintf("%s/layers/%s", root, diff_id + strlen("sha256:"));
}

static char *temp_path(const char *dir)
{
    uint64_t tag;
    rnd_bytes(&tag, sizeof tag);
    return xasprintf("%s/" TEMP_PREFIX "%016llx", dir, (unsigned long long)tag);
}

/* Returns the descriptor that holds the lock until it is closed. */
int image_lock(const char *root, struct err *e)
{
    _cleanup_free_ char *blobs = xasprintf("%s/blobs/sha256", root);
    _cleanup_free_ char *layers = xasprintf("%s/layers", root);
    _cleanup_free_ char *path = xasprintf("%s/lock", root);
    int r = file_mkdirs(blobs, 0755, e);
    if (r >= 0)
        r = file_mkdirs(layers, 0755, e);
    if (r < 0)
        return r;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR) {
            r = err_errno(e, errno, "lock %s", path);
            close(fd);
            return r;
        }
    return fd;
}

/* What a crash left; only under the lock. */
static int remove_temps(const char *dir, struct err *e)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_errno(e, errno, "read %s", dir);
    int r = 0;
    for (struct dirent *entry; r >= 0 && (entry = readdir(d));)
        if (str_starts(entry->d_name, TEMP_PREFIX)) {
            _cleanup_free_ char *path = xasprintf("%s/%s", dir, entry->d_name);
            r = file_remove_tree(path, e);
        }
    closedir(d);
    return r;
}

static int copy_bytes(int from, int to, int64_t size, const char *digest, struct err *e)
{
    _cleanup_free_ char *buf = xmalloc(COPY_BYTES);
    struct digest_stream *d = digest_stream_new();
    int64_t total = 0;
    int r = 0;
    while (r >= 0) {
        ssize_t n = read(from, buf, COPY_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = err_errno(e, errno, "read");
        if (n <= 0)
            break;
        total += n;
        if (total > size)
            break;
        digest_stream_add(d, buf, (size_t)n);
        r = file_write_fd(to, buf, (size_t)n, e);
    }
    char found[DIGEST_SIZE];
    digest_stream_end(d, found);
    if (r < 0)
        return r;
    if (total != size || strcmp(found, digest) != 0)
        return err_set(e, ERR_INVALID, "the blob is not what its digest says (%lld bytes expected)",
            (long long)size);
    return fsync(to) < 0 ? err_errno(e, errno, "fsync") : 0;
}

static bool blob_complete(const char *path, int64_t size)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size;
}

static int import_blob(
    const char *root, const char *layout, const struct oci_descriptor *d, struct err *e)
{
    _cleanup_free_ char *to = blob_path(root, d->digest);
    if (blob_complete(to, d->size))
        return 0;
    _cleanup_free_ char *from = blob_path(layout, d->digest);
    _cleanup_free_ char *dir = xasprintf("%s/blobs/sha256", root);
    _cleanup_free_ char *temp = temp_path(dir);
    _cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return err_errno(e, errno, "open %s", from);
    _cleanup_close_ int out = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out < 0)
        return err_errno(e, errno, "create %s", temp);
    int r = copy_bytes(in, out, d->size, d->digest, e);
    if (r < 0)
        err_wrap(e, "copy %s", from);
    else if (rename(temp, to) < 0)
        r = err_errno(e, errno, "rename to %s", to);
    if (r < 0)
        unlink(temp);
    return r;
}

/* A document blob, verified: also what lies in our own store is not trusted to be unharmed. */
static int read_blob(const char *root, const char *digest, struct str *out, struct err *e)
{
    _cleanup_free_ char *path = blob_path(root, digest);
    int r = file_read(path, OCI_DOCUMENT_MAX, out, e);
    if (r < 0)
        return r;
    char found[DIGEST_SIZE];
    digest_mem(str_cstr(out), out->len, found);
    if (strcmp(found, digest) != 0)
        return err_set(e, ERR_INVALID, "%s is damaged: its content is %s", path, found);
    return 0;
}

static int resolve(const char *layout, const char *tag, struct oci_descriptor *ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/index.json", layout);
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, OCI_DOCUMENT_MAX, &text, e);
    if (r < 0)
        return r;
    r = oci_index_find(str_cstr(&text), text.len, tag, ret, e);
    /* An index may lead to one more index (several platforms), not to a chain of them. */
    if (r >= 0 && ret->media == OCI_INDEX) {
        str_clear(&text);
        r = read_blob(layout, ret->digest, &text, e);
        if (r >= 0)
            r = oci_index_platform(str_cstr(&text), text.len, ret, e);
    }
    return r < 0 ? err_wrap(e, "%s", layout) : 0;
}

int image_resolve(const char *layout, const char *tag, char ret[DIGEST_SIZE], struct err *e)
{
    struct oci_descriptor d;
    int r = resolve(layout, tag, &d, e);
    if (r >= 0)
        memcpy(ret, d.digest, DIGEST_SIZE);
    return r;
}

/* Layers and configuration first: a manifest that is there stands for a whole image. */
static int import_all(const char *root, const char *layout, const struct oci_descriptor *manifest,
    struct arena *a, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct oci_manifest m;
    int r = read_blob(layout, manifest->digest, &text, e);
    if (r >= 0)
        r = oci_manifest_parse(a, str_cstr(&text), text.len, &m, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < m.n_layers && r >= 0; i++)
        r = import_blob(root, layout, &m.layers[i], e);
    if (r >= 0)
        r = import_blob(root, layout, &m.config, e);
    if (r >= 0)
        r = import_blob(root, layout, manifest, e);
    if (r < 0)
        return r;
    _cleanup_free_ char *dir = xasprintf("%s/blobs/sha256", root);
    return file_fsync_dir(dir, e);
}

int image_import(
    const char *root, const char *layout, const char *tag, char ret[DIGEST_SIZE], struct err *e)
{
    struct oci_descriptor manifest;
    int r = resolve(layout, tag, &manifest, e);
    if (r < 0)
        return r;
    _cleanup_close_ int lock = image_lock(root, e);
    if (lock < 0)
        return lock;
    _cleanup_free_ char *dir = xasprintf("%s/blobs/sha256", root);
    r = remove_temps(dir, e);
    struct arena *a = arena_new(0);
    if (r >= 0)
        r = import_all(root, layout, &manifest, a, e);
    arena_free(a);
    if (r < 0)
        return err_wrap(e, "import %s", layout);
    memcpy(ret, manifest.digest, DIGEST_SIZE);
    return 0;
}

bool image_present(const char *root, const char *digest)
{
    _cleanup_free_ char *path = blob_path(root, digest);
    return digest_valid(digest) && file_exists(path);
}

static int unpack_into(const char *root, const char *temp, const struct oci_descriptor *layer,
    const char *diff_id, const struct image_limits *limits, struct err *e)
{
    if (mkdir(temp, 0755) < 0)
        return err_errno(e, errno, "mkdir %s", temp);
    _cleanup_close_ int fd = open(temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", temp);
    _cleanup_free_ char *blob = blob_path(root, layer->digest);
    if (access(blob, R_OK) < 0)
        return err_errno(e, errno, "layer %s", blob);
    if (fchmod(fd, 0755) < 0)
        return err_errno(e, errno, "chmod %s", temp);
    int r = layer_unpack(blob, layer->media, diff_id, fd, limits, e);
    if (r < 0)
        return err_wrap(e, "layer %.19s", layer->digest);
    return syncfs(fd) < 0 ? err_errno(e, errno, "sync %s", temp) : 0;
}

static int unpack_layer(const char *root, const struct oci_descriptor *layer, const char *diff_id,
    const struct image_limits *limits, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/layers", root);
    _cleanup_free_ char *to = layer_path(root, diff_id);
    _cleanup_free_ char *temp = temp_path(dir);
    int r = unpack_into(root, temp, layer, diff_id, limits, e);
    if (r >= 0 && rename(temp, to) < 0)
        r = err_errno(e, errno, "rename to %s", to);
    if (r >= 0)
        return file_fsync_dir(dir, e);
    struct err ignored;
    if (file_remove_tree(temp, &ignored) < 0)
        return r; /* the next unpacking tries again */
    return r;
}

/* Takes the lock only when something is missing: a warm start touches nothing but a few stats. */
static int ensure_layers(const char *root, const struct oci_manifest *m, struct image *img,
    const struct image_limits *limits, struct err *e)
{
    _cleanup_close_ int lock = -1;
    for (size_t i = 0; i < m->n_layers; i++) {
        const char *diff_id = img->config.diff_ids[i];
        if (file_exists(img->layers[i]))
            continue;
        if (lock < 0) {
            lock = image_lock(root, e);
            if (lock < 0)
                return lock;
            _cleanup_free_ char *dir = xasprintf("%s/layers", root);
            int r = remove_temps(dir, e);
            if (r < 0)
                return r;
            if (file_exists(img->layers[i])) /* by who held the lock before us */
                continue;
        }
        int r = unpack_layer(root, &m->layers[i], diff_id, limits, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int load(const char *root, struct image *img, struct oci_manifest *m, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_blob(root, img->digest, &text, e);
    if (r >= 0)
        r = oci_manifest_parse(img->arena, str_cstr(&text), text.len, m, e);
    if (r < 0)
        return r;
    str_clear(&text);
    r = read_blob(root, m->config.digest, &text, e);
    if (r >= 0)
        r = oci_image_parse(img->arena, str_cstr(&text), text.len, &img->config, e);
    if (r < 0)
        return r;
    if (img->config.n_layers != m->n_layers)
        return err_set(
            e, ERR_INVALID, "%zu layers and %zu diff_ids", m->n_layers, img->config.n_layers);
    img->n_layers = m->n_layers;
    img->layers = arena_alloc(img->arena, m->n_layers * sizeof *img->layers);
    for (size_t i = 0; i < m->n_layers; i++) {
        _cleanup_free_ char *path = layer_path(root, img->config.diff_ids[i]);
        img->layers[i] = arena_strdup(img->arena, path);
    }
    return 0;
}

int image_open(const char *root, const char *digest, const struct image_limits *limits,
    struct image **ret, struct err *e)
{
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "\"%.80s\" is no sha256 digest", digest);
    if (!image_present(root, digest))
        return err_set(e, ERR_NOT_FOUND, "image %.19s is not on this host", digest);
    struct image *img = xcalloc(1, sizeof *img);
    img->arena = arena_new(0);
    memcpy(img->digest, digest, DIGEST_SIZE);
    struct oci_manifest m;
    int r = load(root, img, &m, e);
    if (r >= 0)
        r = ensure_layers(root, &m, img, limits, e);
    if (r < 0) {
        image_free(img);
        return err_wrap(e, "image %.19s", digest);
    }
    *ret = img;
    return 0;
}

void image_free(struct image *m)
{
    if (!m)
        return;
    arena_free(m->arena);
    free(m);
}

int image_read_file(
    const struct image *m, const char *path, size_t max_bytes, struct str *out, struct err *e)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    for (size_t i = m->n_layers; i-- > 0;) {
        _cleanup_close_ int root = open(m->layers[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
            return err_errno(e, errno, "open %s", m->layers[i]);
        _cleanup_close_ int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
            continue;
        if (S_ISCHR(st.st_mode)) /* a whiteout */
            break;
        if (!S_ISREG(st.st_mode))
            continue;
        char proc[64];
        snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
        return file_read(proc, max_bytes, out, e);
    }
    return err_set(e, ERR_NOT_FOUND, "the image has no %s", path);
}
