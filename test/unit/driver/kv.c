/* SPDX-License-Identifier: Apache-2.0 */
/* One conformance suite against every store: memory, SQLite, and a real etcd that the test starts
 * on ephemeral ports. Each test gets a fresh key prefix. */
#include "test.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rnd/rnd.h"
#include "base/str/str.h"
#include "driver/kv/kv.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PATIENCE_MS 15000u

struct store {
    const char *name;
    uv_loop_t loop;
    struct kv *kv;
    bool is_mem;
    uint64_t mem_now;
    char dir[64];
    pid_t etcd;
    char client_url[64], peer_url[64]; /* of etcd */
    char prefix[64];
};

struct seen { /* what the last callbacks told */
    int calls;
    bool succeeded;
    int64_t number;
    int code;
    struct str text; /* "key=value key=value" */
    struct kv_status status;
};

static void pump(struct store *s, const int *calls, int wanted)
{
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    while (*calls < wanted && clock_boot_ms() < end) {
        if (s->is_mem)
            kv_mem_run(s->kv, s->mem_now += 1);
        else
            uv_run(&s->loop, UV_RUN_ONCE);
    }
    assert_true(*calls >= wanted);
}

static void on_range(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct seen *seen = ctx;
    seen->calls++;
    seen->code = e ? e->code : 0;
    seen->number = n ? pairs[n - 1].mod_revision : 0;
    str_clear(&seen->text);
    for (size_t i = 0; i < n; i++)
        str_addf(
            &seen->text, "%s%s=%s", i ? " " : "", strrchr(pairs[i].key, '/') + 1, pairs[i].value);
}

static void on_txn(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct seen *seen = ctx;
    seen->calls++;
    seen->succeeded = succeeded;
    seen->number = revision;
    seen->code = e ? e->code : 0;
}

static void on_number(void *ctx, int64_t number, const struct err *e)
{
    struct seen *seen = ctx;
    seen->calls++;
    seen->number = number;
    seen->code = e ? e->code : 0;
}

static void on_status(void *ctx, const struct kv_status *status, const struct err *e)
{
    struct seen *seen = ctx;
    seen->calls++;
    seen->status = *status;
    seen->code = e ? e->code : 0;
}

static void on_watch(void *ctx, const struct kv_event *events, size_t n, const struct err *e)
{
    struct seen *seen = ctx;
    seen->code = e ? e->code : 0;
    for (size_t i = 0; i < n; i++) {
        str_addf(&seen->text, "%s%s", seen->text.len ? " " : "", strrchr(events[i].key, '/') + 1);
        str_addf(
            &seen->text, events[i].value ? "=%s" : "-", events[i].value ? events[i].value : "");
        seen->calls++;
    }
    if (e)
        seen->calls++;
}

static void key_of(const struct store *s, const char *name, char out[128])
{
    snprintf(out, 128, "%s%s", s->prefix, name);
}

static int64_t mod_of(struct store *s, const char *name)
{
    struct seen seen = {0};
    char key[128];
    key_of(s, name, key);
    kv_get(s->kv, key, on_range, &seen);
    pump(s, &seen.calls, 1);
    str_done(&seen.text);
    return seen.number;
}

/* Writes name=value when mod_revision holds (-1: whatever it is). */
static struct seen put(
    struct store *s, const char *name, const char *value, int64_t mod_revision, int64_t lease)
{
    struct seen seen = {0};
    char key[128];
    key_of(s, name, key);
    struct kv_compare cmp = {key, mod_revision};
    struct kv_op op = {key, value, lease};
    kv_txn(s->kv, &cmp, mod_revision >= 0, &op, 1, on_txn, &seen);
    assert_int_equal(seen.calls, 0); /* never from inside the call */
    pump(s, &seen.calls, 1);
    return seen;
}

static void assert_list(struct store *s, const char *expected)
{
    struct seen seen = {0};
    kv_list(s->kv, s->prefix, on_range, &seen);
    pump(s, &seen.calls, 1);
    assert_int_equal(seen.code, 0);
    assert_string_equal(str_cstr(&seen.text), expected);
    str_done(&seen.text);
}

static void test_txn_is_all_or_nothing(void **state)
{
    struct store *s = *state;
    assert_true(put(s, "a", "1", 0, 0).succeeded);
    assert_false(put(s, "a", "2", 0, 0).succeeded);
    char a[128], b[128], c[128];
    key_of(s, "a", a), key_of(s, "b", b), key_of(s, "c", c);
    struct kv_compare stale[] = {{a, mod_of(s, "a")}, {b, 12345}};
    struct kv_op ops[] = {{a, "x", 0}, {b, "y", 0}, {c, "z", 0}};
    struct seen seen = {0};
    kv_txn(s->kv, stale, 2, ops, 3, on_txn, &seen);
    pump(s, &seen.calls, 1);
    assert_false(seen.succeeded);
    assert_list(s, "a=1");
    stale[1].mod_revision = 0;
    kv_txn(s->kv, stale, 2, ops, 3, on_txn, &seen);
    pump(s, &seen.calls, 2);
    assert_true(seen.succeeded);
    assert_list(s, "a=x b=y c=z");
    assert_true(put(s, "b", NULL, -1, 0).succeeded);
    assert_list(s, "a=x c=z");
}

static struct seen put_sure(
    struct store *s, const char *name, const char *value, int64_t mod_revision)
{
    struct seen seen = {0};
    char key[128];
    key_of(s, name, key);
    struct kv_compare cmp = {key, mod_revision};
    struct kv_op op = {key, value, 0};
    kv_txn_sure(s->kv, &cmp, 1, &op, 1, on_txn, &seen);
    assert_int_equal(seen.calls, 0);
    pump(s, &seen.calls, 1);
    return seen;
}

static void test_sure_is_a_transaction(void **state)
{
    struct store *s = *state;
    assert_true(put_sure(s, "a", "1", 0).succeeded);
    struct seen seen = put_sure(s, "a", "1", 0); /* not by this one */
    assert_false(seen.succeeded);
    assert_int_equal(seen.code, 0);
    assert_true(put_sure(s, "a", "2", mod_of(s, "a")).succeeded);
    assert_list(s, "a=2");
    assert_true(put_sure(s, "a", NULL, mod_of(s, "a")).succeeded);
    assert_list(s, "");
}

/* The write is there, and whoever wrote it was told that nobody knows. */
static void test_own_write_is_known_again(void **state)
{
    struct store *s = *state;
    kv_local_lose_answers(s->kv, 1);
    assert_int_equal(put(s, "plain", "x", 0, 0).code, ERR_UNAVAILABLE);
    kv_local_lose_answers(s->kv, 1);
    assert_true(put_sure(s, "a", "mine", 0).succeeded);
    kv_local_lose_answers(s->kv, 4);
    assert_true(put_sure(s, "a", "mine too", mod_of(s, "a")).succeeded);
    kv_local_lose_answers(s->kv, 1);
    assert_true(put_sure(s, "a", NULL, mod_of(s, "a")).succeeded);
    assert_list(s, "plain=x");
    kv_local_lose_answers(s->kv, 1);
    struct seen seen = put_sure(s, "plain", "y", 0); /* another was there */
    assert_false(seen.succeeded);
    assert_int_equal(seen.code, 0);
    kv_local_lose_answers(s->kv, 100); /* nobody can know */
    assert_int_equal(put_sure(s, "b", "z", 0).code, ERR_UNAVAILABLE);
    kv_local_lose_answers(s->kv, 0);
}

static void test_revisions_grow(void **state)
{
    struct store *s = *state;
    int64_t last = 0;
    for (int i = 0; i < 5; i++) {
        struct seen seen = put(s, "k", i % 2 ? "odd" : "even", -1, 0);
        assert_true(seen.number > last);
        last = seen.number;
        assert_int_equal(mod_of(s, "k"), last);
    }
}

static void test_values_keep_their_bytes(void **state)
{
    struct store *s = *state;
    const char *text = "주문 \"order\" \\ \n\t% é";
    assert_true(put(s, "utf8", text, 0, 0).succeeded);
    struct seen seen = {0};
    char key[128];
    key_of(s, "utf8", key);
    kv_get(s->kv, key, on_range, &seen);
    pump(s, &seen.calls, 1);
    assert_string_equal(seen.text.buf + strlen("utf8="), text);
    str_done(&seen.text);
}

static void test_limits_are_errors(void **state)
{
    struct store *s = *state;
    char *large = xmalloc(KV_VALUE_MAX + 2);
    memset(large, 'x', KV_VALUE_MAX + 1);
    large[KV_VALUE_MAX + 1] = '\0';
    assert_int_equal(put(s, "large", large, 0, 0).code, ERR_LIMIT);
    large[KV_VALUE_MAX] = '\0';
    assert_true(put(s, "large", large, 0, 0).succeeded);
    free(large);
    assert_int_equal(put(s, "", "x", 0, 0).code, 0); /* the bare prefix is a key */
}

static void test_prefix_ends_where_it_should(void **state)
{
    struct store *s = *state;
    put(s, "p/1", "a", 0, 0);
    put(s, "p0", "b", 0, 0); /* '0' follows '/' */
    struct seen seen = {0};
    char key[128];
    key_of(s, "p/", key);
    kv_list(s->kv, key, on_range, &seen);
    pump(s, &seen.calls, 1);
    assert_string_equal(str_cstr(&seen.text), "1=a");
    str_done(&seen.text);
}

static void test_watch_sees_each_change_once(void **state)
{
    struct store *s = *state;
    int64_t from = put(s, "before", "0", 0, 0).number;
    struct seen seen = {0};
    struct kv_watch *w = kv_watch(s->kv, s->prefix, from + 1, on_watch, &seen);
    put(s, "w1", "a", 0, 0);
    put(s, "w2", "b", 0, 0);
    put(s, "w1", NULL, -1, 0);
    pump(s, &seen.calls, 3);
    assert_string_equal(str_cstr(&seen.text), "w1=a w2=b w1-");
    kv_unwatch(s->kv, w);
    put(s, "w3", "c", 0, 0);
    assert_int_equal(seen.calls, 3);
    /* History: a watch from an earlier revision replays what happened since. */
    struct seen again = {0};
    w = kv_watch(s->kv, s->prefix, from, on_watch, &again);
    pump(s, &again.calls, 5);
    assert_string_equal(str_cstr(&again.text), "before=0 w1=a w2=b w1- w3=c");
    kv_unwatch(s->kv, w);
    str_done(&seen.text);
    str_done(&again.text);
}

struct nested {
    struct store *s;
    struct seen watch, get;
    struct kv_watch *w;
};

static void watch_then_get(void *ctx, const struct kv_event *events, size_t n, const struct err *e)
{
    struct nested *x = ctx;
    on_watch(&x->watch, events, n, e);
    kv_get(x->s->kv, events[0].key, on_range, &x->get);
    kv_unwatch(x->s->kv, x->w);
}

static void test_calls_from_a_watch_callback(void **state)
{
    struct nested x = {.s = *state};
    x.w = kv_watch(x.s->kv, x.s->prefix, put(x.s, "n0", "0", 0, 0).number + 1, watch_then_get, &x);
    put(x.s, "n", "v", 0, 0);
    pump(x.s, &x.get.calls, 1);
    assert_string_equal(str_cstr(&x.get.text), "n=v");
    str_done(&x.watch.text);
    str_done(&x.get.text);
}

static void test_compacted_watch_says_so(void **state)
{
    struct store *s = *state;
    int64_t old = put(s, "c1", "a", 0, 0).number;
    int64_t kept = put(s, "c1", "b", -1, 0).number;
    put(s, "c1", "c", -1, 0);
    struct seen done = {0};
    kv_maintain(s->kv, kept, on_status, &done);
    pump(s, &done.calls, 1);
    assert_int_equal(done.code, 0);
    assert_true(done.status.size_bytes > 0);
    struct seen seen = {0};
    kv_watch(s->kv, s->prefix, old - 1, on_watch, &seen);
    pump(s, &seen.calls, 1);
    assert_int_equal(seen.code, ERR_CONFLICT);
    assert_list(s, "c1=c");
    str_done(&seen.text);
}

static void test_lease_takes_its_keys_along(void **state)
{
    struct store *s = *state;
    struct seen seen = {0};
    kv_lease_grant(s->kv, 60000, on_number, &seen);
    pump(s, &seen.calls, 1);
    int64_t lease = seen.number;
    assert_true(lease != 0);
    assert_true(put(s, "leased", "x", 0, lease).succeeded);
    kv_lease_keep(s->kv, lease, on_number, &seen);
    pump(s, &seen.calls, 2);
    assert_int_equal(seen.code, 0);
    kv_lease_revoke(s->kv, lease, on_number, &seen);
    pump(s, &seen.calls, 3);
    assert_list(s, "");
    kv_lease_keep(s->kv, lease, on_number, &seen);
    pump(s, &seen.calls, 4);
    assert_int_equal(seen.code, ERR_NOT_FOUND);
    assert_true(put(s, "late", "x", 0, lease).code < 0);
}

static void test_epochs_only_grow(void **state)
{
    struct store *s = *state;
    char key[128];
    key_of(s, "epoch", key);
    struct seen seen[8] = {0};
    for (int i = 0; i < 8; i++) /* all at once: each must get its own number */
        kv_epoch_raise(s->kv, key, on_number, &seen[i]);
    unsigned got = 0;
    for (int i = 0; i < 8; i++) {
        pump(s, &seen[i].calls, 1);
        assert_int_equal(seen[i].code, 0);
        assert_in_range(seen[i].number, 1, 8);
        got |= 1u << seen[i].number;
    }
    assert_int_equal(got, 0x1fe);
    put(s, "epoch", "not a number", -1, 0);
    struct seen bad = {0};
    kv_epoch_raise(s->kv, key, on_number, &bad);
    pump(s, &bad.calls, 1);
    assert_int_equal(bad.code, ERR_INVALID);
}

static void test_status(void **state)
{
    struct store *s = *state;
    struct seen seen = {0};
    kv_status(s->kv, on_status, &seen);
    pump(s, &seen.calls, 1);
    assert_int_equal(seen.code, 0);
    assert_true(seen.status.has_leader);
    assert_false(seen.status.quota_alarm);
}

/* ---- the stores */

static int fresh_prefix(void **state)
{
    struct store *s = *state;
    static int n;
    snprintf(s->prefix, sizeof s->prefix, "/mcp/t%d/", n++);
    return 0;
}

static int mem_open(void **state)
{
    struct store *s = xcalloc(1, sizeof *s);
    s->is_mem = true;
    s->kv = kv_mem_new();
    *state = s;
    return 0;
}

static void make_dir(struct store *s)
{
    str_copy(s->dir, sizeof s->dir, "/tmp/mcp-kv-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
}

static int sqlite_open(void **state)
{
    struct store *s = xcalloc(1, sizeof *s);
    uv_loop_init(&s->loop);
    make_dir(s);
    char path[128];
    snprintf(path, sizeof path, "%s/state.sqlite", s->dir);
    assert_int_equal(kv_sqlite_open(&s->loop, path, &s->kv, NULL), 0);
    *state = s;
    return 0;
}

static uint16_t free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    getsockname(fd, (struct sockaddr *)&in, &len);
    close(fd);
    return ntohs(in.sin_port);
}

static void exec_etcd(const char *dir, const char *client, const char *peer)
{
    char data[96], cluster[96], log[96];
    snprintf(data, sizeof data, "%s/etcd", dir);
    snprintf(log, sizeof log, "%s/etcd.log", dir);
    snprintf(cluster, sizeof cluster, "t=%s", peer);
    int fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    execlp("etcd", "etcd", "--name=t", "--data-dir", data, "--listen-client-urls", client,
        "--advertise-client-urls", client, "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, "--unsafe-no-fsync",
        "--quota-backend-bytes=16777216", NULL);
    _exit(127);
}

static void start_etcd(struct store *s)
{
    s->etcd = fork();
    if (s->etcd == 0)
        exec_etcd(s->dir, s->client_url, s->peer_url);
}

static void stop_etcd(struct store *s)
{
    kill(s->etcd, SIGKILL);
    waitpid(s->etcd, NULL, 0);
}

static int etcd_open(void **state)
{
    struct store *s = xcalloc(1, sizeof *s);
    uv_loop_init(&s->loop);
    make_dir(s);
    snprintf(s->client_url, sizeof s->client_url, "http://127.0.0.1:%u", free_port());
    snprintf(s->peer_url, sizeof s->peer_url, "http://127.0.0.1:%u", free_port());
    start_etcd(s);
    /* The first endpoint never answers: every call must find the second. */
    char dead[64];
    snprintf(dead, sizeof dead, "http://127.0.0.1:%u", free_port());
    const char *endpoints[] = {dead, s->client_url};
    struct kv_etcd_config config = {.endpoints = endpoints, .n_endpoints = 2};
    assert_int_equal(kv_etcd_open(&s->loop, &config, &s->kv, NULL), 0);
    uint64_t end = clock_boot_ms() + PATIENCE_MS;
    struct seen seen;
    do {
        seen = (struct seen){0};
        kv_status(s->kv, on_status, &seen);
        pump(s, &seen.calls, 1);
    } while ((seen.code || !seen.status.has_leader) && clock_boot_ms() < end);
    *state = s;
    return seen.code;
}

static int store_close(void **state)
{
    struct store *s = *state;
    kv_close(s->kv);
    if (!s->is_mem) {
        uv_run(&s->loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&s->loop), 0);
    }
    if (s->etcd > 0)
        stop_etcd(s);
    if (*s->dir)
        assert_int_equal(file_remove_tree(s->dir, NULL), 0);
    free(s);
    return 0;
}

static void test_sqlite_survives_reopening(void **state)
{
    struct store *s = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/state.sqlite", s->dir);
    int64_t revision = put(s, "kept", "v", 0, 0).number;
    kv_close(s->kv);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(kv_sqlite_open(&s->loop, path, &s->kv, NULL), 0);
    assert_list(s, "kept=v");
    assert_true(put(s, "next", "v", 0, 0).number > revision);
}

static void test_mem_lease_ends_by_its_clock(void **state)
{
    struct store *s = *state;
    struct seen seen = {0};
    kv_lease_grant(s->kv, 5000, on_number, &seen);
    pump(s, &seen.calls, 1);
    put(s, "l", "v", 0, seen.number);
    s->mem_now += 4000;
    assert_list(s, "l=v");
    s->mem_now += 2000;
    kv_mem_run(s->kv, s->mem_now);
    assert_list(s, "");
}

/* While nobody answers for a moment a call waits, and no caller has to try again. */
static void test_a_call_outlives_an_election(void **state)
{
    struct store *s = *state;
    struct seen read = {0}, written = {0};
    char key[128];
    key_of(s, "e", key);
    put(s, "e", "1", 0, 0);
    stop_etcd(s);
    struct kv_compare cmp = {key, 0};
    struct kv_op op = {key, "2", 0};
    kv_get(s->kv, key, on_range, &read);
    kv_txn(s->kv, &cmp, 1, &op, 1, on_txn, &written);
    uint64_t end = clock_boot_ms() + 500; /* more than one round */
    while (clock_boot_ms() < end)
        uv_run(&s->loop, UV_RUN_NOWAIT);
    assert_int_equal(read.calls + written.calls, 0);
    start_etcd(s);
    pump(s, &read.calls, 1);
    pump(s, &written.calls, 1);
    assert_int_equal(read.code, 0);
    assert_string_equal(str_cstr(&read.text), "e=1");
    str_done(&read.text);
    assert_int_equal(written.code, 0);
    assert_false(written.succeeded);
}

static void test_closing_ends_a_call_that_waits(void **state)
{
    struct store *s = *state;
    struct seen seen = {0};
    struct kv *away;
    char dead[64];
    snprintf(dead, sizeof dead, "http://127.0.0.1:%u", free_port());
    const char *endpoints[] = {dead};
    struct kv_etcd_config config = {.endpoints = endpoints, .n_endpoints = 1};
    assert_int_equal(kv_etcd_open(&s->loop, &config, &away, NULL), 0);
    kv_get(away, "k", on_range, &seen);
    uint64_t end = clock_boot_ms() + 100;
    while (clock_boot_ms() < end)
        uv_run(&s->loop, UV_RUN_NOWAIT);
    assert_int_equal(seen.calls, 0);
    kv_close(away);
    pump(s, &seen.calls, 1);
    assert_int_equal(seen.code, ERR_CANCELED);
}

/* History fills a small store; maintenance gives the space back and clears the alarm. */
static void test_a_full_store_accepts_writes_again(void **state)
{
    struct store *s = *state;
    char *large = xmalloc(KV_VALUE_MAX + 1);
    memset(large, 'x', KV_VALUE_MAX);
    large[KV_VALUE_MAX] = '\0';
    struct seen seen = {0};
    for (int i = 0; i < 40 && !seen.code; i++)
        seen = put(s, "large", large, -1, 0);
    free(large);
    assert_int_equal(seen.code, ERR_LIMIT);
    struct seen status = {0};
    kv_status(s->kv, on_status, &status);
    pump(s, &status.calls, 1);
    assert_true(status.status.quota_alarm);
    kv_maintain(s->kv, status.status.revision, on_status, &status);
    pump(s, &status.calls, 2);
    assert_int_equal(status.code, 0);
    assert_false(status.status.quota_alarm);
    assert_true(put(s, "small", "fits", -1, 0).succeeded);
}

#define CONFORMANCE(kind)                                                                          \
    cmocka_unit_test_setup(test_txn_is_all_or_nothing, fresh_prefix),                              \
        cmocka_unit_test_setup(test_sure_is_a_transaction, fresh_prefix),                          \
        cmocka_unit_test_setup(test_revisions_grow, fresh_prefix),                                 \
        cmocka_unit_test_setup(test_values_keep_their_bytes, fresh_prefix),                        \
        cmocka_unit_test_setup(test_limits_are_errors, fresh_prefix),                              \
        cmocka_unit_test_setup(test_prefix_ends_where_it_should, fresh_prefix),                    \
        cmocka_unit_test_setup(test_watch_sees_each_change_once, fresh_prefix),                    \
        cmocka_unit_test_setup(test_calls_from_a_watch_callback, fresh_prefix),                    \
        cmocka_unit_test_setup(test_lease_takes_its_keys_along, fresh_prefix),                     \
        cmocka_unit_test_setup(test_epochs_only_grow, fresh_prefix),                               \
        cmocka_unit_test_setup(test_status, fresh_prefix),                                         \
        cmocka_unit_test_setup(test_compacted_watch_says_so, fresh_prefix)

int main(void)
{
    const struct CMUnitTest mem[] = {CONFORMANCE(mem),
        cmocka_unit_test_setup(test_mem_lease_ends_by_its_clock, fresh_prefix),
        cmocka_unit_test_setup(test_own_write_is_known_again, fresh_prefix)};
    const struct CMUnitTest sqlite[] = {CONFORMANCE(sqlite),
        cmocka_unit_test_setup(test_sqlite_survives_reopening, fresh_prefix),
        cmocka_unit_test_setup(test_own_write_is_known_again, fresh_prefix)};
    const struct CMUnitTest etcd[] = {CONFORMANCE(etcd),
        cmocka_unit_test_setup(test_a_call_outlives_an_election, fresh_prefix),
        cmocka_unit_test(test_closing_ends_a_call_that_waits),
        cmocka_unit_test_setup(test_a_full_store_accepts_writes_again, fresh_prefix)};
    int failed = cmocka_run_group_tests_name("memory", mem, mem_open, store_close);
    failed += cmocka_run_group_tests_name("sqlite", sqlite, sqlite_open, store_close);
    failed += cmocka_run_group_tests_name("etcd", etcd, etcd_open, store_close);
    return failed;
}
