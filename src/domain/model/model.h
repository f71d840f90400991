/* SPDX-License-Identifier: Apache-2.0 */
/* The platform as declared: typed, validated, every default filled in, every name resolved to a
 * pointer. Parsed from platform.yaml or from a revision's canonical JSON by the same code (JSON is
 * YAML). Immutable after model_parse(); everything lives in one arena and dies with model_free().
 * Regions, hosts, modules and countries are sorted by name: JSON maps have no order, so a region's
 * index is the same on every host. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"

struct arena;
struct problems;
struct schema_row;

#define MODEL_TEXT_MAX (4u * 1024 * 1024)
#define MODEL_NAME_MAX                                                                             \
    40 /* of regions, hosts, modules: one DNS label with room for "-NN" behind it */
#define MODEL_PLATFORM_MAX 32
#define MODEL_REGIONS_MAX 64 /* a region set is one 64-bit mask */
#define MODEL_HOSTS_MAX 256
#define MODEL_MODULES_MAX 4096
#define MODEL_INSTANCES_MAX 99 /* of one module in one region: "-NN" */

struct model_addrs {
    const struct ip_addr *v; /* declared order, both families */
    size_t n;
};

enum region_duty { REGION_MAIN, REGION_DR, REGION_SERVING };

struct model_region {
    const char *name;
    size_t index; /* in model.regions: the bit in region sets */
    enum region_duty duty;
    struct model_addrs addresses; /* public */
    const struct ip_prefix *networks;
    size_t n_networks;
};

struct model_host {
    const char *name;
    size_t index;
    const struct model_region *region;
    struct model_addrs addresses; /* private */
    bool is_public;               /* holds the region's public addresses: runs dns and edge */
    struct ip_prefix bridge;      /* of its containers; default 100.127.0.0/16 */
};

struct model_wan {
    const struct model_region *a, *b;
    uint64_t delay_us; /* one way */
    double loss;       /* 0 .. 1 */
    uint64_t rate_bps; /* 0: no limit */
};

struct model_client {
    const char *country; /* "KR" */
    struct ip_prefix prefix;
};

struct model_lab {
    const struct model_wan *wan;
    size_t n_wan;
    const struct model_client *clients;
    size_t n_clients;
};

struct model_region_list {
    const struct model_region *const *v;
    size_t n;
};

struct model_country {
    const char *code;               /* ISO 3166-1 alpha-2, upper case */
    struct model_region_list order; /* as declared, then on_failure's, repeats dropped */
};

struct model_nameserver {
    const char *label; /* "ns1" */
    const struct model_region *region;
};

struct model_record {
    const char *name;  /* "@" or relative or absolute, as declared */
    const char *fqdn;  /* lower case, no trailing dot */
    const char *type;  /* "MX", "TXT", "CNAME", "CAA", "SRV", "A", "AAAA" */
    const char *value; /* presentation form; names absolute with a trailing dot, texts quoted */
    uint64_t ttl_ms;
};

struct model_override {
    struct ip_prefix prefix;
    const char *country;
};

struct model_health {
    uint64_t interval_ms, timeout_ms;
    unsigned down, up;
    const char *const *references; /* "host:port" reached to prove one's own network */
    size_t n_references;
};

struct model_routing {
    const char *provider; /* "own" */
    uint64_t ttl_ms;
    const struct model_nameserver *nameservers;
    size_t n_nameservers;
    struct model_health health;
    const struct model_country *countries;
    size_t n_countries;
    struct model_region_list fallback; /* `default`, with on_failure appended */
    const struct model_record *records;
    size_t n_records;
    const struct model_override *overrides; /* prefix -> country, before the database */
    size_t n_overrides;
    const char *geo_database; /* path of an mmdb, or NULL: the installed one */
};

enum probe_kind { PROBE_HTTP, PROBE_TCP, PROBE_EXEC, PROBE_NONE };

struct model_probe {
    enum probe_kind kind;
    const char *path;           /* http */
    const char *const *command; /* exec, NULL-terminated */
    uint64_t interval_ms, timeout_ms;
    uint64_t start_timeout_ms; /* starting longer than this is a failed start */
    unsigned failures;         /* consecutive, ready -> unhealthy */
};

struct model_limits {
    uint64_t memory_bytes;
    unsigned cpu_milli; /* 1000 = one core; 0: no limit */
    unsigned pids;
};

enum route_auth { AUTH_JWT, AUTH_NONE };

struct model_route {
    const char *const *names; /* lower case, no trailing dot */
    size_t n_names;
    const char
        *path; /* prefix of whole segments, starts with "/", ends with one only if it is "/" */
    enum route_auth auth;
};

enum rollout_strategy { ROLLOUT_ROLLING, ROLLOUT_BLUE_GREEN, ROLLOUT_CANARY, ROLLOUT_REPLACE };

struct model_rollout { /* how one generation of a module gives way to the next */
    enum rollout_strategy strategy;
    unsigned wave;          /* instances at a time; 0: wave_percent says it */
    unsigned wave_percent;  /* of those wanted in a region, at least one */
    unsigned canary_weight; /* percent of the traffic that the canary phase gets */
    uint64_t canary_ms;     /* how long the canaries have to be ready together */
    uint64_t deadline_ms;   /* of each wave: a wave that is not ready by then fails the rollout */
    uint64_t drain_ms;      /* an instance that leaves goes after this time at the latest */
};

struct model_instances {
    const struct model_region *region;
    unsigned active;
    unsigned standby;
};

struct model_egress { /* a name outside of the platform */
    const char *name; /* lower case, without "*." */
    bool below;       /* declared as *.name: every name below it, not itself */
    uint16_t port;    /* 0: 80 and 443 */
};

enum secret_change { SECRET_WATCH, SECRET_RESTART, SECRET_SIGNAL };

struct model_secret { /* one that a module asks for */
    const char *name;
    const char *file; /* below /run/secrets */
    unsigned mode;    /* 0400, 0440 or 0444 */
    enum secret_change on_change;
    int signal; /* SECRET_SIGNAL */
    bool made;  /* by the platform: its password of a database */
};

#define MODEL_SECRETS_MAX 64 /* that one module declares */
#define MODEL_SECRET_NAME_MAX 96
/* Of secrets that the platform makes: "data.<database>.<module>". Nobody else's begins so. */
#define MODEL_CREDENTIAL_PREFIX "data."
#define MODEL_SECRET_NAME_EXPECTED                                                                 \
    "a secret's name: at most 96 letters, digits, dots, dashes and underscores, the first a "      \
    "letter or a digit"
bool model_secret_name_valid(const char *name); /* also what a file of one may be called */
bool model_secret_is_made(const char *name);    /* by the platform */
const char *secret_change_name(enum secret_change c);

/* ---- data: databases and who may do what in them */

enum data_engine { DATA_MARIADB, DATA_MYSQL };
enum data_mode { DATA_ASYNC, DATA_SEMI_SYNC };
enum data_recovery { DATA_AUTO, DATA_MANUAL };
enum data_access { DATA_READ, DATA_WRITE }; /* write includes read */
enum events_need { EVENTS_PUBLISH, EVENTS_CONSUME };

#define MODEL_DATABASES_MAX 32
#define MODEL_MEMBERS_MAX 16 /* of one database */
#define MODEL_SECRET_FILES_MAX (MODEL_SECRETS_MAX + MODEL_DATABASES_MAX) /* of one module */
#define MODEL_DATABASE_NAME_MAX 32 /* small letters and digits: a schema's name without quotes */
#define MODEL_CONNECTIONS_MAX 10000

bool model_database_name_valid(const char *name);

struct model_member { /* a database in one region */
    const struct model_region *region;
    const struct model_host *host; /* runs the engine; external: asks it */
    const char *external;          /* "10.9.0.5:3306"; NULL: managed */
    uint64_t delay_ms;             /* a replica that stays behind on purpose */
};

struct model_replication {
    enum data_mode mode;
    uint64_t heartbeat_ms;
    enum data_recovery recovery;
    uint64_t retention_ms;       /* of binary logs */
    uint64_t lag_objective_ms;
    uint64_t read_only_check_ms; /* between two checks that replicas refuse writes */
    const char *disk_full;       /* "keep" or "sacrifice:REGION" */
};

/* How it is proven that a server which others run takes no writes. */
enum data_fence { DATA_FENCE_NONE, DATA_FENCE_STATEMENT, DATA_FENCE_FUNCTION };

struct model_failover {
    bool declared; /* its source needs a lease in order to write */
    bool automatic;
    uint64_t lease_ms, max_lag_ms, cooldown_ms, drill_max_age_ms;
    /* Run before its point of no return, and afterwards; NULL-terminated. */
    const struct model_function *const *before, *const *after;
    enum data_fence fence; /* of external servers */
    const struct model_function *fence_function; /* DATA_FENCE_FUNCTION */
};

struct model_backup {
    const char *schedule; /* "daily 03:30"; NULL: none but by hand */
    uint64_t keep_ms;
    const char *directory;
};

struct model_database {
    const char *name;
    enum data_engine engine;
    bool managed;
    const struct model_region *source;   /* preferred when the database is formed, never after */
    const struct model_member *members;  /* the preferred source first, replicas as declared */
    size_t n_members;
    uint16_t port;
    const char *const *schema; /* paths of SQL files, in order */
    size_t n_schema;
    struct model_limits limits;
    unsigned connections;
    struct model_replication replication;
    struct model_failover failover;
    struct model_backup backup;
    bool tls;           /* external: it is spoken to by TLS */
    const char *secret; /* external: holds user and password; NULL: managed */
};

struct model_grant { /* what a module may do in one database: all its needs of it in one */
    const struct model_database *database;
    const char *const *tables; /* sorted, NULL-terminated; "*": all */
    const enum data_access *access; /* of each table */
    size_t n_tables;
    bool publish, consume; /* events through this database's outbox and inbox */
};

struct model_module {
    const char *name;
    const char *image;          /* "oci:images/api" or "docker://..." as declared */
    uint16_t port;              /* 0: none */
    const char *const *command; /* replaces the image's, NULL-terminated, or NULL */
    const char *const *env;     /* "NAME=value", NULL-terminated, sorted */
    struct model_probe probe;
    struct model_limits limits;
    uint64_t stop_timeout_ms;
    struct model_rollout rollout;
    const struct model_route *routes;
    size_t n_routes;
    const struct model_instances *instances;
    size_t n_instances;
    const struct model_module *const *needs; /* modules it may call, by name, each once */
    size_t n_needs;
    const struct model_grant *grants; /* by name of the database, each once */
    size_t n_grants;
    const struct model_egress *egress;
    size_t n_egress;
    const struct model_secret *secrets; /* in the order of the declaration */
    size_t n_secrets;
    /* Run before a deployment of it begins, and after its rollout; NULL-terminated. */
    const struct model_function *const *before, *const *after;
};

#define MODEL_FUNCTIONS_MAX 256
#define MODEL_FUNCTION_DEADLINE_MS_MAX 60000

enum function_right { FUNCTION_STEER_AWAY, FUNCTION_STEER_BACK, FUNCTION_RIGHTS };
const char *function_right_name(enum function_right r); /* "dns:SteerAway" */
bool function_right_parse(const char *name, enum function_right *ret);

/* A container that runs once. `as` has its name, image, command, env, limits, secrets and egress,
 * nothing of all else that a module has, and stands in no list of modules. */
struct model_function {
    struct model_module as; /* first: found by its name */
    uint64_t deadline_ms;
    unsigned may; /* 1 << enum function_right */
};

/* ---- alarms */

#define MODEL_ALARMS_MAX 256
#define MODEL_NOTIFY_MAX 16

struct model_notify { /* who is told: a webhook in Slack's form */
    const char *name;
    const char *url_secret; /* the secret that holds its URL */
    const char *channel, *username; /* NULL: as the webhook has it */
    bool builtin; /* of built-in alarms too */
    int severity; /* of which it is told, from this on: enum alarm_severity */
};

struct model_alarm {
    const char *name;
    const char *when, *clear; /* expressions (domain/alarm/rule.h); clear NULL: not `when` */
    uint64_t for_ms, clear_for_ms, repeat_ms;
    int severity; /* enum alarm_severity */
    const char *const *notify;
    size_t n_notify;
    const char *run; /* a function; NULL: none */
};

struct model {
    struct arena *arena;
    const char *platform;
    const char *domain;
    struct model_region *regions;
    size_t n_regions;
    struct model_host *hosts;
    size_t n_hosts;
    const struct model_host **members; /* of the state store; none: one host with SQLite */
    size_t n_members;
    struct model_lab lab;
    struct model_routing routing;
    struct model_module *modules;
    size_t n_modules;
    const struct model_database *databases; /* by name */
    size_t n_databases;
    const struct model_function *functions; /* by name; none's is a module's */
    size_t n_functions;
    const struct model_database *outbox; /* carries events; NULL: none */
    const struct model_alarm *alarms; /* declared ones, by name */
    size_t n_alarms;
    const struct model_notify *notify; /* by name */
    size_t n_notify;
    json_t *tree; /* canonical: the declaration with defaults, the content of a revision */
};

/* Adds everything that is wrong to p (and returns ERR_INVALID); *ret is untouched then. */
MUST_CHECK int model_parse_problems(
    const char *text, size_t len, struct model **ret, struct problems *p);
/* A canonical tree, as a revision holds it: no text is parsed again. Errors have keys, no lines. */
MUST_CHECK int model_parse_json(const json_t *tree, struct model **ret, struct err *e);
/* `name` is the file as shown in errors. On failure every error of the text is in `errors`, one a
 * line, "file:line:col: message; fix: ..." (may be NULL), and *e summarises (its message holds them
 * all when they fit). */
MUST_CHECK int model_parse(const char *text, size_t len, const char *name, struct model **ret,
    struct str *errors, struct err *e);
void model_free(struct model *m); /* NULL is fine */

const struct model_region *model_find_region(const struct model *m, const char *name);
const struct model_host *model_find_host(const struct model *m, const char *name);
const struct model_module *model_find_module(const struct model *m, const char *name);
/* The lease that its source needs in order to write; 0: it needs none. */
uint64_t model_lease_ms(const struct model_database *db);
/* Is it watched for failover? It has a lease, or a fence is declared for it, and somebody to take over. */
bool model_fails_over(const struct model_database *db);
const struct model_function *model_find_function(const struct model *m, const char *name);
const struct model_database *model_find_database(const struct model *m, const char *name);
const struct model_notify *model_find_notify(const struct model *m, const char *name);
/* The member on that host; NULL: it has none. */
const struct model_member *model_database_member(
    const struct model_database *db, const char *host);
/* What the module may do in the database; NULL: nothing. */
/* Modules' accounts and passwords in it are the platform's to make. */
bool model_database_has_accounts(const struct model_database *db);
/* Modules reach it by the ends rw and ro. */
bool model_database_has_ends(const struct model_database *db);
const struct model_grant *model_grant(
    const struct model_module *module, const struct model_database *db);
const char *data_engine_name(enum data_engine engine);
const char *data_mode_name(enum data_mode mode);
const char *data_recovery_name(enum data_recovery recovery);
const char *data_access_name(enum data_access access);
const struct model_region *model_region_of_duty(
    const struct model *m, enum region_duty duty); /* NULL: none */
const struct schema_row *model_schema(void); /* of the whole file: `mcp schema`, the man page */
/* The first host of a region: where its instances go until placement spreads them. NULL: the region
 * has none. */
const struct model_host *model_first_host(const struct model *m, const struct model_region *region);
/* One host alone keeps its state in SQLite, whatever members are declared; several need etcd. */
bool model_has_etcd(const struct model *m);
const char *region_duty_name(enum region_duty duty);
const char *rollout_strategy_name(enum rollout_strategy strategy);
/* How many of `wanted` instances are replaced at a time. */
unsigned model_wave(const struct model_rollout *r, unsigned wanted);
bool model_needs(const struct model_module *caller, const struct model_module *target);
