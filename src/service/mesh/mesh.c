/* SPDX-License-Identifier: Apache-2.0 */
#include "service/mesh/priv.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sched.h>

#define IDENTITIES_BYTES_MAX (16u * 1024 * 1024)

/* -- what the engine asks ---------------------------------------------------------------------- */

static void on_turn(void *ctx, unsigned thread)
{
    struct mesh *m = ctx;
    if (view_pin(&m->workers[thread]))
        ends_view_changed(&m->workers[thread]);
    gates_turn(m, thread);
}

static uint64_t on_due_ms(void *ctx, unsigned thread)
{
    return gates_due_ms(ctx, thread);
}

static struct worker *worker_of(struct mesh *m, struct splice_flow *f)
{
    struct worker *w = &m->workers[splice_thread_of(f)];
    w->now_ms = splice_now_ms(f);
    return w;
}

static enum splice_verdict on_accepted(void *ctx, struct splice_flow *f, struct splice_tag tag,
    const struct ip_addr *from, SSL **ssl)
{
    struct worker *w = worker_of(ctx, f);
    struct flow *flow = splice_app_of(f);
    if (!w->view)
        return SPLICE_REFUSE;
    flow->view = view_ref(w->view);
    flow->kind = (enum tag_kind)tag.kind;
    return flow->kind == TAG_LINK    ? link_accepted(w, f, ssl)
           : flow->kind == TAG_PROXY ? proxy_accepted(w, f, from)
                                     : call_accepted(w, f, tag.key, from);
}

static enum splice_verdict on_secured(void *ctx, struct splice_flow *f, SSL *ssl)
{
    return link_secured(worker_of(ctx, f), f, ssl);
}

static enum splice_verdict on_again(void *ctx, struct splice_flow *f, SSL *ssl)
{
    return link_again(worker_of(ctx, f), f, ssl);
}

static enum splice_verdict on_head(
    void *ctx, struct splice_flow *f, const char *p, size_t len, size_t *used)
{
    const struct flow *flow = splice_app_of(f);
    struct worker *w = worker_of(ctx, f);
    return flow->kind == TAG_LINK ? link_head(w, f, p, len, used) : proxy_head(w, f, p, len, used);
}

static enum splice_verdict on_waited(void *ctx, struct splice_flow *f)
{
    const struct flow *flow = splice_app_of(f);
    struct worker *w = worker_of(ctx, f);
    return flow->data.database      ? ends_waited(w, f)
           : flow->kind == TAG_LINK ? link_waited(w, f)
                                    : proxy_waited(w, f);
}

static enum splice_verdict on_dial(void *ctx, struct splice_flow *f, struct splice_dial *d)
{
    struct flow *flow = splice_app_of(f);
    struct worker *w = worker_of(ctx, f);
    if (flow->data.database)
        return ends_dial(w, f, d);
    bool more = flow->kind == TAG_LINK    ? link_dial(w, f, d)
                : flow->kind == TAG_PROXY ? proxy_dial(w, f, d)
                                          : call_dial(w, f, d);
    return more ? SPLICE_DIAL : SPLICE_REFUSE;
}

static bool on_proven(void *ctx, struct splice_flow *f, SSL *ssl)
{
    return call_proven(worker_of(ctx, f), f, ssl);
}

static bool on_answered(void *ctx, struct splice_flow *f, const uint8_t *p, size_t len)
{
    return call_answered(f, p, len);
}

static void on_joined(void *ctx, struct splice_flow *f)
{
    const struct flow *flow = splice_app_of(f);
    if (flow->data.database)
        ends_joined(worker_of(ctx, f), f);
    else if (flow->kind == TAG_LINK)
        link_answer(f, MESH_OK);
    else if (flow->kind == TAG_PROXY)
        proxy_joined(f);
    else
        call_joined(worker_of(ctx, f), f);
}

static void on_failed(void *ctx, struct splice_flow *f)
{
    const struct flow *flow = splice_app_of(f);
    if (flow->data.database)
        ends_failed(worker_of(ctx, f), f);
    else if (flow->kind == TAG_LINK)
        link_answer(f, MESH_UNAVAILABLE);
    else if (flow->kind == TAG_PROXY)
        proxy_failed(f);
}

static void on_closed(void *ctx, struct splice_flow *f)
{
    struct flow *flow = splice_app_of(f);
    load_give(worker_of(ctx, f), flow);
    resolve_forget(worker_of(ctx, f), flow);
    ends_left(flow);
    view_unref(flow->view);
    flow->view = NULL;
}

static void on_thread_done(void *ctx, unsigned thread)
{
    struct worker *w = &((struct mesh *)ctx)->workers[thread];
    view_unref(w->view);
    w->view = NULL;
    keys_forget(w);
    resolve_close(w);
}

static void on_stopped(void *ctx)
{
    struct mesh *m = ctx;
    if (m->config.stopped)
        m->config.stopped(m->config.ctx);
}

static const struct splice_app app = {
    .turn = on_turn,
    .due_ms = on_due_ms,
    .accepted = on_accepted,
    .secured = on_secured,
    .again = on_again,
    .head = on_head,
    .waited = on_waited,
    .dial = on_dial,
    .proven = on_proven,
    .answered = on_answered,
    .joined = on_joined,
    .failed = on_failed,
    .closed = on_closed,
    .thread_done = on_thread_done,
    .stopped = on_stopped,
    .flow_size = sizeof(struct flow),
};

/* -- views and identities ---------------------------------------------------------------------- */

static int install(struct mesh *m, json_t *doc, struct keys *keys, struct err *e)
{
    struct view *v;
    int r = view_new(doc, keys, &v, e);
    if (r < 0)
        return r;
    /* Old addresses are given up before, new ones are taken after the view that knows them. */
    view_ref(v);
    gates_follow(m, v->v);
    view_publish(m, v);
    listen_follow(m, v->v);
    splice_wake(m->splice);
    view_unref(v);
    return 0;
}

int mesh_set_view(struct mesh *m, json_t *doc, struct err *e)
{
    int r = install(m, doc, m->keys, e);
    if (r < 0)
        return r;
    json_decref(m->doc);
    m->doc = json_incref(doc);
    m->view_dirty = true;
    return 0;
}

int mesh_set_identities(struct mesh *m, json_t *doc, struct err *e)
{
    struct keys *keys;
    int r = keys_new(doc, &keys, e);
    if (r >= 0 && m->doc)
        r = install(m, m->doc, keys, e);
    if (r < 0)
        return r;
    keys_unref(m->keys);
    m->keys = keys;
    json_decref(m->identities);
    m->identities = json_incref(doc);
    m->identities_dirty = true;
    return 0;
}

bool mesh_relisten(struct mesh *m)
{
    if (*m->listen_warning && m->current)
        listen_follow(m, m->current->v);
    return !*m->listen_warning;
}

static int store(struct mesh *m, const char *name, const json_t *doc, bool *dirty, struct err *e)
{
    if (!*dirty || !doc)
        return 0;
    _cleanup_free_ char *path = xasprintf("%s/%s", m->config.state_dir, name),
                        *text = json_text(doc);
    int r = file_write_durable(path, text, strlen(text), 0600, e);
    OPENSSL_cleanse(text, strlen(text));
    *dirty = r < 0;
    return r;
}

int mesh_store(struct mesh *m, struct err *e)
{
    int r = store(m, "identities.json", m->identities, &m->identities_dirty, e);
    return r < 0 ? r : store(m, "view.json", m->doc, &m->view_dirty, e);
}

static void load(struct mesh *m, const char *name, size_t max,
    int (*set)(struct mesh *m, json_t *doc, struct err *e))
{
    struct err e = {0};
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_free_ char *path = xasprintf("%s/%s", m->config.state_dir, name);
    int r = json_read_file(path, max, &doc, &e);
    if (r >= 0)
        r = set(m, doc, &e);
    if (r < 0 && r != ERR_NOT_FOUND)
        snprintf(m->warning, sizeof m->warning, "%s: %s", name, e.message);
}

/* -- life -------------------------------------------------------------------------------------- */

static int take_listens(
    struct mesh *m, const int *fds, size_t n, enum tag_kind kind, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return err_errno(e, errno, "take a listening socket");
        splice_listen(m->splice, fd, (struct splice_tag){kind, (uint32_t)i});
    }
    return 0;
}

static unsigned cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) < 0
               ? 1
               : (unsigned)MIN(CPU_COUNT(&set), SPLICE_THREADS_MAX);
}

static int start_threads(struct mesh *m, struct err *e)
{
    unsigned n = m->config.threads ? MIN(m->config.threads, (unsigned)SPLICE_THREADS_MAX) : cores();
    struct splice_config c = {
        .threads = n, .max_flows = m->config.max_flows, .app = &app, .ctx = m};
    m->config.threads = n;
    m->workers = xcalloc(n, sizeof *m->workers);
    for (unsigned i = 0; i < n; i++)
        m->workers[i] = (struct worker){.m = m, .resolver = -1};
    mesh_metrics_open(m);
    return splice_start(&c, &m->splice, e);
}

int mesh_start(const struct mesh_config *config, struct mesh **ret, struct err *e)
{
    struct mesh *m = xcalloc(1, sizeof *m);
    m->config = *config;
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->refused_lock, NULL);
    int r = start_threads(m, e);
    if (r >= 0)
        r = take_listens(m, config->links, config->n_links, TAG_LINK, e);
    if (r >= 0)
        r = take_listens(m, config->proxies, config->n_proxies, TAG_PROXY, e);
    if (r < 0) {
        mesh_free(m);
        return r;
    }
    listen_adopt(m, config->kept, config->n_kept);
    load(m, "identities.json", IDENTITIES_BYTES_MAX, mesh_set_identities);
    load(m, "view.json", MESH_VIEW_BYTES_MAX, mesh_set_view);
    m->view_dirty = m->identities_dirty = false;
    *ret = m;
    return 0;
}

json_t *mesh_status(struct mesh *m)
{
    json_t *warnings = json_array(), *identities = json_array();
    if (*m->warning)
        json_array_append_new(warnings, json_string(m->warning));
    if (*m->listen_warning)
        json_array_append_new(warnings, json_string(m->listen_warning));
    for (size_t i = 0; m->keys && i < m->keys->n; i++)
        json_array_append_new(identities, json_string(m->keys->v[i].id));
    return json_pack("{s:I,s:I,s:o,s:I,s:o,s:o}", "seq",
        (json_int_t)(m->current ? m->current->v->seq : 0), "listens", (json_int_t)m->n_listens,
        "identities", identities, "flows", (json_int_t)splice_stat(m->splice, SPLICE_STAT_OPEN),
        "warnings", warnings, "databases", gates_status(m));
}

const char *mesh_start_warning(const struct mesh *m)
{
    return m->warning;
}

void mesh_drain(struct mesh *m)
{
    listen_close_unkept(m);
    splice_drain(m->splice);
}

void mesh_free(struct mesh *m)
{
    if (!m)
        return;
    splice_free(m->splice);
    gates_free(m);
    mesh_metrics_close(m);
    view_unref(m->current);
    keys_unref(m->keys);
    json_decref(m->doc);
    json_decref(m->identities);
    for (size_t i = 0; i < m->n_listens; i++)
        if (!m->listens[i].served)
            close(m->listens[i].fd);
    free(m->listens);
    free(m->workers);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->refused_lock);
    free(m);
}
