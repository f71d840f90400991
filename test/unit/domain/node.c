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
        .fresh_ms = fresh ? REPLICATION_FRESH_MS : 0,
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

/* A call to freeze that comes late, of a change before, does not end the freeze that lies on it. */
static void test_late_freeze(void **state)
{
    struct replication_node n;
    replication_node_init(&n);
    struct replication_view v = view(REPLICATION_SOURCE, 4, true);
    struct replication_sample s = {.read_only = true, .epoch = 4, .epoch_server = 1};
    v.last_change = 7;
    told(&n, v, 10);
    feed(&n, &(struct replication_event){.kind = REPLICATION_EV_FREEZE, .id = 9, .epoch = 4}, 20);
    feed(&n, &(struct replication_event){.kind = REPLICATION_EV_FREEZE, .id = 8, .epoch = 4}, 30);
    v.last_change = 8;
    told(&n, v, 40);
    saw(&n, s, 50);
    assert_false(replication_node_may_write(&n, 60));
    assert_int_equal(replication_node_write_until(&n, 60), 0);
}

/* A document of an epoch before one that was told opens nothing, also after a restart of the role. */
static void test_late_document(void **state)
{
    struct replication_node n, again;
    struct replication_saved saved;
    struct replication_sample s = {.read_only = true, .epoch = 1, .epoch_server = 1};
    replication_node_init(&n);
    told(&n, view(REPLICATION_REPLICA, 2, true), 10);
    replication_node_save(&n, &saved);
    replication_node_init(&again);
    replication_node_restore(&again, &saved);
    struct replication_node *both[] = {&n, &again};
    for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
        told(both[i], view(REPLICATION_SOURCE, 1, true), 20);
        assert_int_equal(saw(both[i], s, 30), REPLICATION_NOTHING);
        assert_false(replication_node_may_write(both[i], 40));
        assert_int_equal(
            told(both[i], view(REPLICATION_SOURCE, 3, true), 50), REPLICATION_OP_EPOCH);
    }
    /* What is left of a document's freshness is its own. */
    struct replication_view v = view(REPLICATION_SOURCE, 3, true);
    v.fresh_ms = 500;
    told(&n, v, 1000);
    assert_int_equal(replication_node_write_until(&n, 1001), 1500);
    assert_int_equal(replication_node_write_until(&n, 1500), 0);
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

static enum replication_op seeded(struct replication_node *n, bool ok, uint64_t now)
{
    return feed(n,
        &(struct replication_event){
            .kind = REPLICATION_EV_SEEDED, .ok = ok, .text = "no room"},
        now);
}

/* An empty one begins at the start of the source's logs only where these have a start. */
static void test_a_new_replica(void **state)
{
    static const struct {
        enum replication_log log;
        enum replication_op op;
    } rows[] = {{REPLICATION_LOG_WHOLE, REPLICATION_OP_ATTACH},
        {REPLICATION_LOG_UNKNOWN, REPLICATION_NOTHING},
        {REPLICATION_LOG_CUT, REPLICATION_OP_RESEED}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct replication_node n;
        struct replication_view v = view(REPLICATION_REPLICA, 1, true);
        v.source_log = rows[i].log;
        replication_node_init(&n);
        told(&n, v, 10);
        assert_int_equal(saw(&n, empty, 20), rows[i].op);
    }
}

static void test_reseed(void **state)
{
    const struct replication_event seeding = {.kind = REPLICATION_EV_SEEDING};
    struct replication_node n;
    struct replication_view v = view(REPLICATION_REPLICA, 1, true);
    struct replication_sample s = {.read_only = true,
        .attached = true,
        .as_wanted = true,
        .epoch = 1,
        .epoch_server = 2,
        .threads = {.io_errno = 1236, .sql = true, .io_error = "Could not find GTID state"}};
    replication_node_init(&n);
    told(&n, v, 10);
    assert_int_equal(saw(&n, s, 20), REPLICATION_OP_RESEED);
    feed(&n, &seeding, 30);
    done(&n, true, 30);
    assert_int_equal(n.state, REPLICATION_SEEDING);
    for (uint64_t t = 1000; t < 60000; t += 1000)
        assert_int_equal(saw(&n, s, t), REPLICATION_NOTHING);
    /* It is closed all the same, and is no other thing when its server is away for the swap. */
    s.read_only = false;
    assert_int_equal(saw(&n, s, 60000), REPLICATION_OP_READ_ONLY);
    done(&n, true, 60010);
    s.read_only = true;
    feed(&n, &(struct replication_event){.kind = REPLICATION_EV_UNREACHABLE, .text = "gone"}, 60020);
    feed(&n, &(struct replication_event){.kind = REPLICATION_EV_UNREACHABLE, .text = "gone"}, 90000);
    assert_int_equal(n.state, REPLICATION_SEEDING);
    /* Not now: later, by itself. */
    seeded(&n, false, 100000);
    assert_int_equal(saw(&n, s, 100100), REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_BROKEN);
    assert_non_null(strstr(n.why, "seed"));
    assert_int_equal(saw(&n, s, 120000), REPLICATION_OP_RESEED);
    feed(&n, &seeding, 120000);
    done(&n, true, 120000);
    /* The copy is there: attached behind its position. */
    struct replication_sample copy = {.read_only = true, .epoch = 1, .epoch_server = 2};
    seeded(&n, true, 130000);
    assert_int_equal(saw(&n, copy, 130100), REPLICATION_OP_ATTACH);
    /* By hand only, where that is declared; and never of a source. */
    replication_node_init(&n);
    v.manual = true;
    told(&n, v, 10);
    for (uint64_t t = 1000; t < 60000; t += 1000) {
        assert_int_not_equal(saw(&n, s, t), REPLICATION_OP_RESEED);
        if (n.op != REPLICATION_NOTHING)
            done(&n, true, t);
    }
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

/* A source that returns with what its successor lacks. */
static struct replication_node returned(void)
{
    struct replication_node n;
    replication_node_init(&n);
    told(&n, view(REPLICATION_REPLICA, 2, true), 1000);
    struct replication_sample s = {.read_only = true, .epoch = 1, .epoch_server = 1, .attached = true,
        .as_wanted = true,
        .threads = {.io_errno = 1236,
            .sql = true,
            .io_error = "which is not in the master's binlog"}};
    assert_int_equal(saw(&n, s, 1100), REPLICATION_OP_EVIDENCE);
    done(&n, true, 1200);
    assert_int_equal(saw(&n, s, 1300), REPLICATION_OP_RESCUE);
    return n;
}

static void test_nothing_is_undone_before_it_is_saved(void **state)
{
    struct replication_node n = returned();
    struct replication_sample s = n.sample;
    done(&n, false, 1400);
    assert_int_equal(saw(&n, s, 1500), REPLICATION_NOTHING);
    assert_int_equal(saw(&n, s, 90000), REPLICATION_OP_RESCUE);
    done(&n, true, 90100);
    assert_int_equal(saw(&n, s, 90200), REPLICATION_OP_FLASHBACK);
    done(&n, true, 90300);
    s.threads = (struct ladder_look){.io = LADDER_IO_YES, .sql = true, .io_error = ""};
    assert_int_equal(saw(&n, s, 90400), REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_REPLICATING);
}

static void test_what_cannot_be_undone_is_seeded(void **state)
{
    struct replication_node n = returned();
    struct replication_sample s = n.sample;
    done(&n, true, 1400);
    assert_int_equal(saw(&n, s, 1500), REPLICATION_OP_FLASHBACK);
    done(&n, false, 1600);
    assert_int_equal(saw(&n, s, 1700), REPLICATION_OP_RESEED);
}

static void test_by_hand_only_saves(void **state)
{
    struct replication_node n = returned();
    struct replication_sample s = n.sample;
    n.view.manual = true;
    done(&n, true, 1400);
    assert_int_equal(saw(&n, s, 1500), REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_BROKEN);
}

static enum replication_op leased(
    struct replication_node *n, uint64_t epoch, uint64_t until, uint64_t now)
{
    return feed(n,
        &(struct replication_event){
            .kind = REPLICATION_EV_LEASE, .epoch = epoch, .until_ms = until},
        now);
}

/* Where a lease is needed, nothing is written without one, and at its end it stops by itself. */
static void test_lease(void **state)
{
    struct replication_node n;
    struct replication_sample s = {.read_only = true, .epoch = 3, .epoch_server = 1};
    struct replication_view v = view(REPLICATION_SOURCE, 3, true);
    v.leased = true;
    replication_node_init(&n);
    n.formed = 77;
    n.formed_epoch = 3;
    assert_int_equal(told(&n, v, 0), REPLICATION_NOTHING);
    assert_int_equal(saw(&n, s, 0), REPLICATION_NOTHING);
    assert_false(replication_node_may_write(&n, 0));
    assert_non_null(strstr(n.why, "lease"));
    assert_int_equal(leased(&n, 2, 9000, 10), REPLICATION_NOTHING); /* of an epoch before */
    assert_int_equal(leased(&n, 3, 9000, 20), REPLICATION_OP_WRITABLE);
    assert_int_equal(replication_node_write_until(&n, 20), 9000);
    done(&n, true, 30);
    s.read_only = false;
    assert_int_equal(saw(&n, s, 40), REPLICATION_NOTHING);
    assert_int_equal(n.state, REPLICATION_WRITABLE);
    assert_int_equal(told(&n, v, 8000), REPLICATION_NOTHING); /* fresh, that is not enough: */
    assert_int_equal(
        feed(&n, &(struct replication_event){.kind = REPLICATION_EV_TICK}, 8999),
        REPLICATION_NOTHING);
    struct replication_node other = n;
    other.guards_off = REPLICATION_OFF_LEASE;
    assert_int_equal(
        feed(&other, &(struct replication_event){.kind = REPLICATION_EV_TICK}, 9000),
        REPLICATION_NOTHING);
    assert_int_equal(
        feed(&n, &(struct replication_event){.kind = REPLICATION_EV_TICK}, 9000),
        REPLICATION_OP_READ_ONLY);
    assert_false(replication_node_may_write(&n, 9000));
}

/* A restart of the keeper ends nothing by itself: it has not been told yet. */
static void test_no_news_of_a_lease(void **state)
{
    struct replication_node n;
    struct replication_sample s = {.epoch = 3, .epoch_server = 1};
    struct replication_view v = view(REPLICATION_SOURCE, 3, true);
    v.leased = true;
    replication_node_init(&n);
    told(&n, v, 0);
    assert_int_equal(saw(&n, s, 0), REPLICATION_NOTHING);
    assert_int_equal(leased(&n, 3, 0, 10), REPLICATION_OP_READ_ONLY);
}

int main(void)
{
    rnd_seed(&rnd, 7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forming),
        cmocka_unit_test(test_who_may_not_write),
        cmocka_unit_test(test_freeze),
        cmocka_unit_test(test_late_freeze),
        cmocka_unit_test(test_late_document),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_replica),
        cmocka_unit_test(test_a_new_replica),
        cmocka_unit_test(test_reseed),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_nothing_is_undone_before_it_is_saved),
        cmocka_unit_test(test_what_cannot_be_undone_is_seeded),
        cmocka_unit_test(test_by_hand_only_saves),
        cmocka_unit_test(test_lease),
        cmocka_unit_test(test_no_news_of_a_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
