/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

#include "base/rpc/rpc.h"
#include "domain/model/model.h"
#include "domain/plan/plan.h"
#include "domain/revision/revision.h"

#define CALL_TIMEOUT_MS 10000u

/* The revision that the plan starts from. None: *ret stays NULL and `why` says why. */
static int fetch(const struct cmd_ctx *ctx, int64_t number, struct revision **ret, struct err *why, struct err *e)
{
    struct rpc_client *client = NULL;
    _cleanup_json_ json_t *answer = NULL;
    int r = cmd_connect(ctx, NULL, &client, why);
    if (r >= 0)
        r = rpc_client_call(client, "revision", json_pack("{s:I}", "revision", (json_int_t)number), CALL_TIMEOUT_MS, NULL,
            NULL, &answer, why);
    rpc_client_free(client);
    if (r >= 0)
        return revision_parse(answer, ret, e);
    if (number) { /* asked for by name: nothing else will do */
        *e = *why;
        return err_wrap(e, "revision %lld", (long long)number);
    }
    return 0;
}

static enum table_mark mark_of(enum plan_verb verb)
{
    static const enum table_mark marks[] = {[PLAN_CREATE] = TABLE_GOOD, [PLAN_UPDATE] = TABLE_WARN,
        [PLAN_REPLACE] = TABLE_WARN, [PLAN_REMOVE] = TABLE_BAD};
    return marks[verb];
}

/* One group's actions as a table headed by its name. */
static void print_group(const struct plan *p, const char *group, const struct table_style *style)
{
    struct table t;
    const char *const heads[] = {group, "", "impact", "reason", NULL};
    table_init(&t, heads);
    for (size_t i = 0; i < p->n; i++) {
        const struct plan_action *a = &p->actions[i];
        if (strcmp(a->group, group) != 0)
            continue;
        table_cell(&t, mark_of(a->verb), "%s", plan_verb_name(a->verb));
        table_cell(&t, TABLE_PLAIN, "%s", a->subject);
        table_cell(&t, TABLE_DIM, "%s", a->impact);
        table_cell(&t, TABLE_PLAIN, "%s", a->reason);
    }
    if (!table_empty(&t)) {
        _cleanup_str_ struct str out = STR_INIT;
        table_format(&t, style, &out);
        fputs(out.buf, stdout);
        putchar('\n');
    }
    table_done(&t);
}

static void print_plan(const struct cmd_ctx *ctx, const struct plan *p, const char *platform,
    const struct revision *from, const struct err *why)
{
    static const char *const groups[] = {"hosts", "modules", "routes", "routing", "lab"};
    struct table_style style = cmd_style(ctx);
    style.width = 0; /* a reason that is cut is none */
    if (!from)
        printf("%s: compared with nothing, for no running platform answers (%s)\n\n", platform, why->message);
    else if (p->n)
        printf("%s: revision %llu → %llu\n\n", platform, (unsigned long long)from->number,
            (unsigned long long)from->number + 1);
    else
        printf("%s: nothing would change, revision %llu says the same\n", platform, (unsigned long long)from->number);
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
        print_group(p, groups[i], &style);
    size_t counts[4] = {0};
    for (size_t i = 0; i < p->n; i++)
        counts[p->actions[i].verb]++;
    if (p->n)
        printf("%zu to create, %zu to update, %zu to replace, %zu to remove\n", counts[PLAN_CREATE],
            counts[PLAN_UPDATE], counts[PLAN_REPLACE], counts[PLAN_REMOVE]);
}

static int check_platform(const struct model *m, const struct revision *from, struct err *e)
{
    if (!from || str_eq(from->model->platform, m->platform))
        return 0;
    err_set(e, ERR_REFUSED, "the platform that answers is %s, the declaration is %s", from->model->platform,
        m->platform);
    err_fix(e, "run it on a host of %s, or name the other file with -f", m->platform);
    return ERR_REFUSED;
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
        r = check_platform(m, from, e);
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
    }
    revision_free(from);
    model_free(m);
    return r;
}

const struct cmd cmd_plan = {
    .name = "plan",
    .operands = "",
    .summary = "Show what applying the declaration would do, and why",
    .text = "Reads and checks the declaration, resolves every file it names, and compares it with the current revision of "
            "the running platform, or with revision REV. Each action comes with its reason and its impact; nothing "
            "is changed. Where no platform answers, everything declared is new.\n\n"
            "A declaration that is wrong is refused with every error it has, each with its place and what to do.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM, {"from", 0, "REV", "compare with this revision"},
        CMD_OPT_JSON, {0}},
    .run = run,
};
