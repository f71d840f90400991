/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/units/units.h"
#include "cmd/cli/up_view.h"
#include "domain/model/model.h"
#include "service/lab/up.h"

#include <errno.h>
#include <limits.h>

#define TIMEOUT_DEFAULT_MS 300000u

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

static int parse(const struct cmd_ctx *ctx, struct up_params *p, struct err *e)
{
    p->timeout_ms = TIMEOUT_DEFAULT_MS;
    int r = parse_size(ctx, &p->image_size_bytes, e);
    if (r >= 0)
        r = parse_port(ctx, &p->port, e);
    return r < 0 ? r : cmd_opt_duration(ctx, "timeout", &p->timeout_ms, e);
}

/* The declaration; its images too unless only hosts are wanted. */
static int load(
    struct cmd_ctx *ctx, char file[PATH_MAX], struct model **ret, json_t **ret_files, struct err *e)
{
    int r = cmd_flag(ctx, "hosts-only") ? cmd_load_model(ctx, ret, e)
                                        : cmd_load_resolved(ctx, ret, ret_files, e);
    if (r >= 0 && !realpath(cmd_platform_file(ctx), file))
        r = err_errno(e, errno, "%s", cmd_platform_file(ctx));
    return r;
}

static int up(
    struct cmd_ctx *ctx, struct lab *l, struct up_params *p, struct up_view *v, struct err *e)
{
    int64_t revision = 0;
    _cleanup_json_ json_t *status = NULL;
    bool hosts_only = cmd_flag(ctx, "hosts-only");
    int r = up_hosts(l, p, e);
    if (r >= 0 && !hosts_only)
        r = up_apply(l, p, &revision, e);
    if (r >= 0 && !hosts_only)
        r = up_status(l, &status, e);
    up_view_end(v);
    if (r >= 0)
        up_view_result(v, l, p->model, revision, status);
    return r;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    char file[PATH_MAX];
    struct model *m = NULL;
    _cleanup_json_ json_t *files = NULL;
    _cleanup_lab_ struct lab *l = NULL;
    struct up_view v = {.ctx = ctx, .start_ms = clock_boot_ms()};
    struct up_params p = {.file = file, .progress = up_view_progress, .ctx = &v};
    int r = parse(ctx, &p, e);
    if (r >= 0)
        r = load(ctx, file, &m, &files, e);
    p.model = m;
    if (r >= 0)
        up_view_hosts(&v, m);
    p.files = files;
    if (r >= 0)
        r = up_check(&p, e);
    if (r >= 0)
        r = lab_open(m->platform, true, &l, e);
    if (r >= 0)
        r = up(ctx, l, &p, &v, e);
    up_view_done(&v);
    model_free(m);
    return r;
}

const struct cmd cmd_up = {
    .name = "up",
    .operands = "",
    .summary = "Bring the whole platform up on this machine, as a lab",
    .text = "Every host of the declaration becomes a machine of its own in namespaces: the very "
            "same `mcp host` that a real host runs, on its own disk, behind a wide area network "
            "with the delays of lab.wan. This machine's own network is not touched. A second `up` "
            "starts what is dead and applies what changed; `mcp down` removes every trace.\n\n"
            "The URL printed at the end leads a browser in as one of the invented buyers of "
            "lab.clients: names are resolved by the platform's own DNS from that buyer's address. "
            "`mcp lab as COUNTRY` chooses another.\n\n"
            "JSON: platform, revision, ready, took_ms, phases {name: ms}, url, ca, as, hosts[] "
            "{name, region, addresses[], public_addresses[]}.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE,
        {"hosts-only", 0, NULL, "start the hosts, apply nothing"},
        {"port", 0, "PORT", "of the forwarder on 127.0.0.1 (default: any free one)"},
        {"image-size", 0, "SIZE", "size of a host's disk, sparse (default 4GiB)"},
        {"timeout", 0, "D", "give up after this time (default 5m)"}, CMD_OPT_JSON, {0}},
    .run = run,
};
