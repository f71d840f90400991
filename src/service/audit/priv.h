/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside service/audit. See audit.h. */
#pragma once

#include "service/audit/audit.h"

#include <uv.h>

struct audit {
    struct kv *kv;
    unsigned kept;
    void (*chained)(void *ctx, const json_t *entry);
    void *ctx;
    char *host, *journal, *head_key, *entry_prefix;
    int journal_fd;
    json_t *pending; /* entries, oldest first, without place */
    uv_timer_t timer;
    bool busy;   /* a read or write of the store is under way */
    bool closed; /* waits for it to end */
};

/* journal.c: one entry a line */
MUST_CHECK int audit_journal_open(struct audit *a, struct err *e);
MUST_CHECK int audit_journal_add(struct audit *a, const json_t *entry, struct err *e);
/* Makes it hold just what is pending. A disk that refuses leaves more: entries are known by id. */
void audit_journal_rewrite(struct audit *a);

/* chain.c */
void audit_chain_kick(struct audit *a, uint64_t after_ms);
void audit_chain_free(struct audit *a);
char *audit_entry_key(const struct audit *a, int64_t seq);
