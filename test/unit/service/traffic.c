/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/ledger.h"
#include "service/traffic/measure.h"
#include "service/traffic/names.h"

#include "base/file/file.h"

#include "test.h"

#include <string.h>
#include <sys/stat.h>

/* ---- outages ---- */

static void test_outage(void **state)
{
    struct outage o = {0};
    outage_success(&o, 5); /* nothing was due */
    assert_int_equal(o.longest_us, 0);
    outage_due(&o, 100);
    outage_due(&o, 150); /* the first counts */
    assert_int_equal(outage_open_us(&o, 180), 80);
    outage_success(&o, 200);
    assert_int_equal(o.longest_us, 100);
    assert_int_equal(o.longest_since_us, 100);
    outage_success(&o, 900); /* an earlier one's answer, with nothing due since */
    assert_int_equal(o.longest_us, 100);
    assert_int_equal(outage_open_us(&o, 900), 0);
    outage_due(&o, 1000);
    outage_success(&o, 1050); /* shorter */
    assert_int_equal(o.longest_us, 100);
    outage_due(&o, 2000);
    outage_due(&o, 2500);
    outage_end(&o, 2600); /* never answered: as long as we looked */
    assert_int_equal(o.longest_us, 600);
    assert_int_equal(o.longest_since_us, 2000);
}

/* A thousand a second, each answered after 5 ms; from 10 s to 13 s nobody is, and what waits is
 * answered at once. */
static void test_outage_of_a_run(void **state)
{
    struct outage o = {0};
    for (uint64_t ms = 0; ms < 20000; ms++) {
        bool works = ms < 10000 || ms >= 13000;
        if (ms >= 5 && works)
            outage_success(&o, ms * 1000);
        outage_due(&o, ms * 1000);
    }
    assert_int_equal(o.longest_us, 3001000); /* the order of 9.999 s was the first without */
    assert_int_equal(o.longest_since_us, 9999000);
}

static void test_delays(void **state)
{
    struct delays *d = xcalloc(1, sizeof *d);
    assert_int_equal(delays_quantile(d, 0.5), 0);
    for (uint64_t us = 1; us <= 100000; us++)
        delays_add(d, us);
    static const struct {
        double q;
        uint64_t want;
    } rows[] = {{0, 1}, {0.5, 50000}, {0.95, 95000}, {0.99, 99000}, {1, 100000}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t got = delays_quantile(d, rows[i].q);
        assert_in_range(got, rows[i].want, rows[i].want + rows[i].want / 31 + 1);
    }
    assert_int_equal(d->max_us, 100000);
    delays_add(d, UINT64_MAX); /* beyond the last bucket */
    assert_true(delays_quantile(d, 1) > 1000000000);
    memset(d, 0, sizeof *d);
    delays_add(d, 777);
    assert_int_equal(delays_quantile(d, 0.5), 777); /* never more than there was */
    free(d);
}

/* ---- names ---- */

static struct dns_answer answer(unsigned last, uint32_t ttl)
{
    struct dns_answer a = {.n = 1, .ttl = ttl};
    a.addresses[0] = (struct ip_addr){.family = 4, .bytes = {203, 0, 113, (uint8_t)last}};
    return a;
}

static void test_names_life(void **state)
{
    struct names n;
    struct dns_answer a = answer(20, 60), b = answer(40, 0);
    names_init(&n, 3, 4);
    assert_int_equal(n.server, 1);
    assert_int_equal(names_step(&n, false, 1000), NAMES_NOTHING);
    assert_int_equal(names_step(&n, true, 1000), NAMES_ASK);
    assert_int_equal(names_step(&n, true, 1001), NAMES_NOTHING); /* under way */
    assert_int_equal(names_answer(&n, &a, 1020), NAMES_NOTHING);
    assert_true(names_known(&n, 1020) && names_known(&n, 61020));
    assert_false(names_known(&n, 61021));
    assert_int_equal(names_step(&n, true, 61020), NAMES_NOTHING);
    assert_int_equal(names_step(&n, false, 61021), NAMES_NOTHING); /* nobody wants it */
    assert_int_equal(names_step(&n, true, 61021), NAMES_ASK);
    assert_int_equal(n.server, 1); /* the one that answered */
    assert_true(names_has(&n, &a.addresses[0]));
    assert_false(names_has(&n, &b.addresses[0]));
    names_answer(&n, &b, 61030);
    assert_true(names_has(&n, &b.addresses[0]));
    assert_false(names_has(&n, &a.addresses[0]));
    assert_true(names_known(&n, 61030)); /* no life: good for this moment */
    assert_false(names_known(&n, 61031));
    assert_int_equal(names_step(&n, true, 61031), NAMES_ASK);
    b.ttl = UINT32_MAX >> 1;
    names_answer(&n, &b, 61040);
    assert_true(names_known(&n, 61040 + NAMES_TTL_MAX_S * 1000ull));
    assert_false(names_known(&n, 61041 + NAMES_TTL_MAX_S * 1000ull));
}

static void test_names_other_servers(void **state)
{
    struct names n;
    struct dns_answer good = answer(20, 60), bad = {.rcode = DNS_SERVFAIL},
                      cut = {.truncated = true}, none = {.rcode = DNS_NXDOMAIN, .ttl = 30};
    names_init(&n, 3, 0);
    assert_int_equal(names_step(&n, true, 0), NAMES_ASK);
    assert_int_equal(names_next_ms(&n), NAMES_TRY_MS);
    assert_int_equal(names_step(&n, true, NAMES_TRY_MS - 1), NAMES_NOTHING);
    assert_int_equal(
        names_step(&n, false, NAMES_TRY_MS), NAMES_ASK); /* also when nobody waits now */
    assert_int_equal(n.server, 1);
    assert_int_equal(names_answer(&n, &bad, 900), NAMES_ASK);
    assert_int_equal(n.server, 2);
    assert_int_equal(names_answer(&n, &cut, 910), NAMES_ASK);
    assert_int_equal(n.server, 0);
    names_answer(&n, &good, 920);
    assert_int_equal(names_next_ms(&n), UINT64_MAX);
    assert_int_equal(names_answer(&n, &bad, 930), NAMES_NOTHING); /* late, and too late to matter */
    assert_true(names_known(&n, 930));
    /* All silent, twice: failed, and asked again only after a while. */
    uint64_t now = 100000;
    assert_int_equal(names_step(&n, true, now), NAMES_ASK);
    for (unsigned i = 1; i < 6; i++)
        assert_int_equal(names_step(&n, true, now += NAMES_TRY_MS), NAMES_ASK);
    assert_int_equal(names_step(&n, true, now += NAMES_TRY_MS), NAMES_FAILED);
    assert_int_equal(names_step(&n, true, now + NAMES_FAILED_MS - 1), NAMES_NOTHING);
    assert_int_equal(names_step(&n, true, now += NAMES_FAILED_MS), NAMES_ASK);
    assert_int_equal(names_answer(&n, &none, now), NAMES_FAILED); /* there is none, for so long */
    assert_int_equal(names_step(&n, true, now + 29999), NAMES_NOTHING);
    assert_int_equal(names_step(&n, true, now + 30000), NAMES_ASK);
    assert_int_equal(n.asked, 12);
    assert_int_equal(n.failed, 2);
}

/* ---- the ledger ---- */

static char folder[] = "/tmp/mcp-traffic-XXXXXX";

static int setup(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    struct err e;
    return file_remove_tree(folder, &e);
}

static char *path_of(const char *name)
{
    return xasprintf("%s/%s", folder, name);
}

/* Orders 0, 1, 3: acknowledged but for 3. */
static void write_ledger(const char *path)
{
    struct ledger *l;
    struct err e = {0};
    assert_int_equal(ledger_create(path, "run1", "api.shop.test", "now", &l, &e), 0);
    ledger_intent(l, 0, "KR");
    ledger_intent(l, 1, "");
    assert_int_equal(ledger_write(l, &e), 0);
    ledger_ack(l, 1, "id-1");
    ledger_ack(l, 0, "id-0");
    ledger_intent(l, 3, "TH");
    assert_int_equal(ledger_close(l, "done", &e), 0);
}

static void test_ledger(void **state)
{
    _cleanup_free_ char *path = path_of("a");
    struct ledger *l;
    struct err e = {0};
    struct book b;
    struct book_sums s;
    write_ledger(path);
    assert_int_equal(ledger_create(path, "run2", "x", "now", &l, &e), ERR_EXISTS);
    assert_int_equal(book_read(path, &b, &e), 0);
    assert_string_equal(b.run, "run1");
    assert_string_equal(b.name, "api.shop.test");
    assert_true(b.ended && !b.torn);
    assert_int_equal(b.n, 4);
    assert_true(book_row(&b, "run1-00000000", "id-0"));
    assert_false(book_row(&b, "run1-0000000", "id-0"));
    assert_false(book_row(&b, "run10-0000000", "id-0"));
    book_sum(&b, &s);
    assert_int_equal(s.intents, 3);
    assert_int_equal(s.acked, 2);
    assert_int_equal(s.present, 1);
    assert_int_equal(s.lost, 1);
    assert_int_equal(s.duplicated, 0);
    book_row(&b, "run1-00000003", "id-3"); /* taken, and never heard of it */
    book_row(&b, "run1-00000001", "id-x"); /* another order than the one acknowledged */
    book_row(&b, "run1-00000002", "id-2"); /* never sent */
    book_row(&b, "run1-00000900", "id-2");
    book_sum(&b, &s);
    assert_int_equal(s.present, 2);
    assert_int_equal(s.lost, 0);
    assert_int_equal(s.unacked_present, 1);
    assert_int_equal(s.duplicated, 1);
    assert_int_equal(b.strangers, 2);
    book_row(&b, "run1-00000000", "id-0"); /* a second row with the key */
    book_sum(&b, &s);
    assert_int_equal(s.duplicated, 2);
    book_done(&b);
}

/* Cut at any byte, as a crash may: what stands before the cut is read, the rest is known to be
 * missing, and nothing is made up. */
static void test_ledger_cut(void **state)
{
    _cleanup_free_ char *path = path_of("b"), *cut = path_of("c");
    _cleanup_str_ struct str all = STR_INIT;
    struct err e = {0};
    write_ledger(path);
    assert_int_equal(file_read(path, 65536, &all, &e), 0);
    size_t head = (size_t)(strchr(all.buf, '\n') - all.buf) + 1;
    for (size_t len = 0; len <= all.len; len++) {
        struct book b;
        struct book_sums s;
        assert_int_equal(file_write(cut, all.buf, len, 0600, &e), 0);
        int r = book_read(cut, &b, &e);
        if (len < head) {
            assert_int_equal(r, ERR_INVALID);
            continue;
        }
        assert_int_equal(r, 0);
        assert_int_equal(b.torn, all.buf[len - 1] != '\n');
        book_sum(&b, &s);
        size_t lines = 0;
        for (size_t i = head; i < len; i++)
            lines += all.buf[i] == '\n';
        assert_int_equal(s.intents, MIN(lines, 2) + (lines >= 5));
        assert_int_equal(s.acked, lines < 2 ? 0 : MIN(lines - 2, 2));
        assert_int_equal(b.ended, lines == 6);
        book_done(&b);
    }
}

static void test_ledger_spoilt(void **state)
{
    _cleanup_free_ char *path = path_of("d"), *bad = path_of("e");
    _cleanup_str_ struct str all = STR_INIT;
    struct err e = {0};
    struct book b;
    write_ledger(path);
    assert_int_equal(file_read(path, 65536, &all, &e), 0);
    /* One bit anywhere but in the last line, and it is refused with its line. */
    size_t last = all.len - 2;
    while (all.buf[last] != '\n') /* the end that joins it to the one before */
        last--;
    for (size_t at = 0; at < all.len; at++) {
        all.buf[at] ^= 1;
        assert_int_equal(file_write(bad, all.buf, all.len, 0600, &e), 0);
        int r = book_read(bad, &b, &e);
        if (at < last)
            assert_int_equal(r, ERR_INVALID);
        else
            assert_true(r == 0 && b.torn && !b.ended);
        if (r == 0)
            book_done(&b);
        all.buf[at] ^= 1;
    }
    /* Blocks that a dying disk left empty at the end are a cut too. */
    char zeros[4096] = {0};
    str_add_mem(&all, zeros, sizeof zeros);
    assert_int_equal(file_write(bad, all.buf, all.len, 0600, &e), 0);
    assert_int_equal(book_read(bad, &b, &e), 0);
    assert_true(b.torn && b.ended);
    book_done(&b);
    assert_int_equal(book_read("/nowhere/at/all", &b, &e), ERR_NOT_FOUND);
}

static void test_ids(void **state)
{
    char key[LEDGER_KEY_SIZE];
    assert_true(ledger_id_ok("01a2085c-0d50-7211-8dd3-83d70876336a"));
    assert_false(ledger_id_ok("") || ledger_id_ok("a b") || ledger_id_ok("a\n"));
    ledger_key("run1", 42, key);
    assert_string_equal(key, "run1-00000042");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_outage_of_a_run),
        cmocka_unit_test(test_delays),
        cmocka_unit_test(test_names_life),
        cmocka_unit_test(test_names_other_servers),
        cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_ledger_cut),
        cmocka_unit_test(test_ledger_spoilt),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
