/* SPDX-License-Identifier: Apache-2.0 */
/* What platform.yaml may say of databases: `data`, `events`, and what a module `needs`. */
#include "domain/model/priv.h"

#define HOUR_MS (3600u * 1000)
#define DAY_MS (24u * HOUR_MS)

static const char *const engines[] = {"mariadb", "mysql", NULL};
static const char *const modes[] = {"async", "semi-sync", NULL};
static const char *const recoveries[] = {"auto", "manual", NULL};
static const char *const accesses[] = {"read", "write", NULL};
static const char *const events_needs[] = {"publish", "consume", NULL};

const char *data_engine_name(enum data_engine engine)
{
    return engines[engine];
}

const char *data_mode_name(enum data_mode mode)
{
    return modes[mode];
}

const char *data_recovery_name(enum data_recovery recovery)
{
    return recoveries[recovery];
}

const char *data_access_name(enum data_access access)
{
    return accesses[access];
}

const struct schema_row decl_database_name = {"DATABASE", SCHEMA_STRING,
    .check = model_check_database, .max = MODEL_DATABASE_NAME_MAX};
static const struct schema_row region_name = {"REGION", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row table_item = {
    "TABLE", SCHEMA_STRING, .check = model_check_table, .example = "orders"};
static const struct schema_row file_item = {
    "FILE", SCHEMA_STRING, .min = 1, .max = 1024, .example = "schema/trade.sql"};

static const struct schema_row replica_rows[] = {
    {"region", SCHEMA_NAME, offsetof(struct decl_replica, region), .max = MODEL_NAME_MAX,
        .required = true, .example = "ap-seoul", .prose = "The region that it stands in."},
    {"delay", SCHEMA_DURATION, offsetof(struct decl_replica, delay_ms), .max = 7 * DAY_MS,
        .def = "0s",
        .prose = "How far it stays behind on purpose: what was deleted by mistake is still there "
                 "for that long. Such a replica answers no reads and never becomes the source."},
    {0},
};
static const struct schema_row replica_item = {"REPLICA", SCHEMA_STRUCT, .rows = replica_rows,
    .shorthand = "region", .example = "ap-seoul or {region: ap-seoul, delay: 1h}"};
static const struct schema_row host_item = {
    "HOST", SCHEMA_NAME, offsetof(struct decl_data_host, host), .max = MODEL_NAME_MAX};
static const struct schema_row external_item = {"HOST:PORT", SCHEMA_STRING,
    offsetof(struct decl_external, address), .check = schema_check_host_port,
    .example = "\"10.9.0.5:3306\""};

static const struct schema_row limits_rows[] = {
    {"memory", SCHEMA_SIZE, offsetof(struct decl_data_limits, memory_bytes), .min = 192u << 20,
        .max = 1ull << 44, .def = "512MiB",
        .prose = "Of the engine. A quarter of it, or half if it is more than 1 GiB, becomes the "
                 "buffer pool."},
    {"cpu", SCHEMA_DECIMAL, offsetof(struct decl_data_limits, cpu_milli), .max = 1024000,
        .def = "0", .example = "0.5", .prose = "Cores; 0 for no limit."},
    {0},
};
static const struct schema_row replication_rows[] = {
    {"mode", SCHEMA_ENUM, offsetof(struct decl_replication, mode), .words = modes, .def = "async",
        .prose = "async: a commit waits for the source's disk. semi-sync: also until one replica "
                 "has it, which costs the way there and back for each group of commits."},
    {"gtid", SCHEMA_BOOL, offsetof(struct decl_replication, gtid), .def = "true",
        .prose = "Replicas know their place by global transaction ids. Always true."},
    {"heartbeat", SCHEMA_DURATION, offsetof(struct decl_replication, heartbeat_ms), .min = 1000,
        .max = 60000, .def = "5s",
        .prose = "What a source says at least this often on a replication connection; silence "
                 "twice as long and the connection is made anew."},
    {"recovery", SCHEMA_ENUM, offsetof(struct decl_replication, recovery), .words = recoveries,
        .def = "auto",
        .prose = "Whether broken replication is brought back by itself as far as that loses "
                 "nothing. manual: only what reconnecting mends."},
    {"binlog_retention", SCHEMA_DURATION, offsetof(struct decl_replication, retention_ms),
        .min = HOUR_MS, .max = 13 * DAY_MS, .def = "7d",
        .prose = "How long binary logs are kept. What a replica still needs is never removed "
                 "before the disk is in danger."},
    {"lag_objective", SCHEMA_DURATION, offsetof(struct decl_replication, lag_objective_ms),
        .min = 100, .max = DAY_MS, .def = "3s",
        .prose = "A replica that is further behind is told of, and answers no reads."},
    {"read_only_check", SCHEMA_DURATION, offsetof(struct decl_replication, read_only_check_ms),
        .min = 1000, .max = DAY_MS, .def = "60s",
        .prose = "How often each replica is proven to refuse writes."},
    {"disk_full", SCHEMA_STRING, offsetof(struct decl_replication, disk_full),
        .check = model_check_disk_full, .max = 100, .def = "keep",
        .example = "\"sacrifice:ap-seoul\"",
        .prose = "What is done with binary logs when a disk is over 90 % full. keep: those that a "
                 "replica still needs stay. sacrifice:REGION: those that only the replica of that "
                 "region needs go, and it has to be seeded anew."},
    {0},
};
static const char *const fences[] = {"none", "statement", "function", NULL};
static const struct schema_row fence_rows[] = {
    {"by", SCHEMA_ENUM, offsetof(struct decl_fence, by), .words = fences, .def = "none",
        .prose = "statement: it is made read-only, sessions are ended, and a new session reads back that a write "
                 "is refused. function: `function` does it, and by ending with 0 says that no write is possible "
                 "any more."},
    {"function", SCHEMA_STRING, offsetof(struct decl_fence, function), .example = "isolate-trade",
        .prose = "One of `functions`; its input has `database`, `id`, `epoch`, `source`, `address`, and `rehearsal` "
                 "where nothing is to be done but to find out that it could."},
    {0},
};
static const struct schema_row failover_rows[] = {
    {"auto", SCHEMA_BOOL, offsetof(struct decl_failover, automatic), .def = "false",
        .prose = "Whether a replica is promoted by itself when the source is lost."},
    {"lease", SCHEMA_DURATION, offsetof(struct decl_failover, lease_ms), .min = 5000,
        .max = 10 * 60000, .example = "15s",
        .prose = "How long a source may write without proving that it is the source; 15s where `auto` "
                 "is true. With neither there is no lease: a source that is cut off goes on writing, "
                 "and no failover takes its place."},
    {"max_lag", SCHEMA_DURATION, offsetof(struct decl_failover, max_lag_ms), .max = DAY_MS,
        .def = "10s", .prose = "A replica further behind than this is not promoted by itself."},
    {"cooldown", SCHEMA_DURATION, offsetof(struct decl_failover, cooldown_ms), .max = 7 * DAY_MS,
        .def = "1h", .prose = "Time after a failover in which there is no second one by itself."},
    {"drill_max_age", SCHEMA_DURATION, offsetof(struct decl_failover, drill_max_age_ms),
        .min = HOUR_MS, .max = 366ull * DAY_MS, .def = "30d",
        .prose = "Automatic failover needs a drill that passed within this time."},
    {"before", SCHEMA_LIST, offsetof(struct decl_failover, before), .one = true,
        .item = &decl_function_ref, .item_size = sizeof(struct schema_text), .max = 8,
        .example = "[check-bank]",
        .prose = "Functions that run before a failover's point of no return. One that fails, or is "
                 "not done by its deadline, blocks the failover."},
    {"after", SCHEMA_LIST, offsetof(struct decl_failover, after), .one = true,
        .item = &decl_function_ref, .item_size = sizeof(struct schema_text), .max = 8,
        .example = "[page-oncall]", .prose = "Functions that run after it."},
    {"fence", SCHEMA_STRUCT, offsetof(struct decl_failover, fence), .rows = fence_rows,
        .prose = "How a source that others run is kept from writing before another is promoted. Servers of the "
                 "platform have their lease for that."},
    {0},
};
static const struct schema_row backup_rows[] = {
    {"schedule", SCHEMA_STRING, offsetof(struct decl_backup, schedule),
        .check = model_check_schedule, .example = "\"daily 03:30\"",
        .prose = "hourly, `daily HH:MM` or `weekly Sun HH:MM`, in UTC. Without it, only "
                 "`mcp backup run`."},
    {"keep", SCHEMA_DURATION, offsetof(struct decl_backup, keep_ms), .min = HOUR_MS,
        .max = 3660ull * DAY_MS, .def = "14d", .prose = "How long a backup is kept."},
    {"directory", SCHEMA_STRING, offsetof(struct decl_backup, directory),
        .check = model_check_directory, .max = 512, .def = "/var/backups/mcp",
        .prose = "Where backups lie on the hosts of the replicas."},
    {"bucket", SCHEMA_LATER},
    {0},
};
static const struct schema_row database_rows[] = {
    {"engine", SCHEMA_ENUM, offsetof(struct decl_database, engine), .words = engines,
        .def = "mariadb", .prose = "What speaks SQL. mysql only with `managed: false`."},
    {"managed", SCHEMA_BOOL, offsetof(struct decl_database, managed), .def = "true",
        .prose = "Whether the platform runs the servers. If not, `external` says where they are; "
                 "replication is supervised all the same."},
    {"source", SCHEMA_NAME, offsetof(struct decl_database, source), .max = MODEL_NAME_MAX,
        .required = true, .example = "ap-hongkong",
        .prose = "Where writes go first: the preferred region when the database is formed. "
                 "Afterwards only a switchover or failover moves the source, never an apply."},
    {"replicas", SCHEMA_LIST, offsetof(struct decl_database, replicas), .one = true,
        .item = &replica_item, .item_size = sizeof(struct decl_replica),
        .max = MODEL_MEMBERS_MAX - 1, .example = "[ap-seoul]",
        .prose = "The other regions that have the data, one replica in each."},
    {"hosts", SCHEMA_MAP, offsetof(struct decl_database, hosts), .name = &region_name,
        .item = &host_item, .item_size = sizeof(struct decl_data_host), .max = MODEL_REGIONS_MAX,
        .example = "{ap-hongkong: hk2}",
        .prose = "On which host of a region it stands. Without it, on the region's first host that "
                 "is not public, else on its first."},
    {"port", SCHEMA_INT, offsetof(struct decl_database, port), .min = 1024, .max = 65535,
        .def = "3306",
        .prose = "Where the engine listens on its host's private address, for replication only, "
                 "and where modules reach it."},
    {"schema", SCHEMA_LIST, offsetof(struct decl_database, schema), .one = true,
        .item = &file_item, .item_size = sizeof(struct schema_text), .max = 64,
        .example = "[schema/trade.sql]",
        .prose = "SQL files, relative to this file, that are run at the source in this order, each "
                 "content once. They must bear being run again."},
    {"limits", SCHEMA_STRUCT, offsetof(struct decl_database, limits), .rows = limits_rows,
        .def = "{}", .example = "{memory: 512MiB, cpu: 1}", .prose = "What each engine may use."},
    {"connections", SCHEMA_INT, offsetof(struct decl_database, connections), .min = 10,
        .max = MODEL_CONNECTIONS_MAX, .def = "200",
        .prose = "How many clients each engine serves at a time; the same everywhere, so that a "
                 "replica can take over."},
    {"replication", SCHEMA_STRUCT, offsetof(struct decl_database, replication),
        .rows = replication_rows, .def = "{}",
        .example = "{mode: async, heartbeat: 5s, binlog_retention: 7d}",
        .prose = "How replicas follow the source."},
    {"failover", SCHEMA_STRUCT, offsetof(struct decl_database, failover), .rows = failover_rows,
        .def = "{}", .example = "{auto: true, lease: 15s, max_lag: 10s}",
        .prose = "When a replica takes over from a source that is lost."},
    {"backup", SCHEMA_STRUCT, offsetof(struct decl_database, backup), .rows = backup_rows,
        .def = "{}", .example = "{schedule: \"daily 03:30\", keep: 14d}",
        .prose = "Full backups and the binary logs between them."},
    {"external", SCHEMA_MAP, offsetof(struct decl_database, external), .name = &region_name,
        .item = &external_item, .item_size = sizeof(struct decl_external),
        .max = MODEL_REGIONS_MAX, .example = "{ap-hongkong: \"10.9.0.5:3306\"}",
        .prose = "With `managed: false`: where the servers are, by region."},
    {"tls", SCHEMA_BOOL, offsetof(struct decl_database, tls), .def = "true",
        .prose = "Whether external servers are spoken to by TLS."},
    {"secret", SCHEMA_STRING, offsetof(struct decl_database, secret), .check = model_check_secret,
        .max = MODEL_SECRET_NAME_MAX, .example = "trade_admin",
        .prose = "With `managed: false`: the secret that holds {\"user\", \"password\"} of the "
                 "platform's account on the external servers."},
    {0},
};
const struct schema_row decl_database_item = {"DATABASE", SCHEMA_STRUCT, .rows = database_rows,
    .example = "{source: ap-hongkong, replicas: [ap-seoul]}"};

const struct schema_row decl_events_rows[] = {
    {"outbox", SCHEMA_STRING, offsetof(struct decl_events, outbox), .example = "trade",
        .prose = "The database whose transactions carry events: modules that publish insert into "
                 "its table outbox, those that consume into its table inbox."},
    {"broker", SCHEMA_LATER},
    {"exchanges", SCHEMA_LATER},
    {"bindings", SCHEMA_LATER},
    {0},
};

static const struct schema_row need_rows[] = {
    {"module", SCHEMA_NAME, offsetof(struct decl_need, module), .max = MODEL_NAME_MAX,
        .example = "payment",
        .prose = "A module that it calls, as MODULE.mcp.internal on that module's port."},
    {"data", SCHEMA_STRING, offsetof(struct decl_need, data), .example = "trade",
        .prose = "A database that it uses, as DATABASE.rw.mcp.internal and "
                 "DATABASE.ro.mcp.internal. The account's name is the module's; its password is "
                 "in /run/secrets/DATABASE."},
    {"access", SCHEMA_ENUM, offsetof(struct decl_need, access), .words = accesses,
        .example = "write",
        .prose = "With data: what it may do with the tables, read unless given. write includes "
                 "read."},
    {"tables", SCHEMA_LIST, offsetof(struct decl_need, tables), .one = true, .item = &table_item,
        .item_size = sizeof(struct schema_text), .min = 1, .max = 256, .example = "[orders]",
        .prose = "With data: the tables. \"*\" stands for all of the database."},
    {"events", SCHEMA_ENUM, offsetof(struct decl_need, events), .words = events_needs,
        .example = "publish",
        .prose = "publish: it may insert into the outbox. consume: it may read and insert into the "
                 "inbox, to know what it has done already."},
    {"key", SCHEMA_STRING, offsetof(struct decl_need, key), .min = 1, .max = 255,
        .example = "order.created", .prose = "With events: publish, the routing key."},
    {"queue", SCHEMA_STRING, offsetof(struct decl_need, queue), .min = 1, .max = 255,
        .example = "order_worker", .prose = "With events: consume, the queue."},
    {0},
};
const struct schema_row decl_need_item = {
    "NEED", SCHEMA_STRUCT, .rows = need_rows, .example = "{module: payment}"};
