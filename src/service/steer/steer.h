/* SPDX-License-Identifier: Apache-2.0 */
/* Steering on a host: runs domain/steering on a libuv loop with real probes, keeps its journal on
 * disk, and hands views, decisions and reports to whoever owns the connections (the control role).
 * Works on from the journal and the last model without anybody: no state store, no other host and
 * no dns role has to be there.
 *
 * What control does with it:
 *   a revision takes effect      steer_service_set_model()
 *   view() is called             notify "view" to every other control
 *   "view" comes from a control  steer_service_view(), with the host name of its certificate
 *   health() is called           notify "health" to the dns role; also when a dns role is linked
 * anew entry() is called            append to the timeline "explain.dns" is called
 * steer_service_explain()
 *
 * One thread: everything happens on the loop. */
#pragma once

#include "domain/model/model.h"
#include "domain/steering/steering.h"
#include "net/probe/probe.h"

#include <uv.h>

struct steer_service;

/* Who asks targets. The default is net/probe; tests give their own. `done` comes later, from the
 * loop, once. */
struct steer_prober {
    void (*start)(void *ctx, const struct probe_request *req, probe_done_fn done, void *done_ctx);
    void (*reach)(
        void *ctx, const char *endpoint, unsigned timeout_ms, probe_reach_fn done, void *done_ctx);
};

struct steer_service_handler { /* arguments are borrowed */
    void (*view)(void *ctx, json_t *view);
    void (*health)(void *ctx, json_t *health);
    void (*entry)(void *ctx, const struct timeline_draft *d);
    /* Country of an address in the database: false when it has none. May be NULL. */
    bool (*country)(void *ctx, const struct ip_addr *a, char ret[3]);
};

struct steer_service_options {
    uv_loop_t *loop;
    const char *host, *region;         /* of this control */
    const char *journal;               /* path; its folder exists */
    const char *ca_file;               /* verifies edges */
    uint16_t port;                     /* of edges; 0: 443 */
    bool lab;                          /* the lab's client networks count as overrides */
    const struct steer_prober *prober; /* NULL: net/probe */
    void *prober_ctx;
    const struct steer_service_handler *handler;
    void *ctx;
};

/* A journal that cannot be read counts as none, and is reported. Nothing happens before the first
 * model. */
MUST_CHECK int steer_service_new(
    const struct steer_service_options *o, struct steer_service **ret, struct err *e);
/* Writes the journal if it changed; handles close on the loop. NULL is fine. */
void steer_service_free(struct steer_service *s);

/* Borrows `m` until the next call. ERR_LIMIT: more than steering holds; the old model stays then.
 */
MUST_CHECK int steer_service_set_model(
    struct steer_service *s, const struct model *m, uint64_t revision, struct err *e);
/* A view that control `from_host` sent. ERR_DENIED when it speaks for another host or a region that
 * is not its own. */
MUST_CHECK int steer_service_view(
    struct steer_service *s, const char *from_host, const json_t *view, struct err *e);
/* Which regions somebody steers away from, as the state store has it (domain/steering/away.h). */
void steer_service_away(struct steer_service *s, const json_t *doc);
/* The plan in force; NULL before the first model. */
const struct steer_plan *steer_service_plan(const struct steer_service *s);
/* The newest health message, the caller's; NULL before the first model. */
json_t *steer_service_health(const struct steer_service *s);
/* params: {"name", "type" (default "A"), "from"}. *ret as `mcp explain dns --json` prints it. */
MUST_CHECK int steer_service_explain(
    struct steer_service *s, const json_t *params, json_t **ret, struct err *e);
/* "up", "down" or "degraded" (some names are down) as this host sees a region; "unknown" before the
 * first model. */
const char *steer_service_region_state(const struct steer_service *s, const char *region);
/* Every routed name in every region that runs active instances for it, as it is acted on. */
typedef void (*steer_service_name_fn)(
    void *ctx, const char *name, size_t region, const struct steer_region_state *st);
void steer_service_each_name(const struct steer_service *s, steer_service_name_fn fn, void *ctx);
