/* SPDX-License-Identifier: Apache-2.0 */
/* The declaration as written: what schema.c's tables fill, references still names. build.c makes
 * the model of it. */
#pragma once

#include "base/schema/schema.h"
#include "domain/model/model.h"

struct decl_region {
    struct schema_head head;
    int duty;                   /* enum region_duty, -1 wrong */
    struct schema_list address; /* schema_addr */
    struct schema_list network; /* schema_prefix */
};

struct decl_host {
    struct schema_head head;
    struct schema_text region;
    struct schema_list address; /* schema_addr */
    bool is_public;
    struct schema_prefix bridge;
};

struct decl_state {
    struct schema_head head;
    struct schema_list members; /* schema_text */
};

struct decl_wan {
    struct schema_head head;
    struct schema_list between; /* schema_text, two */
    uint64_t delay_ms;
    double loss;
    uint64_t rate_bps;
};

struct decl_client {
    struct schema_text country;
    struct schema_list prefixes; /* schema_prefix */
};

struct decl_lab {
    struct schema_head head;
    struct schema_list wan;     /* decl_wan */
    struct schema_list clients; /* decl_client */
};

struct decl_nameserver {
    struct schema_text label;
    struct schema_text region;
};

struct decl_health {
    struct schema_head head;
    uint64_t interval_ms, timeout_ms;
    int64_t down, up;
    struct schema_list references; /* schema_text */
};

struct decl_country {
    struct schema_text code;
    struct schema_list order; /* schema_text: regions and duties */
};

struct decl_record {
    struct schema_head head;
    struct schema_text name, value;
    int type;
    uint64_t ttl_ms;
};

struct decl_override {
    struct schema_text prefix;
    struct schema_text country;
};

struct decl_geo {
    struct schema_head head;
    struct schema_text database;
    struct schema_list overrides; /* decl_override */
};

struct decl_routing {
    struct schema_head head;
    int provider;
    uint64_t ttl_ms;
    struct schema_list nameservers; /* decl_nameserver */
    struct decl_health health;
    struct schema_list countries;            /* decl_country */
    struct schema_list fallback, on_failure; /* schema_text */
    struct schema_list records;              /* decl_record */
    struct decl_geo geo;
};

struct decl_probe {
    struct schema_head head;
    int kind; /* enum probe_kind, -1: from the other keys */
    struct schema_text path;
    struct schema_list command; /* schema_text */
    uint64_t interval_ms, timeout_ms, start_timeout_ms;
    int64_t failures;
};

struct decl_limits {
    struct schema_head head;
    uint64_t memory_bytes;
    int64_t cpu_milli;
    int64_t pids;
};

struct decl_route {
    struct schema_head head;
    struct schema_list names; /* schema_text */
    struct schema_text path;
    int auth; /* enum route_auth */
};
extern const struct schema_row decl_route_row; /* one route of a module's `route:` */

struct decl_canary {
    struct schema_head head;
    int64_t weight;
    uint64_t for_ms;
};

struct decl_rollout {
    struct schema_head head;
    int strategy; /* enum rollout_strategy */
    struct schema_text wave;
    struct decl_canary canary;
    uint64_t deadline_ms, drain_ms;
};

struct decl_instances {
    struct schema_head head; /* its key: a region, or "each" */
    int64_t active, standby;
};

struct decl_env {
    struct schema_text name;
    struct schema_text value;
};

struct decl_need { /* of a module, of a database, or of events: one of the three */
    struct schema_head head;
    struct schema_text module;
    struct schema_text data;
    int access;                /* enum data_access, -1: none given */
    struct schema_list tables; /* schema_text */
    int events;                /* enum events_need, -1: not of events */
    struct schema_text key, queue;
};

struct decl_replica {
    struct schema_head head;
    struct schema_text region;
    uint64_t delay_ms;
};

struct decl_data_host {
    struct schema_text region, host;
};

struct decl_external {
    struct schema_text region, address;
};

struct decl_data_limits {
    struct schema_head head;
    uint64_t memory_bytes;
    int64_t cpu_milli;
};

struct decl_replication {
    struct schema_head head;
    int mode; /* enum data_mode */
    bool gtid;
    uint64_t heartbeat_ms;
    int recovery; /* enum data_recovery */
    uint64_t retention_ms, lag_objective_ms, read_only_check_ms;
    struct schema_text disk_full;
};

struct decl_fence {
    struct schema_head head;
    int by; /* enum data_fence */
    struct schema_text function;
};

struct decl_failover {
    struct schema_head head;
    struct decl_fence fence;
    bool automatic;
    uint64_t lease_ms, max_lag_ms, cooldown_ms, drill_max_age_ms;
    struct schema_list before, after; /* schema_text */
};

struct decl_backup {
    struct schema_head head;
    struct schema_text schedule;
    uint64_t keep_ms;
    struct schema_text directory;
};

struct decl_database {
    struct schema_head head;
    int engine; /* enum data_engine */
    bool managed;
    struct schema_text source;
    struct schema_list replicas; /* decl_replica */
    struct schema_list hosts;    /* decl_data_host */
    int64_t port;
    struct schema_list schema; /* schema_text */
    struct decl_data_limits limits;
    int64_t connections;
    struct decl_replication replication;
    struct decl_failover failover;
    struct decl_backup backup;
    struct schema_list external; /* decl_external */
    bool tls;
    struct schema_text secret;
};

struct decl_events {
    struct schema_head head;
    struct schema_text outbox;
};

struct decl_secret {
    struct schema_head head;
    struct schema_text name, file;
    int mode;      /* index of model_secret_modes, -1 wrong */
    int on_change; /* enum secret_change, -1 wrong */
    int signal;    /* index of model_secret_signals */
};

struct decl_module {
    struct schema_head head;
    struct schema_text image;
    int64_t port;
    struct schema_list command; /* schema_text */
    struct schema_list env;     /* decl_env */
    struct decl_probe health;
    struct decl_limits limits;
    uint64_t stop_timeout_ms;
    struct decl_rollout rollout;
    struct schema_list route;   /* decl_route */
    struct schema_list regions; /* decl_instances */
    struct schema_list needs;   /* decl_need */
    struct schema_list secrets; /* decl_secret */
    struct schema_list egress;  /* schema_text */
    struct schema_list before, after; /* schema_text: functions around a rollout */
};

struct decl_function {
    struct schema_head head;
    struct decl_module as; /* image, command, env, limits, secrets, egress of it */
    uint64_t deadline_ms;
    struct schema_list may; /* schema_text */
};

struct decl_alarm {
    struct schema_head head;
    struct schema_text when, clear, run;
    uint64_t for_ms, clear_for_ms, repeat_ms;
    int severity;              /* enum alarm_severity, -1 wrong */
    struct schema_list notify; /* schema_text */
};

struct decl_slack {
    struct schema_head head;
    struct schema_text url_secret, channel, username;
};

struct decl_notify {
    struct schema_head head;
    struct decl_slack slack;
    bool builtin;
    int severity;
};

struct decl {
    struct schema_head head;
    struct schema_text platform, domain;
    struct schema_list regions; /* decl_region */
    struct schema_list hosts;   /* decl_host */
    struct decl_state state;
    struct decl_lab lab;
    struct decl_routing routing;
    struct schema_list modules; /* decl_module */
    struct schema_list data;    /* decl_database */
    struct decl_events events;
    struct schema_list alarms; /* decl_alarm */
    struct schema_list notify; /* decl_notify */
    struct schema_list functions; /* decl_function */
};

extern const struct schema_row decl_schema;        /* the whole file */
extern const struct schema_row decl_function_ref;
extern const struct schema_row decl_database_name; /* schema_data.c: `data`, `events`, `needs` */
extern const struct schema_row decl_database_item;
extern const struct schema_row decl_events_rows[];
extern const struct schema_row decl_need_item;
extern const struct schema_row decl_alarm_name, decl_alarm_item; /* schema_alarms.c */
extern const struct schema_row decl_notify_item;
