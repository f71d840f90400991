/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"
#include "cmd/cli/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "service/gate/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#define FOREVER UINT64_MAX
#define LINE_MAX_BYTES 256u

struct gate_cmd {
    struct gate_serve *serve;
    int policy_fd, signals;
    char line[LINE_MAX_BYTES];
    size_t len;
};

static void print_counts(struct gate_serve *serve)
{
    struct gate_counts n = gate_counts(gate_serve_gate(serve));
    printf("{\"health\": \"%s\", \"sessions\": %u, \"busy\": %u, \"waiting\": %u, \"slow\": %u, "
           "\"statements\": %llu, \"late\": %llu}\n",
        gate_health_text(gate_health(gate_serve_gate(serve), clock_boot_ms())), n.sessions, n.busy,
        n.waiting, n.slow, (unsigned long long)n.statements, (unsigned long long)n.late);
}

static void obey(struct gate_cmd *c, const char *line)
{
    struct gate_policy p;
    struct err e = {0};
    if (str_eq(line, "count")) {
        print_counts(c->serve);
    } else if (gate_policy_parse(line, clock_boot_ms(), &p, &e) < 0) {
        printf("not understood: %s\n", e.message);
    } else {
        gate_serve_set_policy(c->serve, &p);
        printf("%s\n", line);
    }
    fflush(stdout);
}

/* False: nobody will say more. */
static bool read_policy(struct gate_cmd *c)
{
    ssize_t n = read(c->policy_fd, c->line + c->len, sizeof c->line - 1 - c->len);
    if (n <= 0)
        return n < 0 && errno == EINTR;
    c->len += (size_t)n;
    for (char *end; (end = memchr(c->line, '\n', c->len));) {
        *end = '\0';
        obey(c, c->line);
        size_t used = (size_t)(end - c->line) + 1;
        memmove(c->line, c->line + used, c->len -= used);
    }
    return c->len < sizeof c->line - 1;
}

static void serve_until_told(struct gate_cmd *c)
{
    struct pollfd fds[] = {
        {.fd = c->signals, .events = POLLIN}, {.fd = c->policy_fd, .events = POLLIN}};
    while (!fds[0].revents) {
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
            fds[0].revents = fds[1].revents = 0;
        if (fds[1].revents && !read_policy(c))
            fds[1].fd = -1;
    }
}

static int read_options(const struct cmd_ctx *ctx, struct gate_serve_config *c,
    struct gate_place *listen, int *fd, struct err *e)
{
    const char *from = cmd_opt(ctx, "listen"), *to = cmd_opt(ctx, "upstream");
    int64_t threads = 0, connections = 0, policy = -1;
    uint64_t slow_ms = 0, idle_ms = 0, login_ms = 0;
    if (!from || !to)
        return err_set(e, ERR_USAGE, "both --listen and --upstream are needed");
    int r = gate_place_parse(from, listen, e);
    if (r >= 0)
        r = gate_place_parse(to, &c->upstream, e);
    if (r >= 0)
        r = cmd_opt_number(ctx, "threads", &threads, e);
    if (r >= 0)
        r = cmd_opt_number(ctx, "connections", &connections, e);
    if (r >= 0)
        r = cmd_opt_number(ctx, "deadline-fd", &policy, e);
    if (r >= 0)
        r = cmd_opt_duration(ctx, "slow", &slow_ms, e);
    if (r >= 0)
        r = cmd_opt_duration(ctx, "idle", &idle_ms, e);
    if (r >= 0)
        r = cmd_opt_duration(ctx, "login", &login_ms, e);
    if (r < 0)
        return r;
    if (threads < 0 || threads > SPLICE_THREADS_MAX || connections < 0 || connections > 100000
        || (policy >= 0 && fcntl((int)policy, F_GETFD) < 0))
        return err_set(e, ERR_USAGE, "--threads, --connections or --deadline-fd: no such number");
    c->threads = (unsigned)threads;
    c->limits = (struct gate_limits){.connections = connections ? (unsigned)connections : 10000,
        .logins_per_s = 10000,
        .handshake_ms = (unsigned)login_ms,
        .idle_ms = (unsigned)idle_ms,
        .slow_ms = (unsigned)slow_ms,
        .silent_ms = (unsigned)(2 * slow_ms)};
    *fd = (int)policy;
    return 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct gate_serve_config config = {0};
    struct gate_place listen;
    struct gate_cmd c = {0};
    char address[IP_TEXT_SIZE];
    int r = read_options(ctx, &config, &listen, &c.policy_fd, e);
    if (r < 0)
        return r;
    _cleanup_close_ int signals = cmd_stop_open(0, e);
    if (signals < 0)
        return signals;
    c.signals = signals;
    config.listener = gate_place_listen(&listen, e);
    if (config.listener < 0)
        return err_wrap(e, "%s", cmd_opt(ctx, "listen"));
    r = gate_serve_new(&config, &c.serve, e);
    if (r < 0)
        return r;
    if (c.policy_fd < 0)
        gate_serve_set_policy(
            c.serve, &(struct gate_policy){.mode = GATE_RW, .deadline_ms = FOREVER});
    ip_format(&listen.address, address);
    if (*listen.path)
        printf("listening on unix:%s\n", listen.path);
    else
        printf("listening on %s:%u\n", address, listen.port);
    fflush(stdout);
    serve_until_told(&c);
    gate_serve_free(c.serve);
    if (*listen.path)
        unlink(listen.path);
    return 0;
}

const struct cmd cmd_data_gate = {
    .name = "data gate",
    .operands = "",
    .summary = "Stand in front of one database server as the mesh does, without a platform",
    .text =
        "For trying clients and for measuring: the gate of a database's `rw` endpoint alone. It "
        "follows the MySQL protocol, speaks neither TLS nor compression, refuses replication "
        "commands and LOAD DATA, and passes no answer after its deadline. A place is "
        "`unix:/PATH` or `ADDRESS:PORT`; port 0 takes a free one, which is printed.\n\n"
        "Without --deadline-fd it is open. With it, it is closed until a line comes from that "
        "descriptor: `rw EPOCH MS` opens it for so many milliseconds, `hold EPOCH MS MS` lets "
        "new statements wait for as long as the second number, `ro EPOCH` and `close` say what "
        "they do; another epoch ends all connections. `count` prints figures. Each line that "
        "was obeyed is printed. It ends by SIGTERM.",
    .opts = (const struct cmd_opt[]){{"listen", 0, "PLACE", "where clients connect"},
        {"upstream", 0, "PLACE", "where the server listens"},
        {"deadline-fd", 0, "N", "the descriptor that the policy comes from"},
        {"threads", 0, "N", "threads (default: one per core)"},
        {"connections", 0, "N", "connections at once (default: 10000)"},
        {"login", 0, "TIME", "how long a login may take (default: 10s)"},
        {"idle", 0, "TIME", "end connections not used for so long (default: never)"},
        {"slow", 0, "TIME", "what counts as a slow answer (default: 2s)"}, {0}},
    .run = run,
};
