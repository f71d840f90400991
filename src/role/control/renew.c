/* SPDX-License-Identifier: Apache-2.0 */
/* A host that was off for longer than its certificate lives can prove itself to nobody by it, and
 * needs no person all the same: its sealing key is in the register of hosts, and lives as long as
 * the host. Through the enrolment door it asks for a challenge, a random number sealed to that key,
 * and brings the opened number with its request:
 *   pki.challenge {"host"}                     -> {"id", "box"}
 *   pki.renew     {"id", "proof", "request"}   -> what pki.issue answers, for the host's own leaf
 * A number is good once and for half a minute. A host that was removed is in no register. */
#include "role/control/pki.h"

#include "base/base64/base64.h"
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "role/control/renew.h"
#include "service/enrol/ask.h"
#include "service/enrol/door.h"

#define NONCE_SIZE 32u
#define GOOD_MS 30000u
#define CALL_MS 10000u
#define PEM_MAX (256u * 1024)

struct challenge {
    char host[64];
    uint64_t id, until_ms;
    uint8_t nonce[NONCE_SIZE];
};

/* ---- the side that issues */

static char *aad_of(const char *platform, const char *host)
{
    return xasprintf("challenge/%s/%s", platform, host);
}

/* The oldest makes room: strangers can only hinder strangers. */
static struct challenge *take_place(struct control *c)
{
    static struct challenge all[32];
    struct challenge *oldest = &all[0];
    for (size_t i = 1; i < ARRAY_SIZE(all); i++)
        if (all[i].until_ms < oldest->until_ms)
            oldest = &all[i];
    c->pki->challenges = all;
    c->pki->n_challenges = ARRAY_SIZE(all);
    return oldest;
}

static struct challenge *find(struct control *c, uint64_t id)
{
    for (size_t i = 0; id && i < c->pki->n_challenges; i++)
        if (c->pki->challenges[i].id == id && c->pki->challenges[i].until_ms > clock_boot_ms())
            return &c->pki->challenges[i];
    return NULL;
}

static int challenge(struct control *c, const json_t *params, json_t **ret, struct err *e)
{
    const char *host;
    uint8_t public_key[SEAL_KEY_SIZE];
    _cleanup_str_ struct str box = STR_INIT, text = STR_INIT;
    int r = json_get_str(params, "host", &host, e);
    if (r < 0)
        return r;
    if (!control_authority(c))
        return err_set(e, ERR_UNAVAILABLE, "host %s issues no certificates", c->host);
    const char *known = json_opt_str(control_registry_host(c, host), "seal_public", NULL);
    if (!known || control_host_denied(c, host)) {
        err_set(e, ERR_DENIED, "the register of hosts has no host %.63s", host);
        err_fix(e, "`mcp host join` with a new token");
        return ERR_DENIED;
    }
    struct challenge *k = take_place(c);
    *k = (struct challenge){.until_ms = clock_boot_ms() + GOOD_MS};
    str_copy(k->host, sizeof k->host, host);
    rnd_bytes(&k->id, sizeof k->id);
    k->id &= INT64_MAX;
    rnd_bytes(k->nonce, sizeof k->nonce);
    _cleanup_free_ char *aad = aad_of(c->platform, host);
    r = seal_public_parse(known, public_key, e);
    if (r >= 0)
        r = seal_to(public_key, aad, k->nonce, sizeof k->nonce, &box, e);
    if (r < 0)
        return r;
    base64_encode(box.buf, box.len, &text);
    *ret = json_pack("{s:I,s:s}", "id", (json_int_t)k->id, "box", str_cstr(&text));
    return 0;
}

void control_renew_challenge(
    struct control *c, const char *from, struct rpc_req *req, json_t *params)
{
    struct err e;
    json_t *answer = NULL;
    if (challenge(c, params, &answer, &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, answer);
}

static int check_proof(struct control *c, const json_t *params, char host[64], struct err *e)
{
    uint8_t proof[NONCE_SIZE];
    size_t n = 0;
    const char *text;
    struct challenge *k = find(c, (uint64_t)json_opt_int(params, "id", 0));
    int r = json_get_str(params, "proof", &text, e);
    if (r >= 0)
        r = base64_decode_into(text, strlen(text), proof, sizeof proof, &n, e);
    if (r < 0)
        return r;
    bool ok = k && n == sizeof proof && str_mem_eq_const(proof, k->nonce, sizeof proof);
    if (ok)
        str_copy(host, 64, k->host);
    if (k)
        *k = (struct challenge){0}; /* good once, right or wrong */
    return ok ? 0 : err_set(e, ERR_DENIED, "the challenge is not answered rightly, or too late");
}

void control_renew_answer(struct control *c, const char *from, struct rpc_req *req, json_t *params)
{
    struct err e;
    char host[64];
    json_t *request;
    int r = check_proof(c, params, host, &e);
    if (r >= 0)
        r = json_get_obj(params, "request", &request, &e);
    if (r >= 0 && !str_eq(json_opt_str(request, "kind", NULL), "host"))
        r = err_set(&e, ERR_DENIED, "only a host's own certificate is renewed here");
    if (r < 0) {
        log_warn("pki", "renewal refused", "from=%s error=%s", from, e.message);
        rpc_reply_error(req, &e);
        return;
    }
    control_note(c, "certificate", host,
        "proved itself by its sealing key, its certificate had ended", from);
    control_issue(c, host, req, request);
}

/* ---- the side that was off; on a worker thread, for it blocks */

struct knock {
    uv_work_t work;
    struct control *c;
    char *name, *platform, *host, *root_pem;
    json_t *request;
    struct ip_addr addresses[64];
    size_t n_addresses;
    const struct seal_key *key; /* lives as long as control */
    json_t *answer;
    struct err err;
};

static int ask(const struct knock *k, const struct ip_addr *to, const char *method,
    const json_t *params, json_t **ret, struct err *e)
{
    struct enrol_ask a = {.address = *to,
        .port = ENROL_PORT,
        .root_pem = k->root_pem,
        .platform = k->platform,
        .method = method,
        .params = params,
        .timeout_ms = CALL_MS};
    return enrol_ask(&a, ret, e);
}

static int prove(
    const struct knock *k, const json_t *challenge_doc, struct str *proof, struct err *e)
{
    const char *text;
    _cleanup_str_ struct str box = STR_INIT;
    _cleanup_secret_ struct secret *nonce = NULL;
    _cleanup_free_ char *aad = aad_of(k->platform, k->host);
    int r = json_get_str(challenge_doc, "box", &text, e);
    if (r >= 0)
        r = base64_decode(text, strlen(text), &box, e);
    if (r >= 0)
        r = seal_open(k->key, aad, box.buf, box.len, &nonce, e);
    if (r >= 0)
        base64_encode(secret_bytes(nonce), secret_len(nonce), proof);
    return r;
}

static int try_one(struct knock *k, const struct ip_addr *to, struct err *e)
{
    _cleanup_json_ json_t *who = json_pack("{s:s}", "host", k->host), *box = NULL, *params = NULL;
    _cleanup_str_ struct str proof = STR_INIT;
    int r = ask(k, to, "pki.challenge", who, &box, e);
    if (r >= 0)
        r = prove(k, box, &proof, e);
    if (r < 0)
        return r;
    params = json_pack("{s:I,s:s,s:O}", "id", (json_int_t)json_opt_int(box, "id", 0), "proof",
        str_cstr(&proof), "request", k->request);
    return ask(k, to, "pki.renew", params, &k->answer, e);
}

static void run_knock(uv_work_t *work)
{
    struct knock *k = CONTAINER_OF(work, struct knock, work);
    err_set(&k->err, ERR_UNAVAILABLE, "no host that issues certificates can be reached");
    for (size_t i = 0; i < k->n_addresses; i++)
        if (try_one(k, &k->addresses[i], &k->err) >= 0)
            return;
}

static void after_knock(uv_work_t *work, int status)
{
    struct knock *k = CONTAINER_OF(work, struct knock, work);
    k->c->pki->knocking = false;
    control_pki_take_answer(k->c, k->name, k->answer, k->answer ? NULL : &k->err);
    json_decref(k->answer);
    json_decref(k->request);
    free(k->name);
    free(k->platform);
    free(k->host);
    free(k->root_pem);
    free(k);
}

static void add_addresses(const struct control *c, struct knock *k)
{
    for (size_t i = 0; i < c->pki->n_peer_addresses && k->n_addresses < ARRAY_SIZE(k->addresses);
         i++)
        k->addresses[k->n_addresses++] = c->pki->peer_addresses[i];
}

bool control_renew_knock(struct control *c, const char *name, const json_t *request)
{
    _cleanup_str_ struct str roots = STR_INIT;
    struct err ignored;
    if (strcmp(name, "host") != 0 || c->pki->knocking || !c->pki->n_peer_addresses
        || file_read(CONTROL_PKI "ca.pem", PEM_MAX, &roots, &ignored) < 0)
        return false;
    struct knock *k = xcalloc(1, sizeof *k);
    k->c = c;
    k->name = xstrdup(name);
    k->platform = xstrdup(c->platform);
    k->host = xstrdup(c->host);
    k->root_pem = xstrdup(str_cstr(&roots));
    k->request = json_deep_copy(request); /* of its own: another thread reads it */
    k->key = c->pki->key;
    add_addresses(c, k);
    c->pki->knocking = true;
    log_info(
        "pki", "this host's certificate has ended: it proves itself by its sealing key", "%s", "");
    int r = uv_queue_work(&c->role->loop, &k->work, run_knock, after_knock);
    ASSERT(r == 0);
    return true;
}
