/* SPDX-License-Identifier: Apache-2.0 */
/* What the store holds, and what of it nothing needs any more. */
#include "service/images/priv.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* ---- blob.gc {"keep": [digests], "grace_ms", "dry_run"} */

struct gc {
    struct images *owner;
    struct rpc_req *req;
    const char **digests;
    json_t *all; /* owns the texts */
    size_t n, n_running;
    struct image_gc what;
    struct image_gc_done done;
    struct err err;
};

static void run_gc(void *ctx)
{
    struct gc *g = ctx;
    if (image_gc(g->owner->root, &g->what, &g->done, &g->err) >= 0)
        g->err.code = 0;
}

static void note_gc(struct images *im, const struct image_gc_done *d, bool dry_run)
{
    char message[128];
    if (dry_run || !im->cfg.timeline || !(d->blobs + d->layers + d->files + d->partials))
        return;
    snprintf(message, sizeof message, "%zu blobs, %zu layers, %zu files were removed (%lld MiB)",
        d->blobs, d->layers, d->files + d->partials, (long long)(d->bytes >> 20));
    im->cfg.timeline(im->cfg.ctx, "store", message, "nothing needs them");
}

static void after_gc(void *ctx)
{
    struct gc *g = ctx;
    const struct image_gc_done *d = &g->done;
    if (!g->owner->closed && !g->err.code)
        note_gc(g->owner, d, g->what.dry_run);
    if (g->err.code) {
        rpc_reply_error(g->req, &g->err);
    } else {
        rpc_reply_more(g->req,
            json_pack("{s:I,s:I,s:I,s:I,s:I,s:b}", "blobs", (json_int_t)d->blobs, "layers",
                (json_int_t)d->layers, "files", (json_int_t)d->files, "partials",
                (json_int_t)d->partials, "bytes", (json_int_t)d->bytes, "dry_run",
                g->what.dry_run));
        rpc_reply(g->req, NULL);
    }
    free(g->digests);
    json_decref(g->all);
    free(g);
}

static void add_all(struct gc *g, const json_t *list)
{
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)list, i, one) {
        const char *digest = json_string_value(one);
        if (digest && digest_valid(digest))
            g->digests[g->n++] = digest;
    }
}

/* What runs first, then what is wanted here, then what control says. */
void call_gc(struct images *im, struct rpc_req *req, json_t *params, int *fd)
{
    struct gc *g = xcalloc(1, sizeof *g);
    json_t *used = im->cfg.used ? im->cfg.used(im->cfg.ctx) : json_array();
    json_t *wanted = json_array(), *keep = json_object_get(params, "keep");
    for (const struct want *w = im->wants; w; w = w->next)
        json_array_append_new(wanted, json_string(w->digest));
    *g = (struct gc){.owner = im, .req = req};
    g->all = json_pack("[o,o,O]", used, wanted, keep ? keep : json_null());
    g->digests = xcalloc(
        json_array_size(used) + json_array_size(wanted) + json_array_size(keep) + 1,
        sizeof *g->digests);
    add_all(g, used);
    g->n_running = g->n;
    add_all(g, wanted);
    add_all(g, keep);
    int64_t grace_ms = json_opt_int(params, "grace_ms", IMAGES_GRACE_MS);
    g->what = (struct image_gc){.images = g->digests,
        .n_images = g->n,
        .n_running = g->n_running,
        .files = g->digests, /* a digest names one thing, whatever its kind */
        .n_files = g->n,
        .grace_s = (uint64_t)MAX(grace_ms, (int64_t)0) / 1000,
        .dry_run = json_opt_bool(params, "dry_run", false)};
    images_job(im, run_gc, after_gc, g);
}

/* ---- blob.list {"images": [digests]} */

struct list {
    struct images *owner;
    struct rpc_req *req;
    json_t *params, *answer;
};

static json_t *measure(const char *root, const char *folder)
{
    int64_t n = 0, bytes = 0;
    _cleanup_free_ char *dir = xasprintf("%s/%s", root, folder);
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        struct stat st;
        if (entry->d_name[0] == '.' || fstatat(dirfd(d), entry->d_name, &st, 0) < 0)
            continue;
        n++;
        bytes += S_ISREG(st.st_mode) ? st.st_size : 0;
    }
    if (d)
        closedir(d);
    return json_pack("{s:I,s:I}", "count", (json_int_t)n, "bytes", (json_int_t)bytes);
}

static json_t *look_at(const char *root, const char *digest)
{
    struct blobs missing = {0};
    int64_t have = 0, total = 0, size = 0;
    struct err ignored;
    bool file = blob_present(root, BULK_FILE, digest, &size);
    bool known = file || image_missing(root, digest, &missing, &have, &total, &ignored) >= 0;
    bool whole = known && !missing.n;
    blobs_done(&missing);
    return json_pack("{s:s,s:s,s:b,s:I,s:I}", "digest", digest, "kind", file ? "file" : "image",
        "whole", whole, "have", (json_int_t)(file ? size : have), "bytes",
        (json_int_t)(file ? size : total));
}

static void run_list(void *ctx)
{
    struct list *l = ctx;
    const char *root = l->owner->root;
    struct statvfs v = {0};
    json_t *one, *images = json_array();
    size_t i;
    json_array_foreach (json_object_get(l->params, "images"), i, one)
        if (json_is_string(one) && digest_valid(json_string_value(one)))
            json_array_append_new(images, look_at(root, json_string_value(one)));
    bool known = statvfs(root, &v) == 0;
    l->answer = json_pack("{s:o,s:o,s:o,s:o,s:o,s:I}", "images", images, "blobs",
        measure(root, "blobs/sha256"), "files", measure(root, "files/sha256"), "partials",
        measure(root, "partial"), "layers", measure(root, "layers"), "free_bytes",
        known ? (json_int_t)(v.f_bavail * v.f_frsize) : 0);
}

static void after_list(void *ctx)
{
    struct list *l = ctx;
    rpc_reply_more(l->req, l->answer);
    rpc_reply(l->req, NULL);
    json_decref(l->params);
    free(l);
}

void call_list(struct images *im, struct rpc_req *req, json_t *params, int *fd)
{
    struct list *l = xcalloc(1, sizeof *l);
    *l = (struct list){.owner = im, .req = req, .params = json_incref(params)};
    images_job(im, run_list, after_list, l);
}
