/* SPDX-License-Identifier: Apache-2.0 */
/* What the mesh of one host knows and may do: who lives behind which address of the bridge, which
 * modules there are, who may call them, where their ready instances are, and on which virtual
 * addresses calls come in. Control compiles it, the mesh keeps the last one on disk.
 *
 *   {"format": 1, "seq": 7, "platform": "reindeers", "host": "hk1", "region": "ap-hongkong",
 *    "gateway": "100.127.0.1", "own": "100.127.128.1",
 *    "callers": {"100.127.0.5": {"unit": "api-1", "module": "api"}},
 *    "modules": {"ai": {"port": 8080, "callers": ["api"], "edges": ["hk1"],
 *      "targets": [{"unit": "ai-1", "host": "hk1", "tier": 0, "addresses": ["100.127.0.7"]},
 *                  {"unit": "ai-1", "host": "seoul1", "tier": 2, "addresses": ["10.40.0.11"]}]}},
 *    "listens": [{"address": "100.127.128.1", "module": "ai"},
 *                {"address": "100.127.128.9", "module": "web", "target":
 *                   {"unit": "web-2", "host": "hk2", "addresses": ["10.20.0.12"]}}],
 *    "egress": {"payment": [{"name": "psp.example", "below": false, "port": 0}]},
 *    "databases": [{"name": "trade", "epoch": 3, "port": 3306, "connections": 200,
 *      "source": {"host": "hk1", "addresses": ["10.20.0.11"]} or null,
 *      "share": 100, "replicas": [{"host": "seoul1", "addresses": ["10.40.0.11"]}],
 *      "hold_until_ms": null, "writable": true, "leased": true,
 *      "socket": "/var/lib/mcp/data/trade/run/db.sock" or null, or "10.9.0.5:3306" of a server that
 *      others run,
 *      "callers": {"api": {"access": "write"}}}]}
 *
 * A caller with "waits": "why" is a unit that is not admitted: whatever it calls is refused with those
 * words, and what it has open is ended when it comes to wait.
 *
 * Targets are ready instances, nearest first; "last": true marks one that takes no new calls but
 * still answers to its name (mesh_targets_settle()). A target of this host is reached at its own
 * address, one of another at that host's mesh. A listen without target takes calls of the units of
 * this host to any instance; one with it takes the connections of this host itself (its edge) to
 * that instance. One with {"database": "trade", "end": "rw"} takes units to a database: rw to its
 * source, ro to a replica.
 *
 * Of a database, replicas are those that may be read from, nearest first; the source has the epoch.
 * The socket is that of the member of this host; while it is the source and not yet writable, what
 * comes waits. Until hold_until_ms (wall) whoever wants rw waits for another view. `share` is what
 * one module may have of `connections`.
 *
 * Immutable after mesh_view_parse(); everything lives in one arena and dies with
 * mesh_view_free(). Lookups are pure and allocate nothing. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"

#define MESH_VIEW_BYTES_MAX (8u * 1024 * 1024)
#define MESH_PORT 7401       /* of a host's mesh, for other hosts' */
#define MESH_PROXY_PORT 3128 /* of the egress proxy, on the bridge */
#define MESH_TARGETS_MAX 1024
#define MESH_ADDRESSES_MAX 8
#define MESH_DATABASES_MAX 64
#define MESH_PLACES_MAX 32 /* of one database */

struct mesh_caller {
    struct ip_addr address;
    const char *unit;
    const struct mesh_module *module; /* never NULL */
    const char *waits; /* why it may call nobody now; NULL: it may */
};

struct mesh_target {
    const char *unit, *host;
    bool local, last;
    unsigned tier; /* 0: this host; 1: its region; then by distance */
    const struct ip_addr *addresses;
    size_t n_addresses;
};

struct mesh_egress {
    const char *name;
    bool below;
    uint16_t port; /* 0: 80 and 443 */
};

struct mesh_module {
    const char *name;
    uint16_t port; /* 0: nobody calls it */
    const char *const *callers;
    size_t n_callers;
    const char *const *edges; /* hosts whose edge routes to it */
    size_t n_edges;
    const struct mesh_target *targets; /* by tier */
    size_t n_targets;
    const struct mesh_egress *egress;
    size_t n_egress;
};

struct mesh_place { /* of a database: a host */
    const char *host;
    bool local;
    const struct ip_addr *addresses;
    size_t n_addresses;
};

struct mesh_reader { /* a module that needs a database */
    const char *module;
    bool write; /* else it may only read */
};

struct mesh_database {
    const char *name;
    int64_t epoch;
    uint16_t port;                    /* of its virtual addresses */
    const struct mesh_place *source;  /* NULL: none is known */
    const struct mesh_place *replicas; /* to be read from, nearest first */
    size_t n_replicas;
    int64_t hold_until_ms; /* wall; 0: it is not held */
    const char *socket;    /* of the member here; NULL: none. "": others run it, at: */
    struct ip_addr address;
    uint16_t address_port;
    bool writable;         /* the member here, if it is the source */
    bool leased;           /* its source acknowledges writes under a lease only */
    unsigned connections;  /* that one member takes */
    unsigned share;        /* of them, of one module */
    const struct mesh_reader *readers; /* by module */
    size_t n_readers;
};

struct mesh_listen { /* of a module or of a database */
    struct ip_addr address;
    const struct mesh_module *module;
    const struct mesh_target *target; /* NULL: any of the module's, for units */
    const struct mesh_database *database;
    bool write; /* the rw end of it */
};

struct mesh_view {
    struct arena *arena;
    int64_t seq;
    const char *platform, *host, *region;
    struct ip_addr gateway;
    struct ip_addr own; /* of the mesh on the bridge: from there it asks the resolver */
    const struct mesh_caller *callers; /* by address */
    size_t n_callers;
    struct mesh_module *modules; /* by name */
    size_t n_modules;
    const struct mesh_listen *listens; /* by address */
    size_t n_listens;
    const struct mesh_database *databases; /* by name */
    size_t n_databases;
};

MUST_CHECK int mesh_view_parse(const json_t *doc, struct mesh_view **ret, struct err *e);
void mesh_view_free(struct mesh_view *v); /* NULL is fine */
/* For who makes a document: where all targets of a module are "last" and others are awaited
 * (schedule_awaited()), those take calls until one of the others is known here. True: somewhere. */
bool mesh_targets_settle(json_t *modules, const json_t *awaited);

const struct mesh_module *mesh_view_module(const struct mesh_view *v, const char *name);
const struct mesh_caller *mesh_view_caller(const struct mesh_view *v, const struct ip_addr *a);
const struct mesh_listen *mesh_view_listen(const struct mesh_view *v, const struct ip_addr *a);
bool mesh_may_call(const char *caller, const struct mesh_module *target);
/* May a connection proven to be `id` (a SPIFFE id) speak to the module? */
bool mesh_may_link(const struct mesh_view *v, const char *id, const struct mesh_module *target);
/* The instance of this host that a hello names ("": any that takes calls, the n-th of them). */
const struct mesh_target *mesh_local_target(
    const struct mesh_module *m, const char *unit, unsigned n);
/* May the module reach that name (lower case, no trailing dot) outside? */
bool mesh_may_leave(const struct mesh_module *m, const char *name, uint16_t port);
/* Is it an address that only the platform or the machine itself has: nothing "outside" is there. */
bool mesh_is_inside(const struct ip_addr *a);

const struct mesh_database *mesh_view_database(const struct mesh_view *v, const char *name);
uint16_t mesh_listen_port(const struct mesh_listen *l);
/* What the module may do there; NULL: nothing. */
const struct mesh_reader *mesh_reader_of(const struct mesh_database *db, const char *module);
/* The module that a SPIFFE id of this platform names; NULL: it is none's. */
const char *mesh_module_in_id(const struct mesh_view *v, const char *id);
/* Is this host's member the one to write to? */
bool mesh_is_source_here(const struct mesh_database *db);

#define MESH_ORDER_MAX 8
/* Where one who wants to read goes: replicas, nearest first, those that `is_bad` (may be NULL) says
 * not to go to behind the source, which is behind the others. Who wants to write: the source. */
size_t mesh_database_order(const struct mesh_database *db, bool write,
    bool (*is_bad)(void *ctx, const struct mesh_place *p), void *ctx,
    const struct mesh_place *ret[MESH_ORDER_MAX]);
/* The targets to try, nearest first, the n-th of equals in front; ones that `is_bad` (may be NULL)
 * says not to go to come behind all others. */
size_t mesh_order(const struct mesh_module *m, unsigned n,
    bool (*is_bad)(void *ctx, const struct mesh_target *t), void *ctx,
    const struct mesh_target *ret[MESH_ORDER_MAX]);
