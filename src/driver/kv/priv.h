/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the stores of this folder only. */
#pragma once

#include "driver/kv/kv.h"

MUST_CHECK int kv_check_txn(const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops,
    size_t n_ops, struct err *e);
