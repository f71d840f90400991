/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "domain/enrol/enrol.h"

#include <ctype.h>
#include <string.h>

static const char declaration[] =
    "platform: joinx\n"
    "domain: joinx.example\n"
    "regions:\n"
    "  ra: {duty: main, address: 203.0.113.20, network: 10.20.0.0/16}\n"
    "hosts:\n"
    "  a1: {region: ra, address: 10.20.0.11, public: true}\n"
    "  a2: {region: ra, address: 10.20.0.12}\n"
    "  a3: {region: ra, address: 10.20.0.13}\n"
    "state: {members: [a1]}\n"
    "routing: {nameservers: {ns1: ra}, default: [ra]}\n";

static struct token some_token(uint8_t seed)
{
    struct token t;
    memset(t.id, seed, sizeof t.id);
    memset(t.root, seed + 1, sizeof t.root);
    memset(t.secret, seed + 2, sizeof t.secret);
    return t;
}

static void test_codec(void **state)
{
    struct rnd rnd;
    rnd_seed(&rnd, 7);
    for (int i = 0; i < 200; i++) {
        struct token t, back;
        char text[TOKEN_TEXT_SIZE];
        struct err e = {0};
        for (size_t k = 0; k < sizeof t; k++)
            ((uint8_t *)&t)[k] = (uint8_t)rnd_below(&rnd, 256);
        token_format(&t, text);
        assert_int_equal(strlen(text), TOKEN_TEXT_SIZE - 1);
        assert_int_equal(token_parse(text, &back, &e), 0);
        assert_memory_equal(&t, &back, sizeof t);
        /* any one letter changed is told */
        size_t at = 5 + (size_t)rnd_below(&rnd, 64);
        text[at] = text[at] == 'a' ? 'b' : 'a';
        assert_int_equal(token_parse(text, &back, &e), ERR_INVALID);
    }
}

static void test_texts(void **state)
{
    struct token t = some_token(3), back;
    struct err e = {0};
    char text[TOKEN_TEXT_SIZE], loud[TOKEN_TEXT_SIZE], id[TOKEN_ID_SIZE];
    token_format(&t, text);
    memcpy(loud, text, sizeof text);
    for (char *p = loud + 5; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    assert_int_equal(token_parse(loud, &back, &e), 0); /* read aloud, typed in capitals */
    token_id_format(&t, id);
    assert_string_equal(id, "0303030303030303");
    static const char *const wrong[] = {"", "mcp1-", "mcp2-abc", "hello", "mcp1-aaaa-aaaa"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(token_parse(wrong[i], &back, &e), ERR_INVALID);
    text[TOKEN_TEXT_SIZE - 2] = '\0';
    assert_int_equal(token_parse(text, &back, &e), ERR_INVALID);
}

#define NOW 1800000000000ll

struct row {
    const char *name;
    const char *bound, *as, *address, *joined;
    bool used, wrong_secret, unknown;
    int64_t age_ms, clock_ms;
    const char *host;   /* what it becomes, or NULL */
    const char *reason; /* of the refusal */
};

static const struct row rows[] = {
    {"by its address", NULL, NULL, "10.20.0.12", NULL, .host = "a2"},
    {"by name", NULL, "a2", "10.20.0.12", NULL, .host = "a2"},
    {"by the token", "a2", NULL, "10.20.0.12", NULL, .host = "a2"},
    {"wrong machine", "a2", NULL, "10.20.0.13", NULL, .reason = "declared at 10.20.0.12"},
    {"another host's token", "a2", "a3", "10.20.0.13", NULL, .reason = "for the host a2, not"},
    {"not declared", NULL, "a9", "10.20.0.12", NULL, .reason = "no host a9"},
    {"nobody's address", NULL, NULL, "10.20.0.99", "a1", .reason = "not joined yet: a2, a3"},
    {"joined, free token", NULL, NULL, "10.20.0.12", "a2", .reason = "joined already"},
    {"joined, its own token", "a2", NULL, "10.20.0.12", "a2", .host = "a2"},
    {"used", NULL, NULL, "10.20.0.12", NULL, .used = true, .reason = "used already, by a3"},
    {"wrong secret", NULL, NULL, "10.20.0.12", NULL, .wrong_secret = true,
        .reason = "no such token"},
    {"unknown", NULL, NULL, "10.20.0.12", NULL, .unknown = true, .reason = "no such token"},
    {"last moment", NULL, NULL, "10.20.0.12", NULL, .age_ms = ENROL_TTL_MS - 1, .host = "a2"},
    {"expired", NULL, NULL, "10.20.0.12", NULL, .age_ms = ENROL_TTL_MS, .reason = "expired at"},
    {"clock near", NULL, NULL, "10.20.0.12", NULL, .clock_ms = 5000, .host = "a2"},
    {"clock ahead", NULL, NULL, "10.20.0.12", NULL, .clock_ms = 5001,
        .reason = "says 2027-01-15T08:00:05.001Z, the platform 2027-01-15T08:00:00.000Z"},
    {"clock behind", NULL, NULL, "10.20.0.12", NULL, .clock_ms = -3600000, .reason = "clocks"},
};

static void check_row(const struct model *m, const struct row *row)
{
    struct err e = {0};
    struct ip_addr address;
    const struct model_host *h = NULL;
    struct token t = some_token(1);
    json_t *doc = enrol_token_doc(&t, row->bound, "root", NOW - row->age_ms, ENROL_TTL_MS);
    if (row->used) {
        json_t *used = enrol_token_used(doc, "a3", "10.20.0.13", NOW - 5);
        json_decref(doc);
        doc = used;
    }
    json_t *joined = json_object();
    if (row->joined)
        json_object_set_new(joined, row->joined, json_object());
    assert_true(ip_parse(row->address, &address));
    struct enrol_facts f = {
        .model = m, .token = row->unknown ? NULL : doc, .joined = joined, .now_ms = NOW};
    struct enrol_request rq = {.token = t,
        .host = row->as,
        .addresses = &address,
        .n_addresses = 1,
        .time_ms = NOW + row->clock_ms};
    rq.token.secret[0] ^= row->wrong_secret;
    int r = enrol_decide(&f, &rq, &h, &e);
    if (row->host && (r < 0 || strcmp(h->name, row->host) != 0))
        fail_msg("%s: %d %s", row->name, r, r < 0 ? e.message : h->name);
    if (!row->host && (r != ERR_REFUSED || !strstr(e.message, row->reason) || !*e.fix))
        fail_msg("%s: %d %s", row->name, r, e.message);
    json_decref(joined);
    json_decref(doc);
}

static void test_decide(void **state)
{
    struct err e = {0};
    struct model *m = NULL;
    if (model_parse(declaration, strlen(declaration), "test", &m, NULL, &e) < 0)
        fail_msg("%s", e.message);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check_row(m, &rows[i]);
    model_free(m);
}

static void test_documents(void **state)
{
    struct token t = some_token(1);
    char secret[2 * TOKEN_SECRET_BYTES + 1] = "";
    for (size_t i = 0; i < TOKEN_SECRET_BYTES; i++)
        snprintf(secret + 2 * i, 3, "%02x", t.secret[i]);
    json_t *doc = enrol_token_doc(&t, "a2", "root", NOW, ENROL_TTL_MS);
    char *text = json_text(doc);
    assert_null(strstr(text, secret)); /* the state store never has it */
    assert_false(enrol_token_spent(doc, NOW + ENROL_TTL_MS + ENROL_FORGET_MS));
    assert_true(enrol_token_spent(doc, NOW + ENROL_TTL_MS + ENROL_FORGET_MS + 1));
    free(text);
    json_decref(doc);
    json_t *old = json_pack("{s:b,s:s,s:s}", "drained", 1, "later", "kept", "seal_public", "old");
    json_t *host = enrol_host_doc(old, "new", "0.2", NOW);
    assert_string_equal(json_opt_str(host, "later", ""), "kept");
    assert_string_equal(json_opt_str(host, "seal_public", ""), "new");
    assert_true(json_opt_bool(host, "drained", false));
    assert_int_equal(json_opt_int(host, "joined_ms", 0), NOW);
    json_decref(host);
    json_decref(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_decide),
        cmocka_unit_test(test_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
