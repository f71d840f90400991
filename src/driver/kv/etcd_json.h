/* SPDX-License-Identifier: Apache-2.0 */
/* etcd 3.4's JSON gateway: request bodies and answers
 * (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/). Keys and values travel in base64, 64-bit
 * integers as strings. Pure. */
#pragma once

#include "base/json/json.h"
#include "driver/kv/kv.h"

json_t *etcd_range_request(const char *key, bool exact);
json_t *etcd_txn_request(
    const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops, size_t n_ops);
json_t *etcd_watch_request(const char *prefix, int64_t from_revision);

/* A member that holds a 64-bit integer as string or number; 0 when absent. */
int64_t etcd_int(const json_t *obj, const char *key);
int64_t etcd_revision(const json_t *answer); /* header.revision */
/* Decodes a "kv" object; strings are heap and the caller's. False: not one. */
bool etcd_pair(
    const json_t *kv, char **ret_key, char **ret_value, size_t *ret_len, int64_t *ret_mod);
/* {"error": ..., "code": N} with gRPC's codes. */
int etcd_error(const json_t *answer, long http_status, struct err *e);
/* That error says so of an election, and that nothing was begun. */
bool etcd_has_no_leader(const struct err *e);
