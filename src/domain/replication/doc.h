/* SPDX-License-Identifier: Apache-2.0 */
/* The document `data/<database>` of the state store: who holds a database, who is its source, at
 * which epoch. It is the truth that every actuator goes by; only switchover and failover move the
 * source.
 *
 *   {"format": 1, "epoch": 3, "source": "hk1", "next_id": 3,
 *    "members": [{"host": "hk1", "region": "ap-hongkong", "address": "10.20.0.11", "port": 3306,
 *      "server_id": 1, "domain_id": 1, "delay_ms": 0}, ...],
 *    "changes": 4, "change": {"kind": "switchover", "id": 4, ...} | null,
 *    "sync": {"hosts", "try"} (sync.h), "last": {"id": 3, "outcome": "done" | "undone" | "partial", ...} | null}
 *
 * The epoch starts at 1 and only rises. server_id and domain_id are one number, given once and
 * never used again: what an old member wrote keeps its name. A change is what moves the source, one
 * at a time, numbered by `changes`; `last` is the one that ended before. Members that this version
 * does not know survive: the changes below work on the JSON itself. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define REPLICATION_FORMAT 1
#define REPLICATION_MEMBERS_MAX 16u

struct replication_member { /* texts are the document's */
    const char *host, *region, *address;
    uint16_t port;
    uint32_t id; /* server_id and domain_id */
    uint64_t delay_ms;
};

struct replication_doc {
    const json_t *json; /* borrowed: as long as the document lives */
    int64_t epoch;
    const struct replication_member *source; /* one of members */
    struct replication_member members[REPLICATION_MEMBERS_MAX];
    size_t n_members;
    int64_t changes, last_id; /* numbers of the newest change and of the newest ended one */
    const json_t *change;     /* NULL: none is under way */
};

/* ERR_INVALID names what is wrong; another format is ERR_REFUSED (a newer version wrote it). */
MUST_CHECK int replication_doc_parse(
    const json_t *json, struct replication_doc *ret, struct err *e);
const struct replication_member *replication_doc_find(
    const struct replication_doc *d, const char *host);

/* A new document at epoch 1; the first of `members` is the source, ids are given in order. */
json_t *replication_doc_new(const struct replication_member *members, size_t n);
/* New references with one thing changed. Adding gives the next id; `m->id` is ignored. The caller
 * makes sure that the host is (not) a member; the source is never removed. */
json_t *replication_doc_add(const json_t *json, const struct replication_member *m);
json_t *replication_doc_remove(const json_t *json, const char *host);
/* The source is `host` from now on, at the next epoch. */
json_t *replication_doc_move(const json_t *json, const char *host);
