/* SPDX-License-Identifier: Apache-2.0 */
/* What the edge serves: names, path prefixes, certificates and the instances behind them, as one
 * immutable snapshot. Control compiles it per region from the declaration, the edge keeps the last
 * one on disk and starts from it.
 *
 * The document ("routes" to the edge; all but format, revision and routes may be left out):
 *   {"format": 1, "revision": 7, "platform": "reindeers", "region": "ap-seoul",
 *    "identity": "absent",
 *    "http": "redirect",
 *    "certificates": [{"name": "platform", "names": ["reindeers.com", "*.reindeers.com"],
 *                      "default": true, "cert": "<PEM chain>", "key": "<PEM>"}],
 *    "routes": [{"name": "api.reindeers.com", "path": "/v1", "module": "api",
 *                "auth": "jwt"|"none"}],
 *    "endpoints": {"api": [{"unit": "api-1", "address": "100.127.0.5", "port": 8080,
 *                           "ready": true, "weight": 100}]}}
 * identity: "absent" says that nobody can verify tokens on this platform: routes with auth jwt are
 * served all the same, and the edge raises an alarm in its status, metrics and the timeline.
 * Anything else (default "present"): such a route answers 401 until its token can be checked.
 * A route's name "*" stands for every name that has no routes of its own.
 * http: "redirect": port 80 sends to https (308); "serve": it serves like 443.
 *
 * "endpoints" to the edge: {"endpoints": {...}, "seq": N} replaces that member and nothing else, and
 * is answered {"seq": N} once no request is on its way to an instance that is not in it any more.
 * Instances of other regions are never in it: what a region cannot serve itself, steering takes away
 * from it.
 *
 * Lookup is pure and takes normal forms (proto/uri): the longest prefix that ends at a "/" or at
 * the path's end. A snapshot lives in one arena; whoever shares it between threads counts its
 * users. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"
#include "domain/model/model.h"

#define ROUTE_BYTES_MAX (8u * 1024 * 1024)
#define ROUTE_NAMES_MAX 4096
#define ROUTE_ENDPOINTS_MAX 4096 /* of one module */
#define ROUTE_WEIGHT_DEFAULT 100
#define ROUTE_WEIGHT_MAX 1000

struct route_endpoint {
    const char *unit;
    struct ip_addr address;
    uint16_t port;
    uint16_t weight; /* share of requests among the ready ones; 0: none, it waits for its turn */
    bool ready;
};

struct route_module { /* of the routes; one that no route names is not kept */
    const char *name;
    size_t index; /* in the snapshot */
    const struct route_endpoint *endpoints;
    size_t n_endpoints, n_ready; /* ready: and with a weight */
};

struct route_rule {
    const char *path; /* normal form, no "/" at its end unless it is "/" */
    size_t path_len;
    const struct route_module *module;
    enum route_auth auth;
};

struct route_name {
    const char *name;
    size_t index;                   /* in the snapshot */
    const struct route_rule *rules; /* longest path first */
    size_t n_rules;
};

struct route_certificate {
    const char *name;
    const char *const *names; /* lower case; "*.x" covers one label */
    size_t n_names;
    const char *cert, *key; /* PEM texts */
    bool is_default;
};

struct route_snapshot {
    struct arena *arena;
    int64_t revision;
    const char *platform, *region;
    bool identity_absent;
    bool serve_http; /* port 80 serves, instead of redirecting */
    const struct route_name *names;
    size_t n_names;
    const struct route_module *modules;
    size_t n_modules;
    const struct route_certificate *certificates;
    size_t n_certificates;
    size_t n_open_jwt;     /* routes with auth jwt that are served without it: identity is absent */
    const struct route_name *any; /* "*"; NULL: a name without routes is not served */
    const uint32_t *table; /* name hash -> index + 1; a power of two long */
    size_t table_size;
};

/* Reads a whole document strictly: every error names its place. `endpoints` (an object, borrowed,
 * may be NULL) takes the place of the document's own. */
MUST_CHECK int route_snapshot_new(
    const json_t *doc, const json_t *endpoints, struct route_snapshot **ret, struct err *e);
void route_snapshot_free(struct route_snapshot *s); /* NULL is fine */

/* NULL: not a name of the platform. `name`: uri_host_normalise(). */
const struct route_name *route_find_name(
    const struct route_snapshot *s, const char *name, size_t len);
/* NULL: the name has no route for the path. `path`: uri_path_normalise(). */
const struct route_rule *route_find_rule(const struct route_name *n, const char *path, size_t len);
/* For a TLS server name (NULL or "": none sent): the exact name, then the wildcard, then the
 * default; NULL: none. */
const struct route_certificate *route_find_certificate(
    const struct route_snapshot *s, const char *server_name);

/* /healthz of a name (design: health per name and region), from local facts alone: ready when every
 * route of the name has a ready instance here. Without a snapshot or for an unknown name: not
 * ready. {"name", "region", "ready", "missing": [...]} without "missing" when ready. */
bool route_health(const struct route_snapshot *s, const char *name, json_t **ret);

/* The document for one region, without certificates and endpoints. Modules without instances there
 * keep their routes: the region says truthfully that it cannot serve them. `identity` is "absent"
 * when the platform declares none. */
json_t *route_snapshot_from_model(
    const struct model *m, const struct model_region *region, int64_t revision);
/* Ends the making of an "endpoints" object. Instances that are to leave carry "last": true and go,
 * but for those of a module of which nobody else is ready: its new instances are "awaited"
 * (schedule_awaited()), and who decided knows them to be ready before this host does. Until they
 * are ready here, too, ready ones that leave serve on. True: some do. */
bool route_endpoints_settle(json_t *endpoints, const json_t *awaited);
/* Puts an instance into an "endpoints" object; what it has become, borrowed. */
json_t *route_endpoints_add(json_t *endpoints, const char *module, const char *unit,
    const char *address, uint16_t port, bool ready, unsigned weight);
