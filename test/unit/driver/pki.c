/* SPDX-License-Identifier: Apache-2.0 */
/* What the authority makes is judged by openssl(1), not by ourselves. */
#include "driver/pki/pki.h"

#include "base/file/file.h"
#include "base/spawn/spawn.h"
#include "base/str/str.h"

#include "test.h"

#include <string.h>
#include <sys/stat.h>

#define NOW 1795392000000ll /* 2026-11-23 */
#define DAY 86400000ll

static char dir[64];

static int make_dir(void **state)
{
    memcpy(dir, "/tmp/mcp-pki-XXXXXX", 20);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    struct err e;
    return file_remove_tree(dir, &e);
}

static const char *path(const char *name)
{
    static char buf[64][160];
    static unsigned next;
    char *p = buf[next++ % 64];
    snprintf(p, sizeof buf[0], "%s/%s", dir, name);
    return p;
}

static struct pki_ca *open_ca(int64_t now)
{
    struct err e = {0};
    struct pki_ca *ca = NULL;
    if (pki_ca_open(path("ca"), "reindeers", now, &ca, &e) < 0)
        fail_msg("%s", e.message);
    return ca;
}

static bool issue(struct pki_ca *ca, const char *const *addresses, size_t n, int64_t now)
{
    struct err e = {0};
    struct ip_addr a[4];
    bool made = false;
    for (size_t i = 0; i < n; i++)
        assert_true(ip_parse(addresses[i], &a[i]));
    if (pki_issue_host(ca, "reindeers", "hk1", a, n, 30 * 86400, path("pki"), now, &made, &e) < 0)
        fail_msg("%s", e.message);
    return made;
}

/* Runs openssl; its standard output, or NULL when it refuses. The caller frees. */
static char *openssl(const char *const *argv)
{
    struct str out = STR_INIT;
    struct err e;
    if (spawn_check(argv, NULL, &out, &e) < 0) {
        str_done(&out);
        return NULL;
    }
    return str_steal(&out);
}

static bool verifies(const char *leaf, const char *purpose, int64_t now)
{
    char when[32];
    snprintf(when, sizeof when, "%lld", (long long)(now / 1000));
    const char *const argv[] = {"openssl", "verify", "-x509_strict", "-attime", when, "-purpose",
        purpose, "-CAfile", path("pki/ca.pem"), "-untrusted", leaf, leaf, NULL};
    char *out = openssl(argv);
    bool ok = out != NULL;
    free(out);
    return ok;
}

static const char *const both[] = {"10.20.0.11", "fd00:20::11"};

static void test_host(void **state)
{
    struct pki_ca *ca = open_ca(NOW);
    assert_true(issue(ca, both, 2, NOW));
    const char *leaf = path("pki/host.pem");
    assert_true(verifies(leaf, "sslserver", NOW + DAY));
    assert_true(verifies(leaf, "sslclient", NOW + DAY));
    assert_true(verifies(leaf, "sslserver", NOW + 29 * DAY));
    assert_false(verifies(leaf, "sslserver", NOW + 31 * DAY));
    const char *const argv[] = {"openssl", "x509", "-in", leaf, "-noout", "-text", NULL};
    char *text = openssl(argv);
    assert_non_null(text);
    static const char *const says[] = {"URI:spiffe://reindeers/host/hk1", "IP Address:10.20.0.11",
        "IP Address:FD00:20:0:0:0:0:0:11",
        "TLS Web Server Authentication, TLS Web Client Authentication", "CA:FALSE", "prime256v1",
        "ecdsa-with-SHA256"};
    for (size_t i = 0; i < ARRAY_SIZE(says); i++)
        if (!strstr(text, says[i]))
            fail_msg("the certificate does not say '%s':\n%s", says[i], text);
    free(text);
    pki_ca_free(ca);
}

static void test_edge(void **state)
{
    struct err e = {0};
    struct pki_ca *ca = open_ca(NOW);
    static const char *const names[] = {"reindeers.com", "*.reindeers.com", "a.b.reindeers.com"};
    assert_false(issue(ca, both, 2, NOW + DAY)); /* brings ca.pem */
    bool made = false;
    assert_int_equal(pki_issue_edge(ca, names, 3, 0, path("pki"), NOW, &made, &e), 0);
    assert_true(made);
    assert_true(verifies(path("pki/edge.pem"), "sslserver", NOW));
    assert_false(verifies(path("pki/edge.pem"), "sslclient", NOW));
    assert_int_equal(pki_issue_edge(ca, names, 3, 0, path("pki"), NOW, &made, &e), 0);
    assert_false(made);
    assert_int_equal(
        pki_issue_edge(ca, names, 2, 0, path("pki"), NOW, &made, &e), 0); /* a name less */
    assert_true(made);
    pki_ca_free(ca);
}

static void test_renewal(void **state)
{
    struct pki_ca *ca = open_ca(NOW);
    issue(ca, both, 2, NOW);
    assert_false(issue(ca, both, 2, NOW + 19 * DAY));
    assert_true(issue(ca, both, 2, NOW + 21 * DAY)); /* a third of its life left */
    assert_true(issue(ca, both, 1, NOW + 21 * DAY)); /* an address less */
    assert_false(issue(ca, both, 1, NOW + 21 * DAY));
    /* Killed between the two files: key and certificate do not belong together. */
    struct err e = {0};
    struct str key = STR_INIT;
    assert_int_equal(file_read(path("ca/root.key"), 4096, &key, &e), 0);
    assert_int_equal(file_write(path("pki/host.key"), key.buf, key.len, 0600, &e), 0);
    str_done(&key);
    assert_true(issue(ca, both, 1, NOW + 21 * DAY));
    pki_ca_free(ca);
}

static void test_ca_survives(void **state)
{
    struct err e = {0};
    struct str before = STR_INIT, after = STR_INIT;
    struct stat st;
    assert_int_equal(file_read(path("ca/root.pem"), 8192, &before, &e), 0);
    struct pki_ca *ca = open_ca(NOW + DAY);
    issue(ca, both, 1, NOW + 21 * DAY);
    pki_ca_free(ca);
    assert_int_equal(stat(path("ca/root.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* The intermediate was lost: a new one, the same root, so what is trusted stays trusted. */
    assert_int_equal(unlink(path("ca/intermediate.pem")), 0);
    ca = open_ca(NOW + DAY);
    assert_int_equal(file_read(path("ca/root.pem"), 8192, &after, &e), 0);
    assert_string_equal(before.buf, after.buf);
    assert_true(issue(ca, both, 1, NOW + 21 * DAY)); /* by the new one */
    assert_true(verifies(path("pki/host.pem"), "sslserver", NOW + 21 * DAY));
    pki_ca_free(ca);
    str_done(&before);
    str_done(&after);
}

static void test_root_key_offline(void **state)
{
    struct err e = {0};
    struct pki_ca *ca = NULL;
    assert_int_equal(rename(path("ca/root.key"), path("away.key")), 0);
    ca = open_ca(
        NOW + 1700 * DAY); /* late in the intermediate's life, but no way to renew it: used on */
    pki_ca_free(ca);
    ca = NULL;
    assert_int_equal(
        pki_ca_open(path("ca"), "reindeers", NOW + 1900 * DAY, &ca, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.message, "root.key"));
    assert_int_equal(rename(path("away.key"), path("ca/root.key")), 0);
    ca = open_ca(NOW + 1900 * DAY);
    pki_ca_free(ca);
    ca = NULL;
    assert_int_equal(pki_ca_open(path("ca"), "reindeers", NOW + 3700 * DAY, &ca, &e), ERR_REFUSED);
    assert_int_equal(pki_ca_open(path("ca"), "reindeers", NOW - 30 * DAY, &ca, &e), ERR_REFUSED);
}

static void test_other_authority(void **state)
{
    struct err e = {0};
    struct pki_ca *other = NULL;
    assert_int_equal(pki_ca_open(path("other"), "reindeers", NOW, &other, &e), 0);
    struct ip_addr a;
    ip_parse("10.20.0.11", &a);
    bool made = false;
    assert_int_equal(
        pki_issue_host(other, "reindeers", "hk1", &a, 1, 30 * 86400, path("otherpki"), NOW, &made, &e), 0);
    assert_false(verifies(path("otherpki/host.pem"), "sslserver", NOW));
    pki_ca_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_edge),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_ca_survives),
        cmocka_unit_test(test_root_key_offline),
        cmocka_unit_test(test_other_authority),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
