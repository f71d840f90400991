/* SPDX-License-Identifier: Apache-2.0 */
/* Which host may get which certificate, and when one is to be renewed. Pure.
 *
 *   host     spiffe://P/host/H with H's addresses: control mesh       every host of the model
 *   state    spiffe://P/control/H, by the state store's authority     every host; a member's serves
 *   edge     the names of the model's routes                          public hosts
 *   gateway  spiffe://P/edge/H: the edge towards modules              public hosts
 *   module   spiffe://P/module/M                                      hosts that run an instance
 *   data     mcp-data, spiffe://P/data/H with H's addresses           hosts that a database names
 *   mesh     spiffe://P/mesh/H: the ends of databases                 every host, with databases
 *
 * The asker's name is what its certificate proved, never what it says. Issuing keys are held by the
 * members of the state store; where there are none (one host, SQLite) by that host.
 *
 * A leaf lives for hours and is renewed around the middle of its life, at a moment of its own, so
 * that hosts do not ask all at once. All times are wall milliseconds; they may jump. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/model/model.h"

#define CAPOLICY_NAMES_MAX 4096u
#define CAPOLICY_ALARM_DAYS 14 /* before a root or an intermediate ends */
#define CAPOLICY_GATE_DAYS 3   /* changes are refused */

struct arena;

enum leaf_kind {
    LEAF_HOST,
    LEAF_STATE,
    LEAF_EDGE,
    LEAF_GATEWAY,
    LEAF_MODULE,
    LEAF_DATA,
    LEAF_MESH,
    LEAF_KINDS
};
const char *leaf_kind_name(enum leaf_kind k);
int leaf_kind_parse(const char *name); /* -1: no kind */

struct capolicy_facts {
    const char *platform;
    const struct model *model; /* NULL: before the first revision nothing but `self` is known */
    const json_t *placements;  /* {"<region>": placement document}; a region without: as compiled */
    const struct model_host *self; /* what the boot record says of this host, or NULL */
    bool self_is_member;
    /* [{"host", ...}] that the state store has now; empty or NULL: not known. Who leaves it serves
     * it until it has left. */
    const json_t *members;
};

struct capolicy_leaf { /* what a certificate is to say; in the arena */
    enum leaf_kind kind;
    const char *common_name;
    const char *uri; /* NULL: none */
    const struct ip_addr *addresses;
    size_t n_addresses;
    const char *const *names;
    size_t n_names;
    bool is_client;
    bool is_member; /* of the state store */
};

/* May `host` have that leaf? `module` for LEAF_MODULE only. ERR_REFUSED says why not. */
MUST_CHECK int capolicy_leaf(const struct capolicy_facts *f, const char *host, enum leaf_kind kind,
    const char *module, struct arena *a, struct capolicy_leaf *ret, struct err *e);
/* May that host hold the issuing keys? */
bool capolicy_holds(const struct model *m, const char *host);
/* Does any declared database have a member there? */
bool capolicy_has_data(const struct model *m, const char *host);
/* The domain, *.domain, and every name that a route has. */
const char *const *capolicy_edge_names(const struct model *m, struct arena *a, size_t *ret_n);

struct capolicy_life {
    int64_t issued_ms; /* without the backdating */
    int64_t not_before_ms, not_after_ms;
};

enum capolicy_state {
    LIFE_FRESH,
    LIFE_DUE,     /* to be renewed; nothing is wrong yet */
    LIFE_LATE,    /* under a quarter is left: renewing has failed for long */
    LIFE_EXPIRED, /* others refuse it */
    LIFE_EARLY,   /* not valid yet: this host's clock went back, or the issuer's is ahead */
    LIFE_NONE,    /* there is no certificate */
};
const char *capolicy_state_name(enum capolicy_state s);

/* jitter: 0 to 1, the host's own for this leaf. */
int64_t capolicy_renew_at(const struct capolicy_life *l, double jitter);
/* renew_after_ms: leaves made before it are due (0: none are). */
enum capolicy_state capolicy_state(
    const struct capolicy_life *l, double jitter, int64_t renew_after_ms, int64_t now_ms);
/* How long to wait after the n-th failure in a row (from 1): doubles, never longer than a twentieth
 * of the life, at most five minutes. */
uint64_t capolicy_retry_ms(unsigned failures, int64_t life_ms, double jitter);
/* When to look again: at the renewal, but at least once a minute, since wall time jumps. */
uint64_t capolicy_look_ms(const struct capolicy_life *l, double jitter, int64_t now_ms);

/* What is to be said about an authority's certificate ("the root"): false: nothing. */
bool capolicy_alarm(
    const char *what, const char *fix, int64_t not_after_ms, int64_t now_ms, char ret[256]);
/* ERR_REFUSED when it ends so soon that nothing may be changed before it is replaced. */
MUST_CHECK int capolicy_gate(
    const char *what, const char *fix, int64_t not_after_ms, int64_t now_ms, struct err *e);
