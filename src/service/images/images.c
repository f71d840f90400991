/* SPDX-License-Identifier: Apache-2.0 */
#include "service/images/priv.h"

#define BACKOFF_FIRST_MS 1000u
#define BACKOFF_MAX_MS 30000u
#define TELL_MS 1000u

uint64_t images_now(struct images *im)
{
    uv_update_time(im->cfg.loop);
    return uv_now(im->cfg.loop);
}

/* ---- jobs */

static void run_job(uv_work_t *work)
{
    struct images_job *j = work->data;
    j->run(j->ctx);
}

static void after_job(uv_work_t *work, int status)
{
    struct images_job *j = work->data;
    j->owner->jobs--;
    j->after(j->ctx);
    free(j);
}

void images_job(struct images *im, void (*run)(void *ctx), void (*after)(void *ctx), void *ctx)
{
    struct images_job *j = xcalloc(1, sizeof *j);
    *j = (struct images_job){.owner = im, .run = run, .after = after, .ctx = ctx};
    j->work.data = j;
    im->jobs++;
    int r = uv_queue_work(im->cfg.loop, &j->work, run_job, after_job);
    ASSERT(r == 0);
}

/* ---- wants */

struct want *images_find(const struct images *im, enum bulk_kind kind, const char *digest)
{
    for (struct want *w = im->wants; w; w = w->next)
        if (w->kind == kind && !strcmp(w->digest, digest))
            return w;
    return NULL;
}

struct want *images_want(struct images *im, enum bulk_kind kind, const char *digest, unsigned by)
{
    struct want *w = images_find(im, kind, digest);
    if (!w) {
        struct want **at = &im->wants;
        while (*at) /* the first wanted is fetched first */
            at = &(*at)->next;
        w = *at = xcalloc(1, sizeof *w);
        w->owner = im;
        w->kind = kind;
        str_copy(w->digest, sizeof w->digest, digest);
    }
    w->by |= by;
    if (w->state == W_NEW)
        images_look(w);
    return w;
}

static void tell(struct want *w)
{
    w->told_ms = images_now(w->owner);
    if (w->kind == BULK_IMAGE && w->owner->cfg.changed)
        w->owner->cfg.changed(w->owner->cfg.ctx, w->digest);
    calls_changed(w->owner);
}

static void drop_unwanted(struct images *im)
{
    for (struct want **at = &im->wants; *at;) {
        struct want *w = *at;
        if (w->by || w->jobs) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        free(w->parts);
        free(w);
    }
}

/* ---- looking what is missing */

struct look {
    struct want *want;
    struct blobs missing;
    int64_t have, total;
    int result;
    struct err err;
};

static void run_look(void *ctx)
{
    struct look *l = ctx;
    const struct want *w = l->want;
    const char *root = w->owner->root;
    if (w->kind == BULK_IMAGE)
        l->result = image_missing(root, w->digest, &l->missing, &l->have, &l->total, &l->err);
    else if (!blob_present(root, w->kind, w->digest, NULL))
        blobs_add(&l->missing, w->kind, w->digest, -1);
}

static void want_parts(struct want *w, const struct blobs *missing)
{
    free(w->parts);
    w->parts = xcalloc(missing->n + 1, sizeof *w->parts);
    w->n_parts = missing->n;
    for (size_t i = 0; i < missing->n; i++)
        w->parts[i].blob = missing->v[i];
    for (size_t i = 0; i < missing->n; i++)
        fetch_want(w->owner, &missing->v[i]);
}

static void wait_after(struct want *w, const char *why)
{
    struct images *im = w->owner;
    uint64_t delay = BACKOFF_MAX_MS;
    if (w->failures < 5)
        delay = BACKOFF_FIRST_MS << w->failures;
    w->failures++;
    w->state = W_WAITING;
    w->retry_ms = images_now(im) + delay;
    if (!str_eq(w->reason, why) && w->failures == 3 && im->cfg.timeline)
        im->cfg.timeline(im->cfg.ctx, w->digest, "cannot be pulled", why);
    str_copy(w->reason, sizeof w->reason, why);
    images_arm(im, w->retry_ms);
}

static void after_look(void *ctx)
{
    struct look *l = ctx;
    struct want *w = l->want;
    struct images *im = w->owner;
    w->jobs--;
    if (im->closed) {
        blobs_done(&l->missing);
        free(l);
        return;
    }
    w->have = l->have;
    w->total = l->total;
    if (w->again) {
        w->again = false;
        images_look(w);
    } else if (l->result < 0) {
        bool ours = l->result == ERR_SYSTEM;
        str_copy(w->reason, sizeof w->reason, l->err.message);
        if (ours)
            wait_after(w, l->err.message);
        else
            w->state = W_BAD;
    } else if (!l->missing.n) {
        w->state = W_READY;
        w->failures = 0;
    } else {
        w->state = W_FETCHING;
        want_parts(w, &l->missing);
    }
    blobs_done(&l->missing);
    free(l);
    if (w->state != W_CHECKING)
        tell(w);
    drop_unwanted(im);
    fetch_run(im);
}

void images_look(struct want *w)
{
    if (w->jobs) {
        w->again = true;
        return;
    }
    struct look *l = xcalloc(1, sizeof *l);
    l->want = w;
    w->state = W_CHECKING;
    w->jobs++;
    images_job(w->owner, run_look, after_look, l);
}

void images_blob_ended(struct images *im, const struct blob *b, const struct err *e)
{
    for (struct want *w = im->wants; w; w = w->next) {
        bool concerned = false, open = false, failed = false;
        for (size_t i = 0; w->state == W_FETCHING && i < w->n_parts; i++) {
            struct part *p = &w->parts[i];
            if (!strcmp(p->blob.digest, b->digest) && p->state == P_OPEN) {
                concerned = true;
                p->state = e ? P_FAILED : P_HERE;
            }
            open |= p->state == P_OPEN;
            failed |= p->state == P_FAILED;
        }
        if (!concerned || open)
            continue;
        if (failed) {
            wait_after(w, e ? e->message : "a part of it did not come");
            tell(w);
        } else {
            images_look(w);
        }
    }
}

void images_progress(struct images *im, const struct blob *b)
{
    uint64_t now = images_now(im);
    for (struct want *w = im->wants; w; w = w->next)
        for (size_t i = 0; w->state == W_FETCHING && i < w->n_parts; i++)
            if (!strcmp(w->parts[i].blob.digest, b->digest) && now - w->told_ms >= TELL_MS) {
                tell(w);
                break;
            }
}

/* ---- words */

static void size_text(char out[32], int64_t bytes)
{
    if (bytes < 10 << 20)
        snprintf(out, 32, "%.1f MiB", (double)bytes / (1 << 20));
    else
        snprintf(out, 32, "%lld MiB", (long long)(bytes >> 20));
}

void images_want_text(const struct want *w, char text[IMAGES_TEXT_SIZE])
{
    const char *from = "", *what = w->kind == BULK_IMAGE ? "image" : "file";
    int64_t have = w->have, total = w->total;
    char a[32], b[32];
    text[0] = '\0';
    if (w->state == W_BAD) {
        snprintf(text, IMAGES_TEXT_SIZE, "%.19s is no usable image: %.180s", w->digest, w->reason);
    } else if (w->state == W_WAITING) {
        uint64_t now = uv_now(w->owner->cfg.loop);
        uint64_t left = w->retry_ms > now ? (w->retry_ms - now + 999) / 1000 : 0;
        snprintf(text, IMAGES_TEXT_SIZE, "%s %.19s is not here: %.150s; next try in %llu s", what,
            w->digest, w->reason, (unsigned long long)left);
    } else if (w->state != W_FETCHING) {
        snprintf(text, IMAGES_TEXT_SIZE, "looking for %s %.19s", what, w->digest);
    }
    if (*text)
        return;
    for (size_t i = 0; i < w->n_parts; i++) {
        const struct fetch *f = fetch_find(w->owner, w->parts[i].blob.digest);
        have += f ? f->have : w->parts[i].state == P_HERE ? MAX(w->parts[i].blob.size, 0) : 0;
        from = f && *f->from ? f->from : from;
    }
    size_text(a, have);
    size_text(b, total);
    if (total)
        snprintf(text, IMAGES_TEXT_SIZE, "pulling %s %s of %s%s%.60s", what, a, b,
            *from ? " from " : "", from);
    else
        snprintf(text, IMAGES_TEXT_SIZE, "pulling %s %.19s%s%.60s", what, w->digest,
            *from ? " from " : "", from);
}

enum images_state images_state(
    const struct images *im, const char *digest, char text[IMAGES_TEXT_SIZE])
{
    const struct want *w = images_find(im, BULK_IMAGE, digest);
    text[0] = '\0';
    if (!w || w->state == W_NEW || w->state == W_CHECKING)
        return IMAGES_UNKNOWN;
    if (w->state == W_READY)
        return IMAGES_READY;
    images_want_text(w, text);
    return w->state == W_BAD ? IMAGES_BAD : IMAGES_MISSING;
}

/* ---- who wants what */

static void want_list(struct images *im, const json_t *list, enum bulk_kind kind)
{
    size_t i;
    json_t *one;
    json_array_foreach ((json_t *)list, i, one) {
        const char *digest = json_string_value(one);
        if (digest && digest_valid(digest))
            images_want(im, kind, digest, BY_CONTROL);
    }
}

void images_set_wanted(struct images *im, const json_t *wanted)
{
    for (struct want *w = im->wants; w; w = w->next)
        w->by &= ~(unsigned)BY_CONTROL;
    want_list(im, json_object_get(wanted, "images"), BULK_IMAGE);
    want_list(im, json_object_get(wanted, "files"), BULK_FILE);
    drop_unwanted(im);
}

void images_set_units(struct images *im, const char *const *digests, size_t n)
{
    for (struct want *w = im->wants; w; w = w->next)
        w->by &= ~(unsigned)BY_UNITS;
    for (size_t i = 0; i < n; i++)
        images_want(im, BULK_IMAGE, digests[i], BY_UNITS);
    drop_unwanted(im);
}

void images_check(struct images *im, const char *digest)
{
    struct want *w = images_want(im, BULK_IMAGE, digest, BY_UNITS);
    if (w->state == W_READY || w->state == W_BAD)
        images_look(w);
}

/* ---- life */

static void on_timer(uv_timer_t *t)
{
    images_turn(t->data);
}

void images_arm(struct images *im, uint64_t at_ms)
{
    uint64_t now = images_now(im);
    uint64_t delay = at_ms > now ? at_ms - now : 0;
    if (im->closed)
        return;
    if (!uv_is_active((uv_handle_t *)im->timer) || uv_timer_get_due_in(im->timer) > delay)
        uv_timer_start(im->timer, on_timer, delay, 0);
}

void images_turn(struct images *im)
{
    uint64_t now = images_now(im);
    for (struct want *w = im->wants; w; w = w->next) {
        if (w->state != W_WAITING)
            continue;
        if (w->retry_ms <= now)
            images_look(w);
        else
            images_arm(im, w->retry_ms);
    }
    fetch_run(im);
}

void images_linked(struct images *im)
{
    for (struct want *w = im->wants; w; w = w->next)
        if (w->state == W_WAITING) {
            w->failures = 0;
            images_look(w);
        }
}

struct images *images_new(const struct images_config *c)
{
    struct images *im = xcalloc(1, sizeof *im);
    im->cfg = *c;
    im->root = xstrdup(c->root);
    im->timer = xmalloc(sizeof *im->timer);
    uv_timer_init(c->loop, im->timer);
    im->timer->data = im;
    return im;
}

static void free_timer(uv_handle_t *h)
{
    free(h);
}

void images_free(struct images *im)
{
    if (!im)
        return;
    im->closed = true;
    calls_done(im);
    while (im->jobs)
        uv_run(im->cfg.loop, UV_RUN_ONCE);
    fetch_done(im);
    for (struct want *w = im->wants, *next; w; w = next) {
        next = w->next;
        free(w->parts);
        free(w);
    }
    uv_close((uv_handle_t *)im->timer, free_timer);
    free(im->shunned);
    free(im->root);
    free(im);
}
