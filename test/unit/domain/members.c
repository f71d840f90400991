/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/members/members.h"

#include <stdio.h>
#include <string.h>

#define ABSENT "-" /* of `actual`: the host has no member */

/* Hosts: d declared, j joined, h heard, r its etcd runs, f fresh disk, u has a unit.
 * Members: v votes, l learner that started, n learner that has not, - none. */
static const struct row {
    const char *name;
    const char *hosts[4];
    const char *actual[4];
    enum members_kind kind;
    int host; /* -1: none */
} rows[] = {
    {"as declared", {"djhru", "djhru", "djhru"}, {"v", "v", "v"}, MEMBERS_NOTHING, -1},
    {"one member alone", {"djhru"}, {"v"}, MEMBERS_NOTHING, -1},
    {"grows", {"djhru", "djh"}, {"v", ABSENT}, MEMBERS_ADD, 1},
    {"not joined yet", {"djhru", "d"}, {"v", ABSENT}, MEMBERS_NOTHING, 1},
    {"another is there", {"djhru", "d", "djh"}, {"v", ABSENT, ABSENT}, MEMBERS_ADD, 2},
    {"added", {"djhru", "djh"}, {"v", "n"}, MEMBERS_START, 1},
    {"started", {"djhru", "djhru"}, {"v", "l"}, MEMBERS_PROMOTE, 1},
    {"learner is away", {"djhru", "dju"}, {"v", "l"}, MEMBERS_NOTHING, 1},
    {"learner lost its disk", {"djhru", "djhf"}, {"v", "l"}, MEMBERS_REMOVE, 1},
    {"learner undeclared", {"djhru", "jhru"}, {"v", "l"}, MEMBERS_REMOVE, 1},
    {"disk lost", {"djhru", "djhru", "djhf"}, {"v", "v", "v"}, MEMBERS_REMOVE, 2},
    {"disk lost, one away", {"djhru", "dju", "djhf"}, {"v", "v", "v"}, MEMBERS_NOTHING, 2},
    {"disk lost of two", {"djhru", "djhf"}, {"v", "v"}, MEMBERS_NOTHING, 1},
    {"undeclared", {"djhru", "djhru", "djhru", "jhru"}, {"v", "v", "v", "v"}, MEMBERS_REMOVE, 3},
    {"replaced: new one first", {"djhru", "djhru", "jhru", "djh"}, {"v", "v", "v", ABSENT},
        MEMBERS_ADD, 3},
    {"undeclared but needed", {"djhru", "dju", "jhru"}, {"v", "v", "v"}, MEMBERS_NOTHING, 2},
    {"undeclared and dead", {"djhru", "djhru", "ju"}, {"v", "v", "v"}, MEMBERS_REMOVE, 2},
    {"nobody to add for long", {"djhru", "djhru", "jhru", "d"}, {"v", "v", "v", ABSENT},
        MEMBERS_REMOVE, 2},
    {"stray unit", {"djhru", "jhu"}, {"v", ABSENT}, MEMBERS_STOP, 1},
    {"last one stays", {"jhru"}, {"v"}, MEMBERS_NOTHING, 0},
    {"too few to add", {"djhru", "dju", "djh"}, {"v", "v", ABSENT}, MEMBERS_NOTHING, 2},
    {"nothing known", {"djhru"}, {ABSENT}, MEMBERS_NOTHING, -1},
};

static void check(const struct row *row)
{
    static const char *const urls[] = {"u0", "u1", "u2", "u3"};
    struct members_host hosts[4];
    struct members_actual actual[4];
    struct members_step s;
    size_t n = 0, n_actual = 0;
    for (; n < 4 && row->hosts[n]; n++) {
        const char *t = row->hosts[n], *m = row->actual[n];
        hosts[n] = (struct members_host){.name = urls[n],
            .peer_url = urls[n],
            .declared = strchr(t, 'd'),
            .joined = strchr(t, 'j'),
            .heard = strchr(t, 'h'),
            .running = strchr(t, 'r'),
            .fresh = strchr(t, 'f'),
            .has_unit = strchr(t, 'u')};
        if (strcmp(m, ABSENT) != 0)
            actual[n_actual++] = (struct members_actual){
                .id = n + 1, .peer_url = urls[n], .started = *m != 'n', .learner = *m != 'v'};
    }
    members_next(&(struct members_input){hosts, n, actual, n_actual}, &s);
    int host = s.host ? (int)(s.host - hosts) : -1;
    if (s.kind != row->kind || host != row->host)
        fail_msg("%s: %d for %d: %s", row->name, s.kind, host, s.why);
    if (s.kind == MEMBERS_REMOVE || s.kind == MEMBERS_PROMOTE || s.kind == MEMBERS_START)
        assert_int_equal(s.id, host + 1);
}

static void test_table(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check(&rows[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
