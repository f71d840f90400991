/* SPDX-License-Identifier: Apache-2.0 */
/* In front of every call of the command line: is there such an action, may the caller, and is it
 * in the audit log before it happens. A change that fails afterwards gets a second entry. */
#include "role/control/priv.h"

#include "base/log/log.h"
#include "base/str/str.h"

#define SUBJECT_MAX 256
#define READ_DEFAULT 50
#define READ_MAX 100000

static void on_chained(void *ctx, const json_t *entry)
{
    struct control *c = ctx;
    char message[320];
    const char *subject = json_opt_str(entry, "subject", "");
    snprintf(message, sizeof message, "%s%s%s: %s", json_opt_str(entry, "action", ""),
        *subject ? " " : "", subject, json_opt_str(entry, "outcome", ""));
    control_note(
        c, "audit", json_opt_str(entry, "who", ""), message, json_opt_str(entry, "reason", ""));
}

int control_access_start(struct control *c, struct err *e)
{
    _cleanup_free_ char *journal = xasprintf("%s/audit.jsonl", c->role->state_dir);
    struct audit_config config = {.loop = &c->role->loop,
        .kv = c->kv,
        .platform = c->platform,
        .host = c->host,
        .journal = journal,
        .chained = on_chained,
        .ctx = c};
    return audit_new(&config, &c->audit, e);
}

void control_access_stop(struct control *c)
{
    audit_free(c->audit);
    c->audit = NULL; /* answers may still come, of calls that are cut off */
}

struct act { /* a change that was accepted and is not answered yet */
    struct control *c;
    struct control_caller by;
    const char *action;
    char subject[SUBJECT_MAX], id[AUDIT_ID_SIZE];
};

static struct audit_draft draft_of(const struct act *a, enum audit_outcome outcome)
{
    return (struct audit_draft){.who = a->by.who,
        .from = a->by.from,
        .action = a->action,
        .subject = a->subject,
        .outcome = outcome};
}

static void on_answered(void *ctx, const struct err *error)
{
    struct act *a = ctx;
    struct err e;
    if (error && a->c->audit) {
        struct audit_draft d = draft_of(a, AUDIT_FAILED);
        d.reason = error->message;
        d.of = a->id;
        if (audit_note(a->c->audit, &d, &e) < 0)
            log_error("audit", "a failed change is not noted", "error=%s", e.message);
    }
    free(a);
}

static void refuse(struct act *a, struct rpc_req *req, const struct operator_action *action)
{
    struct err e, ignored;
    err_set(&e, ERR_REFUSED, "%s may not do %s: it takes the role %s, and %s has %s", a->by.who,
        action->action, operator_role_name(action->role), a->by.who,
        operator_role_name(a->by.role));
    err_fix(&e, "an admin gives it: `mcp operator add %s --role %s`", a->by.who,
        operator_role_name(action->role));
    struct audit_draft d = draft_of(a, AUDIT_REFUSED);
    d.reason = e.message;
    if (audit_note(a->c->audit, &d, &ignored) < 0)
        log_error("audit", "a refusal is not noted", "error=%s", ignored.message);
    rpc_reply_error(req, &e);
    free(a);
}

void control_ask(struct control *c, const struct control_caller *by, struct rpc_req *req,
    const char *method, json_t *params)
{
    struct err e;
    const struct operator_action *action = operator_action_of(method);
    if (!action) { /* whatever it would do: what has no name is nobody's right */
        err_set(&e, ERR_NOT_FOUND, "control knows no method %s", method);
        err_fix(&e, "is this `mcp` newer than the platform's? `mcp version`");
        rpc_reply_error(req, &e);
        return;
    }
    struct act *a = xcalloc(1, sizeof *a);
    *a = (struct act){.c = c, .by = *by, .action = action->action};
    operator_subject(action, params, a->subject, sizeof a->subject);
    if (by->role < action->role) {
        refuse(a, req, action);
        return;
    }
    struct audit_draft d = draft_of(a, AUDIT_ACCEPTED);
    if (action->changes && audit_note(c->audit, &d, &e) < 0) {
        rpc_reply_error(req, &e);
        free(a);
        return;
    }
    if (action->changes) {
        memcpy(a->id, d.id, sizeof a->id);
        rpc_req_on_answer(req, on_answered, a);
    } else {
        free(a);
    }
    control_answer(c, req, method, params);
}

void control_audit_call(struct control *c, const struct timeline_draft *t)
{
    struct err e;
    struct audit_draft d = {.who = t->subject,
        .from = "mesh",
        .action = "mcp:Call",
        .outcome = AUDIT_REFUSED,
        .reason = t->message};
    if (c->audit && audit_note(c->audit, &d, &e) < 0)
        log_error("audit", "a refused call is not noted", "error=%s", e.message);
}

/* ---- `mcp audit` ---- */

static void on_log(void *ctx, const json_t *log, const struct err *e)
{
    if (e)
        rpc_reply_error(ctx, e);
    else
        rpc_reply(ctx, json_deep_copy(log));
}

void control_audit(struct control *c, struct rpc_req *req, json_t *params)
{
    int64_t lines = json_opt_int(params, "lines", READ_DEFAULT);
    audit_read(c->audit, (size_t)MIN(MAX(lines, (int64_t)0), (int64_t)READ_MAX), on_log, req);
}
