/* SPDX-License-Identifier: Apache-2.0 */
#include "service/certs/certs.h"

#include "base/arena/arena.h"
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"

#include <string.h>
#include <unistd.h>

#define ANSWER_MS 15000u /* a peer over any WAN, and its issuer behind it */
#define CHAIN_MAX (64u * 1024)

struct entry {
    struct entry *next;
    struct certs *owner;
    char name[CERTS_NAME_MAX];
    enum leaf_kind kind;
    char *module;
    struct arena *arena; /* of expect */
    struct pki_leaf expect;
    bool has_expect, has_pair, stale, asking, gone;
    struct capolicy_life life;
    char issuer[PKI_ID_SIZE];
    int64_t asked_for_ms, renewed_ms; /* by the clock of who asked for renewals */
    double jitter;
    unsigned failures;
    char error[256];
    uv_timer_t timer;
};

struct certs {
    uv_loop_t *loop;
    char *dir;
    double (*jitter)(void);
    struct certs_handler handler;
    void *ctx;
    struct entry *entries;
    int64_t renew_after_ms;
    char issuers[2][PKI_ID_SIZE]; /* hosts, state */
};

static void look(struct entry *n);

static double own_jitter(void)
{
    uint64_t r;
    rnd_bytes(&r, sizeof r);
    return (double)(r >> 11) / (double)(1ull << 53);
}

static struct entry *find(const struct certs *c, const char *name)
{
    for (struct entry *n = c->entries; n; n = n->next)
        if (!strcmp(n->name, name))
            return n;
    return NULL;
}

static char *path_of(const struct entry *n, const char *suffix)
{
    return xasprintf("%s/%s.%s", n->owner->dir, n->name, suffix);
}

/* ---- what lies on the disk */

static void read_pair(struct entry *n)
{
    struct pki_info info;
    struct err ignored;
    _cleanup_free_ char *pem = path_of(n, "pem"), *key = path_of(n, "key");
    n->has_pair = pki_pair_is(pem, key, NULL) && pki_info_read(pem, &info, &ignored) >= 0;
    if (!n->has_pair)
        return;
    n->life = (struct capolicy_life){info.issued_ms, info.not_before_ms, info.not_after_ms};
    memcpy(n->issuer, info.issuer, sizeof n->issuer);
    n->stale = n->has_expect && !pki_pair_is(pem, key, &n->expect);
}

static enum capolicy_state state_of(const struct entry *n)
{
    int64_t after = n->owner->renew_after_ms;
    if (!n->has_pair)
        return LIFE_NONE;
    return capolicy_state(&n->life, n->jitter, n->renewed_ms >= after ? 0 : after, clock_wall_ms());
}

static bool is_by_other(const struct entry *n)
{
    const char *want = n->owner->issuers[n->kind == LEAF_STATE];
    return *want && strcmp(want, n->issuer) != 0;
}

bool certs_usable(const struct certs *c, const char *name)
{
    const struct entry *n = find(c, name);
    enum capolicy_state s = n ? state_of(n) : LIFE_NONE;
    return s != LIFE_NONE && s != LIFE_EXPIRED;
}

/* ---- asking */

static void on_timer(uv_timer_t *t)
{
    struct entry *n = CONTAINER_OF(t, struct entry, timer);
    struct err e;
    if (n->asking) {
        err_set(&e, ERR_TIMEOUT, "who issues certificates does not answer");
        certs_answer(n->owner, n->name, NULL, &e);
    } else {
        look(n);
    }
}

static void schedule(struct entry *n)
{
    uint64_t wait = n->asking     ? ANSWER_MS
                    : n->failures ? capolicy_retry_ms(
                          n->failures, n->life.not_after_ms - n->life.issued_ms, n->owner->jitter())
                                  : capolicy_look_ms(&n->life, n->jitter, clock_wall_ms());
    uv_timer_start(&n->timer, on_timer, wait, 0);
}

static void fail(struct entry *n, const struct err *e)
{
    struct certs *c = n->owner;
    n->asking = false;
    n->failures++;
    str_copy(n->error, sizeof n->error, e->message);
    schedule(n);
    if (c->handler.failed)
        c->handler.failed(c->ctx, n->name, n->failures == 1, e);
}

static void ask(struct entry *n)
{
    struct err e;
    _cleanup_free_ char *key = path_of(n, "key.next"), *csr = NULL;
    if (pki_csr_make(key, n->name, &csr, &e) < 0) {
        fail(n, &e);
        return;
    }
    _cleanup_json_ json_t *request =
        json_pack("{s:s,s:s}", "kind", leaf_kind_name(n->kind), "csr", csr);
    if (n->module)
        json_object_set_new(request, "module", json_string(n->module));
    n->asking = true;
    n->asked_for_ms = n->owner->renew_after_ms;
    schedule(n);
    n->owner->handler.ask(n->owner->ctx, n->name, request);
}

/* Asks when it is time to, else waits for that. */
static void look(struct entry *n)
{
    struct err e;
    if (n->asking)
        return;
    if (pki_install(n->owner->dir, n->name, &e) < 0)
        str_copy(n->error, sizeof n->error, e.message);
    read_pair(n);
    if (state_of(n) != LIFE_FRESH || n->stale || is_by_other(n))
        ask(n);
    else
        schedule(n);
}

static int install(struct entry *n, const char *chain, struct err *e)
{
    struct certs *c = n->owner;
    _cleanup_free_ char *next = path_of(n, "pem.next"), *key = path_of(n, "key.next");
    _cleanup_free_ char *bundle =
        xasprintf("%s/%s", c->dir, n->kind == LEAF_STATE ? "state-ca.pem" : "ca.pem");
    if (strnlen(chain, CHAIN_MAX) == CHAIN_MAX)
        return err_set(e, ERR_LIMIT, "a certificate chain over %u bytes", CHAIN_MAX);
    if (!pki_chain_fits(chain, key))
        return err_set(e, ERR_PROTOCOL, "the certificate is for another key than was asked for");
    int r = pki_chain_trusted(chain, bundle, clock_wall_ms(), e);
    if (r >= 0)
        r = file_write_durable(next, chain, strlen(chain), 0644, e);
    return r < 0 ? r : pki_install(c->dir, n->name, e);
}

void certs_answer(struct certs *c, const char *name, const char *chain_pem, const struct err *e)
{
    struct err own;
    struct entry *n = find(c, name);
    if (!n || !n->asking) /* not wanted any more, or given up */
        return;
    if (e || install(n, chain_pem, &own) < 0) {
        fail(n, e ? e : &own);
        return;
    }
    n->asking = false;
    read_pair(n);
    n->renewed_ms = n->asked_for_ms;
    n->jitter = c->jitter();
    if (n->stale || is_by_other(n)) { /* who issued knows less than we do: it will learn */
        err_set(&own, ERR_CONFLICT,
            n->stale ? "the certificate names other names than this host expects"
                     : "the certificate is by an older intermediate");
        n->failures++;
        str_copy(n->error, sizeof n->error, own.message);
    } else {
        n->failures = 0;
        n->error[0] = '\0';
    }
    schedule(n);
    c->handler.changed(c->ctx, n->name);
}

/* ---- what is wanted */

static void set_expect(struct entry *n, const struct capolicy_leaf *leaf)
{
    struct arena *a = arena_new(0);
    n->has_expect = leaf != NULL;
    if (leaf) {
        struct ip_addr *addresses = arena_alloc(a, (leaf->n_addresses + 1) * sizeof *addresses);
        const char **names = arena_alloc(a, (leaf->n_names + 1) * sizeof *names);
        if (leaf->n_addresses)
            memcpy(addresses, leaf->addresses, leaf->n_addresses * sizeof *addresses);
        for (size_t i = 0; i < leaf->n_names; i++)
            names[i] = arena_strdup(a, leaf->names[i]);
        n->expect = (struct pki_leaf){.uri = leaf->uri ? arena_strdup(a, leaf->uri) : NULL,
            .addresses = addresses,
            .n_addresses = leaf->n_addresses,
            .names = names,
            .n_names = leaf->n_names};
    }
    arena_free(n->arena);
    n->arena = a;
}

int certs_want(struct certs *c, const char *name, const struct leaf_request *req, struct err *e)
{
    struct entry *n = find(c, name);
    if (!n) {
        n = xcalloc(1, sizeof *n);
        if (!str_copy(n->name, sizeof n->name, name)) {
            free(n);
            return err_set(e, ERR_LIMIT, "a certificate's name over %d bytes", CERTS_NAME_MAX - 1);
        }
        n->owner = c;
        n->jitter = c->jitter();
        n->next = c->entries;
        c->entries = n;
        uv_timer_init(c->loop, &n->timer);
    }
    free(n->module);
    n->kind = req->kind;
    n->module = req->module ? xstrdup(req->module) : NULL;
    set_expect(n, req->expect);
    look(n);
    return 0;
}

static void on_entry_closed(uv_handle_t *h)
{
    struct entry *n = CONTAINER_OF(h, struct entry, timer);
    arena_free(n->arena);
    free(n->module);
    free(n);
}

static void drop(struct certs *c, struct entry *n)
{
    struct entry **at = &c->entries;
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    uv_close((uv_handle_t *)&n->timer, on_entry_closed);
}

void certs_unwant(struct certs *c, const char *name)
{
    static const char *const suffixes[] = {"pem", "key", "pem.next", "key.next"};
    struct entry *n = find(c, name);
    if (!n)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        _cleanup_free_ char *path = path_of(n, suffixes[i]);
        unlink(path);
    }
    drop(c, n);
}

static void look_at_all(struct certs *c)
{
    for (struct entry *n = c->entries, *next; n; n = next) {
        next = n->next;
        look(n);
    }
}

void certs_renew_after(struct certs *c, int64_t wall_ms)
{
    if (wall_ms == c->renew_after_ms)
        return;
    c->renew_after_ms = wall_ms;
    look_at_all(c);
}

void certs_set_issuers(struct certs *c, const char *hosts, const char *state)
{
    if (!strcmp(c->issuers[0], hosts) && !strcmp(c->issuers[1], state))
        return;
    str_copy(c->issuers[0], PKI_ID_SIZE, hosts);
    str_copy(c->issuers[1], PKI_ID_SIZE, state);
    look_at_all(c);
}

void certs_retry(struct certs *c)
{
    for (struct entry *n = c->entries, *next; n; n = next) {
        next = n->next;
        if (n->failures)
            look(n);
    }
}

json_t *certs_report(const struct certs *c)
{
    json_t *list = json_array();
    for (const struct entry *n = c->entries; n; n = n->next)
        json_array_append_new(list,
            json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:s,s:s}", "name", n->name, "kind",
                leaf_kind_name(n->kind), "state", capolicy_state_name(state_of(n)), "issued_ms",
                (json_int_t)(n->has_pair ? n->life.issued_ms : 0), "not_after_ms",
                (json_int_t)(n->has_pair ? n->life.not_after_ms : 0), "renewed_ms",
                (json_int_t)(n->has_pair ? MAX(n->renewed_ms, n->life.issued_ms) : 0), "issuer",
                n->issuer, "error", n->error));
    return list;
}

struct certs *certs_new(const struct certs_config *cfg, const struct certs_handler *h, void *ctx)
{
    struct certs *c = xcalloc(1, sizeof *c);
    *c = (struct certs){.loop = cfg->loop,
        .dir = xstrdup(cfg->dir),
        .jitter = cfg->jitter ? cfg->jitter : own_jitter,
        .handler = *h,
        .ctx = ctx};
    return c;
}

void certs_free(struct certs *c)
{
    if (!c)
        return;
    while (c->entries)
        drop(c, c->entries);
    free(c->dir);
    free(c);
}
