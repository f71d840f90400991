/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/replication/archive.h"

#define MINUTE 60000ll
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define NOW 1795450500000ll /* Mon 2026-11-23 16:15:00 */

static void test_names(void **state)
{
    char text[ARCHIVE_ID_SIZE];
    struct archive_id id;
    archive_id_format("trade", "sl-1", NOW + 999, text);
    assert_string_equal(text, "trade-20261123T161500Z-sl-1");
    assert_true(archive_id_parse(text, &id));
    assert_string_equal(id.database, "trade");
    assert_string_equal(id.host, "sl-1");
    assert_int_equal(id.begun_ms, NOW);
    static const char *const bad[] = {"", "trade", "trade-20261123T161500Z", "trade-20261123T161500Z-",
        "-20261123T161500Z-a", "trade-2026112xT161500Z-a", "tr/../ade-20261123T161500Z-a",
        "trade-20261123T161500Z-../a", "trade-20261123T161500Z-a/b"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(archive_id_parse(bad[i], &id));
}

static void test_due(void **state)
{
    static const struct {
        const char *schedule;
        int64_t ago;
    } rows[] = {
        {"hourly", 15 * MINUTE},
        {"daily 16:15", 0},
        {"daily 16:16", DAY - MINUTE},
        {"daily 03:30", 12 * HOUR + 45 * MINUTE},
        {"weekly Mon 16:00", 15 * MINUTE},
        {"weekly Mon 17:00", 7 * DAY - 45 * MINUTE},
        {"weekly Sun 16:15", DAY},
        {"weekly Tue 16:15", 6 * DAY},
        {"weekly Thu 00:00", 4 * DAY + 16 * HOUR + 15 * MINUTE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(archive_due(rows[i].schedule, NOW), NOW - rows[i].ago);
    assert_int_equal(archive_due(NULL, NOW), 0);
    assert_int_equal(archive_due("", NOW), 0);
    assert_int_equal(archive_due("sometimes", NOW), 0);
}

static void test_who(void **state)
{
    assert_true(archive_turn(NOW, 0, 0, NOW));
    assert_true(archive_turn(NOW, NOW - DAY, 0, NOW));
    assert_false(archive_turn(NOW, NOW, 0, NOW + HOUR)); /* it is done */
    assert_false(archive_turn(NOW, NOW - DAY, 1, NOW + 14 * MINUTE));
    assert_true(archive_turn(NOW, NOW - DAY, 1, NOW + 15 * MINUTE));
    assert_false(archive_turn(0, 0, 0, NOW)); /* nothing is scheduled */
}

static void test_what_is_kept(void **state)
{
    struct archive_item v[] = {{NOW - 20 * DAY, true, false}, {NOW - 16 * DAY, true, false},
        {NOW - 15 * DAY, false, false}, {NOW - 13 * DAY, false, false}};
    archive_keep(v, 4, 14 * DAY, NOW);
    assert_false(v[0].keep);
    assert_true(v[1].keep); /* the newest that is whole, however old */
    assert_false(v[2].keep);
    assert_true(v[3].keep);
    v[3].whole = true;
    archive_keep(v, 4, 14 * DAY, NOW);
    assert_false(v[1].keep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_due),
        cmocka_unit_test(test_who),
        cmocka_unit_test(test_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
