/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp secret set` and `rotate`: the value comes from standard input, a file or a terminal without
 * echo, never from an argument, and goes to control over its socket. */
#include "cmd/cli/cmd_secret.h"

#include "base/base64/base64.h"
#include "base/file/file.h"
#include "base/secret/secret.h"
#include "domain/secret/made.h"
#include "domain/secret/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <termios.h>

#define ANSWER_TIMEOUT_MS 30000
#define LINE_MAX_BYTES 4096u

static int read_all(int fd, const char *what, struct secret **ret, struct err *e)
{
    _cleanup_secret_ struct secret *s = secret_new(NULL, SECRET_VALUE_MAX + 1);
    size_t len = 0;
    while (len <= SECRET_VALUE_MAX) {
        ssize_t n = read(fd, secret_bytes(s) + len, SECRET_VALUE_MAX + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, "read %s", what);
        if (n == 0)
            break;
        len += (size_t)n;
    }
    if (len > SECRET_VALUE_MAX)
        return err_set(e, ERR_LIMIT, "%s has over %u KiB", what, SECRET_VALUE_MAX / 1024);
    secret_shorten(s, len);
    *ret = util_steal_ptr(&s);
    return 0;
}

static int read_line(int fd, const char *prompt, struct secret **ret, struct err *e)
{
    _cleanup_secret_ struct secret *s = secret_new(NULL, LINE_MAX_BYTES);
    fputs(prompt, stderr);
    fflush(stderr);
    ssize_t n = read(fd, secret_bytes(s), LINE_MAX_BYTES);
    fputc('\n', stderr);
    if (n < 0)
        return err_errno(e, errno, "read the terminal");
    while (n > 0 && (secret_bytes(s)[n - 1] == '\n' || secret_bytes(s)[n - 1] == '\r'))
        n--;
    secret_shorten(s, (size_t)n);
    *ret = util_steal_ptr(&s);
    return 0;
}

/* Twice, without echo: nobody sees what he types. */
static int ask_terminal(int fd, const char *name, struct secret **ret, struct err *e)
{
    _cleanup_secret_ struct secret *first = NULL, *second = NULL;
    _cleanup_free_ char *prompt = xasprintf("value of %s (is not shown): ", name);
    struct termios was, silent;
    if (tcgetattr(fd, &was) < 0)
        return err_errno(e, errno, "the terminal");
    silent = was;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    if (tcsetattr(fd, TCSAFLUSH, &silent) < 0)
        return err_errno(e, errno, "the terminal");
    int r = read_line(fd, prompt, &first, e);
    if (r >= 0)
        r = read_line(fd, "again: ", &second, e);
    tcsetattr(fd, TCSAFLUSH, &was);
    if (r >= 0 && !secret_eq(first, second))
        r = err_set(e, ERR_USAGE, "the two are not the same; nothing was set");
    if (r >= 0)
        *ret = util_steal_ptr(&first);
    return r;
}

static int read_value(const struct cmd_ctx *ctx, struct secret **ret, struct err *e)
{
    const char *from = cmd_opt(ctx, "from");
    if (from && strcmp(from, "-") != 0) {
        _cleanup_close_ int fd = open(from, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? err_errno(e, errno, "open %s", from) : read_all(fd, from, ret, e);
    }
    if (!from && isatty(STDIN_FILENO))
        return ask_terminal(STDIN_FILENO, ctx->operands[0], ret, e);
    return read_all(STDIN_FILENO, "standard input", ret, e);
}

static void trim(const struct cmd_ctx *ctx, struct secret *value)
{
    size_t n = secret_len(value);
    if (!n || secret_bytes(value)[n - 1] != '\n')
        return;
    if (cmd_flag(ctx, "trim"))
        secret_shorten(value, n - 1);
    else if (!ctx->json)
        fputs("mcp: note: the value ends with a newline, which is kept; --trim takes it off\n",
            stderr);
}

static json_t *params_of(
    const struct cmd_ctx *ctx, struct secret *value, int64_t keep, struct err *e)
{
    _cleanup_secret_str_ struct str text = STR_INIT;
    _cleanup_free_ char *by = cmd_who();
    json_t *modules = json_array();
    str_reserve(&text, (secret_len(value) + 2) / 3 * 4 + 1);
    base64_encode(secret_bytes(value), secret_len(value), &text);
    for (int i = 1; i < ctx->n_operands; i++)
        json_array_append_new(modules, json_string(ctx->operands[i]));
    json_t *params = json_pack("{s:s,s:s,s:o,s:I,s:s}", "name", ctx->operands[0], "value",
        str_cstr(&text), "modules", modules, "keep", (json_int_t)keep, "by", by);
    if (!params)
        err_set(e, ERR_USAGE, "the words are no UTF-8");
    return params;
}

static int finish(const struct cmd_ctx *ctx, const json_t *answer)
{
    if (ctx->json)
        cmd_print_json(answer);
    else
        printf("secret %s is version %lld\n", ctx->operands[0],
            (long long)json_opt_int(answer, "version", 0));
    return 0;
}

static int send_value(struct cmd_ctx *ctx, const char *method, struct err *e)
{
    _cleanup_secret_ struct secret *value = NULL;
    _cleanup_json_ json_t *answer = NULL;
    struct rpc_client *c;
    int64_t keep = 0;
    secret_wipe_freed();
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    int r = cmd_opt_number(ctx, "keep", &keep, e);
    if (r >= 0)
        r = cmd_connect(ctx, NULL, &c, e); /* before a value is asked for */
    if (r < 0)
        return r;
    r = read_value(ctx, &value, e);
    json_t *params = NULL;
    if (r >= 0) {
        trim(ctx, value);
        params = params_of(ctx, value, keep, e);
    }
    if (params)
        r = rpc_client_call(c, method, params, ANSWER_TIMEOUT_MS, NULL, NULL, &answer, e);
    rpc_client_free(c);
    if (r < 0 || !params)
        return r < 0 ? r : ERR_USAGE;
    return finish(ctx, answer);
}

/* The platform makes the value: none is read. */
static int rotate_made(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *by = cmd_who();
    uint64_t overlap_ms = SECRET_OVERLAP_MS;
    int r = cmd_opt_duration(ctx, "overlap", &overlap_ms, e);
    if (r < 0)
        return r;
    json_t *params = json_pack("{s:s,s:I,s:s}", "name", ctx->operands[0], "overlap_ms",
        (json_int_t)overlap_ms, "by", by);
    r = cmd_call(ctx, "secret.rotate", params, ANSWER_TIMEOUT_MS, &answer, e);
    return r < 0 ? r : finish(ctx, answer);
}

static int run_set(struct cmd_ctx *ctx, struct err *e)
{
    return send_value(ctx, "secret.set", e);
}

static int run_rotate(struct cmd_ctx *ctx, struct err *e)
{
    if (model_secret_is_made(ctx->operands[0]))
        return rotate_made(ctx, e);
    return send_value(ctx, "secret.rotate", e);
}

#define OVERLAP_OPT                                                                                \
    {"overlap", 0, "DURATION", "of a database's password: how long the older one is valid beside it "  \
                               "(default 1h)"},
#define VALUE_OPTS                                                                                 \
    {"from", 0, "FILE|-", "read the value from a file; -: from standard input"},                   \
        {"trim", 0, NULL, "take one newline off its end"},                                         \
        {"keep", 0, "N", "versions to keep when all have taken this one (1 to 5, default 1)"},     \
        CMD_OPT_FILE, CMD_OPT_PLATFORM, CMD_OPT_JSON,                                              \
    {                                                                                              \
        0                                                                                          \
    }

const struct cmd cmd_secret_set = {
    .name = "secret set",
    .operands = "NAME [MODULE]...",
    .summary = "Set a secret, for the modules named",
    .text =
        "The value is read from standard input, or asked for twice without echo on a terminal, or "
        "read from --from FILE; never from an argument, which other users of the machine could "
        "see. It has at most 64 KiB, of any bytes.\n\n"
        "It is sealed at once: the value with a key of its own, that key to each host that runs, "
        "or may run, a module which asks for the secret (`secrets:` in its declaration) and is "
        "granted it, and to the hosts that keep the state. The state store, its backups and the "
        "hosts' disks hold nothing clear. A module named here is granted it; `mcp secret grant` "
        "does the same later.\n\n"
        "In the container it is the file /run/secrets/NAME, in memory. A secret that is set "
        "already gets a next version: see `mcp secret rotate`.\n\n"
        "JSON: name, version, created, by, versions, keep, grants[], hosts[] (that can open it), "
        "asked_by[] (modules). The value is in no output.",
    .opts = (const struct cmd_opt[]){VALUE_OPTS},
    .min_operands = 1,
    .max_operands = -1,
    .run = run_set,
};

const struct cmd cmd_secret_rotate = {
    .name = "secret rotate",
    .operands = "NAME",
    .summary = "Give a secret its next version",
    .text =
        "Reads the new value as `mcp secret set` does; the secret must be set already. Every host "
        "that runs a holder replaces the file as a whole, within seconds and without a restart; "
        "a module that says `on_change: restart` is restarted instance by instance, one that says "
        "`on_change: signal` is sent its signal. Hosts that are off take it when they are back.\n\n"
        "The version before is kept until every host that is heard has the new one in place (`mcp "
        "secret list` shows which), then dropped, unless --keep says to keep more.\n\n"
        "A secret data.DATABASE.MODULE is a module's password of a database, which the platform makes: "
        "no value is read. The new password first waits until the database's source and the replicas "
        "that follow it take it, then the module's hosts get it; the older one is valid until all of "
        "them have it and --overlap is over, so that nobody who connects is ever refused. --overlap 0s "
        "ends it as soon as all have the new one. `mcp secret list` shows the phase: placing, overlap, "
        "steady.\n\n"
        "JSON: as of `mcp secret set`; of a database's password also phase.",
    .opts = (const struct cmd_opt[]){OVERLAP_OPT VALUE_OPTS},
    .min_operands = 1,
    .max_operands = 1,
    .run = run_rotate,
};
