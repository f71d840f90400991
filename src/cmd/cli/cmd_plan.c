/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_secret.h"
#include "cmd/cli/plan_view.h"

#include "base/rpc/rpc.h"
#include "domain/model/model.h"
#include "domain/plan/plan.h"
#include "domain/revision/revision.h"

/* The revision that the plan starts from. None: *ret stays NULL and `why` says why. */
static int fetch(const struct cmd_ctx *ctx, int64_t number, struct revision **ret, struct err *why,
    struct err *e)
{
    struct rpc_client *client = NULL;
    _cleanup_json_ json_t *answer = NULL;
    int r = cmd_connect(ctx, NULL, &client, why);
    if (r >= 0)
        r = cmd_revision_get(client, number, &answer, why);
    int gate = client ? cmd_ca_gate(client, e) : 0;
    rpc_client_free(client);
    if (gate < 0)
        return gate;
    if (r >= 0)
        return revision_parse(answer, ret, e);
    if (number) { /* asked for by name: nothing else will do */
        *e = *why;
        return err_wrap(e, "revision %lld", (long long)number);
    }
    return 0;
}

static void print_plan(const struct cmd_ctx *ctx, const struct plan *p, const char *platform,
    const struct revision *from, const struct err *why)
{
    if (!from)
        printf("%s: compared with nothing, for no running platform answers (%s)\n\n", platform,
            why->message);
    else if (p->n)
        printf("%s: revision %llu → %llu\n\n", platform, (unsigned long long)from->number,
            (unsigned long long)from->number + 1);
    else
        printf("%s: nothing would change, revision %llu says the same\n", platform,
            (unsigned long long)from->number);
    cmd_plan_print(ctx, p, SIZE_MAX);
}

static void warn_of_secrets(const struct cmd_ctx *ctx, const struct model *m)
{
    struct rpc_client *client;
    struct err ignored;
    if (cmd_connect(ctx, NULL, &client, &ignored) < 0)
        return;
    cmd_secret_warn(ctx, client, m);
    rpc_client_free(client);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct model *m = NULL;
    struct revision *from = NULL;
    _cleanup_json_ json_t *files = NULL;
    struct err why = {0};
    int64_t number = 0;
    int r = cmd_opt_number(ctx, "from", &number, e);
    if (r >= 0)
        r = cmd_load_resolved(ctx, &m, &files, e);
    if (r >= 0)
        r = fetch(ctx, number, &from, &why, e);
    if (r >= 0)
        r = cmd_same_platform(m, from, e);
    if (r >= 0) {
        struct plan_side old = {from ? from->model : NULL, from ? from->files : NULL};
        struct plan *p = plan_make(&old, &(struct plan_side){m, files});
        if (ctx->json) {
            uint64_t base = from ? from->number : 0;
            _cleanup_json_ json_t *j = plan_json(p, m->platform, base, p->n ? base + 1 : base);
            cmd_print_json(j);
        } else {
            print_plan(ctx, p, m->platform, from, &why);
        }
        plan_free(p);
        warn_of_secrets(ctx, m);
    }
    revision_free(from);
    model_free(m);
    return r;
}

const struct cmd cmd_plan = {
    .name = "plan",
    .operands = "",
    .summary = "Show what applying the declaration would do, and why",
    .text = "Reads and checks the declaration, resolves every file it names, and compares it with "
            "the current revision of "
            "the running platform, or with revision REV. Each action comes with its reason and its "
            "impact; nothing "
            "is changed. Where no platform answers, everything declared is new.\n\n"
            "A declaration that is wrong is refused with every error it has, each with its place "
            "and what to do. While a root or an intermediate certificate is about to end, every "
            "change is refused (exit status 3) until `mcp ca rotate` has replaced it.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"from", 0, "REV", "compare with this revision"}, CMD_OPT_JSON, {0}},
    .run = run,
};
