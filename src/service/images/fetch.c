/* SPDX-License-Identifier: Apache-2.0 */
/* One blob on its way from another host: the partial file is opened here, filled by control, and
 * finished here. */
#include "service/images/priv.h"

#include <errno.h>
#include <fcntl.h>

#define BUSY_MS 300u /* somebody else fills the file: look again */

struct fetch *fetch_find(const struct images *im, const char *digest)
{
    for (struct fetch *f = im->fetches; f; f = f->next)
        if (!strcmp(f->blob.digest, digest))
            return f;
    return NULL;
}

void fetch_want(struct images *im, const struct blob *b)
{
    struct fetch **at = &im->fetches;
    if (fetch_find(im, b->digest))
        return;
    while (*at)
        at = &(*at)->next;
    *at = xcalloc(1, sizeof **at);
    **at = (struct fetch){.owner = im, .blob = *b, .fd = -1};
}

static void drop(struct fetch *f)
{
    struct fetch **at = &f->owner->fetches;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    if (f->call)
        *f->call = NULL; /* the answer comes to nobody */
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

static void end(struct fetch *f, const struct err *e)
{
    struct images *im = f->owner;
    struct blob b = f->blob;
    drop(f);
    images_blob_ended(im, &b, e);
    fetch_run(im);
}

static bool shuns(const struct images *im, const char *digest, const char *host)
{
    for (size_t i = 0; i < im->n_shunned; i++)
        if (!strcmp(im->shunned[i].digest, digest) && !strcmp(im->shunned[i].host, host))
            return true;
    return false;
}

/* Who sent every byte of what is not the blob is not asked for it again. After a transfer that went
 * on from what was there before nobody is blamed: a power loss leaves such files too. */
static void blame(struct fetch *f)
{
    struct images *im = f->owner;
    char cause[128];
    if (!f->from_start || !*f->from || shuns(im, f->blob.digest, f->from))
        return;
    struct shunned *s = GROW(im->shunned, im->n_shunned, im->cap_shunned);
    str_copy(s->digest, sizeof s->digest, f->blob.digest);
    str_copy(s->host, sizeof s->host, f->from);
    snprintf(cause, sizeof cause, "%s sent other bytes than the digest names: left out", f->from);
    if (im->cfg.timeline)
        im->cfg.timeline(im->cfg.ctx, f->blob.digest, "wrong bytes refused", cause);
}

static void run_finish(void *ctx)
{
    struct fetch *f = ctx;
    f->why = (struct err){0};
    if (blob_finish(f->owner->root, &f->blob, f->fd, &f->why) >= 0)
        f->why.code = 0;
}

static void after_finish(void *ctx)
{
    struct fetch *f = ctx;
    if (f->owner->closed)
        return; /* fetch_done() frees it */
    if (f->why.code == ERR_INVALID) {
        blame(f);
        close(util_steal_fd(&f->fd));
        f->state = F_QUEUED;
        f->from[0] = '\0';
        f->have = 0;
        fetch_run(f->owner);
        return;
    }
    end(f, f->why.code ? &f->why : NULL);
}

static void finish(struct fetch *f)
{
    f->state = F_FINISHING;
    images_job(f->owner, run_finish, after_finish, f);
}

static void on_answer(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct fetch **handle = ctx, *f = *handle;
    if (!more)
        free(handle);
    if (!f)
        return;
    struct images *im = f->owner;
    if (more) {
        f->have = json_opt_int(result, "have", f->have);
        str_copy(f->from, sizeof f->from, json_opt_str(result, "from", ""));
        images_progress(im, &f->blob);
        return;
    }
    f->call = NULL;
    if (error) {
        end(f, error);
        return;
    }
    str_copy(f->from, sizeof f->from, json_opt_str(result, "from", ""));
    if (*f->from)
        str_copy(im->last_from, sizeof im->last_from, f->from);
    finish(f);
}

static json_t *shunned_list(const struct fetch *f)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->owner->n_shunned; i++)
        if (!strcmp(f->owner->shunned[i].digest, f->blob.digest))
            json_array_append_new(list, json_string(f->owner->shunned[i].host));
    return list;
}

/* 1: it runs; 0: the file is complete; negative: not now. */
static int open_file(struct fetch *f, struct err *e)
{
    const char *root = f->owner->root;
    int r = blob_partial_open(root, f->blob.digest, &f->fd, &f->have, e);
    if (r < 0)
        return r;
    if (f->blob.size >= 0 && f->have > f->blob.size) {
        if (ftruncate(f->fd, 0) < 0)
            return err_errno(e, errno, "begin again");
        f->have = 0;
    }
    f->from_start = f->have == 0;
    if (f->blob.size >= 0 && f->have == f->blob.size)
        return 0;
    r = blob_space(root, f->blob.size >= 0 ? f->blob.size - f->have : 0, e);
    return r < 0 ? r : 1;
}

static int begin(struct fetch *f, struct err *e)
{
    struct images *im = f->owner;
    struct rpc_conn *control = im->cfg.control(im->cfg.ctx);
    if (!control)
        return err_set(e, ERR_UNAVAILABLE, "this host's control is not there to ask the others");
    int r = open_file(f, e);
    if (r <= 0) {
        if (r == 0)
            finish(f);
        return r;
    }
    int fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, errno, "dup");
    json_t *params = json_pack("{s:s,s:s,s:I,s:o,s:s}", "kind", bulk_kind_name(f->blob.kind),
        "digest", f->blob.digest, "offset", (json_int_t)f->have, "without", shunned_list(f), "hint",
        f->tried ? "" : im->last_from);
    f->tried = true;
    f->state = F_PULLING;
    f->call = xcalloc(1, sizeof *f->call);
    *f->call = f;
    rpc_call_fd(control, "blob.pull", params, fd, 0, on_answer, f->call);
    return 1;
}

/* Returns false when the list has changed under the caller. */
static bool start(struct fetch *f)
{
    struct images *im = f->owner;
    struct err e = {0};
    int64_t size;
    if (blob_present(im->root, f->blob.kind, f->blob.digest, &size)
        && (f->blob.size < 0 || f->blob.size == size)) { /* by an upload, say */
        end(f, NULL);
        return false;
    }
    int r = begin(f, &e);
    if (r >= 0)
        return true;
    if (f->fd >= 0)
        close(util_steal_fd(&f->fd));
    if (r == ERR_CONFLICT) {
        f->not_before_ms = images_now(im) + BUSY_MS;
        images_arm(im, f->not_before_ms);
        return true;
    }
    end(f, &e);
    return false;
}

void fetch_run(struct images *im)
{
    uint64_t now = images_now(im);
    unsigned active = 0;
    for (const struct fetch *f = im->fetches; f; f = f->next)
        active += f->state != F_QUEUED;
    for (struct fetch *f = im->fetches; f && active < IMAGES_FETCHES && !im->closed; f = f->next) {
        if (f->state != F_QUEUED)
            continue;
        if (f->not_before_ms > now) {
            images_arm(im, f->not_before_ms);
            continue;
        }
        if (!start(f))
            return; /* end() has run the rest */
        active += f->state != F_QUEUED;
    }
}

void fetch_done(struct images *im)
{
    while (im->fetches)
        drop(im->fetches);
}
