/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier: what was written is found after a restart, what was cut, damaged or purged is not, and a writer that
 * is killed at any moment leaves nothing that is wrong. */
#include "test.h"

#include "base/file/file.h"
#include "base/rnd/rnd.h"
#include "service/cache/disk.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[64];
static struct err e;

static struct http_text T(const char *s) {
    return (struct http_text){s, strlen(s)};
}

static int
fresh_dir(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/mcp-cache-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    return file_remove_tree(dir, &e);
}

static struct cache_disk *reopen(struct cache_disk *d, uint64_t limit)
{
    cache_disk_close(d);
    d = NULL;
    if (cache_disk_open(&(struct cache_disk_config){.dir = dir, .limit_bytes = limit}, &d, &e) < 0)
        fail_msg("%s", e.message);
    return d;
}

static int put(struct cache_disk *d, const char *key, const char *variant, const char *tags,
    const char *content, uint64_t began)
{
    struct cache_record r = {.meta = {.status = 200, .lifetime_s = 60},
        .key = T(key),
        .head = T("a: b\r\n"),
        .etag = T("\"1\""),
        .vary = T(*variant ? "x-a" : ""),
        .variant = T(variant),
        .tags = T(tags),
        .content = T(content)};
    return cache_disk_put(d, &r, began, &e);
}

/* Is it there with that content (NULL: not there)? */
static bool holds(struct cache_disk *d, const char *key, const char *x_a, const char *content)
{
    struct http_fields f = {0};
    struct cache_record r;
    _cleanup_str_ struct str buf = STR_INIT;
    if (x_a)
        f.v[f.n++] = (struct http_field){.name = T("X-A"), .value = T(x_a)};
    int found = cache_disk_get(d, T(key), &f, &r, &buf, &e);
    assert_true(found >= 0);
    if (!found || !content)
        return !found && !content;
    assert_true(http_text_is(r.head, "a: b\r\n") && http_text_is(r.etag, "\"1\"")
                && r.meta.lifetime_s == 60);
    return http_text_is(r.key, key) && http_text_is(r.content, content);
}

#define BIG (1u << 24)

static void kept(void **state)
{
    struct cache_disk *d = reopen(NULL, BIG);
    assert_true(holds(d, "a", NULL, NULL));
    assert_int_equal(put(d, "a", "", "", "one", cache_disk_now(d)), 1);
    assert_int_equal(put(d, "v", "x-a:1\n", "", "v1", cache_disk_now(d)), 1);
    assert_int_equal(put(d, "v", "x-a:2\n", "", "v2", cache_disk_now(d)), 1);
    assert_int_equal(put(d, "e", "", "", "", cache_disk_now(d)), 1);
    for (int round = 0; round < 3; round++) {
        assert_true(
            holds(d, "a", NULL, "one") && holds(d, "v", "1", "v1") && holds(d, "v", "2", "v2"));
        assert_true(
            holds(d, "v", "3", NULL) && holds(d, "e", NULL, "") && holds(d, "b", NULL, NULL));
        d = reopen(d, BIG);
    }
    assert_int_equal(put(d, "a", "", "", "two", cache_disk_now(d)), 1);
    assert_true(holds(d, "a", NULL, "two"));
    d = reopen(d, BIG);
    assert_true(holds(d, "a", NULL, "two"));
    cache_disk_close(d);
}

static void purged(void **state)
{
    struct cache_disk *d = reopen(NULL, BIG);
    struct cache_disk_figures fig;
    uint64_t began = cache_disk_now(d);
    for (int i = 0; i < 6; i++) {
        char key[8];
        snprintf(key, sizeof key, "h/%d", i);
        assert_int_equal(put(d, key, "", i == 1 ? "x\ny" : i == 2 ? "y" : "", key, began), 1);
    }
    assert_int_equal(put(d, "h/deep/1", "", "", "deep", began), 1);
    assert_int_equal(cache_disk_purge(d, CACHE_DISK_PURGE_KEY, T("h/0"), &e), 0);
    assert_int_equal(cache_disk_purge(d, CACHE_DISK_PURGE_TAG, T("y"), &e), 0);
    assert_int_equal(cache_disk_purge(d, CACHE_DISK_PURGE_PREFIX, T("h/deep/"), &e), 0);
    assert_int_equal(put(d, "h/0", "", "", "late", began), 0); /* was fetched before the purge */
    assert_int_equal(put(d, "h/9", "", "y", "late", began), 0);
    assert_int_equal(put(d, "h/2", "", "y", "new", cache_disk_now(d)), 1);
    for (int round = 0; round < 3; round++) {
        assert_true(holds(d, "h/0", NULL, NULL) && holds(d, "h/1", NULL, NULL)
                    && holds(d, "h/2", NULL, "new"));
        assert_true(holds(d, "h/deep/1", NULL, NULL) && holds(d, "h/3", NULL, "h/3")
                    && holds(d, "h/9", NULL, NULL));
        d = reopen(d, BIG);
    }
    for (int i = 0; i < 500;
         i++) { /* the last purge of a key counts, however many others there are */
        char key[8];
        snprintf(key, sizeof key, "k%d", i % 100);
        began = cache_disk_now(d);
        assert_int_equal(cache_disk_purge(d, CACHE_DISK_PURGE_KEY, T(key), &e), 0);
        assert_int_equal(put(d, key, "", "", "late", began), 0);
    }
    d = reopen(d, BIG);
    for (int i = 0; i < 100; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(put(d, key, "", "", "late", began), i == 99 ? 0 : 1);
    }
    began = cache_disk_now(d);
    assert_int_equal(cache_disk_purge(d, CACHE_DISK_PURGE_ALL, T("ignored"), &e), 0);
    cache_disk_figures(d, &fig);
    assert_true(fig.records == 0 && fig.bytes == 0 && fig.purges == 1 && fig.segments == 0);
    assert_int_equal(put(d, "h/3", "", "", "late", began), 0);
    assert_int_equal(put(d, "h/4", "", "", "new", cache_disk_now(d)), 1);
    d = reopen(d, BIG);
    assert_true(holds(d, "h/3", NULL, NULL) && holds(d, "h/4", NULL, "new"));
    cache_disk_close(d);
}

/* The only segment of the folder. */
static void segment(char path[128])
{
    for (unsigned id = 0; id < 16; id++) {
        snprintf(path, 128, "%s/segment-%016x", dir, id);
        if (file_exists(path))
            return;
    }
    fail();
}

/* Cut at every byte, and every byte changed: what is found is what was written, or nothing. */
static void torn(void **state)
{
    char path[128];
    struct cache_disk *d = reopen(NULL, BIG);
    _cleanup_str_ struct str good = STR_INIT;
    assert_int_equal(put(d, "first", "", "t", "content of the first", cache_disk_now(d)), 1);
    assert_int_equal(
        put(d, "second", "x-a:1\n", "", "content of the second", cache_disk_now(d)), 1);
    cache_disk_close(d);
    segment(path);
    assert_int_equal(file_read(path, BIG, &good, &e), 0);
    unsigned first = 0, second = 0;
    for (size_t at = 0; at < 2 * good.len; at++) {
        bool cut = at < good.len;
        size_t i = cut ? at : at - good.len;
        good.buf[i] ^= cut ? 0 : 0x20;
        assert_int_equal(file_write(path, good.buf, cut ? i : good.len, 0600, &e), 0);
        good.buf[i] ^= cut ? 0 : 0x20;
        d = reopen(NULL, BIG);
        bool a = holds(d, "first", NULL, "content of the first"),
             b = holds(d, "second", "1", "content of the second");
        assert_true(a || holds(d, "first", NULL, NULL));
        assert_true(b || holds(d, "second", "1", NULL));
        assert_false(cut && b);
        first += a;
        second += b;
        assert_int_equal(put(d, "third", "", "", "3", cache_disk_now(d)), 1); /* and it goes on */
        assert_true(holds(d, "third", NULL, "3"));
        cache_disk_close(d);
        assert_int_equal(file_remove_tree(dir, &e), 0);
        assert_int_equal(mkdir(dir, 0700), 0);
    }
    assert_true(first > good.len / 4 && second > 0);
}

static void bounded(void **state)
{
    static char content[5000];
    struct cache_disk_figures fig;
    struct cache_disk *d = reopen(NULL, 1 << 20);
    memset(content, 'x', sizeof content - 1);
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(put(d, key, "", "", content, cache_disk_now(d)), 1);
        cache_disk_figures(d, &fig);
        assert_true(fig.bytes <= 1 << 20);
    }
    assert_true(holds(d, "k999", NULL, content) && holds(d, "k0", NULL, NULL));
    assert_true(fig.records > 100 && fig.segments <= 17);
    d = reopen(d, 1 << 20);
    assert_true(holds(d, "k999", NULL, content) && holds(d, "k900", NULL, content));
    d = reopen(d, 1 << 18); /* less room than before */
    cache_disk_figures(d, &fig);
    assert_true(
        fig.bytes <= 1 << 18 && holds(d, "k999", NULL, content) && holds(d, "k900", NULL, NULL));
    cache_disk_close(d);
    d = NULL;
    struct cache_disk_config few = {
        .dir = dir, .limit_bytes = 1 << 20, .records_max = 20, .segment_bytes = 1 << 14};
    assert_int_equal(cache_disk_open(&few, &d, &e), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "f%d", i);
        assert_int_equal(put(d, key, "", "", "f", cache_disk_now(d)), 1);
    }
    cache_disk_figures(d, &fig);
    assert_in_range(fig.records, 1, 200); /* whole segments leave; the youngest stays */
    static char huge[20000];
    memset(huge, 'y', sizeof huge - 1);
    assert_int_equal(put(d, "huge", "", "", huge, cache_disk_now(d)), 0);
    cache_disk_close(d);
}

/* A writer that is killed. It says through a pipe what is done: a byte for a step, for a purge after it has returned. */
enum { KEYS = 16, STEP_PUT = 'p', STEP_PURGE = 'x' };
struct step {
    uint8_t what, key;
    uint32_t version;
};

static void content_of(unsigned key, uint32_t version, struct str *out)
{
    struct rnd r;
    str_clear(out);
    rnd_seed(&r, version * 64ull + key);
    size_t len = (size_t)rnd_below(&r, key % 4 == 0 ? 200000 : 3000);
    str_addf(out, "%u %u %zu:", key, version, len);
    while (len--)
        str_add_ch(out, (char)('a' + version % 26));
}

static _Noreturn void write_until_killed(int pipe_fd, uint64_t seed, uint32_t version)
{
    struct cache_disk *d = NULL;
    struct rnd rnd;
    struct str content = STR_INIT;
    rnd_seed(&rnd, seed);
    if (cache_disk_open(&(struct cache_disk_config){.dir = dir, .limit_bytes = 4 << 20}, &d, &e)
        < 0)
        _exit(1);
    for (;;) {
        struct step s = {STEP_PUT, (uint8_t)rnd_below(&rnd, KEYS), ++version};
        char key[8];
        snprintf(key, sizeof key, "k%u", s.key);
        if (rnd_below(&rnd, 10) == 0) {
            s.what = STEP_PURGE;
            if (cache_disk_purge(d, CACHE_DISK_PURGE_KEY, T(key), &e) < 0)
                _exit(1);
        } else {
            content_of(s.key, version, &content);
            if (put(d, key, "", "t", content.buf, cache_disk_now(d)) < 0)
                _exit(1);
        }
        if (write(pipe_fd, &s, sizeof s) != (ssize_t)sizeof s)
            _exit(1);
    }
}

static void check_after_kill(const uint32_t purged_at[KEYS], unsigned *found)
{
    struct cache_disk *d = reopen(NULL, 4 << 20);
    _cleanup_str_ struct str buf = STR_INIT, expect = STR_INIT;
    for (unsigned k = 0; k < KEYS; k++) {
        struct http_fields none = {0};
        struct cache_record r;
        char key[8];
        unsigned is_key, version;
        snprintf(key, sizeof key, "k%u", k);
        int got = cache_disk_get(d, T(key), &none, &r, &buf, &e);
        assert_true(got >= 0);
        if (!got)
            continue;
        char start[64] = "";
        memcpy(start, r.content.p, MIN(r.content.len, sizeof start - 1));
        assert_int_equal(sscanf(start, "%u %u", &is_key, &version), 2);
        content_of(k, version, &expect);
        assert_true(
            is_key == k && fields_same(r.content, (struct http_text){expect.buf, expect.len}));
        assert_true(version > purged_at[k]); /* what was purged does not come back */
        ++*found;
    }
    cache_disk_close(d);
}

static void killed(void **state)
{
    uint32_t version = 0, purged_at[KEYS] = {0};
    unsigned found = 0;
    struct rnd rnd;
    rnd_seed(&rnd, 1);
    for (unsigned round = 0; round < 100; round++) {
        int fds[2];
        struct step s;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0)
            write_until_killed(fds[1], round + 1, version);
        close(fds[1]);
        /* Not at the end of a step: the writer is somewhere in the next one, or further. */
        for (uint64_t steps = 1 + rnd_below(&rnd, 60); steps; steps--) {
            assert_int_equal(read(fds[0], &s, sizeof s), sizeof s);
            version = s.version;
            if (s.what == STEP_PURGE)
                purged_at[s.key] = s.version;
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        while (read(fds[0], &s, sizeof s) == sizeof s) {
            version = s.version;
            if (s.what == STEP_PURGE)
                purged_at[s.key] = s.version;
        }
        close(fds[0]);
        version++; /* the step that was under way used one */
        check_after_kill(purged_at, &found);
    }
    assert_true(found > 300); /* it is warm after the restarts */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kept, fresh_dir, remove_dir),
        cmocka_unit_test_setup_teardown(purged, fresh_dir, remove_dir),
        cmocka_unit_test_setup_teardown(torn, fresh_dir, remove_dir),
        cmocka_unit_test_setup_teardown(bounded, fresh_dir, remove_dir),
        cmocka_unit_test_setup_teardown(killed, fresh_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
