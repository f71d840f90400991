/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/priv.h"

#include "base/digest/digest.h"
#include "base/str/str.h"

#define NAME_SIZE 64
#define CONNECT_MS 4000u
#define HEARTBEAT_MS 5000
#define CHECK_MS 60000
#define RETENTION_MS (7 * 86400000ll)
#define OBJECTIVE_MS 3000

static int get_member(const json_t *of, const char *key, struct data_member *ret, struct err *e)
{
    json_t *j;
    int64_t port, id;
    int r = json_get_obj(of, key, &j, e);
    if (r >= 0)
        r = json_get_str(j, "host", &ret->host, e);
    if (r >= 0)
        r = json_get_str(j, "address", &ret->address, e);
    if (r >= 0)
        r = json_get_int(j, "port", 1, 65535, &port, e);
    if (r >= 0)
        r = json_get_int(j, "server_id", 1, UINT32_MAX, &id, e);
    if (r < 0)
        return err_wrap(e, "%s", key);
    ret->region = json_opt_str(j, "region", "");
    ret->port = (uint16_t)port;
    ret->id = (uint32_t)id;
    ret->delay_ms = (uint64_t)MAX(json_opt_int(j, "delay_ms", 0), 0);
    return 0;
}

static uint64_t number(const json_t *j, const char *key, int64_t def)
{
    int64_t n = json_opt_int(j, key, def);
    return (uint64_t)(n > 0 ? n : def);
}

/* A number that is another whenever accounts or schema files are. */
static uint64_t print_of(const json_t *json)
{
    _cleanup_json_ json_t *parts = json_pack("{s:O?,s:O?}", "accounts",
        json_object_get(json, "accounts"), "schema", json_object_get(json, "schema"));
    _cleanup_free_ char *text = json_text(parts);
    uint64_t print = 1469598103934665603u; /* FNV-1a: compared with itself only */
    for (const char *p = text; *p; p++)
        print = (print ^ (uint8_t)*p) * 1099511628211u;
    return print | 1;
}

static int get_settings(struct data_want *w, struct err *e)
{
    json_t *settings = json_object_get(w->json, "replication");
    w->heartbeat_ms = number(settings, "heartbeat_ms", HEARTBEAT_MS);
    w->check_ms = number(settings, "read_only_check_ms", CHECK_MS);
    w->retention_ms = number(settings, "binlog_retention_ms", RETENTION_MS);
    w->objective_ms = number(settings, "lag_objective_ms", OBJECTIVE_MS);
    w->manual = str_eq(json_opt_str(settings, "recovery", ""), "manual");
    w->semi_sync = str_eq(json_opt_str(settings, "mode", ""), "semi-sync");
    w->sync = w->semi_sync && json_opt_bool(w->json, "sync", false);
    w->tls_ready = json_opt_bool(w->json, "tls_ready", false);
    w->last_change = number(w->json, "last_id", 0);
    w->held = json_opt_bool(w->json, "held", false);
    w->lease_ms = number(w->json, "lease_ms", 0);
    const char *log = json_opt_str(w->json, "source_log", "whole");
    w->source_log = str_eq(log, "whole") ? REPLICATION_LOG_WHOLE
                    : str_eq(log, "cut") ? REPLICATION_LOG_CUT
                                         : REPLICATION_LOG_UNKNOWN;
    w->form = print_of(w->json);
    return 0;
}

static int get_place(struct data_want *w, struct err *e)
{
    w->external = !json_opt_bool(w->json, "managed", true);
    w->tls = json_opt_bool(json_object_get(w->json, "external"), "tls", true);
    w->dir = "";
    return w->external ? 0 : json_get_str(w->json, "dir", &w->dir, e);
}

static int parse(struct data_want *w, struct err *e)
{
    const char *duty;
    int64_t epoch;
    int r = json_get_str(w->json, "name", &w->name, e);
    if (r >= 0 && (!*w->name || strlen(w->name) >= NAME_SIZE || strchr(w->name, '/')))
        r = err_set(e, ERR_INVALID, "not the name of a database");
    if (r >= 0)
        r = get_place(w, e);
    if (r >= 0)
        r = json_get_str(w->json, "duty", &duty, e);
    if (r >= 0)
        r = json_get_int(w->json, "epoch", 1, INT64_MAX, &epoch, e);
    if (r >= 0)
        r = get_member(w->json, "self", &w->self, e);
    if (r >= 0)
        r = get_member(w->json, "source", &w->source, e);
    if (r < 0)
        return r;
    w->epoch = (uint64_t)epoch;
    w->duty = str_eq(duty, "source") ? REPLICATION_SOURCE : REPLICATION_REPLICA;
    return get_settings(w, e);
}

int data_want_parse(json_t *json, struct data_want *ret, struct err *e)
{
    struct data_want w = {.json = json};
    int r = parse(&w, e);
    if (r < 0)
        return err_wrap(e, "database %s", json_opt_str(json, "name", "?"));
    *ret = w;
    json_incref(ret->json);
    return 0;
}

void data_want_done(struct data_want *w)
{
    json_decref(w->json);
    json_decref(w->login);
    w->json = w->login = NULL;
}

void data_want_copy(const struct data_want *w, struct data_want *ret)
{
    *ret = *w;
    json_incref(ret->json);
    json_incref(ret->login);
}

const char *data_user(const struct data_want *w)
{
    return w->external ? json_opt_str(w->login, "user", "") : DATA_USER;
}

struct sql_target *data_target_new(const struct data_want *w, const char *user,
    struct secret *password, const char *program)
{
    _cleanup_free_ char *socket = xasprintf("%s/run/db.sock", w->dir);
    const char *text = json_opt_str(w->login, "password", "");
    _cleanup_secret_ struct secret *own = NULL;
    if (!user && *text)
        own = secret_new(text, strlen(text));
    struct sql_target t = {.user = user ? user : data_user(w),
        .password = user ? password : own,
        .connect_timeout_ms = CONNECT_MS,
        .program = program};
    if (w->external) {
        t.host = w->self.address;
        t.port = w->self.port;
        t.tls.mode = w->tls ? SQL_TLS_ANY : SQL_TLS_OFF;
    } else {
        t.socket = socket;
    }
    return sql_target_copy(&t);
}
