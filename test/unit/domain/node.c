/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/replication/node.h"

static struct rnd rnd;

static struct replication_view view(enum replication_duty duty, uint64_t epoch, bool fresh)
{
    return (struct replication_view){.duty = duty,
        .epoch = epoch,
        .self = 1,
        .source = duty == REPLICATION_SOURCE ? 1 : 2,
        .fresh = fresh,
        .tls_ready = true,
        .heartbeat_ms = 5000,
        .form = 77};
}

static enum replication_op feed(
    struct replication_node *n, const struct replication_event *ev, uint64_t now)
{
    struct replication_actions a;
    replication_node_step(n, ev, now, &rnd, &a);
    return a.op;
}

static enum replication_op saw(struct replication_node *n, struct replication_sample s, uint64_t now);

/* And the server is looked at again, as it is after a view. */
static enum replication_op told(
    struct replication_node *n, struct replication_view v, uint64_t now)
{
    bool looked = n->sampled;
    enum replication_op op =
        feed(n, &(struct replication_event){.kind = REPLICATION_EV_VIEW, .view = &v}, now);
    return op == REPLICATION_NOTHING && looked && !n->silent_ms ? saw(n, n->sample, now) : op;
}

static enum replication_op saw(
    struct replication_node *n, struct replication_sample s, uint64_t now)
{
    return feed(n,
        &(struct replication_event){.kind = REPLICATION_EV_SAMPLE, .sample = &s, .ops = n->ops},
        now);
}

static enum replication_op done(struct replication_node *n, bool ok, uint64_t now)
{
    return feed(n,
        &(struct replication_event){.kind = REPLICATION_EV_DONE, .ok = ok, .text = "it says no"},
        now);
}

static const struct replication_sample empty = {.read_only = true, .empty = true};

/* An empty server becomes the source: the order of things, and not without the quorum. */
static void test_forming(void **state)
{
    struct replication_node n;
    replication_node_init(&n);
    struct replication_sample s = empty;
    assert_int_equal(told(&n, view(REPLICATION_SOURCE, 1, false), 1000), REPLICATION_NOTHING);
    assert_int_equal(saw(&n, s, 1100), REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_READ_ONLY);
    assert_int_equal(told(&n, view(REPLICATION_SOURCE, 1, true), 2000), REPLICATION_OP_EPOCH);
    assert_int_equal(n.state, REPLICATION_FORMING);
    assert_int_equal(done(&n, true, 2100), REPLICATION_NOTHING); /* not before it was looked at */
    s = (struct replication_sample){.read_only = true, .epoch = 1, .epoch_server = 1};
    assert_int_equal(saw(&n, s, 2200), REPLICATION_OP_FORM);
    assert_int_equal(done(&n, true, 2300), REPLICATION_NOTHING);
    assert_int_equal(saw(&n, s, 2400), REPLICATION_OP_WRITABLE);
    assert_int_equal(done(&n, true, 2500), REPLICATION_NOTHING);
    s.read_only = false;
    assert_int_equal(saw(&n, s, 2600), REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_WRITABLE);
    /* It stays so when the quorum is lost, and is not opened again then. */
    assert_int_equal(saw(&n, s, 60000), REPLICATION_NOTHING);
    s.read_only = true;
    assert_int_equal(saw(&n, s, 61000), REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_READ_ONLY);
    assert_string_equal(
        n.why, "the state store has not confirmed just now that this is the source");
}

static void test_who_may_not_write(void **state)
{
    struct replication_sample writable = {.epoch = 4, .epoch_server = 1};
    static const struct {
        const char *name;
        enum replication_duty duty;
        uint64_t epoch;
        bool freeze;
        enum replication_op op;
    } rows[] = {
        {"the source", REPLICATION_SOURCE, 4, false, REPLICATION_OP_FORM},
        {"a replica", REPLICATION_REPLICA, 4, false, REPLICATION_OP_READ_ONLY},
        {"by an older epoch", REPLICATION_SOURCE, 3, false, REPLICATION_OP_READ_ONLY},
        {"while a change is under way", REPLICATION_SOURCE, 4, true, REPLICATION_OP_READ_ONLY},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct replication_node n;
        replication_node_init(&n);
        if (rows[i].freeze)
            feed(&n,
                &(struct replication_event){.kind = REPLICATION_EV_FREEZE, .id = 9, .epoch = 4}, 1);
        told(&n, view(rows[i].duty, rows[i].epoch, true), 10);
        if (saw(&n, writable, 20) != rows[i].op)
            fail_msg("%s", rows[i].name);
    }
}

/* A freeze outlives the role; its change's end, or a later epoch, lifts it. */
static void test_freeze(void **state)
{
    struct replication_node n, again;
    struct replication_saved saved;
    struct replication_view v = view(REPLICATION_SOURCE, 4, true);
    struct replication_sample s = {.epoch = 4, .epoch_server = 1};
    struct replication_event freeze = {.kind = REPLICATION_EV_FREEZE, .id = 9, .epoch = 4};
    struct replication_actions a;
    replication_node_init(&n);
    told(&n, v, 10);
    replication_node_step(&n, &freeze, 20, &rnd, &a);
    assert_true(a.save);
    replication_node_save(&n, &saved);
    replication_node_init(&again);
    replication_node_restore(&again, &saved);
    told(&again, v, 30);
    assert_int_equal(saw(&again, s, 40), REPLICATION_OP_READ_ONLY);
    done(&again, true, 50);
    s.read_only = true;
    assert_int_equal(saw(&again, s, 60), REPLICATION_NOTHING);
    assert_false(replication_node_may_write(&again, 70));
    /* Undone: the change is over and this is the source as before. */
    v.last_change = 8;
    assert_int_equal(told(&again, v, 80), REPLICATION_NOTHING);
    assert_false(replication_node_refuses(&again, 4, 9));
    v.last_change = 9;
    assert_int_equal(told(&again, v, 90), REPLICATION_OP_FORM);
    assert_true(replication_node_refuses(&again, 4, 9));
    assert_true(replication_node_refuses(&again, 3, 10));
}

/* The document names a replica: it ends following, notes the epoch, is opened. The old one follows it,
 * behind what it wrote itself. */
static void test_moves(void **state)
{
    struct replication_node n;
    replication_node_init(&n);
    struct replication_sample s = {.read_only = true,
        .attached = true,
        .as_wanted = true,
        .all_applied = true,
        .epoch = 4,
        .epoch_server = 2,
        .threads = {.io = LADDER_IO_YES, .sql = true}};
    told(&n, view(REPLICATION_REPLICA, 4, true), 10);
    assert_int_equal(saw(&n, s, 20), REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_REPLICATING);
    assert_int_equal(told(&n, view(REPLICATION_SOURCE, 5, true), 30), REPLICATION_OP_PROMOTE);
    done(&n, true, 40);
    s.attached = s.as_wanted = false;
    assert_int_equal(saw(&n, s, 50), REPLICATION_OP_EPOCH);
    done(&n, true, 60);
    s.epoch = 5;
    s.epoch_server = 1;
    assert_int_equal(saw(&n, s, 70), REPLICATION_OP_FORM);
    done(&n, false, 80); /* a schema file that does not work */
    assert_int_equal(saw(&n, s, 90), REPLICATION_OP_WRITABLE);
    done(&n, true, 100);
    s.read_only = false;
    saw(&n, s, 110);
    assert_int_equal(told(&n, view(REPLICATION_REPLICA, 6, true), 120), REPLICATION_OP_READ_ONLY);
    done(&n, true, 130);
    s.read_only = true;
    assert_int_equal(saw(&n, s, 140), REPLICATION_OP_ATTACH_CURRENT);
}

static void test_replica(void **state)
{
    struct replication_node n;
    struct replication_view v = view(REPLICATION_REPLICA, 1, false);
    replication_node_init(&n);
    v.tls_ready = false;
    told(&n, v, 10);
    assert_int_equal(saw(&n, empty, 20), REPLICATION_NOTHING);
    assert_string_equal(n.why, "its certificates have not come yet");
    v.tls_ready = true;
    assert_int_equal(told(&n, v, 30), REPLICATION_OP_ATTACH); /* a replica needs no quorum */
    done(&n, true, 40);
    struct replication_sample s = {
        .read_only = true, .attached = true, .as_wanted = true, .empty = true};
    assert_int_equal(saw(&n, s, 50), REPLICATION_OP_START);
    done(&n, true, 60);
    s.threads = (struct ladder_look){.io = LADDER_IO_YES, .sql = true};
    saw(&n, s, 70);
    assert_int_equal(n.state, REPLICATION_REPLICATING);
    /* 1062: evidence once, then still. */
    s.threads.sql = false;
    s.threads.sql_errno = 1062;
    s.threads.sql_error = "Duplicate entry";
    assert_int_equal(saw(&n, s, 80), REPLICATION_OP_EVIDENCE);
    assert_int_equal(n.state, REPLICATION_FROZEN);
    done(&n, true, 90);
    for (uint64_t t = 1000; t < 60000; t += 1000)
        assert_int_equal(saw(&n, s, t), REPLICATION_NOTHING);
    struct replication_event follow = {.kind = REPLICATION_EV_FOLLOW};
    assert_int_equal(feed(&n, &follow, 60000), REPLICATION_OP_START);
    done(&n, true, 60050);
    assert_int_equal(saw(&n, s, 60100), REPLICATION_OP_EVIDENCE);
    /* Data of nobody knows where are not overwritten, and not replicated into. */
    replication_node_init(&n);
    told(&n, v, 10);
    assert_int_equal(saw(&n, (struct replication_sample){.read_only = true}, 20),
        REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_BROKEN);
}

static void test_unreachable(void **state)
{
    struct replication_node n;
    struct replication_event ev = {.kind = REPLICATION_EV_UNREACHABLE, .text = "no such socket"};
    replication_node_init(&n);
    told(&n, view(REPLICATION_SOURCE, 1, true), 10);
    feed(&n, &ev, 20);
    assert_int_equal(n.state, REPLICATION_STARTING);
    assert_string_equal(n.why, "no such socket");
    assert_int_equal(saw(&n, empty, 30), REPLICATION_OP_EPOCH);
    /* What was asked before an operation ended is not listened to. */
    struct replication_event late = {
        .kind = REPLICATION_EV_SAMPLE, .sample = &empty, .ops = n.ops};
    done(&n, true, 40);
    assert_int_equal(feed(&n, &late, 50), REPLICATION_NOTHING);
    feed(&n, &ev, 1000);
    assert_int_equal(n.state, REPLICATION_FORMING);
    feed(&n, &ev, 7000);
    assert_int_equal(n.state, REPLICATION_UNREACHABLE);
    told(&n, view(REPLICATION_SOURCE, 1, true), 8000);
    assert_int_equal(n.state, REPLICATION_UNREACHABLE);
}

/* An operation that fails is tried again, later and later. */
static void test_failures(void **state)
{
    struct replication_node n;
    unsigned tries = 0;
    replication_node_init(&n);
    for (uint64_t t = 0; t < 300000; t += 1000) {
        told(&n, view(REPLICATION_SOURCE, 1, true), t);
        if (n.op == REPLICATION_NOTHING)
            saw(&n, empty, t);
        if (n.op == REPLICATION_OP_EPOCH) {
            tries++;
            done(&n, false, t + 10);
        }
    }
    assert_true(tries >= 8 && tries <= 20);
    assert_string_equal(n.why, "cannot note the epoch: it says no");
}

int main(void)
{
    rnd_seed(&rnd, 7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forming),
        cmocka_unit_test(test_who_may_not_write),
        cmocka_unit_test(test_freeze),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_replica),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
