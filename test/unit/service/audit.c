/* SPDX-License-Identifier: Apache-2.0 */
/* Two hosts' controls write one chain, in virtual time. */
#include "test.h"

#include "base/file/file.h"
#include "base/str/str.h"
#include "service/audit/audit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct world {
    uv_loop_t loop;
    struct kv *kv;
    struct audit *a[2];
    char dir[64];
    char *journal[2];
    json_t *log;
    int chained;
};

static void on_chained(void *ctx, const json_t *entry)
{
    struct world *w = ctx;
    w->chained++;
}

static void open_one(struct world *w, int i, unsigned kept)
{
    struct err e;
    struct audit_config c = {.loop = &w->loop,
        .kv = w->kv,
        .platform = "p",
        .host = i ? "h2" : "h1",
        .journal = w->journal[i],
        .kept = kept,
        .chained = on_chained,
        .ctx = w};
    assert_int_equal(audit_new(&c, &w->a[i], &e), 0);
}

static void turn(struct world *w)
{
    kv_mem_run(w->kv, 1000);
    uv_run(&w->loop, UV_RUN_NOWAIT);
}

static bool is_chained(const struct world *w)
{
    return (!w->a[0] || !audit_pending(w->a[0])) && (!w->a[1] || !audit_pending(w->a[1]));
}

/* As long as it takes: a lost race waits for a timer of real time. */
static void run_until_chained(struct world *w)
{
    uv_update_time(&w->loop);
    uint64_t end = uv_now(&w->loop) + 30000;
    while (!is_chained(w) && uv_now(&w->loop) < end) {
        turn(w);
        uv_update_time(&w->loop);
    }
    assert_true(is_chained(w));
    for (int i = 0; i < 1000; i++) /* and the dropping of the oldest */
        turn(w);
}

static void note(struct world *w, int i, const char *subject)
{
    struct err e;
    struct audit_draft d = {.who = "ann", .from = "h1", .action = "mcp:Apply", .subject = subject};
    assert_int_equal(audit_note(w->a[i], &d, &e), 0);
    assert_int_equal(strlen(d.id), 16);
}

static void on_read(void *ctx, const json_t *log, const struct err *e)
{
    struct world *w = ctx;
    assert_null(e);
    json_decref(w->log);
    w->log = json_deep_copy(log);
}

static size_t check_chain(struct world *w, int64_t *ret_first)
{
    struct err e;
    char last[DIGEST_SIZE];
    audit_read(w->a[0], 0, on_read, w);
    turn(w);
    turn(w);
    const json_t *head = json_object_get(w->log, "head"),
                 *entries = json_object_get(w->log, "entries");
    *ret_first = json_opt_int(head, "first_seq", 0);
    if (audit_verify(entries, *ret_first, json_opt_str(head, "first_previous", ""), last, &e) < 0)
        fail_msg("%s", e.message);
    assert_string_equal(last, json_opt_str(head, "hash", ""));
    return json_array_size(entries);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    uv_loop_init(&w->loop);
    w->kv = kv_mem_new();
    str_copy(w->dir, sizeof w->dir, "/tmp/mcp-audit-XXXXXX");
    if (!mkdtemp(w->dir))
        return -1;
    for (int i = 0; i < 2; i++)
        w->journal[i] = xasprintf("%s/%d.jsonl", w->dir, i);
    *state = w;
    return 0;
}

static void close_one(struct world *w, int i)
{
    audit_free(w->a[i]);
    w->a[i] = NULL;
    for (int k = 0; k < 10; k++)
        turn(w);
}

static int teardown(void **state)
{
    struct world *w = *state;
    struct err e;
    close_one(w, 0);
    close_one(w, 1);
    kv_close(w->kv); /* a store in memory is gone at once */
    uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(file_remove_tree(w->dir, &e), 0);
    json_decref(w->log);
    free(w->journal[0]);
    free(w->journal[1]);
    free(w);
    return 0;
}

static void two_hosts_make_one_chain(void **state)
{
    struct world *w = *state;
    int64_t first;
    open_one(w, 0, 0);
    open_one(w, 1, 0);
    for (int i = 0; i < 40; i++)
        note(w, i % 2, "한국");
    run_until_chained(w);
    assert_int_equal(check_chain(w, &first), 40);
    assert_int_equal(first, 1);
    assert_int_equal(w->chained, 40);
}

static void entries_outlive_a_silent_store_and_a_killed_control(void **state)
{
    struct world *w = *state;
    int64_t first;
    struct err e;
    open_one(w, 0, 0);
    kv_mem_set_down(w->kv, true);
    note(w, 0, "one");
    note(w, 0, "two");
    turn(w);
    close_one(w, 0);
    _cleanup_str_ struct str torn = STR_INIT; /* the crash tore a third entry off */
    assert_int_equal(file_read(w->journal[0], 65536, &torn, &e), 0);
    str_add(&torn, "{\"id\": \"00");
    assert_int_equal(file_write(w->journal[0], torn.buf, torn.len, 0600, &e), 0);
    kv_mem_set_down(w->kv, false);
    open_one(w, 0, 0);
    assert_int_equal(audit_pending(w->a[0]), 2);
    run_until_chained(w);
    assert_int_equal(check_chain(w, &first), 2);
}

/* The transaction went through, the journal was not emptied: a kill in between. */
static void no_entry_comes_twice(void **state)
{
    struct world *w = *state;
    struct err e;
    int64_t first;
    _cleanup_str_ struct str kept = STR_INIT;
    open_one(w, 0, 0);
    note(w, 0, "one");
    assert_int_equal(file_read(w->journal[0], 65536, &kept, &e), 0);
    run_until_chained(w);
    close_one(w, 0);
    assert_int_equal(file_write(w->journal[0], kept.buf, kept.len, 0600, &e), 0);
    open_one(w, 0, 0);
    assert_int_equal(audit_pending(w->a[0]), 1);
    run_until_chained(w);
    assert_int_equal(check_chain(w, &first), 1);
}

static void the_oldest_go_and_the_chain_still_holds(void **state)
{
    struct world *w = *state;
    int64_t first;
    open_one(w, 0, 10);
    for (int i = 0; i < 60; i++) {
        note(w, 0, "x");
        run_until_chained(w);
    }
    assert_int_equal(check_chain(w, &first), 10);
    assert_int_equal(first, 51);
}

/* Files may grow by `bytes` more; -1: as they like. */
static void limit_files(long bytes)
{
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = bytes < 0 ? l.rlim_max : (rlim_t)bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

/* The disk is full in the middle of an entry: no act, and the entries around it stay whole. */
static void a_disk_that_refuses_stops_the_act(void **state)
{
    struct world *w = *state;
    struct err e;
    struct audit_draft d = {.who = "ann", .action = "mcp:Apply", .subject = "two"};
    struct stat before, after;
    open_one(w, 0, 0);
    kv_mem_set_down(w->kv, true);
    note(w, 0, "one");
    assert_int_equal(stat(w->journal[0], &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit_files((long)before.st_size + 10);
    int r = audit_note(w->a[0], &d, &e);
    limit_files(-1);
    assert_true(r < 0);
    assert_non_null(strstr(e.message, "nothing is done"));
    assert_int_equal(audit_pending(w->a[0]), 1);
    assert_int_equal(stat(w->journal[0], &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    note(w, 0, "three");
    close_one(w, 0);
    kv_mem_set_down(w->kv, false);
    open_one(w, 0, 0);
    assert_int_equal(audit_pending(w->a[0]), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_hosts_make_one_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(
            entries_outlive_a_silent_store_and_a_killed_control, setup, teardown),
        cmocka_unit_test_setup_teardown(no_entry_comes_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_go_and_the_chain_still_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_refuses_stops_the_act, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
