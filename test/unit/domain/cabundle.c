/* SPDX-License-Identifier: Apache-2.0 */
/* Rotations against a small world: hosts that follow the document late, in any order, and stop in
 * between. At every step each host trusts what every other presents. */
#include "domain/capolicy/bundle.h"

#include "base/rnd/rnd.h"
#include "base/str/str.h"

#include "test.h"

#include <string.h>

#define HOSTS 4
#define MEMBERS 3
#define SEEDS 60

struct machine {
    char roots[2][64], etcd_roots[64], issuer[2][16]; /* on its disk, in its etcd, of its leaves */
    char holds[2][16];
    int64_t renewed_ms;
    bool etcd_down;
};

static struct world {
    struct rnd rnd;
    json_t *b;
    struct machine m[HOSTS];
    int64_t now_ms;
} w;

static json_t *first(void)
{
    const struct cabundle_side sides[] = {{"R1", "I1", "i1"}, {"S1", "J1", "j1"}};
    return cabundle_new(sides);
}

static json_t *request(const char *kind, const char *suffix)
{
    char r[8], s[8], i[8], j[8], x[8], y[8];
    bool root = !strcmp(kind, "root");
    snprintf(r, sizeof r, "R%s", root ? suffix : "1");
    snprintf(s, sizeof s, "S%s", root ? suffix : "1");
    snprintf(i, sizeof i, "I%s", suffix);
    snprintf(j, sizeof j, "J%s", suffix);
    snprintf(x, sizeof x, "i%s", suffix);
    snprintf(y, sizeof y, "j%s", suffix);
    return json_pack("{s:s,s:s,s:{},s:{s:{s:s,s:s,s:s},s:{s:s,s:s,s:s}}}", "kind", kind, "by", "me",
        "sealed", "next", "hosts", "root", r, "intermediate", i, "issuer", x, "state", "root", s,
        "intermediate", j, "issuer", y);
}

/* "i1" chains to "R1" while the intermediate 2 of a root rotation chains to "R2". */
static bool chains(const char *issuer, const char *roots, bool root_rotation)
{
    char root[3] = {issuer[0] == 'i' ? 'R' : 'S', root_rotation ? issuer[1] : '1', '\0'};
    return strstr(roots, root) != NULL;
}

static void check_safe(bool root_rotation)
{
    unsigned down = 0;
    for (int a = 0; a < HOSTS; a++) {
        for (int b = 0; b < HOSTS; b++)
            assert_true(chains(w.m[a].issuer[0], w.m[b].roots[0], root_rotation));
        for (int b = 0; b < MEMBERS; b++) {
            assert_true(chains(w.m[a].issuer[1], w.m[b].etcd_roots, root_rotation));
            assert_true(chains(w.m[b].issuer[1], w.m[a].roots[1], root_rotation));
        }
        down += w.m[a].etcd_down;
    }
    assert_true(down <= 1); /* the state store keeps its quorum */
}

static json_t *report(int i)
{
    struct machine *m = &w.m[i];
    char trust[DIGEST_SIZE];
    cabundle_trust_of(m->roots[0], m->roots[1], trust);
    bool fresh = !strcmp(m->etcd_roots, m->roots[1]);
    return json_pack("{s:{s:[{s:s,s:s,s:s,s:I},{s:s,s:s,s:s,s:I}],s:s,s:s,s:{s:s,s:s}},s:{s:b},"
                     "s:[{s:s,s:s}]}",
        "certs", "leaves", "name", "host", "kind", "host", "issuer", m->issuer[0], "renewed_ms",
        (json_int_t)m->renewed_ms, "name", "state", "kind", "state", "issuer", m->issuer[1],
        "renewed_ms", (json_int_t)m->renewed_ms, "trust", trust, "state_trust", fresh ? trust : "",
        "holds", "hosts", m->holds[0], "state", m->holds[1], "state_store", "connected", 1, "units",
        "module", "etcd", "state", m->etcd_down ? "starting" : "ready");
}

/* One host does one thing that the document asks of it. */
static void act(int i)
{
    struct machine *m = &w.m[i];
    char *roots[2] = {cabundle_roots(w.b, 0), cabundle_roots(w.b, 1)};
    const char *restart = json_opt_str(json_object_get(w.b, "rotation"), "restart", "");
    char name[8];
    snprintf(name, sizeof name, "h%d", i);
    switch (rnd_below(&w.rnd, 5)) {
    case 0:
        for (int k = 0; k < 2; k++)
            str_copy(m->roots[k], sizeof m->roots[k], roots[k]);
        break;
    case 1:
        if (i < MEMBERS && !strcmp(restart, name) && strcmp(m->etcd_roots, m->roots[1]) != 0)
            m->etcd_down = true;
        break;
    case 2:
        if (m->etcd_down)
            str_copy(m->etcd_roots, sizeof m->etcd_roots, m->roots[1]);
        m->etcd_down = false;
        break;
    case 3:
        for (int k = 0; k < 2 && i < MEMBERS; k++)
            str_copy(m->holds[k], sizeof m->holds[k], cabundle_issuer(w.b, (enum cabundle_kind)k));
        break;
    default: { /* any holder may answer, also one that is behind: leaves are by what it holds */
        const struct machine *holder = &w.m[rnd_below(&w.rnd, MEMBERS)];
        if (strcmp(holder->holds[0], cabundle_issuer(w.b, CABUNDLE_HOSTS)) == 0) {
            for (int k = 0; k < 2; k++)
                str_copy(m->issuer[k], sizeof m->issuer[k], holder->holds[k]);
            m->renewed_ms = json_opt_int(w.b, "renew_after_ms", 0);
        }
    }
    }
    free(roots[0]);
    free(roots[1]);
}

static void try_step(char waiting[256])
{
    struct cabundle_host hosts[HOSTS];
    char names[HOSTS][8];
    json_t *reports[HOSTS];
    for (int i = 0; i < HOSTS; i++) {
        snprintf(names[i], sizeof names[i], "h%d", i);
        reports[i] = rnd_below(&w.rnd, 8) ? report(i) : NULL; /* not heard just now */
        hosts[i] = (struct cabundle_host){names[i], i < MEMBERS, i < MEMBERS, reports[i]};
    }
    json_t *next = cabundle_step(w.b, hosts, HOSTS, w.now_ms, waiting);
    for (int i = 0; i < HOSTS; i++)
        json_decref(reports[i]);
    if (!next)
        return;
    struct err e;
    assert_int_equal(cabundle_check(next, &e), 0);
    json_decref(w.b);
    w.b = next;
}

static void rotate(uint64_t seed, const char *kind)
{
    char waiting[256];
    struct err e = {0};
    json_t *begun = NULL, *req = request(kind, "2");
    memset(&w, 0, sizeof w);
    rnd_seed(&w.rnd, seed);
    w.b = first();
    w.now_ms = 1000;
    for (int i = 0; i < HOSTS; i++)
        w.m[i] = (struct machine){{"R1", "S1"}, "S1", {"i1", "j1"}, {"i1", "j1"}, 0, false};
    if (cabundle_begin(w.b, req, w.now_ms, &begun, &e) < 0)
        fail_msg("%s", e.message);
    json_decref(req);
    json_decref(w.b);
    w.b = begun;
    for (int n = 0; json_object_get(w.b, "rotation"); n++) {
        act((int)rnd_below(&w.rnd, HOSTS));
        check_safe(!strcmp(kind, "root"));
        try_step(waiting);
        if (n > 20000)
            fail_msg("seed %llu, %s: stuck: %s", (unsigned long long)seed, kind, waiting);
    }
    char *roots = cabundle_roots(w.b, CABUNDLE_HOSTS);
    assert_string_equal(roots, !strcmp(kind, "root") ? "R2" : "R1");
    free(roots);
    for (int i = 0; i < HOSTS; i++)
        assert_string_equal(w.m[i].issuer[0], !strcmp(kind, "leaves") ? "i1" : "i2");
    json_decref(w.b);
}

static void test_rotations(void **state)
{
    static const char *const kinds[] = {"leaves", "intermediate", "root"};
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
            rotate(seed, kinds[k]);
}

static void test_begin(void **state)
{
    struct err e = {0};
    json_t *b = first(), *running = NULL, *again = NULL, *req = request("root", "2"),
           *other = request("root", "3"), *old = request("root", "1"),
           *stranger = request("intermediate", "2");
    assert_int_equal(cabundle_begin(b, req, 5, &running, &e), 0);
    assert_int_equal(cabundle_begin(running, req, 6, &again, &e), 0); /* asked twice */
    assert_null(again);
    assert_int_equal(cabundle_begin(running, other, 6, &again, &e), ERR_CONFLICT);
    assert_int_equal(cabundle_begin(b, old, 6, &again, &e), ERR_REFUSED);
    json_object_set_new(
        json_object_get(json_object_get(stranger, "next"), "hosts"), "root", json_string("RX"));
    assert_int_equal(cabundle_begin(b, stranger, 6, &again, &e), ERR_REFUSED);
    json_object_set_new(req, "kind", json_string("everything"));
    assert_int_equal(cabundle_begin(b, req, 6, &again, &e), ERR_INVALID);
    json_object_set_new(req, "kind", json_string("root"));
    json_object_del(req, "next");
    assert_int_equal(cabundle_begin(b, req, 6, &again, &e), ERR_INVALID);
    json_decref(b);
    json_decref(running);
    json_decref(req);
    json_decref(other);
    json_decref(old);
    json_decref(stranger);
}

static void test_a_host_that_is_away_holds_it_up(void **state)
{
    char waiting[256];
    json_t *b = NULL, *f = first(), *req = json_pack("{s:s}", "kind", "leaves");
    struct err e;
    struct cabundle_host host = {"hk2", false, false, NULL};
    assert_int_equal(cabundle_begin(f, req, 5, &b, &e), 0);
    assert_null(cabundle_step(b, &host, 1, 6, waiting));
    assert_string_equal(waiting, "host hk2 is not heard");
    assert_null(cabundle_step(f, &host, 1, 6, waiting)); /* no rotation, no reason */
    assert_string_equal(waiting, "");
    json_decref(b);
    json_decref(f);
    json_decref(req);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotations),
        cmocka_unit_test(test_begin),
        cmocka_unit_test(test_a_host_that_is_away_holds_it_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
