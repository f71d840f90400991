/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/plan_view.h"

#include "base/rpc/rpc.h"
#include "domain/model/model.h"
#include "domain/plan/plan.h"
#include "domain/revision/revision.h"

#define ANSWER_TIMEOUT_MS 10000u

int cmd_revision_get(struct rpc_client *c, int64_t number, json_t **ret, struct err *e)
{
    json_t *params = json_pack("{s:I}", "revision", (json_int_t)number);
    return rpc_client_call(c, "revision", params, ANSWER_TIMEOUT_MS, NULL, NULL, ret, e);
}

int cmd_same_platform(const struct model *m, const struct revision *from, struct err *e)
{
    if (!from || str_eq(from->model->platform, m->platform))
        return 0;
    err_set(e, ERR_REFUSED, "the platform that answers is %s, the declaration is %s",
        from->model->platform, m->platform);
    err_fix(e, "run it on a host of %s, or name the other file with -f", m->platform);
    return ERR_REFUSED;
}

int cmd_ca_gate(struct rpc_client *c, struct err *e)
{
    struct err why = {0};
    _cleanup_json_ json_t *status = NULL;
    int r = rpc_client_call(c, "ca.status", NULL, ANSWER_TIMEOUT_MS, NULL, NULL, &status, &why);
    const json_t *gate = json_object_get(status, "gate");
    if (r < 0 || !json_is_object(gate)) /* an older control has no such question */
        return 0;
    json_to_err(gate, e);
    return e->code;
}

static enum table_mark mark_of(enum plan_verb verb)
{
    static const enum table_mark marks[] = {[PLAN_CREATE] = TABLE_GOOD,
        [PLAN_UPDATE] = TABLE_WARN,
        [PLAN_REPLACE] = TABLE_WARN,
        [PLAN_REMOVE] = TABLE_BAD,
        [PLAN_REFUSE] = TABLE_BAD};
    return marks[verb];
}

/* One group's actions as a table headed by its name. */
static void print_group(
    const struct plan *p, const char *group, const struct table_style *style, size_t *left)
{
    struct table t;
    const char *const heads[] = {group, "", "impact", "reason", NULL};
    table_init(&t, heads);
    for (size_t i = 0; i < p->n; i++) {
        const struct plan_action *a = &p->actions[i];
        if (strcmp(a->group, group) != 0 || !*left)
            continue;
        --*left;
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

void cmd_plan_print(const struct cmd_ctx *ctx, const struct plan *p, size_t max)
{
    static const char *const groups[] = {
        "hosts", "data", "modules", "routes", "calls", "routing", "alarms",
        "lab"};
    struct table_style style = cmd_style(ctx);
    size_t counts[PLAN_REFUSE + 1] = {0}, left = max;
    style.width = 0; /* a reason that is cut is none */
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
        print_group(p, groups[i], &style, &left);
    if (p->n > max)
        printf("and %zu more: `mcp plan` shows all\n\n", p->n - max);
    for (size_t i = 0; i < p->n; i++)
        counts[p->actions[i].verb]++;
    if (p->n)
        printf("%zu to create, %zu to update, %zu to replace, %zu to remove\n", counts[PLAN_CREATE],
            counts[PLAN_UPDATE], counts[PLAN_REPLACE], counts[PLAN_REMOVE]);
    if (counts[PLAN_REFUSE])
        printf("%zu refused: an apply of this would do nothing at all\n", counts[PLAN_REFUSE]);
}
