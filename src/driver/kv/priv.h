/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the stores of this folder only. */
#pragma once

#include "base/json/json.h"
#include "driver/kv/kv.h"

MUST_CHECK int kv_check_txn(const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops,
    size_t n_ops, struct err *e);

/* Parses an answer and completes the caller's callback; e not NULL: failed. */
typedef void (*etcd_answer_fn)(void *op, json_t *answer, const struct err *e);
/* One call of etcd's gateway; takes `body`. idempotent: may be sent again to another member. */
void etcd_call(struct kv *kv, const char *path, json_t *body, bool idempotent,
    etcd_answer_fn answer, void *op);
/* etcd_members.c */
void etcd_members(struct kv *kv, const struct kv_member_op *op, kv_members_fn fn, void *ctx);
