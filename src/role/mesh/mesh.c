/* SPDX-License-Identifier: Apache-2.0 */
#include "role/mesh/mesh.h"

#include "base/log/log.h"
#include "base/metrics/metrics.h"
#include "base/str/str.h"
#include "service/mesh/mesh.h"

#define STORE_SOON_MS 200 /* instances change in bursts: one write for all of a burst */
#define RELISTEN_MS 1000
#define HOLD_LOOK_MS 20
#define NOTES_MAX 64      /* refusals that wait for the main thread */

struct note {
    char subject[128], message[256];
};

struct hold { /* asked for, and not quiet yet */
    struct hold *next;
    struct rpc_req *req;
    char database[64];
    uint64_t grace_ms; /* then what is under way is broken off; 0: it was */
    uint64_t until_ms;
};

struct mesh_role {
    struct role *role;
    struct mesh *mesh;
    uv_async_t stopped, noted;
    uv_timer_t store_timer, hold_timer;
    struct hold *holds;
    unsigned open_handles;
    pthread_mutex_t lock; /* notes */
    struct note notes[NOTES_MAX];
    size_t n_notes;
    char warned[256]; /* the last warning that was logged */
};

static void tell(struct mesh_role *mr, const char *kind, const char *subject, const char *message)
{
    if (mr->role->control)
        rpc_notify(mr->role->control, "timeline",
            json_pack("{s:s,s:s,s:s,s:s}", "kind", kind, "subject", subject, "message", message,
                "cause", ""));
}

/* From any thread. What does not fit is in the metrics. */
static void on_refused(void *ctx, const char *subject, const char *message)
{
    struct mesh_role *mr = ctx;
    pthread_mutex_lock(&mr->lock);
    if (mr->n_notes < NOTES_MAX) {
        struct note *n = &mr->notes[mr->n_notes++];
        str_copy(n->subject, sizeof n->subject, subject);
        str_copy(n->message, sizeof n->message, message);
    }
    pthread_mutex_unlock(&mr->lock);
    uv_async_send(&mr->noted);
}

static void on_noted(uv_async_t *a)
{
    struct mesh_role *mr = a->data;
    struct note notes[NOTES_MAX];
    pthread_mutex_lock(&mr->lock);
    size_t n = mr->n_notes;
    memcpy(notes, mr->notes, n * sizeof *notes);
    mr->n_notes = 0;
    pthread_mutex_unlock(&mr->lock);
    for (size_t i = 0; i < n; i++) {
        log_warn("mesh", notes[i].message, "subject=%s", notes[i].subject);
        tell(mr, "mesh", notes[i].subject, notes[i].message);
    }
}

/* What is wrong with what it serves: to the log and, as an alarm, to the timeline; once, until it
 * changes. */
static void warn(struct mesh_role *mr)
{
    _cleanup_json_ json_t *status = mesh_status(mr->mesh);
    const json_t *warnings = json_object_get(status, "warnings");
    const char *first = json_string_value(json_array_get(warnings, 0));
    char subject[80];
    if (first && strcmp(first, mr->warned) != 0) {
        log_warn("mesh", first, "%s", "");
        snprintf(subject, sizeof subject, "mesh@%s", mr->role->host);
        tell(mr, "alarm", subject, first);
    }
    str_copy(mr->warned, sizeof mr->warned, first ? first : "");
}

static void on_store(uv_timer_t *t)
{
    struct mesh_role *mr = t->data;
    struct err e;
    int fds[ROLE_KEEP_MAX];
    /* A predecessor that is about to end may still hold an address. */
    if (!mesh_relisten(mr->mesh))
        uv_timer_start(&mr->store_timer, on_store, RELISTEN_MS, 0);
    else
        warn(mr);
    role_keep(mr->role, fds, mesh_listens(mr->mesh, fds, ROLE_KEEP_MAX));
    /* it serves all the same; what is lost is a start without control */
    if (mesh_store(mr->mesh, &e) < 0)
        log_error("mesh", "the view cannot be stored", "error=\"%s\"", e.message);
}

static void look_at_holds(struct mesh_role *mr);

static int take(struct mesh_role *mr, const char *method, json_t *params, struct err *e)
{
    int k = str_eq(method, "view")         ? mesh_set_view(mr->mesh, params, e)
            : str_eq(method, "identities") ? mesh_set_identities(mr->mesh, params, e)
                                           : err_set(e, ERR_NOT_FOUND, "mesh has no %s", method);
    if (k < 0) {
        log_error("mesh", "not taken, the old ones serve on", "what=%s error=\"%s\"", method,
            e->message);
        return k;
    }
    warn(mr);
    look_at_holds(mr);
    uv_timer_start(&mr->store_timer, on_store, STORE_SOON_MS, 0);
    return 0;
}

/* Each renewal; the view stays what it is. */
static void take_lease(struct mesh_role *mr, const json_t *params)
{
    struct mesh *m = mr->mesh;
    mesh_lease(m, json_opt_str(params, "database", ""), json_opt_int(params, "epoch", 0),
        (uint64_t)MAX(json_opt_int(params, "until_ms", 0), 0));
    look_at_holds(mr);
}

static void on_notify(
    struct role *r, struct rpc_conn *from, const char *method, json_t *params, int fd)
{
    struct err e = {0};
    if (fd >= 0)
        close(fd);
    if (str_eq(method, "lease"))
        take_lease(r->ctx, params);
    else if (take(r->ctx, method, params, &e) < 0)
        return;
}

/* ---- a database is held while its source moves */

static void answer_hold(struct mesh_role *mr, struct hold *h, bool over)
{
    struct err e;
    unsigned busy;
    if (mesh_is_quiet(mr->mesh, h->database, &busy)) {
        rpc_reply(h->req, json_pack("{s:i}", "busy", 0));
    } else {
        err_set(&e, over ? ERR_TIMEOUT : ERR_CANCELED,
            "%u sessions of database %s have a statement or a transaction under way", busy,
            h->database);
        rpc_reply_error(h->req, &e);
    }
    free(h);
}

static void on_hold(uv_timer_t *t)
{
    struct mesh_role *mr = t->data;
    bool holds = mesh_hold_look(mr->mesh);
    uint64_t now_ms = uv_now(&mr->role->loop);
    for (struct hold **at = &mr->holds; *at;) {
        struct hold *h = *at;
        unsigned busy;
        bool quiet = mesh_is_quiet(mr->mesh, h->database, &busy);
        if (!quiet && h->grace_ms && now_ms >= h->grace_ms) {
            h->grace_ms = 0;
            mesh_break(mr->mesh, h->database);
        }
        if (!quiet && now_ms < h->until_ms) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        answer_hold(mr, h, true);
    }
    if (!holds && !mr->holds)
        uv_timer_stop(t);
}

static void look_at_holds(struct mesh_role *mr)
{
    if (mesh_hold_look(mr->mesh) && !uv_is_active((uv_handle_t *)&mr->hold_timer))
        uv_timer_start(&mr->hold_timer, on_hold, 0, HOLD_LOOK_MS);
}

static uint64_t number(const json_t *params, const char *key, uint64_t otherwise)
{
    return (uint64_t)MAX(json_opt_int(params, key, (int64_t)otherwise), 0);
}

/* Answered when nothing is under way; with "grace_ms" what still is by then is broken off. */
static void hold(struct mesh_role *mr, struct rpc_req *req, const json_t *params)
{
    struct err e;
    const char *database = json_opt_str(params, "database", "");
    uint64_t for_ms = number(params, "for_ms", 0), now_ms = uv_now(&mr->role->loop);
    if (mesh_hold(mr->mesh, database, json_opt_int(params, "epoch", 0), for_ms, &e) < 0) {
        rpc_reply_error(req, &e);
        return;
    }
    struct hold *h = xcalloc(1, sizeof *h);
    *h = (struct hold){.next = mr->holds,
        .req = req,
        .grace_ms = json_object_get(params, "grace_ms") ? now_ms + number(params, "grace_ms", 0) : 0,
        .until_ms = now_ms + number(params, "timeout_ms", for_ms)};
    str_copy(h->database, sizeof h->database, database);
    mr->holds = h;
    look_at_holds(mr);
}

static void release(struct mesh_role *mr, struct rpc_req *req, const json_t *params)
{
    struct err e;
    const char *database = json_opt_str(params, "database", "");
    if (mesh_release(mr->mesh, database, json_opt_int(params, "epoch", 0), &e) < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, json_object());
}

/* "view", "identities" and "lease" as calls are answered when they hold. */
static void on_call(struct role *r, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct mesh_role *mr = r->ctx;
    struct err e = {0};
    if (fd >= 0)
        close(fd);
    if (str_eq(method, "lease")) {
        take_lease(mr, params);
        rpc_reply(req, json_object());
    } else if (str_eq(method, "database.hold"))
        hold(mr, req, params);
    else if (str_eq(method, "database.release"))
        release(mr, req, params);
    else if (str_eq(method, "status") || take(mr, method, params, &e) >= 0)
        rpc_reply(req, mesh_status(mr->mesh));
    else
        rpc_reply_error(req, &e);
}

static void on_metrics(struct role *r, struct str *out)
{
    struct mesh_role *mr = r->ctx;
    mesh_metrics_collect(mr->mesh);
    metrics_format(metrics_process(), out);
}

static void on_stopped(uv_async_t *a)
{
    struct mesh_role *mr = a->data;
    role_stopped(mr->role);
}

static void threads_stopped(void *ctx)
{
    struct mesh_role *mr = ctx;
    uv_async_send(&mr->stopped);
}

static int init(struct role *r, struct err *e)
{
    struct mesh_role *mr = xcalloc(1, sizeof *mr);
    mr->role = r;
    r->ctx = mr;
    pthread_mutex_init(&mr->lock, NULL);
    uv_async_init(&r->loop, &mr->stopped, on_stopped);
    uv_async_init(&r->loop, &mr->noted, on_noted);
    uv_timer_init(&r->loop, &mr->store_timer);
    uv_timer_init(&r->loop, &mr->hold_timer);
    mr->stopped.data = mr->noted.data = mr->store_timer.data = mr->hold_timer.data = mr;
    mr->open_handles = 4;
    int links[ROLE_LISTEN_MAX], proxies[ROLE_LISTEN_MAX], kept[ROLE_LISTEN_MAX];
    struct mesh_config config = {.links = links,
        .proxies = proxies,
        .kept = kept,
        .state_dir = r->state_dir,
        .metrics = metrics_process(),
        .refused = on_refused,
        .stopped = threads_stopped,
        .ctx = mr};
    for (int fd; (fd = role_listen_fd(r, "mesh", config.n_links)) >= 0;)
        links[config.n_links++] = fd;
    for (int fd; (fd = role_listen_fd(r, "mesh-proxy", config.n_proxies)) >= 0;)
        proxies[config.n_proxies++] = fd;
    for (int fd; (fd = role_listen_fd(r, "kept", config.n_kept)) >= 0;)
        kept[config.n_kept++] = fd;
    int k = mesh_start(&config, &mr->mesh, e);
    if (k >= 0)
        uv_timer_start(&mr->store_timer, on_store, STORE_SOON_MS, 0);
    return k;
}

static void on_stop(struct role *r)
{
    struct mesh_role *mr = r->ctx;
    mesh_drain(mr->mesh);
}

static void on_closed(uv_handle_t *h)
{
    struct mesh_role *mr = h->data;
    if (--mr->open_handles)
        return;
    pthread_mutex_destroy(&mr->lock);
    free(mr);
}

static void on_done(struct role *r)
{
    struct mesh_role *mr = r->ctx;
    if (!mr)
        return;
    if (mr->mesh && uv_is_active((uv_handle_t *)&mr->store_timer))
        on_store(&mr->store_timer);
    while (mr->holds) {
        struct hold *h = mr->holds;
        mr->holds = h->next;
        answer_hold(mr, h, false);
    }
    mesh_free(mr->mesh);
    uv_close((uv_handle_t *)&mr->hold_timer, on_closed);
    uv_close((uv_handle_t *)&mr->stopped, on_closed);
    uv_close((uv_handle_t *)&mr->noted, on_closed);
    uv_close((uv_handle_t *)&mr->store_timer, on_closed);
}

const struct role_def role_mesh = {
    .name = "mesh",
    .profile = SANDBOX_LISTENER,
    .init = init,
    .notify = on_notify,
    .call = on_call,
    .metrics = on_metrics,
    .stop = on_stop,
    .done = on_done,
};
