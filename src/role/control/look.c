/* SPDX-License-Identifier: Apache-2.0 */
/* What commands ask the data role of a member about the content of its database: "data.look" for
 * questions, "data.checksum" for the sums that the source writes, "backup.…" for copies of it. */
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/str/str.h"
#include "domain/replication/doc.h"

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

static bool is_question(const char *method)
{
    static const char *const questions[] = {
        "data.errant", "data.rescue", "data.facts", "data.shapes", "data.differences", "data.rows", "data.wait",
        "data.position", "data.backup.list", "data.vault",
        "data.seed.status"};
    for (size_t i = 0; i < ARRAY_SIZE(questions); i++)
        if (!strcmp(questions[i], method))
            return true;
    return false;
}

/* {"database", "host", "method", "params"} */
static void pass_on(struct control *c, struct rpc_req *req, json_t *params, const char *method)
{
    struct replication_doc d;
    struct err e;
    const char *host = json_opt_str(params, "host", "");
    const json_t *doc = control_data_doc(c, json_opt_str(params, "database", ""));
    if (!doc || replication_doc_parse(doc, &d, &e) < 0)
        fail(req, ERR_NOT_FOUND, "there is no such database", "`mcp data status` lists them");
    else if (!replication_doc_find(&d, host))
        fail(req, ERR_NOT_FOUND, "that host holds no copy of the database",
            "`mcp data status` shows who does");
    else
        control_relay_role(c, req, host, "data", method, json_object_get(params, "params"));
}

void control_data_look(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *method = json_opt_str(params, "method", "");
    if (is_question(method))
        pass_on(c, req, params, method);
    else
        fail(req, ERR_DENIED, "that is no question", "");
}

void control_data_checksum(struct control *c, struct rpc_req *req, json_t *params)
{
    pass_on(c, req, params, "data.checksum");
}

void control_backup_run(struct control *c, struct rpc_req *req, json_t *params)
{
    pass_on(c, req, params, "data.backup.run");
}

void control_backup_verify(struct control *c, struct rpc_req *req, json_t *params)
{
    pass_on(c, req, params, "data.backup.verify");
}

void control_backup_restore(struct control *c, struct rpc_req *req, json_t *params)
{
    pass_on(c, req, params, "data.backup.restore");
}
