/* SPDX-License-Identifier: Apache-2.0 */
#include "service/files/upload.h"

#include "base/rpc/rpc.h"
#include "domain/model/model.h"
#include "domain/revision/revision.h"
#include "driver/image/blob.h"
#include "service/files/files.h"

#include <fcntl.h>

#define ASK_MS 60000u

struct source {
    struct blob blob;
    char *path;
    const char *what; /* "web", "geo/country.mmdb" */
};

struct upload {
    struct rpc_client *client;
    const struct upload_progress *progress;
    struct source *v;
    size_t n, cap;
    int64_t done, total; /* of what is missing */
    int64_t base;        /* done before the present file */
    const char *what;
};

static void free_upload(struct upload *u)
{
    for (size_t i = 0; i < u->n; i++)
        free(u->v[i].path);
    free(u->v);
}

static void add(struct upload *u, const struct blob *b, char *path, const char *what)
{
    struct source *s = GROW(u->v, u->n, u->cap);
    *s = (struct source){.blob = *b, .path = path, .what = what};
}

static int add_image(struct upload *u, const char *dir, const char *map,
    const struct model_module *module, struct err *e)
{
    const char *key = revision_image_key(module->image);
    char digest[DIGEST_SIZE];
    _cleanup_free_ char *layout = NULL;
    struct blobs blobs = {0};
    if (!key)
        return 0;
    int r = files_image_digest(dir, key, digest, &layout, e);
    if (r >= 0)
        r = image_layout_blobs(layout, digest, &blobs, e);
    for (size_t i = 0; r >= 0 && i < blobs.n; i++)
        add(u, &blobs.v[i],
            xasprintf("%s/blobs/sha256/%s", layout, blobs.v[i].digest + strlen("sha256:")),
            module->name);
    blobs_done(&blobs);
    return r < 0 ? err_wrap(e, "%s.%s", map, module->name) : 0;
}

static int add_file(
    struct upload *u, const char *dir, const json_t *files, const char *key, struct err *e)
{
    struct blob b = {.kind = BULK_FILE};
    const char *digest = revision_file(files, key);
    char *path = key[0] == '/' ? xstrdup(key) : xasprintf("%s/%s", dir, key);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    b.size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    if (!digest || b.size < 0) {
        err_set(e, ERR_NOT_FOUND, "%s can not be read", path);
        free(path);
        return ERR_NOT_FOUND;
    }
    str_copy(b.digest, sizeof b.digest, digest);
    add(u, &b, path, key);
    return 0;
}

struct collecting {
    struct upload *u;
    const char *dir;
    const json_t *files;
    struct err *e;
};

static int collect_file(void *ctx, const char *key)
{
    const struct collecting *c = ctx;
    return add_file(c->u, c->dir, c->files, key, c->e);
}

static int collect(
    struct upload *u, const struct model *m, const char *dir, const json_t *files, struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < m->n_modules && r >= 0; i++)
        r = add_image(u, dir, "modules", &m->modules[i], e);
    for (size_t i = 0; i < m->n_functions && r >= 0; i++)
        r = add_image(u, dir, "functions", &m->functions[i].as, e);
    struct collecting c = {u, dir, files, e};
    return r < 0 ? r : revision_each_plain_file(m, collect_file, &c);
}

static void tell(struct upload *u)
{
    if (u->progress && u->progress->fn)
        u->progress->fn(u->progress->ctx, u->what, u->done, u->total);
}

static int on_part(void *ctx, json_t *part)
{
    struct upload *u = ctx;
    u->done = u->base + json_opt_int(part, "done", 0);
    tell(u);
    return 0;
}

static struct source *find(struct upload *u, const char *digest)
{
    for (size_t i = 0; i < u->n; i++)
        if (!strcmp(u->v[i].blob.digest, digest))
            return &u->v[i];
    return NULL;
}

static int send_one(struct upload *u, const struct source *s, struct err *e)
{
    _cleanup_json_ json_t *ignored = NULL;
    _cleanup_close_ int fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", s->path);
    u->what = s->what;
    tell(u);
    json_t *params = json_pack("{s:s,s:s,s:I}", "kind", bulk_kind_name(s->blob.kind), "digest",
        s->blob.digest, "size", (json_int_t)s->blob.size);
    int r = rpc_client_call_fd(u->client, "image.put", params, fd, on_part, u, &ignored, e);
    if (r < 0)
        return err_wrap(e, "upload %s of %s", s->path, s->what);
    u->done = u->base += s->blob.size;
    return 0;
}

static int ask_missing(struct upload *u, json_t **ret, struct err *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < u->n; i++)
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:I}", "kind", bulk_kind_name(u->v[i].blob.kind), "digest",
                      u->v[i].blob.digest, "size", (json_int_t)u->v[i].blob.size));
    return rpc_client_call(
        u->client, "image.missing", json_pack("{s:o}", "blobs", list), ASK_MS, NULL, NULL, ret, e);
}

static int send_missing(struct upload *u, const json_t *missing, struct err *e)
{
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)missing, i, one)
        u->total += json_opt_int(one, "size", 0);
    json_array_foreach ((json_t *)missing, i, one) {
        const struct source *s = find(u, json_opt_str(one, "digest", ""));
        int r = s ? send_one(u, s, e) : err_set(e, ERR_PROTOCOL, "control misses what is not ours");
        if (r < 0)
            return r;
    }
    return 0;
}

static int send_all(struct upload *u, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = u->n ? ask_missing(u, &answer, e) : 0;
    return r < 0 || !u->n ? r : send_missing(u, json_object_get(answer, "missing"), e);
}

int upload_files(struct rpc_client *c, const struct model *m, const char *dir, const json_t *files,
    const struct upload_progress *p, struct err *e)
{
    struct upload u = {.client = c, .progress = p};
    int r = collect(&u, m, dir, files, e);
    if (r >= 0)
        r = send_all(&u, e);
    free_upload(&u);
    return r;
}

int upload_image(struct rpc_client *c, const char *module, const char *image, const char *dir,
    const struct upload_progress *p, struct err *e)
{
    struct upload u = {.client = c, .progress = p};
    const struct model_module m = {.name = module, .image = image};
    int r = add_image(&u, dir, "modules", &m, e);
    if (r >= 0)
        r = send_all(&u, e);
    free_upload(&u);
    return r;
}

int upload_one(struct rpc_client *c, const char *path, const char *digest, struct err *e)
{
    struct upload u = {.client = c};
    struct blob b = {.kind = BULK_FILE};
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    b.size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    if (b.size < 0)
        return err_errno(e, errno, "%s", path);
    str_copy(b.digest, sizeof b.digest, digest);
    add(&u, &b, xstrdup(path), path);
    int r = ask_missing(&u, &answer, e);
    if (r >= 0)
        r = send_missing(&u, json_object_get(answer, "missing"), e);
    free_upload(&u);
    return r;
}
