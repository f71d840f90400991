/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent is told to run: one `struct unit_spec` an instance, read strictly from the "units" snapshot, from
 * the boot units' file and from the agent's own copy, which all have one form:
 *
 *   {"revision": N, "units": [{"name": "api-1", "kind": "module"|"engine", "module": "api",
 *     "runtime": "oci"|"exec", "image": "sha256:..." (oci), "command": [...]|null, "env": {...}, "port": 8080,
 *     "user": "etcd" (exec), "cwd": "/" (exec),
 *     "probe": {"kind": "http|tcp|exec|none", "path", "command", "interval_ms", "timeout_ms", "start_timeout_ms",
 *       "failures"},
 *     "limits": {"memory_bytes", "cpu_milli", "pids"}, "stop_timeout_ms", "standby": false,
 *     "secrets": [{"name", "file", "mode": 256, "on_change": "watch|restart|signal", "signal": 1}, ...],
 *     "engine": {"kind": "mariadb", "database": "trade", "server_id": 1, "domain_id": 1, "address": "10.20.0.12",
 *       "port": 3306, "memory_bytes", "connections", "semi_sync": false},
 *     "spec": "sha256:..."}, ...]}
 *
 * Every number has a range, every name is one DNS label; unknown members are ignored. Texts live in the arena of
 * the `struct unit_specs` that parsed them. `digest` names the content: another digest means another process. */
#pragma once

#include "base/arena/arena.h"
#include "base/digest/digest.h"
#include "base/ip/ip.h"
#include "base/json/json.h"
#include "base/str/str.h"
#include "domain/model/model.h"

#define UNIT_NAME_MAX 47 /* a module's name and "-NNNN" */
#define UNIT_SPECS_MAX 4096
#define UNIT_SPECS_BYTES_MAX (8u * 1024 * 1024)

enum unit_kind { UNIT_MODULE, UNIT_ENGINE };
enum unit_runtime { UNIT_OCI, UNIT_EXEC };

/* A database's server: what its configuration is made from. Its folder follows from the name. */
struct unit_engine {
    const char *database;
    uint32_t server_id, domain_id;
    struct ip_addr address; /* where it listens; modules come by the socket */
    uint16_t port;
    uint64_t memory_bytes;
    unsigned connections;
    bool semi_sync;
    const char *backups; /* the folder that holds one for its backups; NULL: none */
};

struct unit_spec {
    const char *name; /* "api-1" */
    enum unit_kind kind;
    const char *module; /* "api"; an engine's own name */
    enum unit_runtime runtime;
    const char *image;          /* manifest digest; NULL for exec */
    const char *const *command; /* NULL-terminated; NULL: the image's */
    const char *const *env;     /* "NAME=value", NULL-terminated, never NULL */
    const char *user;           /* exec: a name or "uid:gid"; NULL: root */
    const char *cwd;            /* exec; NULL: "/" */
    uint16_t port;              /* 0: none */
    struct model_probe probe;
    struct model_limits limits;
    uint64_t stop_timeout_ms;
    const struct model_secret *secrets; /* names and files, never values */
    size_t n_secrets;
    const struct unit_engine *engine; /* NULL: none */
    bool standby;
    const char *generation; /* "spec": what the placement calls it; NULL: it does not say */
    char digest[DIGEST_SIZE]; /* of the canonical JSON, `standby` and `spec` left out */
    json_t *json;             /* borrowed from the document */
};

struct unit_specs {
    struct arena *arena;
    json_t *json; /* the whole document: what the agent keeps on disk */
    int64_t revision;
    struct unit_spec *v;
    size_t n;
};

/* `doc` is borrowed (a reference is taken). Two units of one name are ERR_INVALID. */
MUST_CHECK int unit_specs_parse(json_t *doc, struct unit_specs **ret, struct err *e);
void unit_specs_free(struct unit_specs *s); /* NULL is fine */
const struct unit_spec *unit_specs_find(const struct unit_specs *s, const char *name);
/* One unit's JSON from its fields (digest and json are ignored): for who makes snapshots. */
json_t *unit_spec_format(const struct unit_spec *s);
bool unit_name_valid(const char *name);
/* Appends the server's configuration file: what keeps data safe is not for anybody to change. */
void unit_engine_config(const struct unit_engine *g, struct str *out);
#define UNIT_ENGINE_ROOT "/var/lib/mcp/data" /* a folder for each database */
#define UNIT_ENGINE_USER "mysql"
const char *unit_kind_name(enum unit_kind kind);
const char *unit_runtime_name(enum unit_runtime runtime);
const char *probe_kind_name(enum probe_kind kind);
