/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "proto/binlog/text.h"

/* As mariadb-binlog 10.11 prints it. */
static const char printed[] =
    "#261123 16:39:54 server id 1  end_log_pos 364 CRC32 0x8ef6240a \tGTID 1-1-1 ddl\n"
    "/*M!100101 SET @@session.skip_parallel_replication=0*//*!*/;\n"
    "# at 364\n"
    "#261123 16:39:54 server id 1  end_log_pos 453 CRC32 0x1f54fcb8 \tQuery\tthread_id=4\n"
    "use `trade`/*!*/;\n"
    "SET TIMESTAMP=1795451994/*!*/;\n"
    "SET @@session.pseudo_thread_id=4/*!*/;\n"
    "CREATE TABLE a (\n"
    "  id INT PRIMARY KEY\n"
    ")\n"
    "/*!*/;\n"
    "#261123 16:39:55 server id 1  end_log_pos 700 CRC32 0x71c910cc \tGTID 1-1-2 trans\n"
    "START TRANSACTION\n"
    "/*!*/;\n"
    "#261123 16:39:55 server id 1  end_log_pos 813 CRC32 0x13720348 \tAnnotate_rows:\n"
    "#Q> INSERT INTO a\n"
    "#Q> VALUES (40,'x'),(41,NULL)\n"
    "#261123 16:39:55 server id 1  end_log_pos 869 CRC32 0x076dd3ef \tTable_map: `trade`.`a`\n"
    "#261123 16:39:55 server id 1  end_log_pos 941 CRC32 0x5ee26374 \tWrite_rows: table id 18\n"
    "### INSERT INTO `trade`.`a`\n"
    "### SET\n"
    "###   @1=40\n"
    "###   @2='x'\n"
    "### INSERT INTO `trade`.`a`\n"
    "### SET\n"
    "###   @1=41\n"
    "###   @2=NULL\n"
    "# Number of rows: 2\n"
    "#261123 16:39:55 server id 1  end_log_pos 972 CRC32 0xb7b2f4c1 \tXid = 5\n"
    "COMMIT/*!*/;\n"
    "#261123 16:39:56 server id 2  end_log_pos 1014 CRC32 0xbd92d0b3 \tGTID 2-2-1 trans\n"
    "### DELETE FROM `trade`.`a`\n"
    "### WHERE\n"
    "###   @1=41\n";

static void feed(struct binlog_text *t)
{
    for (const char *p = printed; *p;) {
        size_t n = strcspn(p, "\n");
        binlog_text_line(t, p, n);
        p += n + (p[n] == '\n');
    }
    binlog_text_end(t);
}

static void check_text(const json_t *list, size_t i, const char *key, const char *expected)
{
    _cleanup_free_ char *text = json_text(json_object_get(json_array_get(list, i), key));
    assert_string_equal(text, expected);
}

static void test_transactions(void **state)
{
    struct binlog_text t;
    binlog_text_init(&t);
    t.failed = 941;
    feed(&t);
    assert_int_equal(json_array_size(t.list), 3);
    check_text(t.list, 0, "sql", "[\"USE `trade`\",\"CREATE TABLE a (\\n  id INT PRIMARY KEY\\n)\"]");
    check_text(t.list, 0, "rows", "[]");
    check_text(t.list, 1, "sql", "[\"INSERT INTO a\\nVALUES (40,'x'),(41,NULL)\"]");
    check_text(t.list, 1, "rows",
        "[\"INSERT INTO `trade`.`a` SET @1=40 @2='x'\",\"INSERT INTO `trade`.`a` SET @1=41 "
        "@2=NULL\"]");
    check_text(t.list, 2, "rows", "[\"DELETE FROM `trade`.`a` WHERE @1=41\"]");
    const json_t *second = json_array_get(t.list, 1);
    assert_string_equal(json_opt_str(second, "gtid", ""), "1-1-2");
    assert_string_equal(json_opt_str(second, "time", ""), "2026-11-23 16:39:55");
    assert_true(json_opt_bool(second, "failed", false));
    assert_false(json_opt_bool(json_array_get(t.list, 0), "failed", true));
    binlog_text_done(&t);
}

static bool of_the_second(void *ctx, const struct gtid *g)
{
    return g->server == 2;
}

static void test_only_some(void **state)
{
    struct binlog_text t;
    binlog_text_init(&t);
    t.wants = of_the_second;
    feed(&t);
    assert_int_equal(json_array_size(t.list), 1);
    check_text(t.list, 0, "rows", "[\"DELETE FROM `trade`.`a` WHERE @1=41\"]");
    binlog_text_done(&t);
    binlog_text_init(&t);
    t.max = 1;
    feed(&t);
    assert_true(t.more);
    assert_int_equal(json_array_size(t.list), 1);
    binlog_text_done(&t);
}

static void test_limits(void **state)
{
    struct binlog_text t;
    char line[2 * BINLOG_TEXT_LINE];
    binlog_text_init(&t);
    feed(&t);
    const char head[] = "#261123 16:39:56 server id 2  end_log_pos 9 CRC32 0x1 \tGTID 2-2-2 trans";
    binlog_text_line(&t, head, strlen(head));
    memset(line, 'x', sizeof line);
    memcpy(line, "#Q> ", 4);
    binlog_text_line(&t, line, sizeof line);
    for (int i = 0; i < 1000; i++) {
        const char row[] = "### INSERT INTO `a`.`b`";
        binlog_text_line(&t, row, strlen(row));
    }
    binlog_text_end(&t);
    const json_t *last = json_array_get(t.list, 3);
    assert_true(json_opt_bool(last, "cut", false));
    assert_true(json_array_size(json_object_get(last, "rows")) <= BINLOG_TEXT_LINES);
    binlog_text_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_only_some),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
