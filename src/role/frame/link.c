/* SPDX-License-Identifier: Apache-2.0 */
/* The links between control and the other roles of a host. A new link replaces the old one at once,
 * so that what was sent on the old one is over before the first word on the new one. */
#include "role/frame/priv.h"

#include "base/log/log.h"
#include "base/str/str.h"

#define RELINK_MS 1000 /* control's own restart brings a new link before that; else ask */

static void set_down(struct frame_link *l)
{
    struct role *r = &l->frame->role;
    if (!l->is_up)
        return;
    l->is_up = false;
    if (l->frame->is_control) {
        if (r->def->peer_unlinked)
            r->def->peer_unlinked(r, l->conn);
        return;
    }
    r->control = NULL;
    if (r->def->unlinked)
        r->def->unlinked(r);
}

static void on_relink(uv_timer_t *t)
{
    struct frame *f = t->data;
    role_ask_host(&f->role, "relink");
}

/* Who a role is was said by host, which started it; its own word must agree. */
static bool is_who_host_said(struct frame_link *l, struct rpc_conn *c)
{
    char want[96];
    snprintf(want, sizeof want, "%s@%s", l->peer, l->frame->role.host);
    return str_eq(rpc_conn_peer_name(c), want);
}

static void on_ready(void *ctx, struct rpc_conn *c)
{
    struct frame_link *l = ctx;
    struct role *r = &l->frame->role;
    if (!is_who_host_said(l, c)) {
        log_warn(
            "link", "a role says it is another", "role=%s says=%s", l->peer, rpc_conn_peer_name(c));
        rpc_conn_close(c);
        return;
    }
    l->is_up = true;
    if (l->frame->is_control) {
        if (r->def->peer_linked)
            r->def->peer_linked(r, c);
        return;
    }
    r->control = c;
    uv_timer_stop(&l->frame->relink);
    if (r->def->linked)
        r->def->linked(r);
}

static void on_closed(void *ctx, struct rpc_conn *c, const struct err *e)
{
    struct frame_link *l = ctx;
    struct frame *f = l->frame;
    set_down(l);
    log_debug("link", "link ended", "peer=%s why=\"%s\"", l->peer, e->message);
    struct frame_link **at = &f->links;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    free(l);
    if (!f->is_control && !f->links && !f->stopping)
        uv_timer_start(&f->relink, on_relink, RELINK_MS, RELINK_MS);
}

static void answer_metrics(struct role *r, struct rpc_req *req)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (r->def->metrics)
        r->def->metrics(r, &text);
    rpc_reply(req, json_pack("{s:s}", "text", str_cstr(&text)));
}

static void on_call(void *ctx, struct rpc_req *req, const char *method, json_t *params, int fd)
{
    struct frame_link *l = ctx;
    struct role *r = &l->frame->role;
    struct err e;
    bool own = str_eq(method, "ping") || str_eq(method, "metrics");
    if (!own && r->def->call && l->is_up) {
        r->def->call(r, req, method, params, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (str_eq(method, "ping")) {
        rpc_reply(req, NULL);
    } else if (own) {
        answer_metrics(r, req);
    } else {
        err_set(&e, ERR_NOT_FOUND, "%s has no method %s", r->def->name, method);
        rpc_reply_error(req, &e);
    }
}

static void on_notify(void *ctx, struct rpc_conn *c, const char *method, json_t *params, int fd)
{
    struct frame_link *l = ctx;
    struct role *r = &l->frame->role;
    if (r->def->notify && l->is_up)
        r->def->notify(r, c, method, params, fd);
    else if (fd >= 0)
        close(fd);
}

static const struct rpc_handler link_handler = {
    .call = on_call, .notify = on_notify, .ready = on_ready, .closed = on_closed};

void frame_link_add(struct frame *f, const char *peer, int fd)
{
    struct err e;
    for (struct frame_link *old = f->links; old; old = old->next)
        if (old->conn && str_eq(old->peer, peer)) {
            set_down(old);
            rpc_conn_close(old->conn);
            old->conn = NULL;
        }
    struct frame_link *l = xcalloc(1, sizeof *l);
    l->frame = f;
    str_copy(l->peer, sizeof l->peer, peer);
    if (rpc_conn_new_fd(&f->role.loop, fd, f->name, &link_handler, l, &l->conn, &e) < 0) {
        log_error("link", "cannot link", "peer=%s why=\"%s\"", peer, e.message);
        free(l);
        return;
    }
    rpc_conn_hello_timeout(l->conn, 0); /* the other end may still be starting */
    l->next = f->links;
    f->links = l;
}

void frame_links_close(struct frame *f)
{
    for (struct frame_link *l = f->links; l; l = l->next)
        if (l->conn) {
            set_down(l);
            rpc_conn_close(l->conn);
            l->conn = NULL;
        }
}
