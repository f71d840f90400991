/* SPDX-License-Identifier: Apache-2.0 */
/* Read, compare-and-swap, and again when somebody was faster. The value only ever grows, whatever
 * the store's own revision does. */
#include "driver/kv/kv.h"

#include "base/str/str.h"

#define ATTEMPTS 16 /* contention among a handful of controls ends long before */

struct raise {
    struct kv *kv;
    char key[KV_KEY_MAX + 1];
    int64_t wanted;
    int attempts;
    kv_epoch_fn fn;
    void *ctx;
};

static void on_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e);

static void finish(struct raise *r, int64_t epoch, const struct err *e)
{
    r->fn(r->ctx, epoch, e);
    free(r);
}

static void on_swapped(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct raise *r = ctx;
    struct err contention;
    if (e) {
        finish(r, 0, e);
    } else if (succeeded) {
        finish(r, r->wanted, NULL);
    } else if (++r->attempts == ATTEMPTS) {
        err_set(
            &contention, ERR_CONFLICT, "the epoch %s changes faster than it can be raised", r->key);
        finish(r, 0, &contention);
    } else {
        kv_get(r->kv, r->key, on_read, r);
    }
}

static void on_read(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct raise *r = ctx;
    if (e) {
        finish(r, 0, e);
        return;
    }
    uint64_t value = 0;
    if (n && !str_to_u64(pairs[0].value, INT64_MAX - 1, &value)) {
        struct err bad;
        err_set(&bad, ERR_INVALID, "the epoch %s holds no number", r->key);
        finish(r, 0, &bad);
        return;
    }
    r->wanted = (int64_t)value + 1;
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)r->wanted);
    struct kv_compare cmp = {r->key, n ? pairs[0].mod_revision : 0};
    struct kv_op op = {.key = r->key, .value = text};
    kv_txn(r->kv, &cmp, 1, &op, 1, on_swapped, r);
}

void kv_epoch_raise(struct kv *kv, const char *key, kv_epoch_fn fn, void *ctx)
{
    struct raise *r = xcalloc(1, sizeof *r);
    *r = (struct raise){.kv = kv, .fn = fn, .ctx = ctx};
    ASSERT(str_copy(r->key, sizeof r->key, key));
    kv_get(kv, r->key, on_read, r);
}
