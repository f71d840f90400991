/* SPDX-License-Identifier: Apache-2.0 */
/* What the platform trusts (ca/bundle) and who holds the issuing keys (ca/intermediate/<host>), as
 * the state store has it, carried over to this host's disk; rotations stepped by the holders. What
 * is decided is in domain/capolicy/bundle.h. */
#include "role/control/databases.h"
#include "role/control/pki.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"
#include "role/control/ca.h"

#include <limits.h>
#include <unistd.h>

#define BUNDLE "bundle"
#define STEP_MS 300u
#define LOOK_MS 10000u
#define PEM_MAX (256u * 1024)
#define UNKNOWN_PID (-1)

static const char *const paths[CABUNDLE_KINDS] = {CONTROL_PKI "ca.pem", CONTROL_PKI "state-ca.pem"};

static struct control_ca *ca_of(const struct control *c)
{
    return c->pki->ca;
}

static const json_t *bundle_of(const struct control *c)
{
    struct err e;
    const json_t *b = ca_of(c) ? documents_get(ca_of(c)->docs, BUNDLE) : NULL;
    return b && cabundle_check(b, &e) >= 0 ? b : NULL;
}

static char *doc_name(const char *host)
{
    return xasprintf("intermediate/%s", host);
}

/* ---- what etcd has read: its roots are read at its start only */

static int64_t etcd_pid(const struct control *c)
{
    size_t i;
    json_t *u;
    json_array_foreach (c->units, i, u)
        if (str_eq(json_opt_str(u, "module", NULL), "etcd"))
            return json_opt_int(u, "pid", 0);
    return UNKNOWN_PID;
}

static void mark_path(const struct control *c, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s/etcd-trust.json", c->role->state_dir);
}

/* The process of that pid has read older roots than the disk has. */
static void mark_etcd(struct control *c, int64_t pid)
{
    char path[PATH_MAX];
    struct err e;
    _cleanup_free_ char *text = xasprintf("{\"format\": 1, \"pid\": %lld}\n", (long long)pid);
    mark_path(c, path);
    ca_of(c)->stale_pid = pid;
    ca_of(c)->has_mark = true;
    if (file_write_durable(path, text, strlen(text), 0600, &e) < 0)
        log_error("pki", "mark not written", "error=%s", e.message);
}

static void load_mark(struct control *c)
{
    char path[PATH_MAX];
    struct err ignored;
    _cleanup_json_ json_t *j = NULL;
    mark_path(c, path);
    if (!file_exists(path) || json_read_file(path, 4096, &j, &ignored) < 0)
        return;
    ca_of(c)->has_mark = true;
    ca_of(c)->stale_pid = json_opt_int(j, "pid", UNKNOWN_PID);
}

static bool etcd_is_stale(const struct control *c)
{
    int64_t pid = etcd_pid(c);
    return ca_of(c)->has_mark && (ca_of(c)->stale_pid == UNKNOWN_PID || pid == ca_of(c)->stale_pid);
}

static void on_restarted(void *ctx, json_t *result, bool more, const struct err *error)
{
    struct control *c = ctx;
    if (!error)
        return;
    log_error("pki", "the state store's member is not restarted", "error=%s", error->message);
    if (c->pki->ca)
        ca_of(c)->restarted_pid = 0;
}

static void restart_etcd(struct control *c)
{
    struct rpc_conn *agent = control_link(c, "agent");
    int64_t pid = etcd_pid(c);
    if (!agent || pid <= 0 || ca_of(c)->restarted_pid == pid || !etcd_is_stale(c))
        return;
    mark_etcd(c, pid);
    ca_of(c)->restarted_pid = pid;
    control_note(
        c, "certificate", c->host, "the state store's member restarts", "it reads new roots");
    rpc_call(agent, "restart", json_pack("{s:s}", "unit", "etcd-1"), 10000, on_restarted, c);
}

/* ---- the disk */

static void read_trust(struct control *c)
{
    struct str text[CABUNDLE_KINDS] = {STR_INIT, STR_INIT};
    struct err ignored;
    for (size_t k = 0; k < CABUNDLE_KINDS; k++)
        if (!file_exists(paths[k]) || file_read(paths[k], PEM_MAX, &text[k], &ignored) < 0)
            str_clear(&text[k]);
    cabundle_trust_of(str_cstr(&text[0]), str_cstr(&text[1]), ca_of(c)->trust);
    for (size_t k = 0; k < CABUNDLE_KINDS; k++)
        str_done(&text[k]);
}

/* *ret_changed: it was another. */
static int write_roots(const json_t *b, enum cabundle_kind k, bool *ret_changed, struct err *e)
{
    _cleanup_free_ char *roots = cabundle_roots(b, k);
    _cleanup_str_ struct str old = STR_INIT;
    *ret_changed = false;
    int r = file_exists(paths[k]) ? file_read(paths[k], PEM_MAX, &old, e) : 0;
    if (r < 0 || !strcmp(str_cstr(&old), roots))
        return r;
    *ret_changed = true;
    return file_write_durable(paths[k], roots, strlen(roots), 0644, e);
}

static void take_roots(struct control *c, const json_t *b)
{
    struct err e;
    bool hosts, state = false;
    /* Marked first: killed in between, the member is restarted once too often, never too seldom. */
    _cleanup_free_ char *roots = cabundle_roots(b, CABUNDLE_STATE);
    _cleanup_str_ struct str old = STR_INIT;
    if (c->pki->is_member && file_exists(paths[CABUNDLE_STATE])
        && file_read(paths[CABUNDLE_STATE], PEM_MAX, &old, &e) >= 0
        && strcmp(str_cstr(&old), roots) != 0)
        mark_etcd(c, etcd_pid(c));
    int r = write_roots(b, CABUNDLE_HOSTS, &hosts, &e);
    if (r >= 0 && c->pki->has_etcd)
        r = write_roots(b, CABUNDLE_STATE, &state, &e);
    if (r < 0) {
        log_error("pki", "roots not written", "error=%s", e.message);
        return;
    }
    if (!hosts && !state)
        return;
    read_trust(c);
    control_pki_reload(c);
    control_tell_role(c, "mesh");
    control_databases_identity(c);
    control_note(c, "certificate", c->host, "trusts other roots now", "");
    control_report_soon(c);
}

/* ---- who holds the issuing keys */

static bool authority_is_current(const struct control *c, const json_t *b)
{
    for (enum pki_kind k = 0; c->pki->authority && k < PKI_KINDS; k++) {
        struct pki_info info;
        pki_ca_info(pki_authority_ca(c->pki->authority, k), NULL, &info);
        if (!str_eq(info.id, cabundle_issuer(b, (enum cabundle_kind)k)))
            return false;
    }
    return c->pki->authority != NULL;
}

bool control_ca_may_issue(const struct control *c)
{
    const json_t *b = bundle_of(c);
    return c->pki->authority && (!b || authority_is_current(c, b));
}

static bool doc_is_current(const json_t *doc, const json_t *b)
{
    static const char *const kinds[] = {"hosts", "state"};
    for (size_t k = 0; k < CABUNDLE_KINDS; k++)
        if (!str_eq(json_opt_str(json_object_get(doc, kinds[k]), "intermediate", NULL),
                json_opt_str(json_object_get(b, kinds[k]), "intermediate", "?")))
            return false;
    return doc != NULL;
}

static void adopt(struct control *c, const json_t *doc)
{
    struct err e;
    struct pki_authority *fresh = NULL;
    int r = pki_authority_unseal(doc, c->platform, c->host, c->pki->key, &fresh, &e);
    if (r >= 0)
        r = pki_authority_write(doc, "/var/lib/mcp/pki", &e);
    if (r < 0) {
        pki_authority_free(fresh);
        log_error("pki", "the issuing keys are not taken over", "error=%s", e.message);
        return;
    }
    pki_authority_free(c->pki->authority);
    c->pki->authority = fresh;
    control_note(c, "certificate", c->host, "holds the intermediate in force", "");
    certs_retry(c->pki->certs);
    control_report_soon(c);
}

static void take_authority(struct control *c, const json_t *b)
{
    _cleanup_free_ char *name = doc_name(c->host);
    const json_t *sealed =
        json_object_get(json_object_get(json_object_get(b, "rotation"), "sealed"), c->host);
    const json_t *kept = documents_get(ca_of(c)->docs, name);
    if (authority_is_current(c, b))
        return;
    if (doc_is_current(sealed, b))
        adopt(c, sealed);
    else if (doc_is_current(kept, b))
        adopt(c, kept);
}

static int edit_sealed(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    *ret = json_incref(ctx);
    return 0;
}

static int edit_gone(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    *ret = NULL;
    return 0;
}

static void on_edited(void *ctx, const json_t *doc, const struct err *e)
{
    if (e && e->code != ERR_CANCELED)
        log_warn("pki", "the authority's documents are not written", "error=%s", e->message);
}

static void on_sealed(void *ctx, const json_t *doc, const struct err *e)
{
    json_decref(ctx);
}

/* A member that holds none, or older ones: the keys are sealed to it. */
static void give(struct control *c, const json_t *b, const char *host)
{
    _cleanup_free_ char *name = doc_name(host);
    uint8_t public_key[SEAL_KEY_SIZE];
    struct err e;
    json_t *doc;
    const char *text = json_opt_str(control_registry_host(c, host), "seal_public", NULL);
    const json_t *have = documents_get(ca_of(c)->docs, name);
    /* A machine that joined again has another key. */
    bool for_it = str_eq(json_opt_str(have, "for", text), text);
    if (!text || (for_it && doc_is_current(have, b)) || seal_public_parse(text, public_key, &e) < 0)
        return;
    if (pki_authority_seal(c->pki->authority, c->platform, host, public_key, &doc, &e) < 0) {
        log_error("pki", "issuing keys not sealed", "host=%s error=%s", host, e.message);
        return;
    }
    json_object_set_new(doc, "for", json_string(text));
    documents_edit(ca_of(c)->docs, name, edit_sealed, on_sealed, doc);
}

/* Who left the state store keeps no issuing keys. */
static void take_from_others(struct control *c)
{
    const char *name;
    json_t *doc;
    void *next;
    json_object_foreach_safe(documents_all(ca_of(c)->docs), next, name, doc)
    {
        if (c->model && str_starts(name, "intermediate/")
            && !capolicy_holds(c->model, name + strlen("intermediate/")))
            documents_edit(ca_of(c)->docs, name, edit_gone, on_edited, c);
    }
}

static void drop_own(struct control *c)
{
    if (!c->model || !c->pki->authority || capolicy_holds(c->model, c->host))
        return;
    unlink(CONTROL_PKI PKI_AUTHORITY_FILE);
    pki_authority_free(c->pki->authority);
    c->pki->authority = NULL;
    control_note(c, "certificate", c->host, "gave the issuing keys up", "no longer a member");
}

static void give_to_members(struct control *c, const json_t *b)
{
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++)
        if (capolicy_holds(c->model, c->model->hosts[i].name))
            give(c, b, c->model->hosts[i].name);
}

/* ---- the document */

static json_t *first_bundle(const struct control *c)
{
    char *pem[CABUNDLE_KINDS][2];
    struct pki_info info[CABUNDLE_KINDS];
    struct cabundle_side sides[CABUNDLE_KINDS];
    for (size_t k = 0; k < CABUNDLE_KINDS; k++) {
        const struct pki_ca *ca = pki_authority_ca(c->pki->authority, (enum pki_kind)k);
        pem[k][0] = pki_ca_root_pem(ca);
        pem[k][1] = pki_ca_intermediate_pem(ca);
        pki_ca_info(ca, NULL, &info[k]);
        sides[k] = (struct cabundle_side){pem[k][0], pem[k][1], info[k].id};
    }
    json_t *b = cabundle_new(sides);
    for (size_t k = 0; k < CABUNDLE_KINDS; k++) {
        free(pem[k][0]);
        free(pem[k][1]);
    }
    return b;
}

static int edit_first(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    *ret = old ? json_incref(old) : first_bundle(ctx);
    return 0;
}

void control_ca_look(struct control *c)
{
    if (!c->pki || !ca_of(c) || !documents_synced(ca_of(c)->docs))
        return;
    const json_t *b = bundle_of(c);
    if (!b) {
        if (c->pki->authority && !documents_get(ca_of(c)->docs, BUNDLE))
            documents_edit(ca_of(c)->docs, BUNDLE, edit_first, on_edited, c);
        return;
    }
    take_roots(c, b);
    take_authority(c, b);
    drop_own(c);
    if (authority_is_current(c, b)) {
        give_to_members(c, b);
        take_from_others(c);
    }
    certs_set_issuers(
        c->pki->certs, cabundle_issuer(b, CABUNDLE_HOSTS), cabundle_issuer(b, CABUNDLE_STATE));
    certs_renew_after(c->pki->certs, json_opt_int(b, "renew_after_ms", 0));
    if (str_eq(json_opt_str(json_object_get(b, "rotation"), "restart", NULL), c->host))
        restart_etcd(c);
}

/* ---- rotations */

static const json_t *report_of(const struct control *c, const char *host, json_t *own)
{
    return !strcmp(host, c->host) ? own : control_report_of(c, host);
}

static size_t each_host(const struct control *c, json_t *own, struct cabundle_host **ret)
{
    size_t n = c->model ? c->model->n_hosts : 0;
    *ret = xcalloc(n + 1, sizeof **ret);
    for (size_t i = 0; i < n; i++) {
        const char *name = c->model->hosts[i].name;
        bool holds = capolicy_holds(c->model, name);
        (*ret)[i] = (struct cabundle_host){.name = name,
            .is_holder = holds,
            .is_member = holds && model_has_etcd(c->model),
            .report = report_of(c, name, own)};
    }
    return n;
}

static json_t *step(struct control *c, const json_t *b, char waiting[256])
{
    _cleanup_json_ json_t *own = control_own_report(c);
    struct cabundle_host *hosts;
    size_t n = each_host(c, own, &hosts);
    json_t *next = n ? cabundle_step(b, hosts, n, clock_wall_ms(), waiting) : NULL;
    free(hosts);
    return next;
}

static int edit_step(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    char waiting[256];
    struct control *c = ctx;
    json_t *next = old && cabundle_check(old, e) >= 0 ? step(c, old, waiting) : NULL;
    ca_of(c)->stepped = next != NULL;
    *ret = next ? next : json_incref(old);
    return 0;
}

static void note_phase(struct control *c, const json_t *doc)
{
    const json_t *r = json_object_get(doc, "rotation"), *last = json_object_get(doc, "last");
    char phase[64], message[128];
    snprintf(phase, sizeof phase, "%s %s", json_opt_str(r ? r : last, "kind", "?"),
        r ? json_opt_str(r, "phase", "?") : "done");
    if (!strcmp(phase, ca_of(c)->phase))
        return;
    str_copy(ca_of(c)->phase, sizeof ca_of(c)->phase, phase);
    snprintf(message, sizeof message, "rotation: %s", phase);
    control_note(c, "certificate", "ca", message, "");
}

static void on_stepped(void *ctx, const json_t *doc, const struct err *e)
{
    struct control *c = ctx;
    if (!ca_of(c))
        return;
    ca_of(c)->stepping = false;
    if (!e && doc && ca_of(c)->stepped)
        note_phase(c, doc);
}

static void on_step(uv_timer_t *t)
{
    struct control *c = t->data;
    char waiting[256];
    control_ca_look(c);
    const json_t *b = bundle_of(c);
    bool busy = b && json_object_get(b, "rotation");
    uv_timer_start(t, on_step, busy ? STEP_MS : LOOK_MS, 0);
    if (!b || !json_object_get(b, "rotation") || !c->pki->authority || ca_of(c)->stepping)
        return;
    _cleanup_json_ json_t *next = step(c, b, waiting);
    if (!next)
        return;
    ca_of(c)->stepping = true;
    documents_edit(ca_of(c)->docs, BUNDLE, edit_step, on_stepped, c);
}

struct beginning {
    struct control *c;
    struct rpc_req *req;
    json_t *params;
};

static int edit_begin(void *ctx, json_t *old, json_t **ret, struct err *e)
{
    struct beginning *a = ctx;
    if (!old) {
        err_set(e, ERR_UNAVAILABLE, "the platform's roots are not in the state store yet");
        err_fix(e, "try again in a moment; `mcp ca status`");
        return ERR_UNAVAILABLE;
    }
    int r = cabundle_check(old, e);
    if (r >= 0)
        r = cabundle_begin(old, a->params, clock_wall_ms(), ret, e);
    if (r >= 0 && !*ret)
        *ret = json_incref(old);
    return r;
}

static void on_begun(void *ctx, const json_t *doc, const struct err *e)
{
    struct beginning *a = ctx;
    if (e)
        rpc_reply_error(a->req, e);
    else
        rpc_reply(a->req, control_ca_status(a->c));
    json_decref(a->params);
    free(a);
}

/* Every holder must be able to open what is for it; of the others' we know that they are there. */
static int check_sealed(const struct control *c, const json_t *params, struct err *e)
{
    const json_t *sealed = json_object_get(params, "sealed");
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++) {
        const char *host = c->model->hosts[i].name;
        if (capolicy_holds(c->model, host) && !json_object_get(sealed, host))
            return err_set(e, ERR_INVALID, "the new intermediate is not sealed to host %s", host);
    }
    struct pki_authority *mine = NULL;
    int r = json_object_get(sealed, c->host) ? pki_authority_unseal(
                json_object_get(sealed, c->host), c->platform, c->host, c->pki->key, &mine, e)
                                             : 0;
    pki_authority_free(mine);
    return r;
}

void control_ca_rotate(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    bool leaves = str_eq(json_opt_str(params, "kind", NULL), "leaves");
    if (!leaves && check_sealed(c, params, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct beginning *a = xcalloc(1, sizeof *a);
    *a = (struct beginning){c, req, json_incref(params)};
    documents_edit(ca_of(c)->docs, BUNDLE, edit_begin, on_begun, a);
}

/* ---- telling */

static json_t *info_json(const char *kind, const char *pem, bool issuing)
{
    struct pki_info i;
    struct err ignored;
    if (pki_info_parse(pem, &i, &ignored) < 0)
        return NULL;
    return json_pack("{s:s,s:s,s:s,s:I,s:b}", "of", kind, "id", i.id, "subject", i.subject,
        "not_after_ms", (json_int_t)i.not_after_ms, "issuing", issuing);
}

static void add_authorities(const json_t *b, json_t *roots, json_t *intermediates)
{
    static const char *const kinds[] = {"hosts", "state"};
    for (size_t k = 0; k < CABUNDLE_KINDS; k++) {
        const json_t *side = json_object_get(b, kinds[k]);
        size_t i;
        json_t *root;
        json_array_foreach (json_object_get(side, "roots"), i, root)
            json_array_append_new(roots, info_json(kinds[k], json_string_value(root), false));
        json_array_append_new(
            intermediates, info_json(kinds[k], json_opt_str(side, "intermediate", ""), true));
    }
}

/* Before the state store has told: what this host itself holds. */
static json_t *own_bundle(const struct control *c)
{
    const json_t *b = bundle_of(c);
    if (b)
        return json_incref((json_t *)b);
    return c->pki->authority ? first_bundle(c) : NULL;
}

static json_t *hosts_json(const struct control *c, json_t *own)
{
    json_t *list = json_array();
    for (size_t i = 0; c->model && i < c->model->n_hosts; i++) {
        const char *name = c->model->hosts[i].name;
        const json_t *certs = json_object_get(report_of(c, name, own), "certs");
        const char *public = json_opt_str(control_registry_host(c, name), "seal_public", NULL);
        json_t *h = certs ? json_deep_copy(certs) : json_object();
        json_object_set_new(h, "host", json_string(name));
        json_object_set_new(h, "heard", json_boolean(certs != NULL));
        json_object_set_new(h, "holder", json_boolean(capolicy_holds(c->model, name)));
        json_object_set_new(h, "seal_public", public ? json_string(public) : json_null());
        json_array_append_new(list, h);
    }
    return list;
}

/* Whether the state store has told all that a status is made of: before, a rotation that runs
 * would look like none. */
static bool is_known(const struct control *c)
{
    return c->model && ca_of(c) && documents_synced(ca_of(c)->docs) && c->hosts
        && documents_synced(c->hosts);
}

json_t *control_ca_status(struct control *c)
{
    char waiting[256] = "";
    struct err gate = {0};
    _cleanup_json_ json_t *own = control_own_report(c), *b = own_bundle(c), *next = NULL;
    json_t *roots = json_array(), *intermediates = json_array(), *rotation = json_null();
    if (b)
        add_authorities(b, roots, intermediates);
    if (json_object_get(b, "rotation")) {
        next = step(c, b, waiting);
        rotation = json_deep_copy(json_object_get(b, "rotation"));
        json_object_del(rotation, "sealed");
        json_object_set_new(rotation, "waiting", json_string(waiting));
    }
    bool shut = control_ca_gate(c, &gate) < 0;
    json_t *last = json_object_get(b, "last");
    return json_pack("{s:s,s:b,s:I,s:o,s:o,s:o,s:o,s:o,s:o}", "platform", c->platform, "known",
        is_known(c), "now_ms", (json_int_t)clock_wall_ms(), "roots", roots, "intermediates", intermediates, "hosts",
        hosts_json(c, own), "rotation", rotation, "last", last ? json_incref(last) : json_null(),
        "gate", shut ? json_from_err(&gate) : json_null());
}

void control_ca_answer(struct control *c, struct rpc_req *req, json_t *params)
{
    rpc_reply(req, control_ca_status(c));
}

/* label: "root", "state-intermediate". */
typedef bool (*authority_fn)(
    void *ctx, const char *label, const char *what, const char *fix, int64_t not_after_ms);

/* Each root and intermediate in force, until one says stop. */
static void each_authority(const struct control *c, authority_fn fn, void *ctx)
{
    static const char *const words[2][PKI_KINDS] = {
        {"the root certificate", "the root certificate of the state store"},
        {"the intermediate certificate", "the intermediate certificate of the state store"}};
    static const char *const labels[2][PKI_KINDS] = {
        {"root", "state-root"}, {"intermediate", "state-intermediate"}};
    static const char *const fixes[2] = {
        "`mcp ca rotate --root` replaces it", "`mcp ca rotate --intermediate` replaces it"};
    for (size_t k = 0; k < PKI_KINDS; k++) {
        struct pki_info info[2];
        struct err ignored;
        if (k == PKI_STATE && !c->pki->has_etcd)
            continue;
        _cleanup_free_ char *chain =
            xasprintf("%s%s.pem", CONTROL_PKI, k == PKI_HOSTS ? "host" : "state");
        if (c->pki->authority)
            pki_ca_info(pki_authority_ca(c->pki->authority, (enum pki_kind)k), &info[0], &info[1]);
        else if (pki_info_read(paths[k], &info[0], &ignored) < 0
                 || pki_issuer_read(chain, &info[1], &ignored) < 0)
            continue;
        for (size_t i = 0; i < 2; i++)
            if (!fn(ctx, labels[i][k], words[i][k], fixes[i], info[i].not_after_ms))
                return;
    }
}

static bool gate_one(
    void *ctx, const char *label, const char *what, const char *fix, int64_t not_after_ms)
{
    return capolicy_gate(what, fix, not_after_ms, clock_wall_ms(), ctx) >= 0;
}

int control_ca_gate(const struct control *c, struct err *e)
{
    struct err found = {0};
    each_authority(c, gate_one, &found);
    if (found.code)
        *e = found;
    return found.code;
}

struct ends {
    json_t *alarms;
    int64_t first_ms;
};

static bool alarm_one(
    void *ctx, const char *label, const char *what, const char *fix, int64_t not_after_ms)
{
    struct ends *ends = ctx;
    char text[256];
    ends->first_ms = MIN(ends->first_ms, not_after_ms);
    if (capolicy_alarm(what, fix, not_after_ms, clock_wall_ms(), text))
        json_array_append_new(ends->alarms, json_pack("{s:s}", "text", text));
    return true;
}

static bool say_one(
    void *ctx, const char *label, const char *what, const char *fix, int64_t not_after_ms)
{
    char text[256];
    if (capolicy_alarm(what, fix, not_after_ms, clock_wall_ms(), text))
        log_error("pki", text, "certificate=%s", label);
    return true;
}

void control_ca_say(const struct control *c)
{
    each_authority(c, say_one, NULL);
}

struct gauges {
    struct str *out;
    int64_t now_ms;
};

static bool gauge_one(
    void *ctx, const char *label, const char *what, const char *fix, int64_t not_after_ms)
{
    struct gauges *g = ctx;
    str_addf(g->out, "mcp_cert_expiry_seconds{certificate=\"%s\"} %lld\n", label,
        (long long)(not_after_ms - g->now_ms) / 1000);
    return true;
}

void control_ca_metrics(const struct control *c, int64_t now_ms, struct str *out)
{
    struct gauges g = {out, now_ms};
    each_authority(c, gauge_one, &g);
}

void control_ca_report(const struct control *c, json_t *certs, json_t *alarms)
{
    json_t *holds = json_null();
    if (c->pki->authority) {
        holds = json_object();
        for (enum pki_kind k = 0; k < PKI_KINDS; k++) {
            struct pki_info info;
            pki_ca_info(pki_authority_ca(c->pki->authority, k), NULL, &info);
            json_object_set_new(holds, pki_kind_name(k), json_string(info.id));
        }
    }
    json_object_set_new(certs, "holds", holds);
    if (ca_of(c)) {
        json_object_set_new(certs, "trust", json_string(ca_of(c)->trust));
        json_object_set_new(certs, "state_trust",
            json_string(c->pki->is_member && !etcd_is_stale(c) ? ca_of(c)->trust : ""));
    }
    struct ends ends = {alarms, INT64_MAX};
    each_authority(c, alarm_one, &ends);
    if (ends.first_ms != INT64_MAX)
        json_object_set_new(certs, "ca_not_after_ms", json_integer(ends.first_ms));
}

/* ---- life */

static void on_doc(void *ctx, const char *name, const json_t *doc)
{
    struct control *c = ctx;
    control_ca_look(c);
    if (ca_of(c) && !strcmp(name, BUNDLE) && json_object_get(doc, "rotation"))
        uv_timer_start(&ca_of(c)->timer, on_step, STEP_MS, 0);
}

static void on_synced(void *ctx)
{
    control_ca_look(ctx);
}

void control_ca_open(struct control *c)
{
    struct documents_handler h = {.changed = on_doc, .synced = on_synced};
    struct control_ca *ca = c->pki->ca = xcalloc(1, sizeof *ca);
    _cleanup_free_ char *prefix = xasprintf("/mcp/%s/ca/", c->platform);
    load_mark(c);
    read_trust(c);
    ca->docs = documents_new(&c->role->loop, c->kv, prefix, &h, c);
    uv_timer_init(&c->role->loop, &ca->timer);
    ca->timer.data = c;
    uv_timer_start(&ca->timer, on_step, STEP_MS, 0);
}

void control_ca_close(struct control *c)
{
    struct control_ca *ca = c->pki ? c->pki->ca : NULL;
    if (!ca)
        return;
    uv_close((uv_handle_t *)&ca->timer, NULL); /* the process ends after it */
    documents_free(ca->docs);
    c->pki->ca = NULL;
}
