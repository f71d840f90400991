/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "service/timeline/timeline.h"

#include "base/file/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

struct fixture {
    char dir[64];
    uv_loop_t loop;
    struct timeline *t;
};

static void open_it(struct fixture *f, size_t segment_bytes)
{
    struct err e = {0};
    const struct timeline_options o = {.loop = &f->loop,
        .dir = f->dir,
        .host = "hk1",
        .region = "ap-hongkong",
        .segment_bytes = segment_bytes};
    if (timeline_open(&o, &f->t, &e) < 0)
        fail_msg("%s", e.message);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    str_copy(f->dir, sizeof f->dir, "/tmp/mcp-timeline-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    uv_loop_init(&f->loop);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    timeline_close(f->t);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    int r = file_remove_tree(f->dir, NULL);
    free(f);
    return r;
}

static void append(struct fixture *f, const char *kind, const char *message)
{
    struct timeline_draft d;
    struct err e = {0};
    timeline_draft_set(&d, kind, "api-1", message, "why");
    if (timeline_append(f->t, &d, &e) < 0)
        fail_msg("%s", e.message);
}

static void append_many(struct fixture *f, unsigned n)
{
    char text[32];
    for (unsigned i = 0; i < n; i++) {
        snprintf(
            text, sizeof text, "message %llu", (unsigned long long)timeline_last_seq(f->t) + 1);
        append(f, i % 2 ? "unit" : "health", text);
    }
}

static const struct timeline_filter all = {.since_wall_ms = INT64_MIN};

/* Reads and checks that the numbers are first .. last without a gap. */
static void expect_range(struct fixture *f, size_t limit, uint64_t first, uint64_t last)
{
    struct timeline_entry *v;
    struct err e = {0};
    size_t n;
    assert_int_equal(timeline_read(f->dir, &all, limit, &v, &n, &e), 0);
    assert_int_equal(n, last + 1 - first);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(v[i].seq, first + i);
    free(v);
}

static char *newest_segment(struct fixture *f)
{
    char best[300] = "";
    DIR *d = opendir(f->dir);
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, best) > 0 && e->d_name[0] != '.')
            str_copy(best, sizeof best, e->d_name);
    closedir(d);
    return xasprintf("%s/%s", f->dir, best);
}

static unsigned count_segments(struct fixture *f)
{
    unsigned n = 0;
    DIR *d = opendir(f->dir);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void test_entries_survive_a_restart(void **state)
{
    struct fixture *f = *state;
    open_it(f, 0);
    append_many(f, 5);
    expect_range(f, 100, 1, 5);
    expect_range(f, 2, 4, 5);
    timeline_close(f->t);
    open_it(f, 0);
    assert_int_equal(timeline_last_seq(f->t), 5);
    append_many(f, 1);
    expect_range(f, 100, 1, 6);
}

static void test_old_segments_go(void **state)
{
    struct fixture *f = *state;
    open_it(f, 2000);
    append_many(f, 200);
    assert_int_equal(count_segments(f), TIMELINE_SEGMENTS);
    struct timeline_entry *v;
    struct err e = {0};
    size_t n;
    assert_int_equal(timeline_read(f->dir, &all, 1000, &v, &n, &e), 0);
    assert_in_range(n, 20, 60);
    assert_int_equal(v[n - 1].seq, 200);
    free(v);
    timeline_close(f->t);
    open_it(f, 2000);
    assert_int_equal(timeline_last_seq(f->t), 200);
}

static void test_a_torn_tail_is_cut(void **state)
{
    static const char *const tails[] = {
        "{\"seq\":", "\0\0\0\0", "x\n", "{}\n{\"seq\":7,", "\n\n\n"};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(tails); i++) {
        open_it(f, 0);
        append_many(f, 3);
        uint64_t last = timeline_last_seq(f->t);
        timeline_close(f->t);
        f->t = NULL;
        _cleanup_free_ char *path = newest_segment(f);
        int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        size_t len = i == 1 ? 4 : strlen(tails[i]);
        assert_int_equal(write(fd, tails[i], len), len);
        close(fd);
        open_it(f, 0);
        assert_int_equal(timeline_last_seq(f->t), last);
        append_many(f, 1);
        expect_range(f, 1000, 1, last + 1);
        timeline_close(f->t);
        f->t = NULL;
    }
}

static void test_garbage_in_the_middle_loses_only_itself(void **state)
{
    struct fixture *f = *state;
    open_it(f, 0);
    append_many(f, 3);
    timeline_close(f->t);
    _cleanup_free_ char *path = newest_segment(f);
    _cleanup_str_ struct str text = STR_INIT;
    assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
    char *second = strchr(text.buf, '\n') + 1;
    memset(second, 0,
        (size_t)(strchr(second, '\n') - second)); /* what a power loss leaves of a block */
    assert_int_equal(file_write(path, text.buf, text.len, 0640, NULL), 0);
    open_it(f, 0);
    struct timeline_entry *v;
    struct err e = {0};
    size_t n;
    assert_int_equal(timeline_read(f->dir, &all, 10, &v, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(v[0].seq, 1);
    assert_int_equal(v[1].seq, 3);
    free(v);
}

static void test_filters_reach_back(void **state)
{
    struct fixture *f = *state;
    struct timeline_entry *v;
    struct err e = {0};
    size_t n;
    open_it(f, 2000);
    append_many(f, 30);
    struct timeline_filter health = all;
    health.kind = "health";
    assert_int_equal(timeline_read(f->dir, &health, 12, &v, &n, &e), 0);
    assert_int_equal(n, 12);
    assert_int_equal(v[0].seq, 7);
    free(v);
    struct timeline_filter after = all;
    after.after_seq = 25;
    assert_int_equal(timeline_read(f->dir, &after, 100, &v, &n, &e), 0);
    assert_int_equal(n, 5);
    free(v);
}

/* The kernel refuses to let the file grow: as a full disk would. */
static void test_a_full_disk_is_survived_and_told(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, small;
    struct timeline_draft d;
    struct err e = {0};
    struct stat st;
    open_it(f, 0);
    append_many(f, 3);
    _cleanup_free_ char *path = newest_segment(f);
    assert_int_equal(stat(path, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){(rlim_t)st.st_size + 20, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    timeline_draft_set(&d, "unit", "x", "lost", NULL);
    int r = timeline_append(f->t, &d, &e), again = timeline_append(f->t, &d, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(r, ERR_SYSTEM);
    assert_int_equal(again, ERR_SYSTEM);
    append(f, "unit", "fits again");
    struct timeline_entry *v;
    size_t n;
    assert_int_equal(timeline_read(f->dir, &all, 10, &v, &n, &e), 0);
    assert_int_equal(n, 5);
    assert_string_equal(v[3].draft.message, "2 entries were lost");
    assert_string_equal(v[4].draft.message, "fits again");
    free(v);
}

struct reader {
    uint64_t seqs[64];
    size_t n, stop_at;
    bool done;
    int code;
};

static int on_entry(void *ctx, const struct timeline_entry *t)
{
    struct reader *r = ctx;
    r->seqs[r->n++] = t->seq;
    return r->n == r->stop_at ? ERR_CANCELED : 0;
}

static void on_done(void *ctx, const struct err *e)
{
    struct reader *r = ctx;
    r->done = true;
    r->code = e ? e->code : 0;
}

static const struct timeline_tail_handler handler = {on_entry, on_done};

static void test_a_tail_has_no_gap(void **state)
{
    struct fixture *f = *state;
    struct reader r = {0}, once = {0};
    open_it(f, 2000);
    append_many(f, 20);
    struct timeline_tail *tail = timeline_tail_start(f->t, &all, 5, true, &handler, &r);
    timeline_tail_start(f->t, &all, 3, false, &handler, &once);
    append_many(f, 10); /* while the old ones are read */
    while (r.n < 15)
        uv_run(&f->loop, UV_RUN_ONCE);
    append_many(f, 10);
    assert_int_equal(r.n, 25);
    for (size_t i = 0; i < r.n; i++)
        assert_int_equal(r.seqs[i], 16 + i);
    while (!once.done)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(once.n, 3);
    assert_int_equal(once.code, 0);
    assert_int_equal(once.seqs[2], 20); /* of when it was asked */
    assert_false(r.done);
    timeline_tail_end(tail);
    append_many(f, 1);
    assert_int_equal(r.n, 25);
}

static void test_tails_end_in_every_way(void **state)
{
    struct fixture *f = *state;
    struct reader stops = {.stop_at = 2}, closed = {0}, ended = {0};
    open_it(f, 0);
    append_many(f, 5);
    timeline_tail_start(f->t, &all, 5, true, &handler, &stops);
    timeline_tail_start(f->t, &all, 5, true, &handler, &closed);
    timeline_tail_end(
        timeline_tail_start(f->t, &all, 5, true, &handler, &ended)); /* while its worker runs */
    while (!stops.done || closed.n < 5)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(stops.n, 2);
    timeline_close(f->t);
    f->t = NULL;
    assert_true(closed.done);
    assert_int_equal(closed.code, ERR_CANCELED);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(ended.n, 0);
    assert_false(ended.done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entries_survive_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_segments_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_torn_tail_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_garbage_in_the_middle_loses_only_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(test_filters_reach_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk_is_survived_and_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_tail_has_no_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tails_end_in_every_way, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
