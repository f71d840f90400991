/* SPDX-License-Identifier: Apache-2.0 */
/* One scrape asks every linked role for its text and joins what arrives in time. */
#include "role/control/alarms.h"
#include "role/control/priv.h"

#include "base/metrics/metrics.h"
#include "base/str/str.h"

#define ROLE_TIMEOUT_MS 1000

struct part {
    struct gathering *g;
    char role[32];
    struct str text;
};

struct gathering {
    struct scrape_answer *answer;
    struct part parts[ROLES_MAX + 1]; /* the roles, and control itself */
    size_t n;
    size_t open;
};

static void finish(struct gathering *g)
{
    struct metrics_text texts[ROLES_MAX + 1];
    _cleanup_str_ struct str out = STR_INIT;
    for (size_t i = 0; i < g->n; i++)
        texts[i] = (struct metrics_text){
            g->parts[i].role, str_cstr(&g->parts[i].text), g->parts[i].text.len};
    metrics_merge(texts, g->n, &out);
    scrape_reply(g->answer, &out);
    for (size_t i = 0; i < g->n; i++)
        str_done(&g->parts[i].text);
    free(g);
}

static void on_text(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct part *p = ctx;
    if (more)
        return;
    if (!error)
        str_add(&p->text, json_opt_str(result, "text", ""));
    if (--p->g->open == 0)
        finish(p->g);
}

void control_scrape(void *ctx, struct scrape_answer *answer)
{
    struct control *c = ctx;
    struct gathering *g = xcalloc(1, sizeof *g);
    *g = (struct gathering){.answer = answer, .n = c->n_links + 1, .open = c->n_links};
    for (size_t i = 0; i < c->n_links; i++) {
        g->parts[i].g = g;
        str_copy(g->parts[i].role, sizeof g->parts[i].role, c->links[i].name);
    }
    str_copy(g->parts[c->n_links].role, sizeof g->parts[0].role, "control");
    metrics_format(metrics_process(), &g->parts[c->n_links].text);
    control_pki_metrics(c, &g->parts[c->n_links].text);
    control_alarms_metrics(c, &g->parts[c->n_links].text);
    if (g->open == 0) {
        finish(g);
        return;
    }
    for (size_t i = 0; i < c->n_links; i++)
        rpc_call(c->links[i].conn, "metrics", NULL, ROLE_TIMEOUT_MS, on_text, &g->parts[i]);
}
