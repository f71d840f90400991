/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations that were written down between real clients and a real server, cut in every way; and
 * those that no honest client has, put together by hand. */
#include "test.h"

#include "../../lib/mysqlplay.h"

#include <stdio.h>

#define FILE_MAX (1u << 20)

/* -- written down ------------------------------------------------------------------------------ */

struct recorded {
    const char *name;
    uint64_t commands, answers, errors;
    bool in_transaction, ended;
    bool second_try; /* the account takes two passwords, and the client has the older one */
};

static const struct recorded recorded[] = {
    {"libmariadb-simple", 12, 11, 1, .ended = true},
    {"libmariadb-multi", 7, 5, 0, .ended = true},
    {"libmariadb-prepared", 34, 30, 1, .ended = true},
    {"libmariadb-direct", 7, 4, 2, .ended = true},
    {"libmariadb-cursor", 42, 39, 0, .ended = true},
    {"libmariadb-bulk", 6, 4, 0, .ended = true},
    {"libmariadb-transaction", 7, 6, 0, .ended = true},
    {"libmariadb-change-user", 5, 4, 1, .ended = true},
    {"mariadb-client", 4, 3, 0, .ended = true},
    {"pymysql", 10, 9, 1, .in_transaction = true, .ended = true},
    {"mysql2", 13, 10, 1, .ended = true},
    {"wrong-password", 0, 0, 1, .ended = true},
    {"newer-password", 2, 1, 0, .ended = true},
    {"older-password", 2, 1, 0, .ended = true, .second_try = true},
    {"mysql2-older-password", 2, 1, 0, .ended = true, .second_try = true},
    {"pymysql-older-password", 2, 1, 0, .ended = true, .second_try = true},
};

static size_t read_file(const char *name, uint8_t *buf)
{
    char path[512]; /* meson runs it in the build's folder, people in the clone's */
    snprintf(path, sizeof path, "../test/fuzz/corpus/mysql/%s", name);
    FILE *f = fopen(path, "rb");
    if (!f)
        f = fopen(path + 3, "rb");
    assert_non_null(f);
    size_t n = fread(buf, 1, FILE_MAX, f);
    fclose(f);
    return n;
}

static void test_recorded(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 4, 5, 17, 1000, FILE_MAX};
    uint8_t *buf = xmalloc(FILE_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(recorded); i++) {
        const struct recorded *r = &recorded[i];
        size_t len = read_file(r->name, buf);
        for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
            struct play c = {0};
            play_file(&c, buf, len, pieces[k]);
            if (c.bad || c.m.commands != r->commands || c.m.answers != r->answers
                || c.m.errors != r->errors)
                fail_msg("%s in pieces of %zu: %s, %lu commands, %lu answers, %lu errors", r->name,
                    pieces[k], mysql_why_text(c.bad), c.m.commands, c.m.answers, c.m.errors);
            assert_int_equal(c.seen_commands, r->commands);
            assert_false(mysql_busy(&c.m));
            assert_int_equal(c.up.len + c.down.len, 0);
            assert_int_equal(mysql_in_transaction(&c.m), r->in_transaction);
            assert_int_equal(c.m.second_try, r->second_try);
            assert_int_equal(c.m.phase == MYSQL_ENDED, r->ended);
            assert_string_equal(c.m.user, strstr(r->name, "er-password") ? "old" : "u");
            play_done(&c);
        }
    }
    free(buf);
}

/* -- put together ------------------------------------------------------------------------------ */

#define OFFER_ALL                                                                                  \
    (MYSQL_CAN_PROTOCOL_41 | MYSQL_CAN_TLS | MYSQL_CAN_COMPRESS | MYSQL_CAN_LOCAL_FILES            \
        | MYSQL_CAN_DEPRECATE_EOF | MYSQL_CAN_OPTIONAL_METADATA | MYSQL_CAN_ZSTD                   \
        | MYSQL_CAN_QUERY_ATTRIBUTES | (UINT64_C(0x1f) << 32))

static void put(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static size_t packet(uint8_t *out, uint8_t seq, const void *payload, size_t len)
{
    put(out, len, 3);
    out[3] = seq;
    memcpy(out + 4, payload, len);
    return 4 + len;
}

static size_t greeting(uint8_t *out, uint64_t can)
{
    uint8_t p[128] = {10};
    static const char version[] = "5.5.5-10.11.19-MariaDB", plugin[] = "mysql_native_password";
    memcpy(p + 1, version, sizeof version);
    size_t at = 1 + sizeof version + 4 + 8 + 1;
    put(p + at, can & 0xffff, 2);
    put(p + at + 5, can >> 16, 2);
    p[at + 7] = 21;
    put(p + at + 14, can >> 32, 4);
    at += 18 + 13;
    memcpy(p + at, plugin, sizeof plugin);
    return packet(out, 0, p, at + sizeof plugin);
}

static size_t reply(uint8_t *out, uint64_t can)
{
    uint8_t p[64] = {0};
    put(p, can, 4);
    put(p + 28, can >> 32, 4);
    memcpy(p + 32, "api\0\0", 5);
    return packet(out, 1, p, 37);
}

static void say(struct play *c, char who, uint8_t seq, const void *payload, size_t len)
{
    uint8_t out[1024];
    play_feed(c, who == 'S', out, packet(out, seq, payload, len));
}
#define SAY(c, who, seq, text) say(c, who, seq, text, sizeof(text) - 1)

static const char ok[] = "\0\0\0\2\0\0\0", ok_in_transaction[] = "\0\0\0\1\0\0\0",
                  ok_more[] = "\0\0\0\n\0\0\0", eof[] = "\xfe\0\0\2\0",
                  eof_cursor[] = "\xfe\0\0\x42\0", eof_more[] = "\xfe\0\0\n\0",
                  error[] = "\xff\x48\x04#HY000no", progress[] = "\xff\xff\xff\1\1\2\0\0\0\0\0",
                  column[] = "\3def\0\0\0\1x\0\x0c\x3f\0\1\0\0\0\3\x81\0\0\0\0";

static void begin(struct play *c, uint64_t can)
{
    uint8_t out[256];
    *c = (struct play){0};
    play_feed(c, true, out, greeting(out, can));
    play_feed(
        c, false, out, reply(out, can & ~(MYSQL_CAN_TLS | MYSQL_CAN_COMPRESS | MYSQL_CAN_ZSTD)));
}

static void log_in(struct play *c, uint64_t can)
{
    begin(c, can);
    say(c, 'S', 2, ok, 7);
    assert_int_equal(c->m.phase, MYSQL_COMMANDS);
}

static void test_what_is_offered(void **state)
{
    uint8_t out[256], back[256];
    struct mysql m = {0};
    size_t n = greeting(out, OFFER_ALL);
    struct mysql_said s = mysql_down(&m, out, n);
    assert_int_equal(s.word, MYSQL_PASS);
    uint64_t left = MYSQL_CAN_PROTOCOL_41 | MYSQL_CAN_DEPRECATE_EOF | (UINT64_C(0x1d) << 32);
    assert_int_equal(n, greeting(back, left));
    assert_memory_equal(out, back, n);
    /* What a client claims without having been offered it is taken back. */
    n = reply(out, OFFER_ALL & ~(MYSQL_CAN_TLS | MYSQL_CAN_COMPRESS | MYSQL_CAN_ZSTD));
    s = mysql_up(&m, out, n);
    assert_int_equal(s.word, MYSQL_PASS);
    assert_int_equal(n, reply(back, left));
    assert_memory_equal(out, back, n);
    assert_int_equal(m.can, left);
    assert_string_equal(m.user, "api");
}

static void test_what_is_not_spoken(void **state)
{
    static const struct {
        uint64_t can;
        enum mysql_why why;
    } rows[] = {
        {MYSQL_CAN_PROTOCOL_41 | MYSQL_CAN_TLS, MYSQL_WHY_TLS},
        {MYSQL_CAN_PROTOCOL_41 | MYSQL_CAN_COMPRESS, MYSQL_WHY_COMPRESS},
        {MYSQL_CAN_PROTOCOL_41 | MYSQL_CAN_ZSTD, MYSQL_WHY_COMPRESS},
        {0, MYSQL_WHY_OLD},
    };
    uint8_t out[256];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct play c = {0};
        play_feed(&c, true, out, greeting(out, OFFER_ALL));
        play_feed(&c, false, out, reply(out, rows[i].can));
        assert_int_equal(c.bad, rows[i].why);
        assert_int_equal(c.up.passed, 0);
        assert_true(c.n_error > 0 && c.error[3] == 2 && c.error[4] == 0xff);
        play_done(&c);
    }
}

enum { UP = 'C', DOWN = 'S' };

struct line {
    char who;
    uint8_t seq;
    const char *payload;
    size_t len;
};
#define L(who, seq, text)                                                                          \
    {                                                                                              \
        who, seq, text, sizeof(text) - 1                                                           \
    }
#define S(who, seq, array, n)                                                                      \
    {                                                                                              \
        who, seq, array, n                                                                         \
    }

struct row {
    const char *name;
    bool before_login, no_eof; /* the latter: CLIENT_DEPRECATE_EOF */
    struct line lines[12];
    enum mysql_why bad;
    uint64_t commands, answers, refused;
    bool busy, in_transaction;
    size_t kept; /* bytes of the client that wait */
};

#define Q "\3select 1"

static const struct row rows[] = {
    /* login */
    {"a command before the login's end waits, and does not fit into it", true,
        .lines = {L(UP, 0, Q)}, .kept = 13},
    {"sent ahead of the OK it is judged afterwards, as a command", true,
        .lines = {L(UP, 0, Q), S(DOWN, 2, ok, 7), S(DOWN, 1, ok, 7)}, .commands = 1, .answers = 1},
    {"sent ahead as if it were part of the login, it is none", true,
        .lines = {L(UP, 2, Q), S(DOWN, 2, ok, 7)}, .bad = MYSQL_WHY_ORDER, .kept = 13},
    {"caching_sha2, known password", true,
        .lines = {L(DOWN, 2, "\1\3"), S(DOWN, 3, ok, 7), L(UP, 0, Q), S(DOWN, 1, ok, 7)},
        .commands = 1, .answers = 1},
    {"caching_sha2, by RSA", true,
        .lines = {L(DOWN, 2, "\1\4"), L(UP, 3, "\2"), L(DOWN, 4, "\1-----BEGIN"),
            L(UP, 5, "encrypted"), S(DOWN, 6, ok, 7), L(UP, 0, Q)},
        .commands = 1, .busy = true},
    {"something between \"wait\" and OK does not pass for a login", true,
        .lines = {L(DOWN, 2, "\1\3"), L(UP, 3, Q), S(DOWN, 3, ok, 7)}, .bad = MYSQL_WHY_ORDER},
    {"auth switch", true,
        .lines = {L(DOWN, 2,
                      "\xfe"
                      "client_ed25519\0scramble"),
            L(UP, 3, "proof"), S(DOWN, 4, ok, 7)}},
    {"two answers to one question", true,
        .lines = {L(DOWN, 2, "\1\4"), L(UP, 3, "\2"), L(UP, 4, "\2")}, .kept = 5},
    {"a login that fails", true, .lines = {S(DOWN, 2, error, 11)}},
    {"nothing follows a login that failed", true, .lines = {S(DOWN, 2, error, 11), L(UP, 0, Q)},
        .bad = MYSQL_WHY_ORDER, .kept = 13},
    /* commands */
    {"a number that is not 0", .lines = {L(UP, 1, Q)}, .bad = MYSQL_WHY_ORDER, .kept = 13},
    {"a command without a byte", .lines = {L(UP, 0, "")}, .bad = MYSQL_WHY_SHAPE, .kept = 4},
    {"in a transaction", .lines = {L(UP, 0, Q), S(DOWN, 1, ok_in_transaction, 7)}, .commands = 1,
        .answers = 1, .in_transaction = true},
    {"replication is refused, the session goes on",
        .lines = {L(UP, 0, "\x12\4\0\0\0\0\0\1\0\0\0log"), L(UP, 0, "\x15reg"),
            L(UP, 0, "\x1egtid"), L(UP, 0, Q), S(DOWN, 1, ok, 7)},
        .commands = 1, .answers = 1, .refused = 3},
    {"kill, shutdown, an unknown command",
        .lines = {L(UP, 0, "\x0c\1\0\0\0"), L(UP, 0, "\x08"), L(UP, 0, "\x77")}, .refused = 3},
    {"several commands in one packet", .lines = {L(UP, 0, "\xfe\1\0\0\0\1")}, .refused = 1},
    {"what is refused waits for the answers before it",
        .lines = {L(UP, 0, Q), L(UP, 0, "\3 load data infile 'x'")}, .commands = 1, .busy = true},
    {"and then it is its turn",
        .lines = {L(UP, 0, Q), L(UP, 0, "\3 load data infile 'x'"), L(UP, 0, Q), S(DOWN, 1, ok, 7)},
        .commands = 2, .answers = 1, .refused = 1, .busy = true},
    {"commands without an answer",
        .lines = {L(UP, 0, "\x18\1\0\0\0\0\0abc"), L(UP, 0, "\x19\1\0\0\0"), L(UP, 0, "\1")},
        .commands = 3},
    {"nothing follows a goodbye", .lines = {L(UP, 0, "\1"), L(UP, 0, Q)}, .commands = 1,
        .bad = MYSQL_WHY_ORDER, .kept = 13},
    {"change of user waits for answers", .lines = {L(UP, 0, Q), L(UP, 0, "\x11u\0\0")},
        .commands = 1, .busy = true, .kept = 8},
    {"change of user, with a switch",
        .lines = {L(UP, 0, "\x11u\0\0"), L(UP, 0, Q),
            L(DOWN, 1,
                "\xfe"
                "x\0y")},
        .commands = 1, .bad = MYSQL_WHY_ORDER, .busy = true, .kept = 13},
    {"change of user, then a command",
        .lines = {L(UP, 0, "\x11u\0\0"),
            L(DOWN, 1,
                "\xfe"
                "x\0y"),
            L(UP, 2, "proof"), S(DOWN, 3, ok, 7), L(UP, 0, Q), S(DOWN, 1, ok, 7)},
        .commands = 2, .answers = 2},
    {"change of user that fails leaves the session",
        .lines = {L(UP, 0, "\x11u\0\0"), S(DOWN, 1, error, 11), L(UP, 0, Q), S(DOWN, 1, ok, 7)},
        .commands = 2, .answers = 2},
    /* answers */
    {"nobody asked", .lines = {S(DOWN, 1, ok, 7)}, .bad = MYSQL_WHY_ORDER},
    {"why the server closes", .lines = {S(DOWN, 0, error, 11)}},
    {"rows with EOF",
        .lines = {L(UP, 0, Q), L(DOWN, 1, "\1"), S(DOWN, 2, column, 23), S(DOWN, 3, eof, 5),
            L(DOWN, 4, "\1x"), L(DOWN, 5, "\xfe\0\0\0\0\0\0\0\0long"), S(DOWN, 6, eof, 5)},
        .commands = 1, .answers = 1},
    {"rows without", .no_eof = true,
        .lines = {L(UP, 0, Q), L(DOWN, 1, "\1\1"), S(DOWN, 2, column, 23), L(DOWN, 3, "\1x"),
            L(DOWN, 4, "\xfe\0\0\2\0\0\0")},
        .commands = 1, .answers = 1},
    {"columns known from before", .no_eof = true,
        .lines = {L(UP, 0, "\x17"), L(DOWN, 1, "\1\0"), L(DOWN, 2, "\0\0x"),
            L(DOWN, 3, "\xfe\0\0\2\0\0\0")},
        .commands = 1, .answers = 1},
    {"several results",
        .lines = {L(UP, 0, Q), S(DOWN, 1, ok_more, 7), L(DOWN, 2, "\1"), S(DOWN, 3, column, 23),
            S(DOWN, 4, eof, 5), S(DOWN, 5, eof_more, 5), S(DOWN, 6, ok, 7)},
        .commands = 1, .answers = 1},
    {"several results, the last to come", .lines = {L(UP, 0, Q), S(DOWN, 1, ok_more, 7)},
        .commands = 1, .busy = true},
    {"an error among rows",
        .lines = {L(UP, 0, Q), L(DOWN, 1, "\1"), S(DOWN, 2, column, 23), S(DOWN, 3, eof, 5),
            L(DOWN, 4, "\1x"), S(DOWN, 5, error, 11)},
        .commands = 1, .answers = 1},
    {"how far it is, then OK",
        .lines = {L(UP, 0, Q), S(DOWN, 1, progress, 11), S(DOWN, 2, progress, 11),
            S(DOWN, 3, ok, 7)},
        .commands = 1, .answers = 1},
    {"a cursor is opened, no rows come",
        .lines = {L(UP, 0, "\x17"), L(DOWN, 1, "\1"), S(DOWN, 2, column, 23),
            S(DOWN, 3, eof_cursor, 5), L(UP, 0, "\x1c"), L(DOWN, 1, "\0\0x"),
            S(DOWN, 2, eof_cursor, 5)},
        .commands = 2, .answers = 2},
    {"prepare with a parameter and two columns",
        .lines = {L(UP, 0, "\x16select ?, 1"), L(DOWN, 1, "\0\1\0\0\0\2\0\1\0\0\0\0"),
            S(DOWN, 2, column, 23), S(DOWN, 3, eof, 5), S(DOWN, 4, column, 23),
            S(DOWN, 5, column, 23), S(DOWN, 6, eof, 5)},
        .commands = 1, .answers = 1},
    {"prepare with nothing",
        .lines = {L(UP, 0,
                      "\x16"
                      "do 1"),
            L(DOWN, 1, "\0\1\0\0\0\0\0\0\0\0\0\0")},
        .commands = 1, .answers = 1},
    {"prepare and execute without waiting, the first fails",
        .lines = {L(UP, 0, "\x16nonsense"), L(UP, 0, "\x17\xff\xff\xff\xff"), S(DOWN, 1, error, 11),
            S(DOWN, 1, error, 11)},
        .commands = 2, .answers = 2},
    {"statistics are a bare text",
        .lines = {L(UP, 0, "\x09"), L(DOWN, 1,
                                        "\xfe"
                                        "Uptime: 3")},
        .commands = 1, .answers = 1},
    {"an option is answered by EOF", .lines = {L(UP, 0, "\x1b\0\0"), S(DOWN, 1, eof, 5)},
        .commands = 1, .answers = 1},
    {"fields of a table",
        .lines = {L(UP, 0, "\4t\0"), S(DOWN, 1, column, 23), S(DOWN, 2, column, 23),
            S(DOWN, 3, eof, 5)},
        .commands = 1, .answers = 1},
    {"a file of the client", .lines = {L(UP, 0, Q), L(DOWN, 1, "\xfb/etc/passwd")}, .commands = 1,
        .bad = MYSQL_WHY_FILE, .busy = true},
    {"a ping is not answered by rows", .lines = {L(UP, 0, "\x0e"), L(DOWN, 1, "\1")}, .commands = 1,
        .bad = MYSQL_WHY_SHAPE, .busy = true},
};

static void check_row(const struct row *r)
{
    struct play c;
    uint64_t can = MYSQL_CAN_PROTOCOL_41;
    if (r->no_eof)
        can |= MYSQL_CAN_DEPRECATE_EOF | MYSQL_CAN_CACHE_METADATA;
    if (r->before_login)
        begin(&c, can);
    else
        log_in(&c, can);
    for (const struct line *l = r->lines; l->who; l++)
        say(&c, l->who, l->seq, l->payload, l->len);
    if (c.bad != r->bad || c.m.commands != r->commands || c.m.answers != r->answers
        || c.refused != r->refused || mysql_busy(&c.m) != r->busy || c.up.len != r->kept
        || mysql_in_transaction(&c.m) != r->in_transaction)
        fail_msg(
            "%s: %s; %lu commands, %lu answers, %lu refused, busy %d, transaction %d, kept %zu",
            r->name, mysql_why_text(c.bad), c.m.commands, c.m.answers, c.refused, mysql_busy(&c.m),
            mysql_in_transaction(&c.m), c.up.len);
    play_done(&c);
}

static void test_rows(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check_row(&rows[i]);
}

static void test_refusal_has_the_number_that_is_waited_for(void **state)
{
    struct play c;
    log_in(&c, MYSQL_CAN_PROTOCOL_41);
    SAY(&c, 'C', 0, "\x12log");
    static const uint8_t wanted[] = {
        11, 0, 0, 1, 0xff, 1227 & 0xff, 1227 >> 8, '#', '4', '2', '0', '0', '0', 'n', 'o'};
    assert_int_equal(c.n_error, sizeof wanted);
    assert_memory_equal(c.error, wanted, sizeof wanted);
    assert_int_equal(c.up.passed, 4 + 37); /* the reply */
    play_done(&c);
}

/* The longest payload goes on in the next packet, be it an empty one: neither a command nor the end
 * of rows begins there, whatever it looks like. */
static void test_long_packets(void **state)
{
    struct play c;
    uint8_t *p = xcalloc(1, MYSQL_PACKET_MAX + 8);
    log_in(&c, MYSQL_CAN_PROTOCOL_41);
    p[4] = MYSQL_COM_QUERY;
    put(p, MYSQL_PACKET_MAX, 3);
    play_feed(&c, false, p, MYSQL_PACKET_MAX + 4);
    say(&c, 'S', 1, ok, 7); /* of a server that does not wait for the end: its word */
    assert_true(mysql_busy(&c.m));
    SAY(&c, 'C', 1, "\1");
    SAY(&c, 'C', 0, Q);
    assert_int_equal(c.m.commands, 2);
    assert_int_equal(c.bad, MYSQL_WHY_NONE);
    SAY(&c, 'S', 1, "\1");
    say(&c, 'S', 2, column, 23);
    say(&c, 'S', 3, eof, 5);
    put(p, MYSQL_PACKET_MAX, 3);
    p[3] = 4;
    p[4] = 0xfd;
    play_feed(&c, true, p, MYSQL_PACKET_MAX + 4);
    say(&c, 'S', 5, eof, 5); /* the rest of the row */
    assert_int_equal(c.m.answers, 1);
    p[3] = 6;
    p[4] = 0xfe;
    play_feed(&c, true, p, MYSQL_PACKET_MAX + 4);
    SAY(&c, 'S', 7, "");
    assert_int_equal(c.m.answers, 1);
    say(&c, 'S', 8, eof, 5);
    assert_int_equal(c.m.answers, 2);
    assert_false(mysql_busy(&c.m));
    play_done(&c);
    free(p);
}

static void test_pipeline_is_bounded(void **state)
{
    struct play c;
    log_in(&c, MYSQL_CAN_PROTOCOL_41);
    for (unsigned i = 0; i < MYSQL_PIPELINE + 5; i++)
        SAY(&c, 'C', 0, "\x0e");
    assert_int_equal(c.m.n_waiting, MYSQL_PIPELINE);
    assert_int_equal(c.up.len, 5 * 5);
    for (unsigned i = 0; i < MYSQL_PIPELINE + 5; i++)
        say(&c, 'S', 1, ok, 7);
    assert_int_equal(c.m.answers, MYSQL_PIPELINE + 5);
    assert_int_equal(c.up.len, 0);
    play_done(&c);
}

static void test_last_words(void **state)
{
    uint8_t out[MYSQL_ERR_MAX];
    struct play c;
    struct mysql fresh = {0};
    assert_true(mysql_last_error(&fresh, 1290, "HY000", "x", out) > 0 && out[3] == 0);
    log_in(&c, MYSQL_CAN_PROTOCOL_41);
    assert_true(mysql_last_error(&c.m, 1290, "HY000", "x", out) > 0 && out[3] == 1);
    SAY(&c, 'C', 0, Q);
    assert_true(mysql_last_error(&c.m, 1290, "HY000", "x", out) > 0 && out[3] == 1);
    SAY(&c, 'S', 1, "\1");
    assert_int_equal(mysql_last_error(&c.m, 1290, "HY000", "x", out), 0); /* within an answer */
    play_done(&c);
}

static void test_load(void **state)
{
    static const struct {
        const char *text;
        bool load;
    } texts[] = {
        {"LOAD DATA INFILE 'x' INTO TABLE t", true},
        {"load xml local infile", true},
        {"\n\t ( load/**/data", true},
        {"/* a */ -- b\n # c\nLoad Data", true},
        {"/*!50000 load data */", true},
        {"/*M!100100 LOAD XML", true},
        {";;load data", true},
        {"load index into cache t", false},
        {"load datax", false},
        {"loaded data", false},
        {"select 'load data'", false},
        {"/* load data */ select 1", false},
        {"-- load data", false},
        {"load", false},
        {"", false},
        {"/*", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (mysql_is_load(texts[i].text, strlen(texts[i].text)) != texts[i].load)
            fail_msg("%s", texts[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_what_is_offered),
        cmocka_unit_test(test_what_is_not_spoken),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_refusal_has_the_number_that_is_waited_for),
        cmocka_unit_test(test_long_packets),
        cmocka_unit_test(test_pipeline_is_bounded),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
