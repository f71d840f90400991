/* SPDX-License-Identifier: Apache-2.0 */
/* What the mesh of this host is told: who lives behind which address, who may call whom, where the
 * ready instances are; and the certificates to prove it with. Every callable module has a virtual
 * address on this host's bridge, and so has, where there is an edge, each instance of the region
 * that lives on another host. They are slots, kept on disk: an address never comes to mean another
 * thing while somebody may still remember the first. */
#include "role/control/admit.h"
#include "role/control/databases.h"
#include "role/control/priv.h"

#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "domain/compile/compile.h"
#include "domain/mesh/compile.h"
#include "domain/mesh/mesh.h"
#include "domain/spec/boot.h"
#include "domain/unit/slots.h"

#include <openssl/crypto.h>

#define PEM_MAX (64u * 1024)
#define SLOTS_BYTES_MAX (2u * 1024 * 1024)

struct control_mesh {
    bool is_here;           /* the boot record has the role */
    struct ip_prefix half;  /* of the bridge: the virtual addresses */
    char gateway[IP_TEXT_SIZE], own[IP_TEXT_SIZE]; /* own: the first of the half, no slot's */
    struct slots slots;     /* "module/NAME", "unit/HOST/NAME", "data/DATABASE/rw" */
    bool slots_dirty;
    int64_t seq;
    json_t *told, *told_identities; /* what the linked role was told last */
    json_t *taken;                  /* the listens of the view that it has answered */
    int64_t taken_seq, placement_seq; /* that view; the placement that the told one follows */
};

/* ---- virtual addresses */

static bool address_of(const struct control_mesh *m, const char *name, struct ip_addr *ret)
{
    unsigned slot = slots_find(&m->slots, name);
    return slot && slot_address(slot, &m->half, ret);
}

static bool take_address(struct control_mesh *m, const char *name, char out[IP_TEXT_SIZE])
{
    struct ip_addr a;
    bool held = slots_find(&m->slots, name);
    unsigned slot = slots_take(&m->slots, name, &m->half);
    if (!slot || !slot_address(slot, &m->half, &a))
        return false;
    m->slots_dirty |= !held;
    ip_format(&a, out);
    return true;
}

static char *slots_path(const struct control *c)
{
    return xasprintf("%s/mesh.json", c->role->state_dir);
}

static void load_slots(struct control *c)
{
    _cleanup_free_ char *path = slots_path(c);
    _cleanup_json_ json_t *j = NULL;
    struct err ignored;
    /* A lost file costs new addresses, which names bring within seconds. */
    if (json_read_file(path, SLOTS_BYTES_MAX, &j, &ignored) >= 0)
        slots_parse(&c->mesh->slots, j);
}

/* Before anybody is told of a new address. */
static void save_slots(struct control *c)
{
    struct err e;
    if (!c->mesh->slots_dirty)
        return;
    _cleanup_free_ char *path = slots_path(c);
    _cleanup_json_ json_t *j = slots_format(&c->mesh->slots);
    _cleanup_free_ char *text = json_text(j);
    c->mesh->slots_dirty = file_write_durable(path, text, strlen(text), 0600, &e) < 0;
    if (c->mesh->slots_dirty)
        log_error("mesh", "virtual addresses cannot be stored", "error=\"%s\"", e.message);
}

/* Slots of what is no more. */
static void free_slots(struct control *c, const json_t *used)
{
    struct control_mesh *m = c->mesh;
    for (size_t i = 0; i < SLOT_MAX; i++)
        if (m->slots.names[i] && !json_object_get(used, m->slots.names[i])) {
            slots_free(&m->slots, m->slots.names[i]);
            m->slots_dirty = true;
        }
}

/* ---- the view */

struct maker {
    struct control *c;
    const struct model_host *self;
    json_t *callers, *modules, *listens, *used;
};

static bool is_ready(const json_t *unit)
{
    return str_eq(json_opt_str(unit, "state", NULL), "ready")
           && *json_opt_str(unit, "address", "");
}

static json_t *names_of_callers(const struct model *m, const struct model_module *target)
{
    json_t *names = json_array();
    for (size_t i = 0; i < m->n_modules; i++)
        if (model_needs(&m->modules[i], target))
            json_array_append_new(names, json_string(m->modules[i].name));
    return names;
}

static json_t *edges_of(const struct model *m, const struct model_host *self)
{
    json_t *names = json_array();
    for (size_t i = 0; i < m->n_hosts; i++)
        if (m->hosts[i].is_public && m->hosts[i].region == self->region)
            json_array_append_new(names, json_string(m->hosts[i].name));
    return names;
}

static void add_module(struct maker *k, const struct model_module *m)
{
    char name[MODEL_NAME_MAX + 16], address[IP_TEXT_SIZE];
    const struct model *model = k->c->model;
    json_object_set_new(k->modules, m->name,
        json_pack("{s:i,s:o,s:o,s:[]}", "port", (int)m->port, "callers",
            names_of_callers(model, m), "edges",
            m->n_routes ? edges_of(model, k->self) : json_array(), "targets"));
    snprintf(name, sizeof name, "module/%s", m->name);
    if (!m->port || !take_address(k->c->mesh, name, address))
        return;
    json_object_set_new(k->used, name, json_true());
    json_array_append_new(
        k->listens, json_pack("{s:s,s:s}", "address", address, "module", m->name));
}

static void add_edge_listen(struct maker *k, const struct model_host *h, const json_t *unit)
{
    char name[2 * MODEL_NAME_MAX + 32], address[IP_TEXT_SIZE];
    const char *module = json_opt_str(unit, "module", ""), *u = json_opt_str(unit, "name", "");
    const struct model_module *m = model_find_module(k->c->model, module);
    if (!k->self->is_public || h->region != k->self->region || !m->n_routes || !m->port)
        return;
    snprintf(name, sizeof name, "unit/%s/%s", h->name, u);
    if (!take_address(k->c->mesh, name, address))
        return;
    json_object_set_new(k->used, name, json_true());
    json_array_append_new(k->listens,
        json_pack("{s:s,s:s,s:{s:s,s:s,s:o}}", "address", address, "module", module, "target",
            "unit", u, "host", h->name, "addresses", mesh_addresses(&h->addresses)));
}

static void add_target(struct maker *k, const struct model_host *h, const json_t *unit)
{
    json_t *module = json_object_get(k->modules, json_opt_str(unit, "module", ""));
    bool local = h == k->self;
    enum control_duty duty = control_duty_of(k->c, h, unit);
    if (!module || duty == CONTROL_DUTY_NONE)
        return;
    if (!local)
        add_edge_listen(k, h, unit);
    if (!is_ready(unit) || duty == CONTROL_DUTY_WAITS)
        return;
    json_t *addresses =
        local ? json_pack("[s]", json_opt_str(unit, "address", "")) : mesh_addresses(&h->addresses);
    json_array_append_new(json_object_get(module, "targets"),
        json_pack("{s:s,s:s,s:i,s:b,s:o}", "unit", json_opt_str(unit, "name", ""), "host", h->name,
            "tier", mesh_tier(k->c->model, k->self, h), "last", duty != CONTROL_DUTY_SERVES, "addresses", addresses));
}

static void add_units(struct maker *k, const struct model_host *h, const json_t *units)
{
    size_t i;
    json_t *u;
    json_array_foreach (units, i, u) {
        if (str_eq(json_opt_str(u, "kind", NULL), "module"))
            add_target(k, h, u);
    }
}

/* Those of this host: instances, and functions that run just now. */
static void add_callers(struct maker *k)
{
    size_t i;
    json_t *u;
    control_functions_callers(k->c, k->callers);
    json_array_foreach (k->c->units, i, u) {
        const char *address = json_opt_str(u, "address", ""),
                   *module = json_opt_str(u, "module", "");
        if (!*address || !json_object_get(k->modules, module))
            continue;
        json_t *caller =
            json_pack("{s:s,s:s}", "unit", json_opt_str(u, "name", ""), "module", module);
        const char *waits = admit_words(control_admits(k->c, k->self->region->name, module,
            json_opt_bool(u, "standby", false)));
        if (*waits)
            json_object_set_new(caller, "waits", json_string(waits));
        json_object_set_new(k->callers, address, caller);
    }
}

/* ---- databases */

static const char *const ends[] = {"rw", "ro"};

static const json_t *doc_of(void *ctx, const char *database)
{
    return control_data_doc(ctx, database);
}

static const json_t *report_of(void *ctx, const char *host, const char *database)
{
    return control_data_report(ctx, host, database);
}

static json_t *databases_of(struct control *c, const struct model_host *self)
{
    struct mesh_data_facts facts = {.model = c->model,
        .self = self,
        .doc = doc_of,
        .report = report_of,
        .told = json_object_get(c->mesh->told, "databases"),
        .ctx = c};
    return mesh_databases_compile(&facts);
}

static char *end_slot(const char *database, const char *end)
{
    return xasprintf("data/%s/%s", database, end);
}

static void add_ends(struct maker *k, const struct model_database *db)
{
    for (size_t i = 0; model_database_has_ends(db) && i < ARRAY_SIZE(ends); i++) {
        _cleanup_free_ char *name = end_slot(db->name, ends[i]);
        char address[IP_TEXT_SIZE];
        if (!take_address(k->c->mesh, name, address))
            continue;
        json_object_set_new(k->used, name, json_true());
        json_array_append_new(k->listens, json_pack("{s:s,s:s,s:s}", "address", address,
                                              "database", db->name, "end", ends[i]));
    }
}

static void add_egress(const struct model_module *module, json_t *all)
{
    json_t *list = json_array();
    for (size_t n = 0; n < module->n_egress; n++) {
        const struct model_egress *e = &module->egress[n];
        json_array_append_new(list,
            json_pack("{s:s,s:b,s:i}", "name", e->name, "below", e->below, "port", (int)e->port));
    }
    if (json_array_size(list))
        json_object_set(all, module->name, list);
    json_decref(list);
}

static json_t *egress_of(const struct model *m)
{
    json_t *all = json_object();
    for (size_t i = 0; i < m->n_modules; i++)
        add_egress(&m->modules[i], all);
    for (size_t i = 0; i < m->n_functions; i++)
        add_egress(&m->functions[i].as, all);
    return all;
}

/* In whatever region. */
static json_t *awaited_anywhere(const struct control *c)
{
    json_t *all = json_object(), *placement;
    const char *region;
    json_object_foreach (c->placements, region, placement) {
        _cleanup_json_ json_t *awaited = control_awaited(c, placement);
        json_object_update(all, awaited);
    }
    return all;
}

/* Without its number: to be compared. ret_held: some that leave this region take calls yet, so that
 * nobody may stop them. */
static json_t *make_view(struct control *c, const struct model_host *self, bool *ret_held)
{
    const struct model *m = c->model;
    _cleanup_json_ json_t *here = control_awaited(c, control_placement(c)),
                          *anywhere = awaited_anywhere(c);
    struct maker k = {c, self, json_object(), json_object(), json_array(), json_object()};
    for (size_t i = 0; i < m->n_modules; i++)
        add_module(&k, &m->modules[i]);
    add_callers(&k);
    for (size_t i = 0; i < m->n_databases; i++)
        add_ends(&k, &m->databases[i]);
    for (size_t i = 0; i < m->n_hosts; i++) {
        const struct model_host *h = &m->hosts[i];
        const struct host_report *r = h == self ? NULL : control_find_report(c, h->name);
        if (h == self)
            add_units(&k, h, c->units);
        else if (r && control_hears(c, h->name))
            add_units(&k, h, json_object_get(r->report, "units"));
    }
    *ret_held = mesh_targets_settle(k.modules, here);
    mesh_targets_settle(k.modules, anywhere);
    free_slots(c, k.used);
    json_decref(k.used);
    return json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:o}", "format", 1, "platform",
        c->platform, "host", c->host, "region", self->region->name, "gateway", c->mesh->gateway,
        "own", c->mesh->own, "callers", k.callers, "modules", k.modules, "listens", k.listens, "egress",
        egress_of(m), "databases", databases_of(c, self));
}

/* ---- certificates */

static void add_identity(json_t *list, const char *id, const char *file)
{
    _cleanup_free_ char *pem = xasprintf(CONTROL_PKI "%s.pem", file),
                        *key = xasprintf(CONTROL_PKI "%s.key", file);
    _cleanup_str_ struct str chain = STR_INIT, secret = STR_INIT;
    struct err ignored;
    /* Not there yet: told again when it is. */
    if (file_read(pem, PEM_MAX, &chain, &ignored) >= 0
        && file_read(key, PEM_MAX, &secret, &ignored) >= 0)
        json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "id", id, "cert", str_cstr(&chain),
                                        "key", str_cstr(&secret)));
    if (secret.len)
        OPENSSL_cleanse(secret.buf, secret.len);
}

/* Of every module that has an instance here, of the edge, and of the host where databases are. */
static json_t *make_identities(struct control *c, const struct model_host *self)
{
    _cleanup_str_ struct str ca = STR_INIT;
    _cleanup_json_ json_t *seen = json_object();
    struct err ignored;
    json_t *list = json_array(), *u;
    size_t i;
    json_array_foreach (c->units, i, u) {
        const char *module = json_opt_str(u, "module", "");
        if (!model_find_module(c->model, module) || json_object_get(seen, module))
            continue;
        _cleanup_free_ char *file = xasprintf("module-%s", module),
                            *id = xasprintf("module/%s", module);
        json_object_set_new(seen, module, json_true());
        control_want_leaf(c, file, LEAF_MODULE, module);
        add_identity(list, id, file);
    }
    if (self->is_public) {
        _cleanup_free_ char *id = xasprintf("edge/%s", self->name);
        add_identity(list, id, "gateway");
    }
    if (c->model->n_databases) {
        _cleanup_free_ char *id = xasprintf("mesh/%s", self->name);
        control_want_leaf(c, "mesh", LEAF_MESH, NULL);
        add_identity(list, id, "mesh");
    }
    if (file_read(CONTROL_PKI "ca.pem", PEM_MAX, &ca, &ignored) < 0) {
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:s,s:o}", "ca", str_cstr(&ca), "identities", list);
}

/* ---- telling */

struct telling {
    struct control *c;
    json_t *listens;
    int64_t seq;
};

/* Nothing new goes to what that placement took out, once the view without it is in force. */
static void acknowledge(struct control *c)
{
    if (c->mesh->taken_seq == c->mesh->seq)
        control_acked(c, "mesh", c->mesh->placement_seq);
}

static void on_taken(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct telling *t = ctx;
    if (more)
        return;
    struct control_mesh *m = t->c->mesh;
    bool taken = !e && m && t->seq > m->taken_seq;
    if (taken && !json_equal(m->taken, t->listens)) {
        json_decref(m->taken);
        m->taken = json_incref(t->listens);
        control_edge_tell(t->c); /* of instances that can be reached from now on */
    }
    if (taken) {
        m->taken_seq = t->seq;
        acknowledge(t->c);
    }
    json_decref(t->listens);
    free(t);
}

static void tell_view(struct control *c, struct rpc_conn *to, json_t *view)
{
    struct control_mesh *m = c->mesh;
    json_decref(m->told);
    m->told = json_deep_copy(view);
    json_object_set_new(view, "seq", json_integer(++m->seq));
    struct telling *t = xcalloc(1, sizeof *t);
    *t = (struct telling){c, json_incref(json_object_get(view, "listens")), m->seq};
    rpc_call(to, "view", json_incref(view), 0, on_taken, t);
}

void control_mesh_tell(struct control *c)
{
    struct rpc_conn *to = control_link(c, "mesh");
    const struct model_host *self = c->model ? model_find_host(c->model, c->host) : NULL;
    if (!to || !self || !c->mesh->is_here || !c->units || !control_knows_hosts(c))
        return;
    struct control_mesh *m = c->mesh;
    bool held;
    _cleanup_json_ json_t *view = make_view(c, self, &held), *identities = make_identities(c, self);
    save_slots(c);
    if (identities && !json_equal(identities, m->told_identities)) {
        json_decref(m->told_identities);
        m->told_identities = json_incref(identities);
        rpc_notify(to, "identities", json_deep_copy(identities));
    }
    if (!held) /* else it is not followed yet: who leaves may not be stopped */
        m->placement_seq = json_opt_int(control_placement(c), "seq", 0);
    if (!json_equal(view, m->told))
        tell_view(c, to, view);
    else
        acknowledge(c);
}

void control_mesh_data(struct control *c)
{
    const struct model_host *self = c->model ? model_find_host(c->model, c->host) : NULL;
    if (!self || !c->mesh->is_here || !c->mesh->told || !c->model->n_databases)
        return;
    _cleanup_json_ json_t *databases = databases_of(c, self);
    if (!json_equal(databases, json_object_get(c->mesh->told, "databases")))
        control_mesh_tell(c);
}

void control_mesh_linked(struct control *c)
{
    struct control_mesh *m = c->mesh;
    json_decref(m->told);
    json_decref(m->told_identities);
    m->told = m->told_identities = NULL;
    control_mesh_tell(c);
}

/* ---- for others */

static void add_end_names(
    struct control_mesh *m, const struct model_database *db, json_t *names)
{
    for (size_t i = 0; model_database_has_ends(db) && i < ARRAY_SIZE(ends); i++) {
        _cleanup_free_ char *name = xasprintf("%s.%s.mcp.internal", db->name, ends[i]),
                            *slot = end_slot(db->name, ends[i]);
        char text[IP_TEXT_SIZE];
        if (take_address(m, slot, text))
            json_object_set_new(names, name, json_pack("[s]", text));
    }
}

json_t *control_mesh_names(struct control *c)
{
    struct control_mesh *m = c->mesh;
    json_t *names = json_object();
    for (size_t i = 0; c->model && i < c->model->n_modules; i++) {
        const struct model_module *module = &c->model->modules[i];
        _cleanup_free_ char *name = xasprintf("%s.mcp.internal", module->name),
                            *slot = xasprintf("module/%s", module->name);
        char text[IP_TEXT_SIZE];
        struct ip_addr a;
        bool has = module->port && take_address(m, slot, text) && address_of(m, slot, &a);
        json_object_set_new(names, name, has ? json_pack("[s]", text) : json_array());
    }
    for (size_t i = 0; c->model && i < c->model->n_databases; i++)
        add_end_names(m, &c->model->databases[i], names);
    json_object_set_new(names, COMPILE_PROXY_NAME, json_pack("[s]", m->gateway));
    save_slots(c);
    return json_pack("{s:o}", "names", names);
}

bool control_mesh_is_here(const struct control *c)
{
    return c->mesh->is_here;
}

bool control_mesh_address(
    struct control *c, const char *host, const char *unit, struct ip_addr *ret)
{
    struct control_mesh *m = c->mesh;
    _cleanup_free_ char *name = xasprintf("unit/%s/%s", host, unit);
    char text[IP_TEXT_SIZE];
    size_t i;
    json_t *l;
    if (!m->is_here || !address_of(m, name, ret))
        return false;
    ip_format(ret, text);
    json_array_foreach (m->taken, i, l)
        if (str_eq(json_opt_str(l, "address", NULL), text))
            return true;
    return false;
}

void control_mesh_open(struct control *c, const struct boot *boot)
{
    struct control_mesh *m = c->mesh = xcalloc(1, sizeof *m);
    m->is_here = boot_has_role(boot, "mesh") && boot->bridge.addr.family == 4;
    m->half = slots_half(&boot->bridge, true);
    ip_format(&boot->gateway, m->gateway);
    struct ip_addr own = boot->gateway;
    if (m->is_here && ip_prefix_nth(&m->half, 1, &own))
        ip_format(&own, m->own);
    load_slots(c);
}

void control_mesh_close(struct control *c)
{
    struct control_mesh *m = c->mesh;
    if (!m)
        return;
    c->mesh = NULL;
    slots_done(&m->slots);
    json_decref(m->told);
    json_decref(m->told_identities);
    json_decref(m->taken);
    free(m);
}
