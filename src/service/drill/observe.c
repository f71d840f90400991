/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever looks at something that may hang is a process of its own and says what it saw on a pipe.
 * Children without exec: the drill has one thread. They die with it. */
#include "service/drill/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/spawn/spawn.h"
#include "driver/sql/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define LOOK_MS 200
#define SQL_MS 700 /* a server that says nothing that long is not one that answers */
#define ASK_MS 1500
#define PIPE_BYTES (1 << 20) /* what is said while the drill is busy with the fault */
#define LINE_MAX_BYTES (256u * 1024)

typedef void (*look_fn)(const void *arg, int fd);

static int pipe_for(int ret[2], struct err *e)
{
    if (pipe2(ret, O_CLOEXEC) < 0)
        return err_errno(e, errno, "pipe");
    (void)fcntl(ret[1], F_SETPIPE_SZ, PIPE_BYTES);
    return 0;
}

static void keep(struct observer *ret, pid_t pid, int fd)
{
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    *ret = (struct observer){pid, fd, STR_INIT};
}

static int start(look_fn look, const void *arg, int not_his, struct observer *ret, struct err *e)
{
    int ends[2];
    int r = pipe_for(ends, e);
    if (r < 0)
        return r;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        sigset_t none;
        sigemptyset(&none);
        signal(SIGINT, SIG_IGN); /* the terminal's; the drill decides when it ends */
        sigprocmask(SIG_SETMASK, &none, NULL);
        close(ends[0]);
        if (not_his >= 0)
            close(not_his);
        look(arg, ends[1]);
        _exit(0);
    }
    int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return err_errno(e, error, "fork");
    }
    keep(ret, pid, ends[0]);
    return 0;
}

/* Takes the event. */
static bool say(int fd, json_t *event)
{
    struct err ignored;
    _cleanup_free_ char *text = json_text(event);
    _cleanup_free_ char *line = xasprintf("%s\n", text);
    json_decref(event);
    return file_write_fd(fd, line, strlen(line), &ignored) >= 0;
}

/* ---- the load */

int observe_traffic(
    const struct drill_config *c, const char *ledger, struct observer *ret, struct err *e)
{
    char rate[32], clients[16];
    int ends[2];
    int r = pipe_for(ends, e);
    if (r < 0)
        return r;
    snprintf(rate, sizeof rate, "%g", c->rate);
    snprintf(clients, sizeof clients, "%u", c->clients);
    const char *const argv[] = {"mcp", "traffic", "--platform", c->platform, "--rate", rate,
        "--clients", clients, "--reads", "0.2", "--connections", "1024", "--patience", "120s",
        "--ledger", ledger, "--progress", "events", NULL};
    struct spawn_fd fds[] = {{ends[1], 1}};
    struct spawn_opts opts = {.path = "/proc/self/exe",
        .fds = fds,
        .n_fds = 1,
        .new_session = true,
        .death_signal = SIGTERM};
    struct spawn_proc p;
    r = spawn_start(argv, &opts, &p, e);
    close(ends[1]);
    if (r < 0) {
        close(ends[0]);
        return r;
    }
    close(p.pidfd);
    keep(ret, p.pid, ends[0]);
    return 0;
}

/* ---- a database server, through its own socket */

struct server_arg {
    const char *platform, *host, *database;
};

static struct sql_conn *open_server(const struct server_arg *a)
{
    _cleanup_lab_ struct lab *l = NULL;
    struct err ignored;
    if (lab_read(a->platform, &l, &ignored) < 0)
        return NULL;
    const json_t *host = lab_host(l, a->host);
    if (!host || !lab_host_alive(host))
        return NULL;
    _cleanup_free_ char *inside = xasprintf(LAB_STATE_ROOT "/data/%s/run/db.sock", a->database);
    _cleanup_free_ char *path = lab_host_path(host, inside);
    struct sql_target t = {.socket = path,
        .user = "root",
        .connect_timeout_ms = SQL_MS,
        .read_timeout_ms = SQL_MS,
        .write_timeout_ms = SQL_MS};
    struct sql_conn *conn = NULL;
    return sql_open(&t, NULL, &conn, &ignored) < 0 ? NULL : conn;
}

static json_t *ask_server(struct sql_conn *conn, const char *host)
{
    struct sql_rows rows = {0};
    struct err ignored;
    json_t *event = json_pack("{s:s,s:s}", "event", "server", "host", host);
    uint64_t read_only, id;
    if (conn
        && sql_query(conn,
               "SELECT @@global.read_only AS r, @@global.server_id AS s, @@global.gtid_binlog_pos AS g",
               NULL, &rows, &ignored)
               >= 0
        && rows.n == 1 && sql_u64(&rows.v[0], "r", &read_only) && sql_u64(&rows.v[0], "s", &id)) {
        json_object_set_new(event, "read_only", json_boolean(read_only != 0));
        json_object_set_new(event, "server_id", json_integer((json_int_t)id));
        json_object_set_new(event, "gtid", json_string(sql_text(&rows.v[0], "g")));
    }
    json_object_set_new(event, "at_ms", json_integer((json_int_t)clock_boot_ms()));
    sql_rows_done(&rows);
    return event;
}

static void look_at_server(const void *arg, int fd)
{
    const struct server_arg *a = arg;
    struct sql_conn *conn = NULL;
    for (;;) {
        if (!conn)
            conn = open_server(a);
        json_t *event = ask_server(conn, a->host);
        if (conn && !json_object_get(event, "gtid")) {
            sql_close(conn);
            conn = NULL;
        }
        if (!say(fd, event))
            return;
        poll(NULL, 0, LOOK_MS);
    }
}

int observe_server(const struct drill_config *c, const char *host, const char *database,
    int not_his, struct observer *ret, struct err *e)
{
    struct server_arg a = {c->platform, host, database};
    return start(look_at_server, &a, not_his, ret, e);
}

/* ---- the platform */

struct platform_arg {
    const struct drill_config *config;
    const json_t *hosts;
    const char *database;
};

static json_t *state_of(const struct platform_arg *a, const char *host)
{
    const struct drill_config *c = a->config;
    _cleanup_json_ json_t *doc = NULL, *data = NULL;
    struct err ignored;
    if (c->ask(c->ask_ctx, host, "data.switchover.status",
            json_pack("{s:s}", "database", a->database), ASK_MS, &doc, &ignored)
            < 0
        || c->ask(c->ask_ctx, host, "data.status", json_pack("{s:s}", "database", a->database),
               ASK_MS, &data, &ignored)
               < 0)
        return NULL;
    json_t *replicas = json_array(), *replica;
    size_t i;
    json_array_foreach (json_object_get(data, "replicas"), i, replica)
        json_array_append(replicas, json_object_get(replica, "state"));
    json_object_del(doc, "clocks");
    return json_pack("{s:s,s:O,s:s,s:o}", "event", "platform", "doc", doc, "state",
        json_opt_str(data, "state", "?"), "replicas", replicas);
}

static void look_at_platform(const void *arg, int fd)
{
    const struct platform_arg *a = arg;
    json_t *was = NULL;
    for (size_t i = 0;; poll(NULL, 0, LOOK_MS)) {
        const char *host = json_string_value(json_array_get(a->hosts, i));
        json_t *now = host ? state_of(a, host) : NULL;
        if (!now) {
            i = (i + 1) % MAX(json_array_size(a->hosts), 1);
            continue;
        }
        if (!json_equal(was, now)) {
            json_t *event = json_deep_copy(now);
            json_object_set_new(event, "at_ms", json_integer((json_int_t)clock_boot_ms()));
            if (!say(fd, event))
                return;
        }
        json_decref(was);
        was = now;
    }
}

int observe_platform(const struct drill_config *c, const json_t *hosts, const char *database,
    int not_his, struct observer *ret, struct err *e)
{
    struct platform_arg a = {c, hosts, database};
    return start(look_at_platform, &a, not_his, ret, e);
}

/* ---- the fault */

struct read_arg {
    const char *platform;
    const json_t *acts;
};

static void look_at_fault(const void *arg, int fd)
{
    const struct read_arg *a = arg;
    json_t *found = json_array();
    bool good = acts_read_back(a->platform, a->acts, true, found);
    (void)say(fd, json_pack("{s:s,s:I,s:b,s:o}", "event", "read_back", "at_ms",
                      (json_int_t)clock_boot_ms(), "good", good, "found", found));
}

int observe_read_back(const struct drill_config *c, const json_t *acts, int not_his,
    struct observer *ret, struct err *e)
{
    struct read_arg a = {c->platform, acts};
    return start(look_at_fault, &a, not_his, ret, e);
}

/* ---- what they say */

void observe_interrupt(const struct observer *o)
{
    if (o->pid > 0)
        kill(o->pid, SIGINT); /* our child, not yet waited for: the number is its own */
}

void observe_end(struct observer *o)
{
    if (o->pid > 0) {
        kill(o->pid, SIGKILL);
        while (waitpid(o->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (o->pid > 0 && o->fd >= 0)
        close(o->fd);
    str_done(&o->text);
    *o = (struct observer){.fd = -1};
}

static void take_lines(struct str *text, void (*take)(void *ctx, json_t *event), void *ctx)
{
    size_t at = 0;
    for (char *end; at < text->len && (end = memchr(text->buf + at, '\n', text->len - at));) {
        size_t len = (size_t)(end - text->buf) - at;
        json_t *event = NULL;
        struct err ignored;
        if (json_parse(text->buf + at, len, &event, &ignored) >= 0)
            take(ctx, event);
        json_decref(event);
        at += len + 1;
    }
    size_t left = text->len - at;
    _cleanup_free_ char *rest = xmalloc(left + 1);
    memcpy(rest, text->len ? text->buf + at : "", left);
    str_clear(text);
    if (left <= LINE_MAX_BYTES)
        str_add_mem(text, rest, left);
}

bool observe_read(struct observer *o, void (*take)(void *ctx, json_t *event), void *ctx)
{
    char buf[65536];
    ssize_t n;
    while ((n = read(o->fd, buf, sizeof buf)) > 0) {
        str_add_mem(&o->text, buf, (size_t)n);
        take_lines(&o->text, take, ctx);
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}
