/* SPDX-License-Identifier: Apache-2.0 */
/* The guard holds the undo. It is a process of its own, in a session of its own, deaf to the
 * terminal: the drill may be killed in any way. What it holds lies in
 * /run/mcp-lab/<platform>/drill.json as long as it is not undone, for people; the lock beside it lets
 * one drill at a time into a lab. */
#include "service/drill/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/spawn/spawn.h"
#include "service/lab/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define FIRST_ANSWER_MS 10000
#define UNDO_ANSWER_MS 90000
#define TRIES 60
#define ASK_MS 3000
#define TRY_AGAIN_MS 1000
#define GUARD_FD 3

/* ---- its process */

struct hold {
    const char *platform;
    char *path; /* of drill.json */
    json_t *acts;
    uint64_t until_ms;
    drill_ask_fn ask;
    void *ask_ctx;
    char *id;
};

static void hold_done(struct hold *h)
{
    json_decref(h->acts);
    free(h->path);
    free(h->id);
}

static int hold(struct hold *h, const json_t *request, struct err *e)
{
    _cleanup_free_ char *text = json_text_pretty(request);
    json_decref(h->acts);
    h->acts = json_deep_copy(json_object_get(request, "acts"));
    free(h->id);
    h->id = xstrdup(json_opt_str(request, "id", ""));
    h->until_ms = clock_boot_ms() + (uint64_t)json_opt_int(request, "max_ms", 0);
    return file_write(h->path, text, strlen(text), 0600, e);
}

/* Until it is undone and seen to be. */
static json_t *undo(struct hold *h)
{
    json_t *found = json_array();
    bool good = false;
    for (unsigned i = 0; i < TRIES && !good && h->acts; i++) {
        struct err why;
        if (i)
            poll(NULL, 0, TRY_AGAIN_MS);
        json_array_clear(found);
        int r = acts_undo(h->platform, h->acts, &why);
        if (r == ERR_NOT_FOUND)
            break; /* the lab is gone, and the fault with it */
        if (r < 0)
            json_array_append_new(found, json_pack("{s:s,s:s,s:b,s:s}", "op", "undo", "on",
                                             h->platform, "good", 0, "read", why.message));
        good = r >= 0 && acts_read_back(h->platform, h->acts, false, found);
    }
    if (good)
        unlink(h->path);
    return found;
}

/* Who would have said it is not there any more: nothing is kept waiting for it. */
static void tell_end(const struct hold *h)
{
    for (unsigned i = 0; i < TRIES && h->id; i++) {
        _cleanup_json_ json_t *answer = NULL;
        struct err ignored;
        if (i)
            poll(NULL, 0, TRY_AGAIN_MS);
        if (h->ask(h->ask_ctx, NULL, "drill.end", json_pack("{s:s,s:b}", "id", h->id, "passed", 0),
                ASK_MS, &answer, &ignored)
            >= 0)
            return;
    }
}

/* Waits for a request. 0: nobody is there any more, or the longest time is over. */
static int next_request(const struct hold *h, int fd, json_t **ret)
{
    struct err ignored;
    int passed = -1;
    uint64_t now_ms = clock_boot_ms();
    int left = !h->acts ? -1 : h->until_ms > now_ms ? (int)(h->until_ms - now_ms) : 0;
    struct pollfd p = {fd, POLLIN, 0};
    int n = poll(&p, 1, left);
    if (n < 0)
        return errno == EINTR ? next_request(h, fd, ret) : 0;
    int r = n ? msg_recv(fd, ret, &passed, &ignored) : 0;
    if (passed >= 0)
        close(passed);
    return r > 0;
}

static int take_lock(const char *platform, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s/drill.lock", LAB_RUN_DIR, platform);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        err_set(e, ERR_CONFLICT, "another drill is under way in %s", platform);
        err_fix(e, "wait for its end; what it did stands in %s/%s/drill.json", LAB_RUN_DIR, platform);
        return ERR_CONFLICT;
    }
    return util_steal_fd(&fd);
}

static int serve(struct hold *h, int fd)
{
    for (;;) {
        _cleanup_json_ json_t *request = NULL, *found = NULL;
        struct err e = {0};
        if (!next_request(h, fd, &request)) {
            found = undo(h);
            tell_end(h);
            return 0;
        }
        const char *op = json_opt_str(request, "op", "");
        if (str_eq(op, "hold")) {
            int r = hold(h, request, &e);
            msg_reply(fd, r, &e);
        } else if (str_eq(op, "undo")) {
            found = undo(h);
            _cleanup_json_ json_t *answer = json_pack("{s:b,s:O}", "ok", 1, "found", found);
            return msg_send(fd, answer, -1, &e) < 0;
        } else { /* dismissed: nothing was done */
            unlink(h->path);
            return 0;
        }
    }
}

int drill_guard(const char *platform, int fd, drill_ask_fn ask, void *ask_ctx)
{
    static const int deaf[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT};
    for (size_t i = 0; i < ARRAY_SIZE(deaf); i++)
        signal(deaf[i], SIG_IGN);
    _cleanup_(hold_done) struct hold h = {.platform = platform, .ask = ask, .ask_ctx = ask_ctx};
    struct err e = {0};
    h.path = xasprintf("%s/%s/drill.json", LAB_RUN_DIR, platform);
    _cleanup_close_ int lock = take_lock(platform, &e);
    msg_reply(fd, lock < 0 ? lock : 0, &e);
    return lock < 0 ? 1 : serve(&h, fd);
}

/* ---- its teller */

static int answer_of(int fd, int timeout_ms, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    struct pollfd p = {fd, POLLIN, 0};
    int passed = -1;
    if (poll(&p, 1, timeout_ms) <= 0)
        return err_set(e, ERR_TIMEOUT, "the guard of the drill says nothing");
    int r = msg_recv(fd, &answer, &passed, e);
    if (r == 0)
        return err_set(e, ERR_FAILED, "the guard of the drill has died");
    if (r > 0 && json_object_get(answer, "error")) {
        json_to_err(json_object_get(answer, "error"), e);
        return e->code;
    }
    if (r > 0 && ret)
        *ret = json_incref(answer);
    return r < 0 ? r : 0;
}

static int spawn_guard(const char *platform, struct guard *g, struct err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, errno, "socket pair");
    const char *const argv[] = {"mcp", "drill-guard", platform, "--platform", platform, NULL};
    struct spawn_fd fds[] = {{pair[1], GUARD_FD}};
    struct spawn_opts opts = {
        .path = "/proc/self/exe", .fds = fds, .n_fds = 1, .new_session = true, .dir = "/"};
    struct spawn_proc p;
    int r = spawn_start(argv, &opts, &p, e);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return r;
    }
    close(p.pidfd);
    *g = (struct guard){pair[0], p.pid};
    return 0;
}

static int ask_guard(
    struct guard *g, json_t *request, int timeout_ms, json_t **ret, struct err *e)
{
    int r = msg_send(g->fd, request, -1, e);
    json_decref(request);
    return r < 0 ? r : answer_of(g->fd, timeout_ms, ret, e);
}

int guard_start(const char *platform, const char *id, const json_t *acts, uint64_t max_ms,
    struct guard *ret, struct err *e)
{
    int r = spawn_guard(platform, ret, e);
    if (r < 0)
        return r;
    r = answer_of(ret->fd, FIRST_ANSWER_MS, NULL, e);
    if (r >= 0)
        r = ask_guard(ret,
            json_pack("{s:s,s:s,s:O,s:I}", "op", "hold", "id", id, "acts", acts, "max_ms",
                (json_int_t)max_ms),
            FIRST_ANSWER_MS, NULL, e);
    if (r < 0)
        guard_close(ret);
    return r;
}

int guard_undo(struct guard *g, json_t **ret_found, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = ask_guard(g, json_pack("{s:s}", "op", "undo"), UNDO_ANSWER_MS, &answer, e);
    if (r >= 0)
        *ret_found = json_incref(json_object_get(answer, "found"));
    guard_close(g);
    return r;
}

void guard_dismiss(struct guard *g)
{
    _cleanup_json_ json_t *request = json_pack("{s:s}", "op", "dismiss");
    struct err ignored;
    if (g->fd >= 0 && msg_send(g->fd, request, -1, &ignored) < 0)
        ignored.code = 0; /* it undoes what was not done, which does no harm */
    guard_close(g);
}

void guard_close(struct guard *g)
{
    if (g->fd < 0)
        return;
    close(g->fd);
    g->fd = -1;
    while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}
