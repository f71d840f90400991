/* SPDX-License-Identifier: Apache-2.0 */
/* Real MariaDB servers for tests: each has a folder of its own under /tmp, begun from the template that the build made
 * (tools/mariadb_template.sh), a Unix socket, and a free port on an address of the loopback that no other test uses.
 * Ready is what the server says itself (sd_notify). A server ends with its test, whatever happens to that. */
#pragma once

#include "base/file/file.h"
#include "base/spawn/spawn.h"
#include "driver/sql/dialect.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* For what takes milliseconds on an idle machine. */
#define MARIADB_PATIENCE_MS 120000

struct test_mariadb {
    char dir[64]; /* data/ my.cnf socket log.err notify */
    char socket[96];
    char address[INET_ADDRSTRLEN];
    uint16_t port;
    unsigned id; /* server id and GTID domain */
    struct spawn_proc proc;
    bool running;
};

#define MARIADB_CHECK(call)                                                                        \
    do {                                                                                           \
        struct err check_e = {0};                                                                  \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, check_e.message);                                            \
    } while (0)

static inline void mariadb_fail(const struct test_mariadb *m, const char *what)
{
    struct str log = STR_INIT;
    char path[96];
    snprintf(path, sizeof path, "%s/log.err", m->dir);
    if (file_read(path, 1 << 20, &log, NULL) < 0)
        str_add(&log, "(no log)");
    fail_msg("MariaDB %u %s:\n%.*s", m->id, what, 4000,
        log.len > 4000 ? log.buf + log.len - 4000 : str_cstr(&log));
}

/* An address of this process' own. */
static inline void mariadb_loopback(char out[INET_ADDRSTRLEN])
{
    unsigned pid = (unsigned)getpid();
    snprintf(out, INET_ADDRSTRLEN, "127.%u.%u.%u", 64 + (pid >> 14) % 128, (pid >> 6) & 255,
        1 + ((pid & 63) << 2) % 250);
}

/* A port that is free there now. */
static inline void mariadb_address(struct test_mariadb *m)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    mariadb_loopback(m->address);
    assert_int_equal(inet_pton(AF_INET, m->address, &a.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    m->port = ntohs(a.sin_port);
    close(fd);
}

static inline void mariadb_write_config(const struct test_mariadb *m, const char *extra)
{
    char path[96];
    struct str text = STR_INIT;
    struct err e = {0};
    snprintf(path, sizeof path, "%s/my.cnf", m->dir);
    str_addf(&text,
        "[mariadbd]\ndatadir=%s/data\nsocket=%s\nbind-address=%s\nport=%u\nserver-id=%u\n"
        "gtid-domain-id=%u\nlog-error=%s/log.err\npid-file=%s/pid\nskip-name-resolve\nlog-bin=bin\n"
        "log-slave-updates\nskip-slave-start\ngtid-strict-mode=1\nbinlog-format=ROW\nsync-binlog=1\n"
        "relay-log-recovery=1\nrelay-log=relay\nslave-net-timeout=10\nperformance-schema=0\n"
        "innodb-buffer-pool-size=16M\ninnodb-log-file-size=4M\n"
        "innodb-data-file-path=ibdata1:4M:autoextend\ninnodb-autoextend-increment=1\n"
        "innodb-undo-tablespaces=0\nkey-buffer-size=1M\naria-pagecache-buffer-size=1M\n"
        "max-connections=100\ntable-open-cache=200\ntable-open-cache-instances=1\n%s\n",
        m->dir, m->socket, m->address, m->port, m->id, m->id, m->dir, m->dir, extra ? extra : "");
    if (file_write(path, text.buf, text.len, 0644, &e) < 0)
        fail_msg("%s", e.message);
    str_done(&text);
}

static inline int mariadb_notify_socket(const struct test_mariadb *m, char path[128])
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(path, 128, "%s/notify", m->dir);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(chmod(path, 0777), 0);
    return fd;
}

static inline void mariadb_await_ready(struct test_mariadb *m, int notify)
{
    for (;;) {
        struct pollfd fds[2] = {{notify, POLLIN, 0}, {m->proc.pidfd, POLLIN, 0}};
        if (poll(fds, 2, MARIADB_PATIENCE_MS) <= 0)
            mariadb_fail(m, "is not ready after 60 s");
        char text[512];
        ssize_t n = fds[0].revents ? recv(notify, text, sizeof text - 1, 0) : 0;
        text[MAX(n, 0)] = '\0';
        if (strstr(text, "READY=1"))
            return;
        if (fds[1].revents)
            mariadb_fail(m, "ended while it started");
    }
}

/* Starts it on the folder that it has. */
static inline void mariadb_run(struct test_mariadb *m)
{
    char notify[128], defaults[128], env[160];
    int fd = mariadb_notify_socket(m, notify);
    snprintf(defaults, sizeof defaults, "--defaults-file=%s/my.cnf", m->dir);
    snprintf(env, sizeof env, "NOTIFY_SOCKET=%s", notify);
    const char *argv[] = {"/usr/sbin/mariadbd", defaults, NULL};
    const char *envp[] = {env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct spawn_opts o = {.env = envp, .death_signal = SIGKILL};
    struct passwd *pw = geteuid() ? NULL : getpwnam("mysql");
    if (pw) {
        o.set_user = true;
        o.uid = pw->pw_uid;
        o.gid = pw->pw_gid;
    }
    struct err e = {0};
    if (spawn_start(argv, &o, &m->proc, &e) < 0)
        fail_msg("%s", e.message);
    m->running = true;
    mariadb_await_ready(m, fd);
    close(fd);
}

static inline void mariadb_check_run(const char *const *argv)
{
    struct err e = {0};
    if (spawn_check(argv, NULL, NULL, &e) < 0)
        fail_msg("%s", e.message);
}

/* A new server. `extra`: further lines of my.cnf, or NULL. */
static inline void mariadb_start(struct test_mariadb *m, unsigned id, const char *extra)
{
    *m = (struct test_mariadb){.id = id};
    snprintf(m->dir, sizeof m->dir, "/tmp/mcp-mariadb-XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    snprintf(m->socket, sizeof m->socket, "%s/socket", m->dir);
    char data[96];
    snprintf(data, sizeof data, "%s/data", m->dir);
    assert_int_equal(mkdir(data, 0700), 0);
    const char *const unpack[] = {"tar", "-xf", MARIADB_TEMPLATE, "-C", data, NULL};
    mariadb_check_run(unpack);
    mariadb_address(m);
    mariadb_write_config(m, extra);
    const char *const own[] = {"chown", "-R", "mysql:", m->dir, NULL};
    if (!geteuid())
        mariadb_check_run(own);
    mariadb_run(m);
}

/* Frozen: its sockets accept, and nobody answers. */
static inline void mariadb_freeze(struct test_mariadb *m)
{
    siginfo_t info;
    struct err e = {0};
    if (spawn_signal(&m->proc, SIGSTOP, &e) < 0)
        fail_msg("%s", e.message);
    assert_int_equal(waitid(P_PID, (id_t)m->proc.pid, &info, WSTOPPED), 0);
}

static inline void mariadb_thaw(struct test_mariadb *m)
{
    struct err e = {0};
    if (spawn_signal(&m->proc, SIGCONT, &e) < 0)
        fail_msg("%s", e.message);
}

/* Ends it (SIGKILL: as a crash) and waits. */
static inline void mariadb_stop(struct test_mariadb *m, int sig)
{
    struct spawn_exit x;
    struct err e = {0};
    if (!m->running)
        return;
    if (spawn_signal(&m->proc, sig, &e) < 0 || spawn_reap(&m->proc, true, &x, &e) < 0)
        fail_msg("%s", e.message);
    m->running = false;
}

static inline void mariadb_end(struct test_mariadb *m)
{
    mariadb_stop(m, SIGKILL);
    const char *const argv[] = {"rm", "-rf", m->dir, NULL};
    if (m->dir[0])
        mariadb_check_run(argv);
}

static inline struct sql_target mariadb_target(const struct test_mariadb *m)
{
    return (struct sql_target){.socket = m->socket,
        .user = "root",
        .connect_timeout_ms = MARIADB_PATIENCE_MS,
        .read_timeout_ms = MARIADB_PATIENCE_MS};
}

static inline struct sql_target mariadb_tcp(
    const struct test_mariadb *m, const char *user, struct secret *password)
{
    return (struct sql_target){.host = m->address,
        .port = m->port,
        .user = user,
        .password = password,
        .connect_timeout_ms = MARIADB_PATIENCE_MS,
        .read_timeout_ms = MARIADB_PATIENCE_MS};
}

static inline struct sql_conn *mariadb_open(const struct test_mariadb *m)
{
    struct sql_target t = mariadb_target(m);
    struct sql_conn *c = NULL;
    struct err e = {0};
    if (sql_open(&t, NULL, &c, &e) < 0)
        mariadb_fail(m, e.message);
    return c;
}

static inline void mariadb_exec(struct sql_conn *c, const char *statement)
{
    struct err e = {0};
    if (sql_exec(c, statement, &e) < 0)
        fail_msg("%s: %s", statement, e.message);
}

/* The replica follows the source from the beginning, by GTID. */
static inline void mariadb_follow(struct test_mariadb *source, struct test_mariadb *replica)
{
    struct err e = {0};
    _cleanup_sql_ struct sql_conn *s = mariadb_open(source), *r = mariadb_open(replica);
    mariadb_exec(s, "SET SESSION sql_log_bin=0");
    mariadb_exec(s, "CREATE USER IF NOT EXISTS repl@'%' IDENTIFIED BY 'rp'");
    mariadb_exec(s, "GRANT REPLICATION SLAVE ON *.* TO repl@'%'");
    _cleanup_secret_ struct secret *password = secret_new("rp", 2);
    struct sql_attach a = {.host = source->address,
        .port = source->port,
        .user = "repl",
        .password = password,
        .heartbeat_ms = 500};
    if (sql_attach(r, &a, &e) < 0 || sql_start(r, SQL_THREAD_BOTH, &e) < 0)
        fail_msg("%s", e.message);
}

/* The replica has everything that the source has now. */
static inline void mariadb_catch_up(struct test_mariadb *source, struct test_mariadb *replica)
{
    struct err e = {0};
    _cleanup_sql_ struct sql_conn *s = mariadb_open(source), *r = mariadb_open(replica);
    _cleanup_sql_position_ struct sql_position p = {0};
    if (sql_position(s, &p, &e) < 0)
        fail_msg("%s", e.message);
    int reached = sql_wait(r, &p.binlog, MARIADB_PATIENCE_MS, &e);
    if (reached <= 0) {
        _cleanup_sql_status_ struct sql_replica_status status = {0};
        struct err ignored = {0};
        (void)!sql_status(r, &status, &ignored);
        fail_msg("not caught up: %s %s %s", e.message, status.io_error, status.sql_error);
    }
}
