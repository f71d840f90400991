/* SPDX-License-Identifier: Apache-2.0 */
/* Drills: a fault of the catalogue, put into a lab under load, and what the buyers saw of it.
 *
 * A fault is a list of acts (acts.h), and that list is the plan: what will be done, read back, and
 * undone. Before the first act a process of its own, the guard, holds the list; it undoes when it is
 * told, when the drill's process ends in whatever way, or when the longest time is over. An act that
 * cannot be read back fails the drill.
 *
 * Load and ledger are `mcp traffic`, several buyers of each country, each with name answers of its
 * own. Beside it the database servers are asked by themselves whether they write, and the platform
 * what it does: processes of the drill's own, so that nothing that hangs holds it up.
 *
 * The report (JSON, and the page that is made of it alone):
 *   {"format": 1, "drill", "platform", "mode", "begun", "passed", "why": [text],
 *    "steps": [{"name", "at_ms"}]   counted from the injection; before it negative
 *    "rto_ms": injection to the first acknowledgement for a client whose answer names a living
 *      region, of an order that was sent after the injection; null: there was none
 *    "client_rto_ms": {"n", "p50", "p95", "max"}   each client's first one
 *    "cached_client_rto_ms": the same, of clients whose answer named only what was lost, and
 *      "over_ttl_max": the most that one waited beyond its answer's life
 *    "other_client_rto_ms": the same as client_rto_ms, of the others
 *    "clients": [{"client", "country", "cached", "ttl_left_ms": at the injection, "rto_ms",
 *      "excess_ms": rto_ms less ttl_left_ms, of a cached one; "told_again_ms", "told_until_ms": its
 *      last answer after the injection that names only what is lost, and the end of its life;
 *      "region": that took its first order}]   null: never
 *    "by_country": {CC: {"clients", "back", "rto_ms": {...}, "cached", "regions"}},
 *    "acked", "present", "lost", "duplicated", "reported_missing": of the lost ones in the range
 *      that the platform reported, "rescued": of them in the rescue files of the source that has
 *      returned, "lost_orders": [{"key", "rescued", "gtid", "reported"}], "reported_range",
 *    "two_writers": two servers wrote in one moment, or an order was acknowledged after the service
 *      was back and is not there
 *    "read_back": [], "undo": [], "servers": [], "platform_steps": [], "series": {}, "plan": {},
 *    "traffic": the load's own report, "evidence": path, "page": path}
 * One thread; the caller has no other. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

/* Asks the platform's control: `host` NULL: any. */
typedef int (*drill_ask_fn)(void *ctx, const char *host, const char *method, json_t *params,
    uint64_t timeout_ms, json_t **ret, struct err *e);

enum drill_expect {
    DRILL_RESTART,  /* what was broken works again by itself, in place */
    DRILL_FAILOVER, /* another region becomes the source; undone only then */
    DRILL_AFTER,    /* some buyers wait until it is undone; all are back then */
};
const char *drill_expect_name(enum drill_expect expect);

struct drill_site;

struct drill_fault {
    const char *name, *summary;
    const char *text; /* what it stands for, for the page */
    enum drill_expect expect;
    uint64_t hold_ms; /* at least that long */
    uint64_t max_ms;  /* undone at the latest */
    bool region_lost; /* nobody can be served by the region that it strikes */
    uint64_t flap_ms; /* undone and done again that often while it lasts; 0: no */
    bool kill_controls; /* outside the region, at each new step of the failover */
    uint64_t lead_ms; /* acts with "lead" come that much before the others; 0: there are none */
    int (*plan)(const struct drill_site *s, json_t *acts, struct err *e);
};

extern const struct drill_fault drill_catalogue[]; /* ends with a NULL name */
/* ERR_USAGE with the nearest name. */
MUST_CHECK int drill_find(const char *name, const struct drill_fault **ret, struct err *e);

struct drill_config {
    const char *platform, *drill;
    const char *mode;     /* "live", "rehearse" */
    const char *database; /* NULL: the only one */
    const char *region;   /* that is struck; NULL: the source's */
    const char *out;      /* folder of the report */
    const char *by;       /* who runs it */
    double rate;
    unsigned clients; /* of each country */
    uint64_t hold_ms, steady_ms; /* hold 0: the fault's own */
    int stop_fd; /* readable: undo and end; -1: none */
    drill_ask_fn ask;
    void *ask_ctx;
    void (*tell)(void *ctx, int64_t at_ms, const char *text); /* at_ms from the injection */
    void *tell_ctx;
};

/* What would be done, and whether it may be: {"drill", "mode", "platform", "database", "source",
 * "source_region", "region", "expect", "region_lost", "hold_ms", "max_ms", "acts": [], "regions":
 * {name: [address]}, "hosts": {database server's host: pid}, "checks": [{"name", "good", "text"}]}. */
MUST_CHECK int drill_plan(const struct drill_config *c, json_t **ret, struct err *e);
/* ERR_REFUSED when a check of the plan is not good; else the report, whether it passed or not. */
MUST_CHECK int drill_run(const struct drill_config *c, json_t **ret, struct err *e);

/* The page for people. */
struct str;
void drill_page(const json_t *report, struct str *out);
/* The newest report of a drill in the folder (NULL: of any). */
MUST_CHECK int drill_report_load(const char *folder, const char *drill, json_t **ret, struct err *e);

/* The guard's process: `fd` is the other end of the drill's socket. It tells the platform that the
 * drill has ended when nobody else does. Returns the exit status. */
int drill_guard(const char *platform, int fd, drill_ask_fn ask, void *ask_ctx);
