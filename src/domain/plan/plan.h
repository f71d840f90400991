/* SPDX-License-Identifier: Apache-2.0 */
/* What a change of the declaration would do: the difference of two models, with the digests of
 * their files, as actions in the order in which they are carried out (what others stand on comes
 * first and goes last). Pure and deterministic; linear in the size of both models, which are
 * sorted. Nothing changes: no action. */
#pragma once

#include "base/json/json.h"

struct model;

enum plan_verb {
    PLAN_CREATE,
    PLAN_UPDATE,
    PLAN_REPLACE,
    PLAN_REMOVE,
    PLAN_REFUSE
}; /* REPLACE: what runs is restarted; REFUSE: no apply does this, `impact` is what does */

struct plan_action {
    enum plan_verb verb;
    const char
        *group; /* "hosts", "modules", "routes", "calls", "data", "routing", "alarms", "lab": how people see
                   them together */
    const char *subject; /* "module api in ap-seoul" */
    const char *reason;  /* what changed, old → new */
    const char *impact;  /* "restarts 2 instances", "no restart" */
};

struct plan {
    struct arena *arena;
    struct plan_action *actions;
    size_t n, cap;
};

struct plan_side {
    const struct model *model; /* NULL: nothing runs yet */
    const json_t *files;       /* path -> digest; NULL with the model */
    const json_t *sources;     /* of `from`: database -> region of its source now; NULL: unknown */
};

/* `from` may have no model, `to` must. The plan borrows nothing. */
struct plan *plan_make(const struct plan_side *from, const struct plan_side *to);
void plan_free(struct plan *p); /* NULL is fine */
/* ERR_REFUSED with reason and fix of the first action that no apply may do. */
MUST_CHECK int plan_refusal(const struct plan *p, struct err *e);
const char *plan_verb_name(enum plan_verb verb);
/* {"platform", "from", "to", "actions": [{"verb", "subject", "reason", "impact"}]}; from 0: null.
 * */
json_t *plan_json(const struct plan *p, const char *platform, uint64_t from, uint64_t to);
