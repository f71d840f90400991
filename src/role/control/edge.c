/* SPDX-License-Identifier: Apache-2.0 */
/* What the edge of this host is told: routes and certificates with each revision, instances
 * whenever they change. */
#include "role/control/priv.h"

#include "base/file/file.h"
#include "base/str/str.h"
#include "domain/route/route.h"

#include <openssl/crypto.h>

#define PEM_MAX (64u * 1024)
#define EDGE_CERT "/var/lib/mcp/pki/edge.pem"
#define EDGE_KEY "/var/lib/mcp/pki/edge.key"

static json_t *endpoints(const struct control *c)
{
    json_t *out = json_object();
    size_t i;
    json_t *u;
    json_array_foreach (c->units, i, u) {
        const char *address = json_opt_str(u, "address", "");
        int64_t port = json_opt_int(u, "port", 0);
        if (*address && port > 0 && port <= UINT16_MAX)
            route_endpoints_add(out, json_opt_str(u, "module", ""), json_opt_str(u, "name", ""),
                address, (uint16_t)port, str_eq(json_opt_str(u, "state", NULL), "ready"));
    }
    return out;
}

json_t *control_edge_endpoints(const struct control *c)
{
    return json_pack("{s:o}", "endpoints", endpoints(c));
}

static json_t *certificate_names(const struct model *m)
{
    json_t *names = json_array();
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            for (size_t n = 0; n < m->modules[i].routes[k].n_names; n++)
                json_array_append_new(names, json_string(m->modules[i].routes[k].names[n]));
    return names;
}

int control_edge_routes(
    const struct control *c, const struct model_host *host, json_t **ret, struct err *e)
{
    _cleanup_str_ struct str cert = STR_INIT, key = STR_INIT;
    int r = file_read(EDGE_CERT, PEM_MAX, &cert, e);
    if (r >= 0)
        r = file_read(EDGE_KEY, PEM_MAX, &key, e);
    if (r < 0)
        return err_wrap(e, "the edge's certificate");
    json_t *doc = route_snapshot_from_model(c->model, host->region, c->number);
    json_object_set_new(doc, "certificates",
        json_pack("[{s:s,s:o,s:b,s:s,s:s}]", "name", "platform", "names",
            certificate_names(c->model), "default", 1, "cert", str_cstr(&cert), "key",
            str_cstr(&key)));
    json_object_set_new(doc, "endpoints", endpoints(c));
    OPENSSL_cleanse(key.buf, key.len);
    *ret = doc;
    return 0;
}
