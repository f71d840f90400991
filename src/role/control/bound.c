/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that are bound to something: one after the other; the first that fails is the answer. */
#include "role/control/priv.h"

#include "base/str/str.h"

#define BOUND_MAX 8u /* the schema's */

struct bound {
    struct control *c;
    char names[BOUND_MAX][64]; /* another revision may come meanwhile */
    size_t n, next;
    char run[56], why[128];
    json_t *input;
    control_bound_fn done;
    void *ctx;
};

static void end(struct bound *b, const struct err *e)
{
    b->done(b->ctx, e);
    json_decref(b->input);
    free(b);
}

static void run_next(struct bound *b);

static void on_function(void *ctx, const struct function_result *r, const struct err *e)
{
    struct bound *b = ctx;
    b->next++;
    if (e)
        end(b, e);
    else
        run_next(b);
}

static void run_next(struct bound *b)
{
    char run[64];
    if (b->next == b->n || b->c->done) {
        end(b, NULL);
        return;
    }
    snprintf(run, sizeof run, "%s-%u", b->run, (unsigned)b->next);
    control_function_run(
        b->c, b->names[b->next], run, b->why, json_deep_copy(b->input), on_function, b);
}

void control_bound_run(struct control *c, const struct model_function *const *list, const char *run,
    const char *why, json_t *input, control_bound_fn done, void *ctx)
{
    struct bound *b = xcalloc(1, sizeof *b);
    *b = (struct bound){.c = c, .input = input, .done = done, .ctx = ctx};
    for (size_t i = 0; list && list[i] && b->n < BOUND_MAX; i++)
        str_copy(b->names[b->n++], sizeof b->names[0], list[i]->as.name);
    str_copy(b->run, sizeof b->run, run);
    str_copy(b->why, sizeof b->why, why);
    run_next(b);
}
