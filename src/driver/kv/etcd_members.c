/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster's own list of members: looked at and changed one at a time. etcd refuses a change
 * that would lose the quorum (strict reconfiguration check); this only carries the words. */
#include "driver/kv/priv.h"

#include "base/str/str.h"

#define MEMBERS_MAX 32u /* over seven is unreasonable: etcd's own advice */

struct members_op {
    struct kv *kv;
    kv_members_fn fn;
    void *ctx;
};

/* Ids use all 64 bits and travel as text. */
static uint64_t id_of(const json_t *member)
{
    return strtoull(json_opt_str(member, "ID", "0"), NULL, 10);
}

static void on_list(void *arg, json_t *answer, const struct err *e)
{
    struct members_op *op = arg;
    struct kv_member v[MEMBERS_MAX];
    size_t n = 0, i;
    json_t *m;
    json_array_foreach (json_object_get(answer, "members"), i, m) {
        const char *url = json_string_value(json_array_get(json_object_get(m, "peerURLs"), 0));
        if (n < MEMBERS_MAX)
            v[n++] = (struct kv_member){.id = id_of(m),
                .name = json_opt_str(m, "name", ""),
                .peer_url = url ? url : "",
                .learner = json_is_true(json_object_get(m, "isLearner"))};
    }
    op->fn(op->ctx, v, e ? 0 : n, e);
    free(op);
}

static json_t *id_body(uint64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    return json_pack("{s:s}", "ID", text);
}

void etcd_members(struct kv *kv, const struct kv_member_op *change, kv_members_fn fn, void *ctx)
{
    struct members_op *op = xcalloc(1, sizeof *op);
    *op = (struct members_op){.kv = kv, .fn = fn, .ctx = ctx};
    switch (change->change) {
    case KV_MEMBER_LIST:
        etcd_call(kv, "/v3/cluster/member/list", json_object(), true, on_list, op);
        break;
    case KV_MEMBER_ADD:
        etcd_call(kv, "/v3/cluster/member/add",
            json_pack("{s:[s],s:b}", "peerURLs", change->peer_url, "isLearner", 1), false, on_list,
            op);
        break;
    case KV_MEMBER_PROMOTE:
        etcd_call(kv, "/v3/cluster/member/promote", id_body(change->id), false, on_list, op);
        break;
    case KV_MEMBER_REMOVE:
        etcd_call(kv, "/v3/cluster/member/remove", id_body(change->id), false, on_list, op);
        break;
    }
}
