/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/units/units.h"
#include "domain/model/model.h"
#include "service/lab/up.h"

#include <errno.h>
#include <limits.h>

struct display {
    bool terminal, json;
    uint64_t start_ms, phase_ms[UP_PHASES];
    enum up_phase phase;
};

static void progress(void *ctx, enum up_phase phase, const char *host, const char *text)
{
    struct display *d = ctx;
    uint64_t now = clock_boot_ms();
    if (text && !d->phase_ms[phase])
        d->phase_ms[phase] = now;
    if (d->json)
        return;
    if (text && d->terminal)
        fprintf(stdout, "\r\033[K%-10s %s%s%s", up_phase_name(phase), host ? host : "", host ? ": " : "", text);
    if (!text)
        fprintf(stdout, "%s%-10s %6llu ms\n", d->terminal ? "\r\033[K" : "", up_phase_name(phase),
            (unsigned long long)(now - d->phase_ms[phase]));
    fflush(stdout);
}

static int load_model(struct cmd_ctx *ctx, char file[PATH_MAX], struct model **ret, struct err *e)
{
    const char *name = cmd_opt(ctx, "file");
    if (!name)
        name = getenv("MCP_FILE");
    if (!name)
        name = "platform.yaml";
    if (!realpath(name, file)) {
        err_errno(e, errno, "%s", name);
        err_fix(e, "name the declaration with -f FILE, or write one with `mcp init`");
        return e->code;
    }
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(file, MODEL_TEXT_MAX, &text, e);
    return r < 0 ? r : model_parse(str_cstr(&text), text.len, name, ret, NULL, e);
}

static int parse_size(const struct cmd_ctx *ctx, uint64_t *ret, struct err *e)
{
    const char *text = cmd_opt(ctx, "image-size");
    *ret = UP_IMAGE_SIZE;
    if (!text || (units_parse_size(text, ret) && *ret >= UP_IMAGE_SIZE_MIN))
        return 0;
    return err_set(e, ERR_USAGE, "--image-size '%s' is no size of at least 64MiB", text);
}

static int parse_port(const struct cmd_ctx *ctx, uint16_t *ret, struct err *e)
{
    int64_t port = 0;
    int r = cmd_opt_number(ctx, "port", &port, e);
    if (r >= 0 && (port < 0 || port > 65535))
        return err_set(e, ERR_USAGE, "--port %lld is no port", (long long)port);
    *ret = (uint16_t)port;
    return r;
}

static int up(struct lab *l, const struct up_params *p, bool hosts_only, struct err *e)
{
    int r = up_hosts(l, p, e);
    if (r < 0 || hosts_only)
        return r;
    return 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    char file[PATH_MAX];
    struct model *m = NULL;
    _cleanup_lab_ struct lab *l = NULL;
    struct display d = {.terminal = ctx->terminal, .json = ctx->json, .start_ms = clock_boot_ms()};
    struct up_params p = {.file = file, .progress = progress, .ctx = &d};
    int r = parse_size(ctx, &p.image_size_bytes, e);
    if (r >= 0)
        r = parse_port(ctx, &p.port, e);
    if (r >= 0)
        r = load_model(ctx, file, &m, e);
    p.model = m;
    if (r >= 0)
        r = up_check(&p, e);
    if (r >= 0)
        r = lab_open(m->platform, true, &l, e);
    if (r >= 0)
        r = up(l, &p, cmd_flag(ctx, "hosts-only"), e);
    model_free(m);
    return r;
}

const struct cmd cmd_up = {
    .name = "up",
    .operands = "",
    .summary = "Bring the whole platform up on this machine, as a lab",
    .text = "Every host of the declaration becomes a machine of its own in namespaces: the very same `mcp host` that a "
            "real host runs, on its own disk, behind a wide area network with the delays of lab.wan. This machine's own "
            "network is not touched. A second `up` starts what is dead and applies what changed; `mcp down` removes "
            "every trace.",
    .opts = (const struct cmd_opt[]){{"file", 'f', "FILE", "the declaration (default: $MCP_FILE, else ./platform.yaml)"},
        {"hosts-only", 0, NULL, "start the hosts, apply nothing"},
        {"port", 0, "PORT", "of the forwarder on 127.0.0.1 (default: any free one)"},
        {"image-size", 0, "SIZE", "size of a host's disk, sparse (default 4GiB)"}, {"json", 0, NULL, "print JSON"}, {0}},
    .run = run,
};
