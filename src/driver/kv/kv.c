/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/kv/priv.h"

#include "base/str/str.h"

static int check_key(const char *key, struct err *e)
{
    size_t len = strlen(key);
    if (len == 0 || len > KV_KEY_MAX)
        return err_set(e, ERR_LIMIT, "a key of %zu bytes; 1 to %d are allowed", len, KV_KEY_MAX);
    return 0;
}

int kv_check_txn(const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops, size_t n_ops,
    struct err *e)
{
    if (n_cmp + n_ops > KV_TXN_MAX)
        return err_set(
            e, ERR_LIMIT, "a transaction of %zu steps; at most %d", n_cmp + n_ops, KV_TXN_MAX);
    int r = 0;
    for (size_t i = 0; r >= 0 && i < n_cmp; i++)
        r = check_key(cmp[i].key, e);
    for (size_t i = 0; r >= 0 && i < n_ops; i++) {
        r = check_key(ops[i].key, e);
        size_t len = r >= 0 && ops[i].value ? strlen(ops[i].value) : 0;
        if (len > KV_VALUE_MAX)
            r = err_set(e, ERR_LIMIT, "the value of %s has %zu bytes; at most %u", ops[i].key, len,
                KV_VALUE_MAX);
    }
    return r;
}

void kv_get(struct kv *kv, const char *key, kv_range_fn fn, void *ctx)
{
    kv->ops->range(kv, key, true, fn, ctx);
}

void kv_list(struct kv *kv, const char *prefix, kv_range_fn fn, void *ctx)
{
    kv->ops->range(kv, prefix, false, fn, ctx);
}

void kv_txn(struct kv *kv, const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops,
    size_t n_ops, kv_txn_fn fn, void *ctx)
{
    kv->ops->txn(kv, cmp, n_cmp, ops, n_ops, fn, ctx);
}

void kv_lease_grant(struct kv *kv, uint64_t ttl_ms, kv_lease_fn fn, void *ctx)
{
    kv->ops->lease_grant(kv, MAX(ttl_ms, (uint64_t)2000), fn, ctx);
}

void kv_lease_keep(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx)
{
    kv->ops->lease_keep(kv, lease, fn, ctx);
}

void kv_lease_revoke(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx)
{
    kv->ops->lease_revoke(kv, lease, fn, ctx);
}

struct kv_watch *kv_watch(
    struct kv *kv, const char *prefix, int64_t from_revision, kv_watch_fn fn, void *ctx)
{
    return kv->ops->watch(kv, prefix, from_revision, fn, ctx);
}

void kv_unwatch(struct kv *kv, struct kv_watch *w)
{
    if (w)
        kv->ops->unwatch(kv, w);
}

void kv_status(struct kv *kv, kv_status_fn fn, void *ctx)
{
    kv->ops->status(kv, fn, ctx);
}

void kv_maintain(struct kv *kv, int64_t keep_from, kv_status_fn fn, void *ctx)
{
    kv->ops->maintain(kv, keep_from, fn, ctx);
}

bool kv_has_members(const struct kv *kv)
{
    return kv->ops->members != NULL;
}

void kv_members(struct kv *kv, const struct kv_member_op *op, kv_members_fn fn, void *ctx)
{
    ASSERT(kv->ops->members);
    kv->ops->members(kv, op, fn, ctx);
}

void kv_close(struct kv *kv)
{
    if (kv)
        kv->ops->close(kv);
}
