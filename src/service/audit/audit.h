/* SPDX-License-Identifier: Apache-2.0 */
/* The platform's audit log as one host's control writes it. audit_note() has the entry durable in a
 * journal on this host's disk before it returns, so the act may follow; the entry then goes into
 * the chain in the state store (domain/audit), at once or when the store answers again. A control
 * that is killed in between finds the journal at its next start.
 *
 * In the store: audit/e/<seq, 12 digits> the entries, audit/head {"format", "seq", "hash",
 * "first_seq", "first_previous", "recent": [ids]}. Entry and head change in one transaction that
 * compares the head, so controls of several hosts make one chain. "recent" lets an append whose
 * outcome was unknown be repeated without a second entry. The newest AUDIT_KEPT entries stay; what
 * is dropped leaves its last hash as first_previous.
 *
 * On the control loop; the journal's write blocks it for one fsync. */
#pragma once

#include "base/err/err.h"
#include "domain/audit/audit.h"
#include "driver/kv/kv.h"

#define AUDIT_KEPT 4000
#define AUDIT_PENDING_MAX 1000 /* not in the chain yet: more and changes are refused */

struct audit;

struct audit_config {
    uv_loop_t *loop;
    struct kv *kv; /* borrowed, outlives the service */
    const char *platform, *host;
    const char *journal;                             /* path */
    unsigned kept;                                   /* 0: AUDIT_KEPT */
    void (*chained)(void *ctx, const json_t *entry); /* it is in the store now; may be NULL */
    void *ctx;
};

/* Reads what the journal still holds; a torn last line is cut off. */
MUST_CHECK int audit_new(const struct audit_config *c, struct audit **ret, struct err *e);
void audit_free(struct audit *a); /* what is not in the chain yet stays in the journal */
/* Fills in time, host and id (also in d->id, which the caller keeps to refer to it). On failure the
 * act must not happen. */
MUST_CHECK int audit_note(struct audit *a, struct audit_draft *d, struct err *e);
void audit_kick(struct audit *a); /* the state store answers again */
size_t audit_pending(const struct audit *a);

/* {"head": {...}|null, "entries": [...], "pending": n}: the newest `limit` entries (0: all), oldest
 * first. Borrowed during the call. */
typedef void (*audit_read_fn)(void *ctx, const json_t *log, const struct err *e);
void audit_read(struct audit *a, size_t limit, audit_read_fn fn, void *ctx);
