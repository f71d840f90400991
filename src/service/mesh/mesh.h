/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh of one host: carries the calls of modules to modules. A unit connects to a virtual
 * address of its bridge; where that call may go, and whether, the view says (domain/mesh). An
 * instance of this host is reached directly, one of another host through that host's mesh over
 * TLS 1.3, with the certificate of the calling module on one end and of the called one on the
 * other. Calls that nobody declared are closed at once and told.
 *
 * A database has two addresses: rw leads to its source, ro to the nearest replica that may be read
 * from. On the host of that member its mesh, proven by its own certificate, connects to the engine's
 * Unix socket, through a gate (service/gate) that knows where statements begin and end. When the
 * source has moved, connections to the old one are ended on both hosts.
 *
 * What units say to the outside goes through a proxy on the bridge (HTTP CONNECT, and plain HTTP),
 * which lets through the names that egress: declares, asks the host's resolver for them, and goes to
 * no address that is not outside.
 *
 * Views and identities are immutable and swapped whole; each flow keeps the ones it began with, so
 * that neither a new view nor new certificates end a connection. The main thread makes and frees
 * them. The last ones lie in state_dir (mode 0600: they hold keys), so that the mesh starts without
 * control. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"

#define MESH_KEEP_MAX 128 /* sockets that a predecessor can hand over */

struct mesh;
struct metrics;

struct mesh_config {
    unsigned threads;   /* 0: one per core */
    unsigned max_flows; /* 0: by RLIMIT_NOFILE */
    const int *links;   /* listening for other hosts' meshes; stay the caller's */
    size_t n_links;
    const int *proxies; /* listening for units on their way out; the same */
    size_t n_proxies;
    uint16_t resolver_port; /* 0: 53 */
    const int *kept;        /* mesh_listens() of a predecessor; stay the caller's */
    size_t n_kept;
    const char *state_dir; /* view.json, identities.json */
    struct metrics *metrics;
    /* Something was refused, once a minute for one caller and one target: "web tried to call
     * payment: not in its needs". From any thread. */
    void (*refused)(void *ctx, const char *subject, const char *message);
    void (*stopped)(void *ctx); /* drained; from another thread */
    void *ctx;
};

/* Takes what is stored, starts the threads. */
MUST_CHECK int mesh_start(const struct mesh_config *config, struct mesh **ret, struct err *e);

/* All of the following: the thread that called mesh_start(). On failure the old one stays. */

MUST_CHECK int mesh_set_view(struct mesh *m, json_t *doc, struct err *e);
/* {"ca": PEM bundle, "identities": [{"id": "module/api", "cert": PEM chain, "key": PEM}]} */
MUST_CHECK int mesh_set_identities(struct mesh *m, json_t *doc, struct err *e);
MUST_CHECK int mesh_store(struct mesh *m, struct err *e); /* what is not stored yet */
/* {"seq", "listens", "identities": [...], "flows", "warnings": [...], "databases": {"trade": {"rw":
 * {"sessions", "busy", "waiting", "slow", "health"}, "ro": {...}}}} */
json_t *mesh_status(struct mesh *m);
/* Tries again what could not be listened on; false: something still cannot. */
bool mesh_relisten(struct mesh *m);
/* The sockets on virtual addresses; they stay the mesh's. At most max. */
size_t mesh_listens(const struct mesh *m, int *fds, size_t max);
/* Statements and new connections of a database whose source is here wait, for that long at most;
 * transactions that are open go on. ERR_REFUSED: it is past that epoch; ERR_UNAVAILABLE: not yet. */
#define MESH_HOLD_MAX_MS 3600000u
MUST_CHECK int mesh_hold(
    struct mesh *m, const char *database, int64_t epoch, uint64_t for_ms, struct err *e);
/* Under a lease (failover/lease.h): what goes through the gate of a database whose view says that it
 * needs one is acknowledged until then, CLOCK_BOOTTIME, at that epoch; 0: no longer. */
void mesh_lease(struct mesh *m, const char *database, int64_t epoch, uint64_t until_ms);
/* What waits goes on, or, when the source of that epoch is elsewhere, is sent away. */
MUST_CHECK int mesh_release(struct mesh *m, const char *database, int64_t epoch, struct err *e);
/* Is no statement under way and no transaction open? */
bool mesh_is_quiet(const struct mesh *m, const char *database, unsigned *ret_busy);
/* Ends the sessions in which a statement is under way or a transaction is open: who waits for an
 * answer sees a broken connection. */
void mesh_break(struct mesh *m, const char *database);
/* Ends holds whose time is over; to be called every now and then while it says true. */
bool mesh_hold_look(struct mesh *m);
void mesh_metrics_collect(struct mesh *m); /* before metrics_format() */
const char *mesh_start_warning(const struct mesh *m); /* the stored ones cannot be used: why */
void mesh_drain(struct mesh *m);
void mesh_free(struct mesh *m); /* waits for the threads */
