/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/str/str.h"
#include "role/host/listen.h"
#include "role/host/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

/* --- the state machine --- */

static struct rnd rnd;

static struct sup in(enum sup_state state)
{
    return (struct sup){.state = state, .timer_at_ms = 77};
}

/* Every cell that does something, and what it does to the timer. */
static void test_table(void **state)
{
    static const struct {
        enum sup_state from;
        enum sup_event event;
        enum sup_state to;
        enum sup_action action;
        uint64_t timer; /* 77: kept; else relative to now */
    } rows[] = {
        {SUP_DOWN, SUP_WANT, SUP_STARTING, SUP_SPAWN, SUP_START_MS},
        {SUP_STARTING, SUP_READY, SUP_UP, SUP_NOTHING, SUP_HEALTHY_MS},
        {SUP_STARTING, SUP_EXIT, SUP_BACKOFF, SUP_NOTHING, 0},
        {SUP_STARTING, SUP_TIMER, SUP_STARTING, SUP_KILL, SUP_KILL_AGAIN_MS},
        {SUP_STARTING, SUP_CHANGE, SUP_RESTARTING, SUP_ASK_STOP, SUP_STOP_MS},
        {SUP_STARTING, SUP_UNWANT, SUP_STOPPING, SUP_ASK_STOP, SUP_STOP_MS},
        {SUP_UP, SUP_EXIT, SUP_BACKOFF, SUP_NOTHING, 0},
        {SUP_UP, SUP_HUNG, SUP_STARTING, SUP_KILL, SUP_KILL_AGAIN_MS},
        {SUP_UP, SUP_CHANGE, SUP_RESTARTING, SUP_ASK_STOP, SUP_STOP_MS},
        {SUP_UP, SUP_UNWANT, SUP_STOPPING, SUP_ASK_STOP, SUP_STOP_MS},
        {SUP_BACKOFF, SUP_TIMER, SUP_STARTING, SUP_SPAWN, SUP_START_MS},
        {SUP_BACKOFF, SUP_CHANGE, SUP_STARTING, SUP_SPAWN, SUP_START_MS},
        {SUP_STOPPING, SUP_TIMER, SUP_STOPPING, SUP_KILL, SUP_KILL_AGAIN_MS},
        {SUP_STOPPING, SUP_WANT, SUP_RESTARTING, SUP_NOTHING, 77},
        {SUP_RESTARTING, SUP_EXIT, SUP_STARTING, SUP_SPAWN, SUP_START_MS},
        {SUP_RESTARTING, SUP_TIMER, SUP_RESTARTING, SUP_KILL, SUP_KILL_AGAIN_MS},
        {SUP_RESTARTING, SUP_UNWANT, SUP_STOPPING, SUP_NOTHING, 77},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sup s = in(rows[i].from);
        enum sup_action action = sup_step(&s, rows[i].event, 1000, &rnd);
        uint64_t want = rows[i].timer == 77 ? 77 : 1000 + rows[i].timer;
        if (s.state != rows[i].to || action != rows[i].action || s.timer_at_ms != want)
            fail_msg("%s, event %d: %s, action %d, timer %d", sup_state_name(rows[i].from),
                rows[i].event, sup_state_name(s.state), action, (int)s.timer_at_ms);
    }
}

static void test_going_down_clears_the_timer(void **state)
{
    struct sup stopping = in(SUP_STOPPING), backoff = in(SUP_BACKOFF), up = in(SUP_UP);
    sup_step(&stopping, SUP_EXIT, 1000, &rnd);
    sup_step(&backoff, SUP_UNWANT, 1000, &rnd);
    sup_step(&up, SUP_TIMER, 1000, &rnd);
    assert_int_equal(stopping.state, SUP_DOWN);
    assert_int_equal(backoff.state, SUP_DOWN);
    assert_int_equal(up.state, SUP_UP);
    assert_int_equal(stopping.timer_at_ms + backoff.timer_at_ms + up.timer_at_ms, 0);
}

static uint64_t crash(struct sup *s, uint64_t now)
{
    sup_step(s, SUP_READY, now, &rnd);
    sup_step(s, SUP_EXIT, now, &rnd);
    uint64_t wait = s->timer_at_ms - now;
    assert_int_equal(sup_step(s, SUP_TIMER, s->timer_at_ms, &rnd), SUP_SPAWN);
    return wait;
}

static void test_backoff(void **state)
{
    struct sup s = {0};
    sup_step(&s, SUP_WANT, 1000, &rnd);
    assert_int_equal(crash(&s, 1000), 0); /* the first restart comes at once */
    uint64_t nominal = SUP_BACKOFF_MIN_MS;
    for (int i = 0; i < 12; i++, nominal = MIN(nominal * 2, SUP_BACKOFF_MAX_MS)) {
        uint64_t wait = crash(&s, 2000);
        assert_in_range(wait, nominal * 3 / 4, nominal * 5 / 4);
    }
    assert_int_equal(s.starts, 14);
    /* Healthy for its time: the next end is a first one again. */
    sup_step(&s, SUP_READY, 5000, &rnd);
    assert_int_equal(s.timer_at_ms, 5000 + SUP_HEALTHY_MS);
    sup_step(&s, SUP_TIMER, s.timer_at_ms, &rnd);
    assert_int_equal(crash(&s, 20000), 0);
}

static void test_jitter_differs(void **state)
{
    uint64_t waits[8], distinct = 0;
    for (size_t i = 0; i < ARRAY_SIZE(waits); i++) {
        struct sup s = {.state = SUP_UP, .failures = 8};
        sup_step(&s, SUP_EXIT, 1, &rnd);
        waits[i] = s.timer_at_ms;
        distinct += i && waits[i] != waits[0];
    }
    assert_true(distinct > 0);
}

/* Any sequence of events: a process is started only when none runs, and a role that is wanted is
 * never forgotten. */
static void test_random_walks(void **state)
{
    for (unsigned seed = 1; seed <= 2000; seed++) {
        struct rnd walk;
        struct sup s = {0};
        bool runs = false, wanted = false;
        uint64_t now = 1;
        rnd_seed(&walk, seed);
        for (int step = 0; step < 200; step++) {
            enum sup_event event = (enum sup_event)rnd_below(&walk, SUP_N_EVENTS);
            if ((event == SUP_EXIT || event == SUP_READY) && !runs)
                continue; /* the kernel reports no end of what does not run */
            if (event == SUP_TIMER) {
                if (!s.timer_at_ms)
                    continue;
                now = MAX(now, s.timer_at_ms);
            }
            wanted = event == SUP_WANT ? true : event == SUP_UNWANT ? false : wanted;
            runs = event == SUP_EXIT ? false : runs;
            enum sup_action action = sup_step(&s, event, now, &rnd);
            if (action == SUP_SPAWN) {
                assert_false(runs);
                runs = true;
            }
            if (action == SUP_KILL || action == SUP_ASK_STOP)
                assert_true(runs);
            /* CHANGE while stopping does not revive: only WANT does. */
            assert_true(!wanted || s.state != SUP_DOWN);
            assert_true(
                wanted || (s.state != SUP_UP && s.state != SUP_BACKOFF && s.state != SUP_STARTING));
            assert_true(!runs || (s.state != SUP_DOWN && s.state != SUP_BACKOFF));
            /* Whatever is not final has a way on by itself. */
            assert_true(s.state == SUP_DOWN || s.state == SUP_UP || s.timer_at_ms);
        }
    }
}

/* --- the sockets --- */

static struct boot *boot_of(const char *addresses, const char *public, const char *roles)
{
    struct err e = {0};
    struct boot *b = NULL;
    _cleanup_free_ char *text =
        xasprintf("{\"format\":1,\"platform\":\"p\",\"host\":\"h\",\"region\":\"r\","
                  "\"addresses\":[%s],\"public\":[%s],\"bridge\":\"100.127.0.0/16\",\"roles\":[%s],"
                  "\"state\":{\"kind\":\"sqlite\"},\"peers\":[]}",
            addresses, public, roles);
    _cleanup_json_ json_t *tree = NULL;
    if (json_parse(text, strlen(text), &tree, &e) < 0 || boot_parse(tree, &b, &e) < 0)
        fail_msg("%s", e.message);
    return b;
}

static size_t count(const struct listens *l, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += str_eq(l->v[i].name, name);
    return n;
}

static void test_plan(void **state)
{
    struct listens l;
    struct boot *b = boot_of("\"10.20.0.11\"", "\"203.0.113.20\",\"2001:db8::20\"",
        "\"control\",\"dns\",\"edge\",\"resolver\",\"agent\"");
    listen_plan(b, 2, &l);
    static const struct {
        const char *name;
        size_t n;
    } rows[] = {{"cli", 1}, {"peer", 1}, {"enrol", 1}, {"bulk", 1}, {"metrics", 1}, {"remote", 1},
        {"dns-udp", 6}, {"dns-tcp", 3}, {"edge-https", 4}, {"edge-http", 2}, {"resolver-udp", 1}, {"resolver-tcp", 1}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (count(&l, rows[i].name) != rows[i].n)
            fail_msg(
                "%s: %zu sockets, wanted %zu", rows[i].name, count(&l, rows[i].name), rows[i].n);
    assert_int_equal(l.n, 23);
    boot_free(b);
}

static void test_plan_of_special_hosts(void **state)
{
    struct listens l;
    struct boot *b = boot_of("\"10.20.0.11\"", "", "\"control\",\"resolver\"");
    listen_plan(b, 8, &l);
    assert_int_equal(l.n, 8); /* no dns, no edge */
    boot_free(b);
    b = boot_of("\"203.0.113.20\"", "\"203.0.113.20\"", "\"dns\"");
    listen_plan(b, 1, &l);
    assert_int_equal(l.n, 2); /* the same address twice is one */
    boot_free(b);
    /* A large machine with many addresses: what one message can carry. */
    b = boot_of("\"10.0.0.1\",\"10.0.0.2\",\"10.0.0.3\"", "\"1.0.0.1\",\"1.0.0.2\",\"1.0.0.3\"",
        "\"dns\",\"edge\"");
    listen_plan(b, 512, &l);
    assert_true(count(&l, "dns-udp") <= LISTEN_ROLE_MAX / 2 && count(&l, "dns-udp") >= 100);
    boot_free(b);
}

static struct listens one_local(int type, uint16_t port, bool shared)
{
    struct listens l = {.n = 1};
    l.v[0] = (struct listen){
        .role = "dns", .name = "dns-udp", .type = type, .port = port, .shared = shared, .fd = -1};
    ip_parse("127.0.0.1", &l.v[0].addr);
    return l;
}

static void test_open_says_who_is_in_the_way(void **state)
{
    struct err e = {0};
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    struct listens first = one_local(SOCK_STREAM, 0, false);
    assert_int_equal(listens_open(&first, &e), 0);
    assert_int_equal(getsockname(first.v[0].fd, (struct sockaddr *)&sa, &len), 0);
    struct listens second = one_local(SOCK_STREAM, ntohs(sa.sin_port), false);
    assert_int_equal(listens_open(&second, &e), 1);
    assert_int_equal(second.v[0].fd, -1);
    assert_non_null(strstr(e.fix, "ss -lnp"));
    listens_close(&first);
    second.n = 1;
    assert_int_equal(listens_open(&second, &e), 0); /* once it has gone */
    listens_close(&second);
}

static void test_inherit_keeps_what_stays(void **state)
{
    struct err e = {0};
    struct listens old = one_local(SOCK_DGRAM, 0, true), new = one_local(SOCK_DGRAM, 0, true);
    old.v[1] = old.v[0];
    old.v[1].thread = 1;
    old.n = 2;
    assert_int_equal(listens_open(&old, &e), 0);
    int kept = old.v[0].fd, gone = old.v[1].fd;
    uint64_t print_two = listens_print(&old, "dns", 1);
    listens_inherit(&new, &old);
    assert_int_equal(new.v[0].fd, kept);
    assert_int_equal(fcntl(gone, F_GETFD), -1);
    assert_true(listens_print(&new, "dns", 1) != print_two);
    assert_true(listens_print(&new, "dns", 1) != listens_print(&new, "dns", 2));
    assert_int_equal(listens_print(&new, "edge", 7), 7);
    listens_close(&new);
}

int main(void)
{
    rnd_seed(&rnd, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_going_down_clears_the_timer),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_jitter_differs),
        cmocka_unit_test(test_random_walks),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_plan_of_special_hosts),
        cmocka_unit_test(test_open_says_who_is_in_the_way),
        cmocka_unit_test(test_inherit_keeps_what_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
