/* SPDX-License-Identifier: Apache-2.0 */
/* What control asks of the store: for itself, for a command, for other hosts. */
#include "service/images/priv.h"

#define PUTS_MAX 8u
#define PUT_TELL_MS 200u
#define BUSY_TRIES 300 /* times 100 ms: somebody else stores the same blob */
#define LIST_MAX 65536u

typedef void (*call_fn)(struct images *im, struct rpc_req *req, json_t *params, int *fd);

static void fail(struct rpc_req *req, int code, const char *text)
{
    struct err e;
    err_set(&e, code, "%s", text);
    rpc_reply_error(req, &e);
}

/* {"kind", "digest", "size"} */
static int read_blob(const json_t *j, struct blob *ret, struct err *e)
{
    const char *digest = json_opt_str(j, "digest", "");
    if (!bulk_kind_parse(json_opt_str(j, "kind", "image"), &ret->kind) || !digest_valid(digest))
        return err_set(e, ERR_INVALID, "names no blob");
    str_copy(ret->digest, sizeof ret->digest, digest);
    ret->size = json_opt_int(j, "size", -1);
    return 0;
}

static json_t *format_blob(const struct images *im, const struct blob *b)
{
    return json_pack("{s:s,s:s,s:I,s:I}", "kind", bulk_kind_name(b->kind), "digest", b->digest,
        "size", (json_int_t)b->size, "have", (json_int_t)blob_partial_size(im->root, b->digest));
}

/* ---- blob.check: which of these are missing, and is there room for them? */

struct check {
    struct images *owner;
    struct rpc_req *req;
    json_t *params, *missing;
    struct err err;
};

static void check_image(struct check *c, const char *digest)
{
    struct blobs need = {0};
    int64_t have, total;
    if (image_missing(c->owner->root, digest, &need, &have, &total, &c->err) >= 0)
        for (size_t i = 0; i < need.n; i++)
            json_array_append_new(c->missing, format_blob(c->owner, &need.v[i]));
    blobs_done(&need);
}

static void run_check(void *ctx)
{
    struct check *c = ctx;
    size_t i;
    json_t *one;
    int64_t bytes = 0, size;
    json_array_foreach (json_object_get(c->params, "blobs"), i, one) {
        struct blob b;
        if (read_blob(one, &b, &c->err) < 0)
            return;
        if (blob_present(c->owner->root, b.kind, b.digest, &size) && (b.size < 0 || b.size == size))
            continue;
        bytes += b.size > 0 ? b.size - MIN(b.size, blob_partial_size(c->owner->root, b.digest)) : 0;
        json_array_append_new(c->missing, format_blob(c->owner, &b));
    }
    json_array_foreach (json_object_get(c->params, "images"), i, one)
        check_image(c, json_is_string(one) ? json_string_value(one) : "");
    if (!c->err.code && blob_space(c->owner->root, bytes, &c->err) >= 0)
        c->err.code = 0;
}

static void after_check(void *ctx)
{
    struct check *c = ctx;
    if (c->err.code)
        rpc_reply_error(c->req, &c->err);
    else
        rpc_reply(c->req, json_pack("{s:O}", "missing", c->missing));
    json_decref(c->params);
    json_decref(c->missing);
    free(c);
}

static void do_check(struct images *im, struct rpc_req *req, json_t *params, int *fd)
{
    if (json_array_size(json_object_get(params, "blobs")) > LIST_MAX
        || json_array_size(json_object_get(params, "images")) > LIST_MAX) {
        fail(req, ERR_LIMIT, "too many blobs in one question");
        return;
    }
    struct check *c = xcalloc(1, sizeof *c);
    *c = (struct check){
        .owner = im, .req = req, .params = json_incref(params), .missing = json_array()};
    images_job(im, run_check, after_check, c);
}

/* ---- blob.has, blob.open: for other hosts */

static void do_has(struct images *im, struct rpc_req *req, json_t *params, int *fd)
{
    size_t i;
    json_t *one, *has = json_array();
    json_array_foreach (json_object_get(params, "blobs"), i, one) {
        struct blob b;
        struct err ignored;
        bool there = i < LIST_MAX && read_blob(one, &b, &ignored) >= 0
                     && blob_present(im->root, b.kind, b.digest, NULL);
        json_array_append_new(has, json_boolean(there));
    }
    rpc_reply(req, json_pack("{s:o}", "has", has));
}

static void do_open(struct images *im, struct rpc_req *req, json_t *params, int *fd)
{
    struct blob b;
    struct err e;
    int opened;
    if (read_blob(params, &b, &e) < 0 || blob_open(im->root, b.kind, b.digest, &opened, &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply_fd(req, NULL, opened);
}

/* ---- blob.put: a file of this machine becomes a blob */

struct put {
    struct put *next;
    struct images *owner;
    struct rpc_req *req;
    struct blob blob;
    int fd;
    bool stop;    /* read by the worker */
    int64_t done; /* written by the worker */
    uv_timer_t *timer;
    struct err err;
};

static void free_handle(uv_handle_t *h)
{
    free(h);
}

static void run_put(void *ctx)
{
    struct put *p = ctx;
    int r = blob_space(p->owner->root, p->blob.size, &p->err);
    for (int i = 0; r >= 0 && i < BUSY_TRIES; i++) {
        r = blob_copy_in(p->owner->root, &p->blob, p->fd, &p->stop, &p->done, &p->err);
        if (r != ERR_CONFLICT || __atomic_load_n(&p->stop, __ATOMIC_RELAXED))
            break;
        r = blob_present(p->owner->root, p->blob.kind, p->blob.digest, NULL);
        if (r > 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
    }
    if (r >= 0)
        p->err.code = 0;
}

static void after_put(void *ctx)
{
    struct put *p = ctx, **at = &p->owner->puts;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    if (p->err.code)
        rpc_reply_error(p->req, &p->err);
    else
        rpc_reply(p->req, NULL);
    uv_close((uv_handle_t *)p->timer, free_handle);
    close(p->fd);
    free(p);
}

static void on_put_timer(uv_timer_t *t)
{
    struct put *p = t->data;
    rpc_reply_more(p->req,
        json_pack("{s:I,s:I}", "done", (json_int_t)__atomic_load_n(&p->done, __ATOMIC_RELAXED),
            "total", (json_int_t)p->blob.size));
}

static void on_put_cancelled(void *ctx)
{
    struct put *p = ctx;
    __atomic_store_n(&p->stop, true, __ATOMIC_RELAXED);
}

static void do_put(struct images *im, struct rpc_req *req, json_t *params, int *fd)
{
    struct blob b;
    struct err e;
    unsigned running = 0;
    for (const struct put *p = im->puts; p; p = p->next)
        running++;
    if (read_blob(params, &b, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    if (*fd < 0 || running >= PUTS_MAX) {
        fail(req, *fd < 0 ? ERR_USAGE : ERR_LIMIT,
            *fd < 0 ? "blob.put comes with a descriptor" : "too many uploads at once");
        return;
    }
    struct put *p = xcalloc(1, sizeof *p);
    *p =
        (struct put){.next = im->puts, .owner = im, .req = req, .blob = b, .fd = util_steal_fd(fd)};
    im->puts = p;
    p->timer = xmalloc(sizeof *p->timer);
    uv_timer_init(im->cfg.loop, p->timer);
    p->timer->data = p;
    uv_timer_start(p->timer, on_put_timer, PUT_TELL_MS, PUT_TELL_MS);
    rpc_req_watch(req, NULL, on_put_cancelled, p);
    images_job(im, run_put, after_put, p);
}

/* ---- blob.ensure: answered when all of it is here */

struct ensure {
    struct ensure *next;
    struct images *owner;
    struct rpc_req *req;
    json_t *params;
    char told[IMAGES_TEXT_SIZE];
};

static void mark(const struct ensure *x, const char *list, enum bulk_kind kind)
{
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(x->params, list), i, one) {
        struct want *w =
            images_find(x->owner, kind, json_is_string(one) ? json_string_value(one) : "");
        if (w)
            w->by |= BY_CALL;
    }
}

/* What only this call wanted is no longer pursued. */
static void forget_ensure(struct ensure *x)
{
    struct ensure **at = &x->owner->ensures;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    json_decref(x->params);
    for (struct want *w = x->owner->wants; w; w = w->next)
        w->by &= ~(unsigned)BY_CALL;
    for (struct ensure *o = x->owner->ensures; o; o = o->next) {
        mark(o, "images", BULK_IMAGE);
        mark(o, "files", BULK_FILE);
    }
    free(x);
}

static void on_ensure_cancelled(void *ctx)
{
    struct ensure *x = ctx;
    struct rpc_req *req = x->req;
    forget_ensure(x);
    fail(req, ERR_CANCELED, "no longer asked for");
}

/* 1: here; 0: on its way; negative: it did not come, why is in e. */
static int ensured(struct ensure *x, const char *list, enum bulk_kind kind, struct err *e)
{
    size_t i;
    json_t *one;
    int all = 1;
    json_array_foreach (json_object_get(x->params, list), i, one) {
        const char *digest = json_is_string(one) ? json_string_value(one) : "";
        struct want *w = images_find(x->owner, kind, digest);
        char text[IMAGES_TEXT_SIZE];
        if (w && w->state == W_READY)
            continue;
        all = 0;
        if (!w)
            return err_set(e, ERR_INVALID, "\"%.80s\" is no digest", digest);
        if (w->state == W_BAD)
            return err_set(e, ERR_INVALID, "%s", w->reason);
        if (w->state == W_WAITING)
            return err_set(e, ERR_UNAVAILABLE, "%.19s: %s", digest, w->reason);
        images_want_text(w, text);
        if (!str_eq(x->told, text)) {
            str_copy(x->told, sizeof x->told, text);
            rpc_reply_more(x->req, json_pack("{s:s}", "text", text));
        }
    }
    return all;
}

static void check_ensure(struct ensure *x)
{
    struct err e;
    int r = ensured(x, "images", BULK_IMAGE, &e);
    if (r > 0)
        r = ensured(x, "files", BULK_FILE, &e);
    if (r == 0)
        return;
    struct rpc_req *req = x->req;
    forget_ensure(x);
    if (r < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, NULL);
}

void calls_changed(struct images *im)
{
    for (struct ensure *x = im->ensures, *next; x; x = next) {
        next = x->next;
        check_ensure(x);
    }
}

/* Looked at anew: what was here yesterday may have been lost. */
static void begin_list(
    struct images *im, const json_t *params, const char *list, enum bulk_kind kind)
{
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(params, list), i, one) {
        const char *digest = json_is_string(one) ? json_string_value(one) : "";
        if (!digest_valid(digest))
            continue;
        struct want *w = images_want(im, kind, digest, BY_CALL);
        if (w->state == W_READY || w->state == W_WAITING || w->state == W_BAD)
            images_look(w);
    }
}

static void do_ensure(struct images *im, struct rpc_req *req, json_t *params, int *fd)
{
    struct ensure *x = xcalloc(1, sizeof *x);
    *x = (struct ensure){
        .next = im->ensures, .owner = im, .req = req, .params = json_incref(params)};
    im->ensures = x;
    rpc_req_watch(req, NULL, on_ensure_cancelled, x);
    begin_list(im, params, "images", BULK_IMAGE);
    begin_list(im, params, "files", BULK_FILE);
    check_ensure(x);
}

/* ---- */

bool images_call(struct images *im, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    static const struct {
        const char *name;
        call_fn fn;
    } rows[] = {
        {"blob.check", do_check},
        {"blob.has", do_has},
        {"blob.open", do_open},
        {"blob.put", do_put},
        {"blob.ensure", do_ensure},
        {"blob.gc", call_gc},
        {"blob.list", call_list},
    };
    _cleanup_close_ int owned = fd;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (!strcmp(rows[i].name, method)) {
            rows[i].fn(im, req, params, &owned);
            return true;
        }
    owned = -1;
    return false;
}

void calls_done(struct images *im)
{
    for (struct put *p = im->puts; p; p = p->next)
        on_put_cancelled(p);
    while (im->ensures)
        on_ensure_cancelled(im->ensures);
}
