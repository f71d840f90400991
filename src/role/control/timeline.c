/* SPDX-License-Identifier: Apache-2.0 */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "base/str/str.h"
#include "service/timeline/story.h"

int control_timeline_open(struct control *c, const char *region, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/timeline", c->role->state_dir);
    struct timeline_options o = {
        .loop = &c->role->loop, .dir = dir, .host = c->host, .region = region};
    return timeline_open(&o, &c->timeline, e);
}

void control_note_draft(struct control *c, const struct timeline_draft *d)
{
    struct err e;
    struct timeline_draft with_revision = *d;
    if (!with_revision.revision)
        with_revision.revision = (uint64_t)c->number;
    if (timeline_append(c->timeline, &with_revision, &e) < 0)
        log_warn("timeline", "entry not kept", "error=%s", e.message);
}

void control_note(struct control *c, const char *kind, const char *subject, const char *message,
    const char *cause)
{
    struct timeline_draft d = {0};
    timeline_draft_set(&d, kind, subject, message, cause);
    control_note_draft(c, &d);
}

void control_note_json(struct control *c, const char *role, const json_t *draft)
{
    struct err e;
    struct timeline_draft d;
    if (timeline_draft_parse(draft, &d, &e) < 0) {
        log_warn("timeline", "entry refused", "role=%s error=%s", role, e.message);
        return;
    }
    control_note_draft(c, &d);
    /* A module that reaches for what it was not given: somebody's mistake, or somebody in it. */
    if (str_eq(role, "mesh") && str_eq(d.kind, "mesh"))
        control_audit_call(c, &d);
}

static const json_t *role_named(const json_t *roles, const char *name)
{
    size_t i;
    json_t *r;
    json_array_foreach (roles, i, r)
        if (str_eq(json_opt_str(r, "name", NULL), name))
            return r;
    return NULL;
}

/* What changed since host told us last. */
void control_note_roles(struct control *c, const json_t *roles)
{
    size_t i;
    json_t *r;
    json_array_foreach (roles, i, r) {
        const char *name = json_opt_str(r, "name", "");
        const json_t *before = role_named(c->roles, name);
        int64_t pid = json_opt_int(r, "pid", 0), old_pid = json_opt_int(before, "pid", 0);
        if (pid == old_pid
            && str_eq(json_opt_str(r, "state", ""), json_opt_str(before, "state", "")))
            continue;
        char message[128];
        _cleanup_free_ char *subject = xasprintf("%s@%s", name, c->host);
        snprintf(message, sizeof message, "%s, pid %lld", json_opt_str(r, "state", "running"),
            (long long)pid);
        control_note(c, "role", subject, message, json_opt_str(r, "reason", ""));
    }
}

void control_timeline(struct control *c, struct rpc_req *req, json_t *params)
{
    struct story_peer peers[PEERS_MAX];
    size_t n = 0;
    for (size_t i = 0; c->model && i < c->model->n_hosts && n < PEERS_MAX; i++) {
        const char *host = c->model->hosts[i].name;
        if (strcmp(host, c->host) != 0)
            peers[n++] = (struct story_peer){host, peers_conn(c->peers, host)};
    }
    story_serve(c->timeline, peers, n, req, params);
}

void control_timeline_own(struct control *c, struct rpc_req *req, json_t *params)
{
    timeline_serve(c->timeline, req, params);
}
