/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp data status`: the documents, and what every host tells of its databases. */
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/str/str.h"
#include "domain/replication/status.h"

static const json_t *report_of(void *ctx, const char *host, const char *database)
{
    return control_data_report(ctx, host, database);
}

static json_t *status_of(struct control *c, const char *database)
{
    const json_t *doc = control_data_doc(c, database);
    return doc ? replication_status(database, doc, report_of, c) : NULL;
}

static void refuse(struct rpc_req *req, const char *name)
{
    struct err e;
    err_set(&e, ERR_NOT_FOUND, "there is no database %s", name);
    err_fix(&e, "`mcp data status` lists them; a declared one has its place soon after an apply");
    rpc_reply_error(req, &e);
}

/* {"databases": [...]}; of one by name also its parts at the top. */
void control_data_status(struct control *c, struct rpc_req *req, json_t *params)
{
    const char *only = json_opt_str(params, "database", NULL);
    json_t *list = json_array(), *one = NULL;
    for (size_t i = 0; c->model && i < c->model->n_databases; i++) {
        const char *name = c->model->databases[i].name;
        json_t *status = !only || str_eq(only, name) ? status_of(c, name) : NULL;
        if (status)
            json_array_append_new(list, one = status);
    }
    if (only && !one) {
        json_decref(list);
        refuse(req, only);
        return;
    }
    json_t *answer = only ? json_copy(one) : json_object();
    json_object_set_new(answer, "databases", list);
    json_object_set_new(answer, "fresh", json_boolean(control_data_fresh(c)));
    json_object_set_new(answer, "asked_host", json_string(c->host));
    rpc_reply(req, answer);
}
