/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolment: tokens for operators, and what a machine without a certificate may ask. The rules are
 * domain/enrol; whoever answers must hold the intermediates, so a control without them passes the
 * whole request on to one that has them, which checks everything itself. A token is used by one
 * compare-and-swap, before anything is given away. */
#include "role/control/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "domain/enrol/enrol.h"
#include "role/control/renew.h"
#include "service/enrol/records.h"
#include "service/relay/relay.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#define PEM_MAX (256u * 1024)
#define ATTEMPTS 3
#define NOTES_PER_MINUTE                                                                           \
    20u /* of refusals: a stranger does not push the rest out of the timeline */

static char *key_of(const struct control *c, const char *folder, const char *name)
{
    return xasprintf("/mcp/%s/%s/%s", c->platform, folder, name);
}

static void fail(struct rpc_req *req, int code, const char *message, const char *fix)
{
    struct err e;
    err_set(&e, code, "%s", message);
    err_fix(&e, "%s", fix);
    rpc_reply_error(req, &e);
}

/* ---- the root that this host's own certificate comes from */

static X509 *read_cert(BIO *bio)
{
    return bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

/* The last certificate of the own chain: the intermediate. */
static X509 *last_of(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *last = NULL;
    for (X509 *cert; (cert = read_cert(bio));) {
        X509_free(last);
        last = cert;
    }
    BIO_free(bio);
    return last;
}

static bool signed_by(X509 *cert, X509 *root)
{
    EVP_PKEY *key = X509_get_pubkey(root);
    bool ok = key && X509_verify(cert, key) == 1;
    EVP_PKEY_free(key);
    return ok;
}

static bool fingerprint(X509 *cert, uint8_t out[TOKEN_ROOT_BYTES])
{
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    if (len < 0)
        return false;
    token_root_of(der, (size_t)len, out);
    OPENSSL_free(der);
    return true;
}

static bool find_root(const char *bundle, const char *chain, uint8_t out[TOKEN_ROOT_BYTES])
{
    BIO *bio = BIO_new_mem_buf(bundle, -1);
    X509 *intermediate = last_of(chain);
    bool found = false;
    for (X509 *cert; intermediate && !found && (cert = read_cert(bio));) {
        found = signed_by(intermediate, cert) && fingerprint(cert, out);
        X509_free(cert);
    }
    X509_free(intermediate);
    BIO_free(bio);
    return found;
}

int control_own_root(uint8_t out[TOKEN_ROOT_BYTES], struct err *e)
{
    _cleanup_str_ struct str bundle = STR_INIT, chain = STR_INIT;
    int r = file_read(CONTROL_PKI "ca.pem", PEM_MAX, &bundle, e);
    if (r >= 0)
        r = file_read(CONTROL_PKI "host.pem", PEM_MAX, &chain, e);
    if (r >= 0 && !find_root(str_cstr(&bundle), str_cstr(&chain), out))
        r = err_set(e, ERR_INVALID, "no root in ca.pem has signed this host's intermediate");
    return r;
}

/* ---- `mcp host token` */

struct minting {
    struct control *c;
    struct rpc_req *req;
    char text[TOKEN_TEXT_SIZE];
    char host[64], by[64];
    int64_t expires_ms;
};

static void on_minted(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct minting *m = ctx;
    char address[IP_TEXT_SIZE], message[160];
    if (e || !succeeded) {
        struct err busy;
        err_set(&busy, ERR_CONFLICT, "the token could not be kept");
        rpc_reply_error(m->req, e ? e : &busy);
        free(m);
        return;
    }
    const char *host = *m->host ? m->host : NULL;
    ip_format(&m->c->own_address, address);
    rpc_reply(m->req, json_pack("{s:s,s:s?,s:I,s:s}", "token", m->text, "host", host, "expires_ms",
                          (json_int_t)m->expires_ms, "address", address));
    snprintf(message, sizeof message, "a token for %s was made", host ? host : "any free host");
    control_note(m->c, "enrol", host ? host : m->c->host, message, m->by);
    OPENSSL_cleanse(m, sizeof *m);
    free(m);
}

/* Spent ones go on this occasion. */
static void on_old_tokens(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct minting *m = ctx;
    struct token t;
    struct err ignored;
    struct kv_op ops[KV_TXN_MAX];
    size_t n_ops = 1;
    int64_t now = clock_wall_ms();
    char id[TOKEN_ID_SIZE];
    if (e) {
        rpc_reply_error(m->req, e);
        free(m);
        return;
    }
    for (size_t i = 0; i < n && n_ops < KV_TXN_MAX / 2; i++) {
        _cleanup_json_ json_t *doc = NULL;
        if (json_parse(pairs[i].value, pairs[i].len, &doc, &ignored) >= 0
            && enrol_token_spent(doc, now))
            ops[n_ops++] = (struct kv_op){.key = pairs[i].key};
    }
    ASSERT(token_parse(m->text, &t, &ignored) >= 0);
    token_id_format(&t, id);
    _cleanup_free_ char *key = key_of(m->c, "token", id);
    _cleanup_json_ json_t *doc =
        enrol_token_doc(&t, *m->host ? m->host : NULL, m->by, now, m->expires_ms - now);
    _cleanup_free_ char *text = json_text(doc);
    ops[0] = (struct kv_op){.key = key, .value = text};
    struct kv_compare cmp = {key, 0};
    kv_txn_sure(m->c->kv, &cmp, 1, ops, n_ops, on_minted, m);
    OPENSSL_cleanse(&t, sizeof t);
}

static int check_host(const struct control *c, const char *host, struct err *e)
{
    if (!c->model) {
        err_set(e, ERR_REFUSED, "nothing was applied yet, so no host is declared");
        err_fix(e, "`mcp apply -f platform.yaml` first");
        return ERR_REFUSED;
    }
    if (host && !model_find_host(c->model, host)) {
        err_set(e, ERR_REFUSED, "the declaration has no host %s", host);
        err_fix(e, "declare it in `hosts:` and `mcp apply`");
        return ERR_REFUSED;
    }
    if (host && (!strcmp(host, c->host) || peers_is_up(c->peers, host))) {
        err_set(e, ERR_REFUSED, "%s has joined and is heard", host);
        err_fix(e, "`mcp host remove %s` first, if another machine shall take its place", host);
        return ERR_REFUSED;
    }
    return 0;
}

void control_enrol_token(struct control *c, struct rpc_req *req, json_t *params)
{
    struct err e;
    struct token t;
    const char *host = json_opt_str(params, "host", NULL);
    int64_t ttl = json_opt_int(params, "ttl_ms", ENROL_TTL_MS);
    if (check_host(c, host, &e) < 0 || control_own_root(t.root, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    if (ttl < 1000 || ttl > ENROL_TTL_MAX_MS) {
        fail(req, ERR_REFUSED, "a token lives from a second to a day", "--ttl 10m");
        return;
    }
    rnd_bytes(t.id, sizeof t.id);
    rnd_bytes(t.secret, sizeof t.secret);
    struct minting *m = xcalloc(1, sizeof *m);
    *m = (struct minting){.c = c, .req = req, .expires_ms = clock_wall_ms() + ttl};
    token_format(&t, m->text);
    str_copy(m->host, sizeof m->host, host ? host : "");
    str_copy(m->by, sizeof m->by, json_opt_str(params, "by", "root"));
    OPENSSL_cleanse(&t, sizeof t);
    _cleanup_free_ char *prefix = key_of(c, "token", "");
    kv_list(c->kv, prefix, on_old_tokens, m);
}

/* ---- `mcp host join`, at this end */

struct joining {
    struct control *c;
    struct rpc_req *req;
    json_t *params;
    char from[IP_TEXT_SIZE];
    struct enrol_request rq;
    struct ip_addr addresses[ENROL_ADDRESSES_MAX];
    const char *csr, *seal_public;
    char *key; /* of the token */
    json_t *token;
    char host[64];
    json_t *files;
    int attempts;
};

static void joining_free(struct joining *j)
{
    OPENSSL_cleanse(&j->rq.token, sizeof j->rq.token);
    json_decref(j->params);
    json_decref(j->token);
    json_decref(j->files);
    free(j->key);
    free(j);
}

static bool may_note(struct control *c)
{
    uint64_t now = clock_boot_ms();
    if (now - c->enrol_noted_ms > 60000) {
        c->enrol_noted_ms = now;
        c->enrol_notes = 0;
    }
    return c->enrol_notes++ < NOTES_PER_MINUTE;
}

static void refuse(struct joining *j, const struct err *e)
{
    const char *as = j->rq.host ? j->rq.host : "a host";
    char message[192];
    snprintf(message, sizeof message, "%s was refused as %s", j->from, as);
    log_warn("enrol", message, "why=\"%s\"", e->message);
    if (may_note(j->c))
        control_note(j->c, "enrol", j->from, message, e->message);
    rpc_reply_error(j->req, e);
    joining_free(j);
}

static void read_token(struct joining *j);

static void on_registered(void *ctx, const json_t *doc, const struct err *e)
{
    struct control *c = ctx;
    if (e) /* it registers itself when it runs */
        log_warn("enrol", "a host that joined is not in the register", "error=%s", e->message);
    control_report_soon(c);
}

/* What it needs to start: it is no member of the state store before its etcd has caught up. */
static json_t *answer_for(const struct joining *j, const struct model_host *h)
{
    struct control *c = j->c;
    bool member = false;
    for (size_t i = 0; model_has_etcd(c->model) && i < c->model->n_members; i++)
        member |= c->model->members[i] == h;
    json_t *boot = enrol_boot(c->model, h, NULL, json_opt_bool(c->role->boot, "lab", false));
    json_t *state = json_object_get(boot, "state");
    if (json_object_get(state, "member"))
        json_object_set_new(state, "member", json_null());
    return json_pack("{s:s,s:s,s:O,s:o,s:{s:i,s:[]},s:b}", "host", h->name, "platform", c->platform,
        "files", j->files, "boot", boot, "units", "revision", 0, "units", "member", member);
}

static void on_used(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct joining *j = ctx;
    struct control *c = j->c;
    const struct model_host *h = c->model ? model_find_host(c->model, j->host) : NULL;
    struct err why;
    if (!e && !succeeded && ++j->attempts < ATTEMPTS) {
        read_token(j); /* somebody was faster: it will be found used */
        return;
    }
    if (e || !succeeded || !h) {
        if (!e)
            err_set(&why, ERR_CONFLICT, "the platform changed in between; try again");
        refuse(j, e ? e : &why);
        return;
    }
    rpc_reply(j->req, answer_for(j, h));
    json_t *patch = json_pack("{s:i,s:s,s:I,s:s,s:s,s:b}", "format", 1, "seal_public",
        j->seal_public, "joined_ms", (json_int_t)clock_wall_ms(), "version",
        json_opt_str(j->params, "version", ""), "member", "none", "drained", 0);
    documents_merge(c->hosts, j->host, patch, on_registered, c);
    control_admit(c, j->host);
    char message[160];
    snprintf(message, sizeof message, "%s joined from %s", j->host, j->from);
    log_info("enrol", message, "host=%s", j->host);
    control_note(c, "enrol", j->host, message, json_opt_str(j->token, "by", ""));
    joining_free(j);
}

/* The certificate of that kind as a PEM text, heap. */
static int issue_one(
    struct joining *j, const char *host, const char *kind, char **ret, struct err *e)
{
    const char *chain;
    _cleanup_json_ json_t *request = json_pack("{s:s,s:s}", "kind", kind, "csr", j->csr);
    _cleanup_json_ json_t *issued = NULL;
    int r = control_issue_leaf(j->c, host, request, &issued, e);
    if (r >= 0)
        r = json_get_str(issued, "chain", &chain, e);
    if (r >= 0)
        *ret = xstrdup(chain);
    return r;
}

static int sign(struct joining *j, const struct model_host *h, struct err *e)
{
    _cleanup_free_ char *host = NULL, *state = NULL;
    _cleanup_str_ struct str ca = STR_INIT, state_ca = STR_INIT;
    bool has_etcd = kv_has_members(j->c->kv);
    int r = issue_one(j, h->name, "host", &host, e);
    if (r >= 0)
        r = file_read(CONTROL_PKI "ca.pem", PEM_MAX, &ca, e);
    if (r >= 0 && has_etcd)
        r = issue_one(j, h->name, "state", &state, e);
    if (r >= 0 && has_etcd)
        r = file_read(CONTROL_PKI "state-ca.pem", PEM_MAX, &state_ca, e);
    if (r < 0)
        return r;
    j->files = json_pack("{s:s,s:s}", "ca.pem", str_cstr(&ca), "host.pem", host);
    if (has_etcd) {
        json_object_set_new(j->files, "state-ca.pem", json_string(str_cstr(&state_ca)));
        json_object_set_new(j->files, "state.pem", json_string(state));
    }
    return 0;
}

static void use_token(struct joining *j, int64_t mod_revision)
{
    _cleanup_json_ json_t *used = enrol_token_used(j->token, j->host, j->from, clock_wall_ms());
    _cleanup_free_ char *text = json_text(used);
    struct kv_compare cmp = {j->key, mod_revision};
    struct kv_op op = {.key = j->key, .value = text};
    kv_txn_sure(j->c->kv, &cmp, 1, &op, 1, on_used, j);
}

static void on_token(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct joining *j = ctx;
    struct control *c = j->c;
    struct err why;
    const struct model_host *h;
    if (e) {
        refuse(j, e);
        return;
    }
    json_decref(j->token);
    j->token = NULL;
    if (n && json_parse(pairs[0].value, pairs[0].len, &j->token, &why) < 0)
        j->token = NULL;
    struct enrol_facts facts = {.model = c->model,
        .token = j->token,
        .joined = documents_all(c->hosts),
        .now_ms = clock_wall_ms()};
    int r = c->model ? 0 : check_host(c, NULL, &why);
    if (r >= 0)
        r = enrol_decide(&facts, &j->rq, &h, &why);
    if (r >= 0 && peers_is_up(c->peers, h->name))
        r = check_host(c, h->name, &why);
    if (r >= 0 && !j->files)
        r = sign(j, h, &why);
    if (r < 0) {
        refuse(j, &why);
        return;
    }
    str_copy(j->host, sizeof j->host, h->name);
    use_token(j, pairs[0].mod_revision);
}

static void read_token(struct joining *j)
{
    kv_get(j->c->kv, j->key, on_token, j);
}

static int parse_addresses(struct joining *j, struct err *e)
{
    json_t *list, *item;
    size_t i;
    int r = json_get_array(j->params, "addresses", &list, e);
    if (r < 0)
        return r;
    if (json_array_size(list) > ENROL_ADDRESSES_MAX)
        return err_set(e, ERR_LIMIT, "more than %u addresses", ENROL_ADDRESSES_MAX);
    json_array_foreach (list, i, item)
        if (!json_is_string(item) || !ip_parse(json_string_value(item), &j->addresses[i]))
            return err_set(e, ERR_INVALID, "\"addresses\"[%zu] is no address", i);
    j->rq.addresses = j->addresses;
    j->rq.n_addresses = json_array_size(list);
    return 0;
}

static int parse_request(struct joining *j, struct err *e)
{
    const char *token;
    char id[TOKEN_ID_SIZE];
    int r = json_get_str(j->params, "token", &token, e);
    if (r >= 0)
        r = token_parse(token, &j->rq.token, e);
    if (r >= 0)
        r = json_get_str(j->params, "csr", &j->csr, e);
    if (r >= 0)
        r = json_get_str(j->params, "seal_public", &j->seal_public, e);
    if (r >= 0)
        r = json_get_int(j->params, "time_ms", 0, INT64_MAX, &j->rq.time_ms, e);
    if (r >= 0)
        r = parse_addresses(j, e);
    if (r < 0)
        return r;
    j->rq.host = json_opt_str(j->params, "host", NULL);
    if (j->rq.host && strlen(j->rq.host) >= sizeof j->host)
        return err_set(e, ERR_INVALID, "\"host\" is too long");
    token_id_format(&j->rq.token, id);
    j->key = key_of(j->c, "token", id);
    return 0;
}

static void answer_join(
    struct control *c, const char *from, struct rpc_req *req, const json_t *params)
{
    struct err e;
    struct joining *j = xcalloc(1, sizeof *j);
    *j = (struct joining){.c = c, .req = req, .params = json_deep_copy(params)};
    str_copy(j->from, sizeof j->from, from);
    if (parse_request(j, &e) < 0)
        refuse(j, &e);
    else
        read_token(j);
}

/* To a control that holds the intermediates: the state store's members do. */
static void pass_on(struct control *c, const char *from, struct rpc_req *req, const json_t *params)
{
    for (size_t i = 0; c->model && i < c->model->n_members; i++) {
        struct rpc_conn *to = peers_conn(c->peers, c->model->members[i]->name);
        if (to) {
            relay_call(req, to, "enrol.join",
                json_pack("{s:s,s:O}", "from", from, "params", (json_t *)params), NULL);
            return;
        }
    }
    fail(req, ERR_UNAVAILABLE, "no host that may sign certificates is reachable from this one",
        "join through a member of the state store");
}

void control_enrol_relayed(struct control *c, const char *host, struct rpc_req *req, json_t *params)
{
    json_t *inner = json_object_get(params, "params");
    if (!control_authority(c) || !json_is_object(inner))
        fail(req, ERR_UNAVAILABLE, "this host does not hold the intermediates", "try again");
    else
        answer_join(c, json_opt_str(params, "from", host), req, inner);
}

static void door_hello(struct control *c, const char *from, struct rpc_req *req, json_t *params)
{
    struct err e;
    _cleanup_str_ struct str ca = STR_INIT;
    if (file_read(CONTROL_PKI "ca.pem", PEM_MAX, &ca, &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, json_pack("{s:s,s:s,s:s,s:I,s:s,s:[i,i]}", "platform", c->platform, "host",
                           c->host, "ca", str_cstr(&ca), "time_ms", (json_int_t)clock_wall_ms(),
                           "version", MCP_VERSION, "protocol", RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX));
}

static void door_join(struct control *c, const char *from, struct rpc_req *req, json_t *params)
{
    if (control_authority(c))
        answer_join(c, from, req, params);
    else
        pass_on(c, from, req, params);
}

/* All that a stranger may ask. */
static const struct {
    const char *name;
    void (*fn)(struct control *c, const char *from, struct rpc_req *req, json_t *params);
} door_methods[] = {
    {"enrol.hello", door_hello},
    {"enrol.join", door_join},
    {"pki.challenge", control_renew_challenge},
    {"pki.renew", control_renew_answer},
};

static void on_knock(
    void *ctx, const char *from, struct rpc_req *req, const char *method, json_t *params)
{
    for (size_t i = 0; i < ARRAY_SIZE(door_methods); i++)
        if (!strcmp(door_methods[i].name, method)) {
            door_methods[i].fn(ctx, from, req, params);
            return;
        }
    fail(req, ERR_DENIED, "a machine without a certificate may not ask for that", "");
}

int control_enrol_start(struct control *c, const int *fds, size_t n, struct err *e)
{
    _cleanup_free_ char *name = xasprintf("control@%s", c->host);
    struct enrol_door_config config = {.name = name,
        .cert = CONTROL_PKI "host.pem",
        .key = CONTROL_PKI "host.key",
        .listen_fds = fds,
        .n_listen = n};
    return enrol_door_new(&c->role->loop, &config, on_knock, c, &c->door, e);
}

void control_enrol_stop(struct control *c)
{
    enrol_door_free(c->door);
}
