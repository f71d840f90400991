/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of a MariaDB server of ours. Two kinds of lines: what the declaration says, and
 * what must hold so that no acknowledged transaction is lost and replicas follow by themselves; the
 * latter is not declarable. Measured reasons stand in the guide (doc/guide/data.md). */
#include "domain/spec/spec.h"

#define MIB (1ull << 20)
/* Beside the modules': replication, the data role, tools. */
#define OWN_CONNECTIONS 24u
#define OPEN_TABLES 2000u

static uint64_t clamp(uint64_t v, uint64_t min, uint64_t max)
{
    return MIN(MAX(v, min), max);
}

/* A small server keeps three quarters for connections, sorts and replication. */
static uint64_t pool_mib(const struct unit_engine *g)
{
    uint64_t part = g->memory_bytes > 1024 * MIB ? 2 : 4;
    return MAX(g->memory_bytes / part / MIB, 16ull);
}

static void add_paths(const struct unit_engine *g, struct str *out)
{
    const char *root = UNIT_ENGINE_ROOT, *db = g->database;
    str_addf(out,
        "datadir = %s/%s/data\n"
        "socket = %s/%s/run/db.sock\n"
        "pid_file = %s/%s/run/db.pid\n"
        "tmpdir = %s/%s/tmp\n"
        "secure_file_priv = %s/%s/spool\n"
        "log_bin = %s/%s/binlog/binlog\n"
        "relay_log = %s/%s/relay/relay\n"
        "ssl_ca = %s/%s/tls/ca.pem\n"
        "ssl_cert = %s/%s/tls/cert.pem\n"
        "ssl_key = %s/%s/tls/key.pem\n",
        root, db, root, db, root, db, root, db, root, db, root, db, root, db, root, db, root, db,
        root, db);
}

static void add_declared(const struct unit_engine *g, struct str *out)
{
    char address[IP_TEXT_SIZE];
    ip_format(&g->address, address);
    uint64_t pool = pool_mib(g);
    unsigned connections = g->connections + OWN_CONNECTIONS;
    str_addf(out,
        "server_id = %u\n"
        "gtid_domain_id = %u\n"
        "bind_address = %s\n"
        "port = %u\n"
        "max_connections = %u\n"
        "table_open_cache = %u\n"
        "open_files_limit = %u\n"
        "innodb_buffer_pool_size = %lluM\n"
        "innodb_log_file_size = %lluM\n",
        g->server_id, g->domain_id, address, g->port, connections, OPEN_TABLES,
        MAX(connections * 5, connections + OPEN_TABLES * 2 + 10), (unsigned long long)pool,
        (unsigned long long)clamp(pool / 2, 32, 1024));
    if (g->semi_sync)
        str_add(out, "rpl_semi_sync_master_enabled = ON\n"
                     "rpl_semi_sync_slave_enabled = ON\n"
                     "rpl_semi_sync_master_timeout = 10000\n");
    str_add(out, "rpl_semi_sync_master_wait_point = AFTER_SYNC\n");
}

/* In the order of what they protect: who may write, what a commit means, how a replica follows. */
static const char fixed[] = "read_only = ON\n"
                            "skip_slave_start = ON\n"
                            "sync_binlog = 1\n"
                            "innodb_flush_log_at_trx_commit = 1\n"
                            "binlog_format = ROW\n"
                            "binlog_row_image = FULL\n"
                            "gtid_strict_mode = ON\n"
                            "log_slave_updates = ON\n"
                            "relay_log_recovery = ON\n"
                            "slave_parallel_threads = 4\n"
                            "slave_parallel_mode = optimistic\n"
                            "slave_net_timeout = 10\n"
                            "slave_compressed_protocol = ON\n"
                            "max_binlog_size = 64M\n"
                            "binlog_expire_logs_seconds = 1209600\n" /* if nobody purges: 14 days */
                            "require_secure_transport = ON\n"
                            "tls_version = TLSv1.2,TLSv1.3\n"
                            "skip_name_resolve = ON\n"
                            "local_infile = OFF\n"
                            "symbolic_links = OFF\n"
                            "event_scheduler = OFF\n"
                            "feedback = OFF\n"
                            "performance_schema = OFF\n"
                            "character_set_server = utf8mb4\n"
                            "collation_server = utf8mb4_unicode_ci\n"
                            "default_time_zone = '+00:00'\n"
                            "max_allowed_packet = 64M\n"
                            "log_warnings = 1\n" /* not each connection of a probe */;

void unit_engine_config(const struct unit_engine *g, struct str *out)
{
    str_add(out, "# Written by mcp from the declaration, before each start.\n[mariadbd]\n");
    add_paths(g, out);
    add_declared(g, out);
    str_add(out, fixed);
}
