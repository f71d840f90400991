/* SPDX-License-Identifier: Apache-2.0 */
/* A transaction whose answer was lost is sent again. Its compares let it happen once at most: if
 * they hold no longer, the first operation's key tells who was there. Reading at once instead would
 * not do: what was sent may still be on its way. */
#include "driver/kv/kv.h"

#include "base/str/str.h"

#define ATTEMPTS 5 /* one a member of the largest cluster */

struct sure {
    struct kv *kv;
    struct kv_compare *cmp;
    struct kv_op *ops;
    size_t n_cmp, n_ops;
    int attempts;
    kv_txn_fn fn;
    void *ctx;
};

static void finish(struct sure *s, bool succeeded, int64_t revision, const struct err *e)
{
    s->fn(s->ctx, succeeded, revision, e);
    for (size_t i = 0; i < s->n_cmp; i++)
        free((char *)s->cmp[i].key);
    for (size_t i = 0; i < s->n_ops; i++) {
        free((char *)s->ops[i].key);
        free((char *)s->ops[i].value);
    }
    free(s->cmp);
    free(s->ops);
    free(s);
}

/* A compare did not hold, perhaps because of an attempt whose answer was lost. */
static void on_whose(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct sure *s = ctx;
    const char *ours = s->ops[0].value;
    bool is_ours = ours ? n && str_eq(pairs[0].value, ours) : n == 0;
    finish(s, !e && is_ours, revision, e);
}

static void send_again(struct sure *s);

static void on_txn(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct sure *s = ctx;
    bool unknown = e && (e->code == ERR_UNAVAILABLE || e->code == ERR_TIMEOUT);
    if (unknown && ++s->attempts < ATTEMPTS)
        send_again(s);
    else if (!e && !succeeded && s->attempts > 0)
        kv_get(s->kv, s->ops[0].key, on_whose, s);
    else
        finish(s, succeeded, revision, e);
}

static void send_again(struct sure *s)
{
    kv_txn(s->kv, s->cmp, s->n_cmp, s->ops, s->n_ops, on_txn, s);
}

static bool compares(const struct kv_compare *cmp, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(cmp[i].key, key))
            return true;
    return false;
}

void kv_txn_sure(struct kv *kv, const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops,
    size_t n_ops, kv_txn_fn fn, void *ctx)
{
    ASSERT(n_ops && compares(cmp, n_cmp, ops[0].key));
    struct sure *s = xcalloc(1, sizeof *s);
    *s = (struct sure){.kv = kv,
        .cmp = xcalloc(n_cmp, sizeof *cmp),
        .ops = xcalloc(n_ops, sizeof *ops),
        .n_cmp = n_cmp,
        .n_ops = n_ops,
        .fn = fn,
        .ctx = ctx};
    for (size_t i = 0; i < n_cmp; i++)
        s->cmp[i] = (struct kv_compare){xstrdup(cmp[i].key), cmp[i].mod_revision};
    for (size_t i = 0; i < n_ops; i++)
        s->ops[i] = (struct kv_op){
            xstrdup(ops[i].key), ops[i].value ? xstrdup(ops[i].value) : NULL, ops[i].lease};
    send_again(s);
}
