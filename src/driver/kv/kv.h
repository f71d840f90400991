/* SPDX-License-Identifier: Apache-2.0 */
/* The state store behind one vtable: SQLite (one host), etcd 3.4 through its JSON gateway (several
 * hosts), memory (simulator). Keys are text below /mcp/<platform>/, values text of at most
 * KV_VALUE_MAX. Every change raises the store's revision; a transaction compares modification
 * revisions and applies all its operations or none.
 *
 * Everything is asynchronous and completes exactly once, later, from the loop (kv_mem: from
 * kv_mem_run()), also when the store is closed first (ERR_CANCELED). Reads are linearizable. A
 * failure with ERR_UNAVAILABLE or ERR_TIMEOUT leaves the outcome of a transaction unknown: read
 * again, or use kv_txn_sure(). A store revision is no fencing token (it falls back after a restore): use epochs
 * (kv_epoch_raise). */
#pragma once

#include "base/err/err.h"

#include <uv.h>

#define KV_KEY_MAX 512
/* etcd refuses requests over 1.5 MiB, base64 included in transit only. */
#define KV_VALUE_MAX (1024u * 1024)
#define KV_TXN_MAX 64 /* operations and compares; etcd's limit is 128 */

struct kv;
struct kv_watch;

struct kv_pair {
    const char *key;
    const char *value; /* NUL-terminated, len excludes it */
    size_t len;
    int64_t mod_revision;
};

struct kv_compare {
    const char *key;
    int64_t mod_revision; /* 0: the key must not exist */
};

struct kv_op {
    const char *key;
    const char *value; /* NULL: delete */
    int64_t lease;     /* 0: none; else the key goes when the lease ends */
};

struct kv_event {
    const char *key;
    const char *value; /* NULL: deleted */
    size_t len;
    int64_t mod_revision;
};

/* e NULL: done. pairs in key order, valid during the call only; revision is the store's at the time
 * of reading. */
typedef void (*kv_range_fn)(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e);
/* succeeded false: a compare did not hold, nothing was written. */
typedef void (*kv_txn_fn)(void *ctx, bool succeeded, int64_t revision, const struct err *e);
typedef void (*kv_lease_fn)(void *ctx, int64_t lease, const struct err *e);
/* Changes at or after the revision asked for, in order, none left out. e not NULL ends the watch:
 * ERR_CONFLICT when that revision is no longer kept (read again, then watch from there + 1), else
 * reconnect later. */
typedef void (*kv_watch_fn)(
    void *ctx, const struct kv_event *events, size_t n, const struct err *e);

struct kv_status {
    int64_t size_bytes;
    int64_t revision;
    bool has_leader;  /* always true for SQLite and memory */
    bool leads;       /* the member that answered leads them */
    bool quota_alarm; /* full: writes are refused until kv_maintain() */
};
typedef void (*kv_status_fn)(void *ctx, const struct kv_status *s, const struct err *e);

/* ---- the members of an etcd cluster ---- */

struct kv_member {
    uint64_t id;
    const char *name; /* "": it has not started yet */
    const char *peer_url;
    bool learner; /* follows, does not count for the quorum */
};
/* The members, after the change if one was asked for; valid during the call only. */
typedef void (*kv_members_fn)(
    void *ctx, const struct kv_member *members, size_t n, const struct err *e);

enum kv_member_change { KV_MEMBER_LIST, KV_MEMBER_ADD, KV_MEMBER_PROMOTE, KV_MEMBER_REMOVE };

struct kv_member_op {
    enum kv_member_change change;
    uint64_t id;          /* promote, remove */
    const char *peer_url; /* add: as a learner */
};

struct kv_ops { /* implemented by each store; arguments are copied before the call returns */
    void (*range)(struct kv *kv, const char *prefix, bool exact, kv_range_fn fn, void *ctx);
    void (*txn)(struct kv *kv, const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops,
        size_t n_ops, kv_txn_fn fn, void *ctx);
    void (*lease_grant)(struct kv *kv, uint64_t ttl_ms, kv_lease_fn fn, void *ctx);
    void (*lease_keep)(
        struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx); /* ERR_NOT_FOUND: it has ended */
    void (*lease_revoke)(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx);
    struct kv_watch *(*watch)(
        struct kv *kv, const char *prefix, int64_t from_revision, kv_watch_fn fn, void *ctx);
    void (*unwatch)(struct kv *kv, struct kv_watch *w);
    void (*status)(struct kv *kv, kv_status_fn fn, void *ctx);
    /* Compacts history before `keep_from`, gives space back, clears a quota alarm. */
    void (*maintain)(struct kv *kv, int64_t keep_from, kv_status_fn fn, void *ctx);
    void (*close)(struct kv *kv);
    /* NULL: a store that has no members */
    void (*members)(
        struct kv *kv, const struct kv_member_op *op, kv_members_fn fn, void *ctx);
};

struct kv {
    const struct kv_ops *ops;
};

void kv_get(struct kv *kv, const char *key, kv_range_fn fn, void *ctx); /* n is 0 or 1 */
void kv_list(struct kv *kv, const char *prefix, kv_range_fn fn, void *ctx);
void kv_txn(struct kv *kv, const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops,
    size_t n_ops, kv_txn_fn fn, void *ctx);
/* The same for one that knows its own write again: when an answer is lost, it is sent again and
 * looked at, so that success is told also if an earlier attempt had done it. The first operation's
 * key must be among the compared ones, and its value one that nobody else writes there (who, when,
 * random), or one of which it does not matter who wrote it. The error is of the last attempt: the
 * outcome is unknown then as well. */
void kv_txn_sure(struct kv *kv, const struct kv_compare *cmp, size_t n_cmp, const struct kv_op *ops,
    size_t n_ops, kv_txn_fn fn, void *ctx);
void kv_lease_grant(struct kv *kv, uint64_t ttl_ms, kv_lease_fn fn,
    void *ctx); /* at least 2 s: etcd grants no less */
void kv_lease_keep(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx);
void kv_lease_revoke(struct kv *kv, int64_t lease, kv_lease_fn fn, void *ctx);
/* from_revision 0: from now on. No callback comes after kv_unwatch() or after an error. */
struct kv_watch *kv_watch(
    struct kv *kv, const char *prefix, int64_t from_revision, kv_watch_fn fn, void *ctx);
void kv_unwatch(struct kv *kv, struct kv_watch *w);
void kv_status(struct kv *kv, kv_status_fn fn, void *ctx);
void kv_maintain(struct kv *kv, int64_t keep_from, kv_status_fn fn, void *ctx);
/* etcd only (kv_has_members()). The outcome of a change that failed with ERR_UNAVAILABLE or
 * ERR_TIMEOUT is unknown: list again. Promoting one that is still behind is ERR_REFUSED. */
bool kv_has_members(const struct kv *kv);
void kv_members(struct kv *kv, const struct kv_member_op *op, kv_members_fn fn, void *ctx);
void kv_close(struct kv *kv); /* NULL is fine; the rest happens on the loop */

MUST_CHECK int kv_sqlite_open(uv_loop_t *loop, const char *path, struct kv **ret, struct err *e);

/* SQLite and memory: transactions fail with ERR_UNAVAILABLE, reads go on. For a move. */
void kv_local_freeze(struct kv *kv, bool frozen);

struct kv_etcd_config {
    const char *const *endpoints; /* "https://10.20.0.11:2379", the own member first */
    size_t n_endpoints;
    const char *ca, *cert, *key; /* PEM paths; NULL with http:// */
    uint64_t timeout_ms;         /* per endpoint tried; 0: 3000, over an election's 1 to 2 s */
};
MUST_CHECK int kv_etcd_open(
    uv_loop_t *loop, const struct kv_etcd_config *c, struct kv **ret, struct err *e);
/* Members came or went: for the calls to come. */
void kv_etcd_set_endpoints(struct kv *kv, const char *const *endpoints, size_t n);

/* Virtual time: completions, watch events and lease ends happen inside kv_mem_run() only. */
struct kv *kv_mem_new(void);
size_t kv_mem_run(struct kv *kv, uint64_t now_ms); /* how many callbacks it made */
void kv_mem_set_down(struct kv *kv, bool down);    /* every call fails with ERR_UNAVAILABLE */
/* SQLite and memory: the next n transactions do what they should and are told ERR_UNAVAILABLE. */
void kv_local_lose_answers(struct kv *kv, unsigned n);

/* Raises the counter at `key` (absent: 0) by one and tells the new value: the fencing token. */
typedef void (*kv_epoch_fn)(void *ctx, int64_t epoch, const struct err *e);
void kv_epoch_raise(struct kv *kv, const char *key, kv_epoch_fn fn, void *ctx);
