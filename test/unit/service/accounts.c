/* SPDX-License-Identifier: Apache-2.0 */
/* Accounts of modules in a real MariaDB, and on a replica of it. */
#include "test.h"

#include "mariadb.h"
#include "service/data/accounts.h"


static struct test_mariadb server, replica;
static char hash_one[SQL_HASH_SIZE], hash_two[SQL_HASH_SIZE];

static void hash(const char *text, char out[SQL_HASH_SIZE])
{
    _cleanup_secret_ struct secret *s = secret_new(text, strlen(text));
    sql_password_hash(s, out);
}

static int start_server(void **state)
{
    mariadb_start(&server, 1, NULL);
    mariadb_start(&replica, 2, "read-only=1");
    mariadb_follow(&server, &replica);
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    mariadb_exec(c, "CREATE DATABASE trade");
    mariadb_exec(c, "CREATE TABLE trade.orders (id INT PRIMARY KEY, v INT)");
    mariadb_exec(c, "CREATE TABLE trade.items (id INT PRIMARY KEY, v INT)");
    mariadb_exec(c, "CREATE TABLE trade.outbox (id INT PRIMARY KEY)");
    hash("one", hash_one);
    hash("two", hash_two);
    return 0;
}

static int end_server(void **state)
{
    mariadb_end(&server);
    mariadb_end(&replica);
    return 0;
}

#define GRANT(access, table)                                                                       \
    "{'access':'" access "','database':'trade','table':'" table "'}"

/* 'quoted'; %1, %2: the hashes. */
static int reconcile(struct sql_conn *c, const char *text, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT;
    _cleanup_json_ json_t *accounts = NULL;
    for (const char *p = text; *p; p++)
        if (*p == '%') {
            str_add(&s, *++p == '1' ? hash_one : hash_two);
        } else {
            str_add_ch(&s, *p == '\'' ? '"' : *p);
        }
    assert_int_equal(json_parse(str_cstr(&s), s.len, &accounts, e), 0);
    return data_accounts_reconcile(c, accounts, e);
}

static void expect(struct sql_conn *c, const char *text, int expected)
{
    struct err e = {0};
    int r = reconcile(c, text, &e);
    if (r != expected)
        fail_msg("%d: %s", r, e.message);
}

#define API                                                                                        \
    "[{'user':'api','passwords':['%1'],'max_connections':20,'grants':[" GRANT("write", "orders") ","   \
    GRANT("insert", "outbox") "]},"
#define AI "{'user':'ai','passwords':['%2'],'grants':[" GRANT("read", "orders") "]}]"

/* 0, or the number of the error of the statement, or of the login. */
static unsigned outcome(
    struct test_mariadb *m, const char *user, const char *password, const char *statement)
{
    struct err e = {0};
    _cleanup_secret_ struct secret *s = secret_new(password, strlen(password));
    struct sql_target t = mariadb_tcp(m, user, s);
    struct sql_conn *c = NULL;
    int r = sql_open(&t, NULL, &c, &e);
    if (r < 0)
        return r == ERR_DENIED ? 1045 : 1;
    unsigned n = sql_exec(c, statement, &e) < 0 ? sql_errno(c) : 0;
    sql_close(c);
    return n;
}

static void test_each_may_what_is_declared(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    static const struct {
        const char *user, *password, *statement;
        unsigned expected;
    } rows[] = {
        {"api", "one", "INSERT INTO trade.orders VALUES (1, 1)", 0},
        {"api", "one", "UPDATE trade.orders SET v=2", 0},
        {"api", "one", "SELECT * FROM trade.orders", 0},
        {"api", "one", "DELETE FROM trade.orders", 0},
        {"api", "one", "SELECT * FROM trade.items", 1142},
        {"api", "one", "INSERT INTO trade.outbox VALUES (1)", 0},
        {"api", "one", "SELECT * FROM trade.outbox", 1142},
        {"api", "one", "CREATE TABLE trade.x (id INT)", 1142},
        {"api", "one", "DROP TABLE trade.orders", 1142},
        {"api", "one", "SELECT * FROM mcp_dts.accounts", 1142},
        {"api", "one", "SELECT * FROM mysql.global_priv", 1142},
        {"api", "one", "SET GLOBAL max_connections=1", 1227},
        {"api", "one", "GRANT SELECT ON trade.orders TO ai", 1142},
        {"api", "two", "SELECT 1", 1045},
        {"ai", "two", "SELECT * FROM trade.orders", 0},
        {"ai", "two", "INSERT INTO trade.orders VALUES (2, 1)", 1142},
        {"ai", "two", "SELECT * FROM trade.items", 1142},
    };
    expect(c, API AI, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned n = outcome(&server, rows[i].user, rows[i].password, rows[i].statement);
        if (n != rows[i].expected)
            fail_msg("%s: %s: %u", rows[i].user, rows[i].statement, n);
    }
}

static void position(struct sql_conn *c, struct str *out)
{
    struct err e = {0};
    if (sql_value(c, "SELECT @@gtid_binlog_pos", out, &e) < 0)
        fail_msg("%s", e.message);
}

static void test_again_writes_nothing(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    _cleanup_str_ struct str before = STR_INIT, after = STR_INIT;
    static const char *const texts[] = {API AI,
        "[{'user':'api','passwords':['%1','%2'],'grants':[" GRANT("read", "*") "]}," AI};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        expect(c, texts[i], 0);
        str_clear(&before);
        str_clear(&after);
        position(c, &before);
        expect(c, texts[i], 0);
        position(c, &after);
        assert_string_equal(str_cstr(&before), str_cstr(&after));
    }
}

static void test_two_passwords(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    expect(c, API AI, 0);
    _cleanup_secret_ struct secret *one = secret_new("one", 3);
    struct sql_target t = mariadb_tcp(&server, "api", one);
    _cleanup_sql_ struct sql_conn *open = NULL;
    struct err e = {0};
    assert_int_equal(sql_open(&t, NULL, &open, &e), 0);
    expect(c, "[{'user':'api','passwords':['%2','%1'],'grants':[" GRANT("read", "orders") "]}," AI, 0);
    assert_int_equal(outcome(&server, "api", "one", "SELECT 1"), 0);
    assert_int_equal(outcome(&server, "api", "two", "SELECT 1"), 0);
    expect(c, "[{'user':'api','passwords':['%2'],'grants':[" GRANT("read", "orders") "]}," AI, 0);
    assert_int_equal(outcome(&server, "api", "one", "SELECT 1"), 1045);
    assert_int_equal(outcome(&server, "api", "two", "SELECT * FROM trade.orders"), 0);
    assert_int_equal(sql_exec(open, "SELECT * FROM trade.orders", &e), 0); /* it had logged in */
    expect(c, "[{'user':'api','grants':[]}," AI, 0); /* not known: as it was */
    assert_int_equal(outcome(&server, "api", "two", "SELECT * FROM trade.orders"), 0);
}

static void test_what_is_more_is_taken_away(void **state)
{
    static const struct {
        const char *by_hand[4];
        const char *statement; /* that is possible by it */
    } rows[] = {
        {{"GRANT ALL ON *.* TO ai WITH GRANT OPTION"}, "DROP TABLE trade.gone"},
        {{"GRANT SELECT ON trade.items TO ai"}, "SELECT * FROM trade.items"},
        {{"GRANT INSERT ON trade.orders TO ai"}, "INSERT INTO trade.orders VALUES (7, 7)"},
        {{"GRANT SELECT ON trade.* TO ai"}, "SELECT * FROM trade.items"},
        {{"GRANT SELECT (v) ON trade.items TO ai"}, "SELECT v FROM trade.items"},
        {{"GRANT SELECT ON trade.orders TO ai WITH GRANT OPTION"},
            "GRANT SELECT ON trade.orders TO api"},
        {{"CREATE ROLE more", "GRANT SELECT ON trade.items TO more", "GRANT more TO ai",
             "SET DEFAULT ROLE more FOR ai"},
            "SELECT * FROM trade.items"},
        {{"CREATE PROCEDURE trade.p() SQL SECURITY DEFINER SELECT * FROM trade.items",
             "GRANT EXECUTE ON PROCEDURE trade.p TO ai"},
            "CALL trade.p()"},
        {{"GRANT LOCK TABLES, CREATE TEMPORARY TABLES ON trade.* TO ai"},
            "LOCK TABLES trade.orders READ"},
    };
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    expect(c, API AI, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        mariadb_exec(c, "CREATE TABLE IF NOT EXISTS trade.gone (id INT)");
        for (size_t k = 0; k < ARRAY_SIZE(rows[i].by_hand) && rows[i].by_hand[k]; k++)
            mariadb_exec(c, rows[i].by_hand[k]);
        if (outcome(&server, "ai", "two", rows[i].statement) != 0)
            fail_msg("%s: the test's own grant does nothing", rows[i].by_hand[0]);
        mariadb_exec(c, "CREATE TABLE IF NOT EXISTS trade.gone (id INT)");
        expect(c, API AI, 0);
        if (outcome(&server, "ai", "two", rows[i].statement) == 0)
            fail_msg("%s: still there", rows[i].by_hand[0]);
        assert_int_equal(outcome(&server, "ai", "two", "SELECT * FROM trade.orders"), 0);
    }
}

static void test_who_is_not_declared_goes(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    struct err e = {0};
    mariadb_exec(c, "CREATE USER IF NOT EXISTS somebody IDENTIFIED BY 'else'");
    expect(c, API AI, 0);
    _cleanup_secret_ struct secret *two = secret_new("two", 3);
    struct sql_target t = mariadb_tcp(&server, "ai", two);
    _cleanup_sql_ struct sql_conn *open = NULL;
    assert_int_equal(sql_open(&t, NULL, &open, &e), 0);
    expect(c, "[{'user':'api','passwords':['%1'],'grants':[]}]", 0);
    assert_int_equal(outcome(&server, "ai", "two", "SELECT 1"), 1045);
    assert_true(sql_exec(open, "SELECT 1", &e) < 0); /* ended */
    assert_int_equal(outcome(&server, "api", "one", "SELECT * FROM trade.orders"), 1142);
    assert_int_equal(outcome(&server, "somebody", "else", "SELECT 1"), 0); /* none of ours */
    expect(c, "[]", 0);
    assert_int_equal(outcome(&server, "api", "one", "SELECT 1"), 1045);
}

static void test_a_table_that_is_not_there_yet(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    static const char text[] = "[{'user':'api','passwords':['%1'],'grants':[" GRANT("read", "later") ","
                               GRANT("read", "orders") "]}]";
    expect(c, text, 1);
    assert_int_equal(outcome(&server, "api", "one", "SELECT * FROM trade.orders"), 0);
    mariadb_exec(c, "CREATE TABLE trade.later (id INT PRIMARY KEY)");
    expect(c, text, 0);
    assert_int_equal(outcome(&server, "api", "one", "SELECT * FROM trade.later"), 0);
}

static void test_what_is_no_account(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"[{'user':'root','passwords':['x']}]", "hash"},
        {"[{'user':'a b','passwords':['%1']}]", "no account"},
        {"[{'passwords':['%1']}]", "no account"},
        {"[{'user':'api','passwords':['%1','%2','%1']}]", "too many"},
        {"[{'user':'api','passwords':['%1'],'grants':[{'access':'all','database':'a','table':'b'}]}]",
            "a grant"},
        {"[{'user':'api','passwords':['%1'],'grants':[{'access':'read','table':'b'}]}]", "a grant"},
    };
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        int r = reconcile(c, rows[i].text, &e);
        if (r != ERR_INVALID || !strstr(e.message, rows[i].expected))
            fail_msg("%s: %d %s", rows[i].text, r, e.message);
    }
}

static void expect_shown(struct test_mariadb *m, const char *fmt, ...)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(m);
    _cleanup_json_ json_t *shown = NULL;
    struct err e = {0};
    char expected[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(expected, sizeof expected, fmt, ap);
    va_end(ap);
    if (data_accounts_read(c, &shown, &e) < 0)
        fail_msg("%s", e.message);
    _cleanup_free_ char *text = json_text(shown);
    assert_string_equal(text, expected);
}

static void test_replicas_have_them(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    expect(c, "[{'user':'api','passwords':['%2','%1'],'grants':[" GRANT("write", "orders") "]}," AI, 0);
    mariadb_catch_up(&server, &replica);
    const char *one = hash_one + 1, *two = hash_two + 1;
    expect_shown(&server, "{\"ai\":[\"%.8s\"],\"api\":[\"%.8s\",\"%.8s\"]}", two, two, one);
    expect_shown(&replica, "{\"ai\":[\"%.8s\"],\"api\":[\"%.8s\",\"%.8s\"]}", two, two, one);
    assert_int_equal(outcome(&replica, "api", "one", "SELECT * FROM trade.orders"), 0);
    assert_int_equal(outcome(&replica, "api", "two", "INSERT INTO trade.orders VALUES (9, 9)"), 1290);
    expect(c, "[]", 0);
    mariadb_catch_up(&server, &replica);
    expect_shown(&replica, "{}");
}

static void test_nothing_is_shown_of_a_server_without_any(void **state)
{
    _cleanup_sql_ struct sql_conn *c = mariadb_open(&server);
    mariadb_exec(c, "DROP DATABASE IF EXISTS mcp_dts");
    expect_shown(&server, "{}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_shown_of_a_server_without_any),
        cmocka_unit_test(test_each_may_what_is_declared),
        cmocka_unit_test(test_again_writes_nothing),
        cmocka_unit_test(test_two_passwords),
        cmocka_unit_test(test_what_is_more_is_taken_away),
        cmocka_unit_test(test_who_is_not_declared_goes),
        cmocka_unit_test(test_a_table_that_is_not_there_yet),
        cmocka_unit_test(test_what_is_no_account),
        cmocka_unit_test(test_replicas_have_them),
    };
    return cmocka_run_group_tests(tests, start_server, end_server);
}
