/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"
#include "cmd/cli/priv.h"

#include "base/file/file.h"
#include "base/metrics/metrics.h"
#include "service/edge/alone.h"
#include "service/edge/edge.h"
#include "service/gate/gate.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#define PEM_MAX 65536u
#define DRAIN_MS 10000u
#define CACHE_MIB 64
#define CACHE_MIB_MAX (1 << 20)

struct texts { /* the files that the command line names */
    struct str routes, cert, key;
};

static void texts_done(struct texts *t)
{
    str_done(&t->routes);
    str_done(&t->cert);
    str_done(&t->key);
}

/* Operands are [FILE] [KEY]: behind --tls CERT the last one is its key. */
static int read_files(
    const struct cmd_ctx *ctx, struct texts *t, struct edge_alone *alone, struct err *e)
{
    const char *cert = cmd_opt(ctx, "tls");
    int n = ctx->n_operands;
    if (cert && !n--)
        return err_set(e, ERR_USAGE, "--tls needs two files: CERT KEY");
    if (n > 1)
        return err_set(e, ERR_USAGE, "one word too many: '%s'", ctx->operands[n]);
    int r = cert ? file_read(cert, PEM_MAX, &t->cert, e) : 0;
    if (r >= 0 && cert)
        r = file_read(ctx->operands[n], PEM_MAX, &t->key, e);
    if (cert) {
        alone->cert = str_cstr(&t->cert);
        alone->key = str_cstr(&t->key);
    }
    if (r < 0 || !n || str_eq(ctx->operands[0], "-"))
        return r;
    r = file_read(ctx->operands[0], EDGE_ALONE_TEXT_MAX, &t->routes, e);
    alone->file = ctx->operands[0];
    alone->text = str_cstr(&t->routes);
    alone->text_len = t->routes.len;
    return r;
}

static int read_place(const char *option, const char *text, struct gate_place *ret, struct err *e)
{
    if (!text)
        return err_set(e, ERR_USAGE, "both --listen and --upstream are needed");
    int r = gate_place_parse(text, ret, e);
    return r >= 0 && *ret->path ? err_set(e, ERR_USAGE, "--%s takes ADDRESS:PORT", option) : r;
}

static int read_places(
    const struct cmd_ctx *ctx, struct gate_place *listen, struct edge_alone *alone, struct err *e)
{
    struct gate_place upstream;
    int r = read_place("listen", cmd_opt(ctx, "listen"), listen, e);
    if (r >= 0)
        r = read_place("upstream", cmd_opt(ctx, "upstream"), &upstream, e);
    if (r < 0)
        return r;
    if (!upstream.port)
        return err_set(e, ERR_USAGE, "--upstream needs a port");
    alone->upstream = upstream.address;
    alone->port = upstream.port;
    return 0;
}

static void wait_signal(int fd)
{
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof info) < 0 && errno == EINTR)
        ;
}

static void say_where(const struct gate_place *listen)
{
    char address[IP_TEXT_SIZE];
    ip_format(&listen->address, address);
    printf("listening on %s:%u\n", address, listen->port);
    fflush(stdout);
}

/* Of memory; 0: nothing is kept. */
static int read_cache(const struct cmd_ctx *ctx, uint64_t *ret_bytes, struct err *e)
{
    int64_t mib = CACHE_MIB;
    int r = cmd_opt_number(ctx, "cache-size", &mib, e);
    if (r >= 0 && (mib < 1 || mib > CACHE_MIB_MAX))
        r = err_set(e, ERR_USAGE, "--cache-size: 1 to %d", CACHE_MIB_MAX);
    if (r >= 0 && cmd_opt(ctx, "cache-size") && !cmd_flag(ctx, "cache"))
        r = err_set(e, ERR_USAGE, "--cache-size is of --cache");
    *ret_bytes = cmd_flag(ctx, "cache") ? (uint64_t)mib << 20 : 0;
    return r;
}

/* Until SIGTERM; then what is in flight ends. */
static int serve(const struct cmd_ctx *ctx, struct gate_place *place, json_t *routes, struct err *e)
{
    struct edge *edge;
    _cleanup_close_ int signals = cmd_stop_open(0, e);
    if (signals < 0)
        return signals;
    _cleanup_close_ int fd = gate_place_listen(place, e);
    if (fd < 0)
        return err_wrap(e, "%s", cmd_opt(ctx, "listen"));
    struct http_listen listen = {fd, cmd_opt(ctx, "tls") != NULL};
    int64_t threads = 0;
    int r = cmd_opt_number(ctx, "threads", &threads, e);
    if (r >= 0 && (threads < 0 || threads > HTTP_THREADS_MAX))
        r = err_set(e, ERR_USAGE, "--threads: 1 to %d", HTTP_THREADS_MAX);
    uint64_t cache_bytes = 0;
    if (r >= 0)
        r = read_cache(ctx, &cache_bytes, e);
    struct edge_config config = {
        .cache_bytes = cache_bytes,
        .threads = (unsigned)threads,
        .listens = &listen,
        .n_listens = 1,
        .timeouts = {.drain = DRAIN_MS},
        .metrics = metrics_process(),
    };
    if (r >= 0)
        r = edge_start(&config, &edge, e);
    if (r < 0)
        return r;
    r = edge_set_routes(edge, routes, e);
    if (r >= 0) {
        say_where(place);
        wait_signal(signals);
        edge_drain(edge);
        shutdown(fd, SHUT_RDWR); /* who comes now is refused at once, instead of waiting unheard */
    }
    edge_free(edge);
    return r;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct texts texts = {0};
    struct edge_alone alone = {0};
    struct gate_place listen;
    _cleanup_json_ json_t *routes = NULL;
    int r = read_places(ctx, &listen, &alone, e);
    if (r >= 0)
        r = read_files(ctx, &texts, &alone, e);
    if (r >= 0)
        r = edge_alone_routes(&alone, &routes, e);
    texts_done(&texts);
    return r < 0 ? r : serve(ctx, &listen, routes, e);
}

const struct cmd cmd_edge_serve = {
    .name = "edge serve",
    .operands = "[FILE] [KEY]",
    .summary = "Run the edge alone, without a platform, in front of one upstream",
    .text =
        "The same gateway as the edge role, for conformance and load suites and for trying "
        "clients. FILE is YAML with the key `route`, which holds what a module's `route` holds: "
        "`route: [{names: [a.example], path: /v1, auth: none}]`; without FILE, or with `-`, every "
        "name and path is served. Everything that is served goes to --upstream. A route with "
        "`auth: jwt`, which is the default, answers 401: nobody can check a token here.\n\n"
        "A place is ADDRESS:PORT; port 0 takes a free one, which is printed. --tls takes two "
        "words, the certificate's chain and its key, and serves by TLS alone.\n\n"
        "With --cache answers are kept in memory as RFC 9111 allows, and what became of each request "
        "is said in Cache-Status.\n\n"
        "It ends by SIGTERM: it takes no more connections, and what is in flight has 10 s.",
    .opts = (const struct cmd_opt[]){{"listen", 0, "PLACE", "where clients connect"},
        {"upstream", 0, "PLACE", "where requests go, by HTTP/1.1"},
        {"tls", 0, "CERT", "serve by TLS: the certificate's chain, then the file of its key"},
        {"cache", 0, NULL, "keep answers in memory, and answer from there"},
        {"cache-size", 0, "MIB", "how much memory for that (default: 64)"},
        {"threads", 0, "N", "threads (default: one per core)"}, {0}},
    .max_operands = 2,
    .run = run,
};
