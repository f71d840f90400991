/* SPDX-License-Identifier: Apache-2.0 */
#include "service/certs/certs.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"

#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char declaration[] =
    "platform: shop\n"
    "domain: shop.example\n"
    "regions: {ra: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}}\n"
    "hosts: {a1: {region: ra, address: 10.20.0.11, public: true}}\n"
    "routing: {nameservers: {ns1: ra}, default: [ra]}\n"
    "modules:\n"
    "  web: {image: oci:web, port: 80, route: {names: [shop.example], path: /, auth: none}, "
    "regions: {each: 1}}\n";

static struct fixture {
    char dir[64], pki[96], folder[96];
    uv_loop_t loop;
    struct model *model;
    struct pki_authority *authority;
    struct certs *certs;
    int64_t life_s;
    bool is_down, is_silent;
    unsigned asked, changed, failed;
    struct err why;
} fx;

static double middle(void)
{
    return 0.5;
}

static void on_ask(void *ctx, const char *name, const json_t *request)
{
    struct err e;
    json_t *answer = NULL;
    struct capolicy_facts facts = {.platform = "shop", .model = fx.model};
    struct certs_issuer i = {.authority = fx.authority, .facts = &facts, .life_s = fx.life_s};
    fx.asked++;
    if (fx.is_silent)
        return;
    if (fx.is_down)
        err_set(&e, ERR_UNAVAILABLE, "nobody is there");
    if (fx.is_down || certs_issue(&i, "a1", request, clock_wall_ms(), &answer, &e) < 0)
        certs_answer(fx.certs, name, NULL, &e);
    else
        certs_answer(fx.certs, name, json_opt_str(answer, "chain", NULL), NULL);
    json_decref(answer);
}

static void on_changed(void *ctx, const char *name)
{
    fx.changed++;
}

static void on_failed(void *ctx, const char *name, bool first, const struct err *e)
{
    fx.failed++;
    fx.why = *e;
}

static int setup(void **state)
{
    struct err e = {0};
    static const struct certs_handler h = {on_ask, on_changed, on_failed};
    memset(&fx, 0, sizeof fx);
    memcpy(fx.dir, "/tmp/mcp-certs-XXXXXX", 22);
    if (!mkdtemp(fx.dir) || uv_loop_init(&fx.loop) < 0)
        return -1;
    snprintf(fx.pki, sizeof fx.pki, "%s/pki", fx.dir);
    snprintf(fx.folder, sizeof fx.folder, "%s/ca", fx.dir);
    if (model_parse(declaration, strlen(declaration), "test", &fx.model, NULL, &e) < 0
        || file_mkdirs(fx.pki, 0755, &e) < 0
        || pki_authority_open(fx.folder, "shop", clock_wall_ms(), &fx.authority, &e) < 0)
        fail_msg("%s", e.message);
    char *root = pki_ca_root_pem(pki_authority_ca(fx.authority, PKI_HOSTS)), path[128];
    snprintf(path, sizeof path, "%s/ca.pem", fx.pki);
    assert_int_equal(file_write(path, root, strlen(root), 0644, &e), 0);
    free(root);
    fx.certs = certs_new(
        &(struct certs_config){.loop = &fx.loop, .dir = fx.pki, .jitter = middle}, &h, NULL);
    return 0;
}

static int teardown(void **state)
{
    struct err e;
    certs_free(fx.certs);
    uv_run(&fx.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fx.loop), 0);
    pki_authority_free(fx.authority);
    model_free(fx.model);
    return file_remove_tree(fx.dir, &e);
}

static void want(const char *name, enum leaf_kind kind, const char *module)
{
    struct err e = {0};
    struct leaf_request r = {.kind = kind, .module = module};
    assert_int_equal(certs_want(fx.certs, name, &r, &e), 0);
}

static char *path_of(const char *file)
{
    static char path[2][160];
    static unsigned next;
    char *p = path[next++ % 2];
    snprintf(p, sizeof path[0], "%s/%s", fx.pki, file);
    return p;
}

static const char *state_of(const char *name)
{
    static char state[16];
    json_t *list = certs_report(fx.certs), *l;
    size_t i;
    state[0] = '\0';
    json_array_foreach (list, i, l)
        if (str_eq(json_opt_str(l, "name", NULL), name))
            str_copy(state, sizeof state, json_opt_str(l, "state", ""));
    json_decref(list);
    return state;
}

static void test_made_and_kept(void **state)
{
    struct pki_info info;
    struct err e;
    want("host", LEAF_HOST, NULL);
    assert_int_equal(fx.changed, 1);
    assert_true(pki_pair_is(path_of("host.pem"), path_of("host.key"), NULL));
    assert_false(file_exists(path_of("host.key.next")));
    assert_int_equal(pki_info_read(path_of("host.pem"), &info, &e), 0);
    assert_string_equal(info.uri, "spiffe://shop/host/a1");
    assert_true(info.not_after_ms - info.issued_ms == PKI_LEAF_S * 1000ll);
    assert_true(info.issued_ms - info.not_before_ms == PKI_BACKDATE_S * 1000ll);
    want("host", LEAF_HOST, NULL);
    assert_int_equal(fx.asked, 1);
    assert_string_equal(state_of("host"), "fresh");
    assert_true(certs_usable(fx.certs, "host"));
    certs_unwant(fx.certs, "host");
    assert_false(file_exists(path_of("host.pem")) || file_exists(path_of("host.key")));
}

static void test_renewed_in_time(void **state)
{
    fx.life_s = 2;
    want("host", LEAF_HOST, NULL);
    while (fx.changed < 3)
        uv_run(&fx.loop, UV_RUN_ONCE);
    assert_int_equal(fx.failed, 0);
    assert_true(certs_usable(fx.certs, "host"));
}

static void test_old_pair_stays(void **state)
{
    want("host", LEAF_HOST, NULL);
    struct pki_info before, after;
    struct err e;
    assert_int_equal(pki_info_read(path_of("host.pem"), &before, &e), 0);
    fx.is_down = true;
    certs_renew_after(fx.certs, clock_wall_ms() + 1000);
    while (fx.failed < 3)
        uv_run(&fx.loop, UV_RUN_ONCE);
    assert_string_equal(fx.why.message, "nobody is there");
    assert_true(pki_pair_is(path_of("host.pem"), path_of("host.key"), NULL));
    assert_int_equal(pki_info_read(path_of("host.pem"), &after, &e), 0);
    assert_int_equal(before.issued_ms, after.issued_ms);
    fx.is_down = false;
    certs_retry(fx.certs);
    assert_int_equal(fx.changed, 2);
}

/* kill -9 between any two of the steps that put a new pair into place */
static void test_killed_while_installing(void **state)
{
    struct err e;
    char *const suffixes[] = {"host.pem", "host.key", "host.pem.next", "host.key.next"};
    want("host", LEAF_HOST, NULL);
    certs_unwant(fx.certs, "none");
    fx.is_silent = true;
    /* A request is out: the old pair is whole beside a key without certificate. */
    certs_renew_after(fx.certs, clock_wall_ms() + 1000);
    assert_true(file_exists(path_of(suffixes[3])));
    assert_int_equal(pki_install(fx.pki, "host", &e), 0);
    assert_true(pki_pair_is(path_of("host.pem"), path_of("host.key"), NULL));
    /* Both are written, nothing moved; and: the key moved, the certificate not. */
    for (int moved = 0; moved < 2; moved++) {
        char *csr = NULL, *chain = NULL;
        const struct pki_leaf leaf = {.common_name = "a1", .uri = "spiffe://shop/host/a1"};
        unlink(path_of("host.key.next"));
        assert_int_equal(pki_csr_make(path_of("host.key.next"), "a1", &csr, &e), 0);
        assert_int_equal(pki_sign_csr(pki_authority_ca(fx.authority, PKI_HOSTS), csr, &leaf,
                             clock_wall_ms(), &chain, &e),
            0);
        assert_int_equal(
            file_write_durable(path_of("host.pem.next"), chain, strlen(chain), 0644, &e), 0);
        if (moved)
            assert_int_equal(rename(path_of("host.key.next"), path_of("host.key")), 0);
        assert_int_equal(pki_install(fx.pki, "host", &e), 0);
        assert_true(pki_pair_is(path_of("host.pem"), path_of("host.key"), NULL));
        assert_true(pki_chain_fits(chain, path_of("host.key")));
        assert_false(file_exists(path_of("host.pem.next")));
        free(csr);
        free(chain);
    }
}

static void test_what_does_not_fit_is_refused(void **state)
{
    struct err e;
    struct pki_authority *other = NULL;
    char folder[128];
    want("host", LEAF_HOST, NULL);
    snprintf(folder, sizeof folder, "%s/other", fx.dir);
    assert_int_equal(pki_authority_open(folder, "shop", clock_wall_ms(), &other, &e), 0);
    struct pki_authority *own = fx.authority;
    fx.authority = other; /* an issuer that this host does not trust */
    certs_renew_after(fx.certs, clock_wall_ms() + 1000);
    assert_int_equal(fx.failed, 1);
    assert_non_null(strstr(fx.why.message, "not trusted here"));
    fx.authority = own;
    pki_authority_free(other);
    fx.is_silent = true;
    certs_retry(fx.certs);
    struct err no;
    char *csr = NULL, *chain = NULL;
    const struct pki_leaf leaf = {.common_name = "a1", .uri = "spiffe://shop/host/a1"};
    assert_int_equal(pki_csr_make(path_of("strange.key"), "a1", &csr, &no), 0);
    assert_int_equal(pki_sign_csr(pki_authority_ca(fx.authority, PKI_HOSTS), csr, &leaf,
                         clock_wall_ms(), &chain, &no),
        0);
    certs_answer(fx.certs, "host", chain, NULL);
    assert_non_null(strstr(fx.why.message, "another key"));
    certs_answer(fx.certs, "host", chain, NULL); /* nothing is asked any more */
    assert_int_equal(fx.failed, 2);
    free(csr);
    free(chain);
}

static void test_names_follow_the_model(void **state)
{
    struct err e;
    struct ip_addr address;
    assert_true(ip_parse("10.20.0.99", &address));
    struct capolicy_leaf other = {
        .uri = "spiffe://shop/host/a1", .addresses = &address, .n_addresses = 1};
    struct leaf_request r = {.kind = LEAF_HOST, .expect = &other};
    want("host", LEAF_HOST, NULL);
    assert_int_equal(
        certs_want(fx.certs, "host", &r, &e), 0); /* our model is ahead of the issuer's */
    assert_int_equal(fx.asked, 2);
    want("edge", LEAF_EDGE, NULL);
    want("module-web", LEAF_MODULE, "web");
    assert_string_equal(state_of("module-web"), "fresh");
    want("module-api", LEAF_MODULE, "api");
    assert_non_null(strstr(fx.why.message, "no instance of module api"));
    assert_string_equal(state_of("module-api"), "none");
}

static void test_requests_are_checked(void **state)
{
    struct err e;
    char *csr = NULL, *chain = NULL;
    const struct pki_ca *ca = pki_authority_ca(fx.authority, PKI_HOSTS);
    const struct pki_leaf leaf = {.common_name = "a1"};
    assert_int_equal(pki_csr_make(path_of("k.key"), "a1", &csr, &e), 0);
    assert_int_equal(pki_sign_csr(ca, "", &leaf, clock_wall_ms(), &chain, &e), ERR_INVALID);
    assert_int_equal(
        pki_sign_csr(ca, "-----BEGIN", &leaf, clock_wall_ms(), &chain, &e), ERR_INVALID);
    char *bent = xstrdup(csr), *at = strstr(bent, "\n-----END") - 12; /* in the signature */
    *at = *at == 'A' ? 'B' : 'A';
    assert_true(pki_sign_csr(ca, bent, &leaf, clock_wall_ms(), &chain, &e) < 0);
    free(bent);
    assert_int_equal(
        pki_sign_csr(ca, csr, &leaf, clock_wall_ms() + 6 * 365 * 86400000ll, &chain, &e),
        ERR_REFUSED); /* the intermediate has ended */
    free(csr);
}

static void test_sealed(void **state)
{
    struct err e;
    json_t *doc = NULL;
    struct seal_key *own = NULL, *other = NULL;
    struct pki_authority *opened = NULL;
    assert_int_equal(seal_key_make(&own, &e), 0);
    assert_int_equal(seal_key_make(&other, &e), 0);
    assert_int_equal(pki_authority_seal(fx.authority, "shop", "a1", seal_public(own), &doc, &e), 0);
    char *text = json_text(doc);
    assert_null(strstr(text, "PRIVATE"));
    free(text);
    assert_int_equal(pki_authority_unseal(doc, "shop", "a1", other, &opened, &e), ERR_DENIED);
    assert_int_equal(pki_authority_unseal(doc, "shop", "a2", own, &opened, &e), ERR_DENIED);
    assert_int_equal(pki_authority_unseal(doc, "shop", "a1", own, &opened, &e), 0);
    fx.is_silent = false;
    struct pki_authority *kept = fx.authority;
    fx.authority = opened;
    want("host", LEAF_HOST, NULL);
    assert_int_equal(fx.failed, 0);
    fx.authority = kept;
    pki_authority_free(opened);
    seal_key_free(own);
    seal_key_free(other);
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made_and_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renewed_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_pair_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_while_installing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_follow_the_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requests_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sealed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
