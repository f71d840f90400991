/* SPDX-License-Identifier: Apache-2.0 */
/* The faults, and the acts that each is made of. */
#include "service/drill/priv.h"

#include "service/lab/process.h"

#define CLOCK_JUMP_MS 3600000 /* what a wrong time zone makes */
#define ASK_MS 3000

const char *drill_expect_name(enum drill_expect expect)
{
    static const char *const names[] = {"restart in place", "failover", "back when it is undone"};
    return names[expect];
}

/* ---- pieces */

static void add_cut(json_t *acts, const char *from, const char *to)
{
    json_array_append_new(
        acts, json_pack("{s:s,s:s,s:s}", "op", "cut", "from", from, "to", to));
}

/* Every other region, and the buyers. */
static json_t *others(const struct drill_site *s)
{
    json_t *list = json_array(), *region;
    size_t i;
    json_array_foreach (json_object_get(s->status, "regions"), i, region)
        if (!str_eq(json_opt_str(region, "name", ""), s->region))
            json_array_append(list, json_object_get(region, "name"));
    json_array_append_new(list, json_string("client"));
    return list;
}

static int add_hosts(const struct drill_site *s, json_t *acts, const char *op, struct err *e)
{
    _cleanup_json_ json_t *hosts = NULL;
    size_t i;
    json_t *host;
    int r = lab_select(s->lab, s->region, &hosts, e);
    if (r < 0)
        return r;
    json_array_foreach (hosts, i, host)
        json_array_append_new(
            acts, json_pack("{s:s,s:s}", "op", op, "host", json_opt_str(host, "name", "")));
    return 0;
}

static int need_source(const struct drill_site *s, struct err *e)
{
    if (s->database && *s->source)
        return 0;
    err_set(e, ERR_REFUSED, "the platform has no database with a source");
    err_fix(e, "declare one under data:, or take a drill that needs none (`mcp drill list`)");
    return ERR_REFUSED;
}

static int need_other(const struct drill_site *s, struct err *e)
{
    if (s->other_region)
        return 0;
    err_set(e, ERR_REFUSED, "the platform has one region: there is no line between two");
    return ERR_REFUSED;
}

static int add_process(const struct drill_site *s, json_t *acts, const char *op, const char *unit,
    const char *on, struct err *e)
{
    size_t i;
    json_t *u;
    json_array_foreach (json_object_get(s->status, "units"), i, u) {
        pid_t pid = (pid_t)json_opt_int(u, "pid", 0);
        if (!str_eq(json_opt_str(u, "name", ""), unit)
            || !str_eq(json_opt_str(u, "host", ""), on) || !pid)
            continue;
        json_array_append_new(
            acts, json_pack("{s:s,s:s,s:s,s:i,s:I}", "op", op, "host", on, "what", unit,
                      "pid", (int)pid, "start_time", (json_int_t)process_start_time(pid)));
        return 0;
    }
    err_set(e, ERR_REFUSED, "%s does not run on %s", unit, on);
    return ERR_REFUSED;
}

static int of_source(const struct drill_site *s, json_t *acts, const char *op, struct err *e)
{
    int r = need_source(s, e);
    if (r < 0)
        return r;
    _cleanup_free_ char *unit = xasprintf("db-%s", s->database);
    return add_process(s, acts, op, unit, s->source, e);
}

/* ---- the faults */

static int plan_source_crash(const struct drill_site *s, json_t *acts, struct err *e)
{
    return of_source(s, acts, "kill", e);
}

static int plan_source_freeze(const struct drill_site *s, json_t *acts, struct err *e)
{
    return of_source(s, acts, "stop", e);
}

static int plan_disk(const struct drill_site *s, json_t *acts, const char *op, struct err *e)
{
    int r = need_source(s, e);
    if (r >= 0)
        json_array_append_new(acts, json_pack("{s:s,s:s}", "op", op, "host", s->source));
    return r;
}

static int plan_disk_full(const struct drill_site *s, json_t *acts, struct err *e)
{
    return plan_disk(s, acts, "fill", e);
}

static int plan_disk_stall(const struct drill_site *s, json_t *acts, struct err *e)
{
    return plan_disk(s, acts, "fsfreeze", e);
}

static int plan_dark(const struct drill_site *s, json_t *acts, struct err *e)
{
    _cleanup_json_ json_t *list = others(s);
    size_t i;
    json_t *other;
    json_array_foreach (list, i, other) {
        add_cut(acts, s->region, json_string_value(other));
        add_cut(acts, json_string_value(other), s->region);
    }
    return 0;
}

static int plan_power(const struct drill_site *s, json_t *acts, struct err *e)
{
    return add_hosts(s, acts, "power", e);
}

/* What is acknowledged after the cut has not left the region when it burns. Shorter than semi-sync
 * waits before it goes on without a replica (SYNC_STALL_MS), or the failover would be refused. */
static int plan_lag_then_power(const struct drill_site *s, json_t *acts, struct err *e)
{
    int r = need_other(s, e);
    if (r < 0)
        return r;
    add_cut(acts, s->region, s->other_region);
    json_object_set_new(json_array_get(acts, 0), "lead", json_true());
    return add_hosts(s, acts, "power", e);
}

static int plan_freeze(const struct drill_site *s, json_t *acts, struct err *e)
{
    return add_hosts(s, acts, "freeze", e);
}

static int plan_wan_cut(const struct drill_site *s, json_t *acts, struct err *e)
{
    int r = need_other(s, e);
    if (r < 0)
        return r;
    add_cut(acts, s->region, s->other_region);
    add_cut(acts, s->other_region, s->region);
    return 0;
}

static int plan_wan_cut_one_way(const struct drill_site *s, json_t *acts, struct err *e)
{
    int r = need_other(s, e);
    if (r >= 0)
        add_cut(acts, s->region, s->other_region);
    return r;
}

static int plan_wan_loss(const struct drill_site *s, json_t *acts, struct err *e)
{
    int r = need_other(s, e);
    if (r < 0)
        return r;
    const char *ends[] = {s->region, s->other_region};
    for (size_t i = 0; i < 2; i++)
        json_array_append_new(acts, json_pack("{s:s,s:s,s:s,s:f}", "op", "loss", "from", ends[i],
                                        "to", ends[1 - i], "loss", 0.2));
    return 0;
}

static int plan_clock_jump(const struct drill_site *s, json_t *acts, struct err *e)
{
    int r = need_source(s, e);
    if (r >= 0)
        json_array_append_new(acts,
            json_pack("{s:s,s:s,s:i}", "op", "clock", "host", s->source, "offset_ms", CLOCK_JUMP_MS));
    return r;
}

/* Each member is asked whether it leads. */
static int plan_store_leader_loss(const struct drill_site *s, json_t *acts, struct err *e)
{
    const struct drill_config *c = s->config;
    size_t i;
    json_t *host;
    json_array_foreach (json_object_get(s->lab->state, "hosts"), i, host) {
        const char *name = json_opt_str(host, "name", "");
        _cleanup_json_ json_t *answer = NULL;
        struct err ignored;
        if (c->ask(c->ask_ctx, name, "state.status", NULL, ASK_MS, &answer, &ignored) < 0
            || !json_opt_bool(answer, "leads", false))
            continue;
        if (add_process(s, acts, "kill", "etcd-1", name, &ignored) >= 0)
            return 0; /* a host without a member is told of another's */
    }
    err_set(e, ERR_REFUSED, "no member of the state store says that it leads");
    err_fix(e, "`mcp state status` shows the store; SQLite on one host has no leader to lose");
    return ERR_REFUSED;
}

const struct drill_fault drill_catalogue[] = {
    {"source-crash", "kill -9 of the source's database server",
        "The server process of the source dies at once, in the middle of whatever it does. Its "
        "host and its disk are whole.",
        DRILL_RESTART, 3000, 60000, false, .plan = plan_source_crash},
    {"source-freeze", "SIGSTOP of the source's database server",
        "The server process of the source stands still: it answers nobody, and has not died. Its "
        "connections stay open.",
        DRILL_RESTART, 3000, 90000, false, .plan = plan_source_freeze},
    {"disk-full", "the file system of the source's host is full",
        "Not a block is left on the disk of the source: nothing can be committed.", DRILL_AFTER,
        20000, 120000, false, .plan = plan_disk_full},
    {"disk-stall", "the file system of the source's host takes no write",
        "The disk of the source answers no write any more; whoever writes waits, and cannot be "
        "killed.",
        DRILL_FAILOVER, 5000, 120000, false, .plan = plan_disk_stall},
    {"dark", "every line of the source's region is cut; its processes live",
        "The region cannot be reached and reaches nobody, as when its power line to the world is "
        "dug up. Inside, everything runs on.",
        DRILL_FAILOVER, 5000, 180000, true, .plan = plan_dark},
    {"power", "every host of the source's region loses power",
        "The region burns: every process in it is gone at one moment.", DRILL_FAILOVER, 5000,
        180000, true, .plan = plan_power},
    {"lag-then-power", "the line to the standby goes dead, and 2 s later the source's region loses power",
        "What was acknowledged in those seconds lies nowhere but on disks that are gone for now. With "
        "`mode: async` these orders are lost until the old source returns, with `mode: semi-sync` none "
        "is acknowledged.",
        DRILL_FAILOVER, 5000, 180000, true, .lead_ms = 2000, .plan = plan_lag_then_power},
    {"freeze", "every process of the source's region stands still, and goes on after the promotion",
        "The region's machines stop as a whole and come back as if nothing had been: the hardest "
        "case, because the old source does not know that time has passed.",
        DRILL_FAILOVER, 5000, 180000, true, .plan = plan_freeze},
    {"wan-cut", "the line between the source's region and the standby's is cut",
        "Two regions do not reach each other; both reach the others and the buyers.", DRILL_AFTER,
        15000, 120000, false, .plan = plan_wan_cut},
    {"wan-cut-one-way", "that line is cut, only from the source's side",
        "Packets from the source's region to the standby's vanish; those the other way arrive.",
        DRILL_AFTER, 15000, 120000, false, .plan = plan_wan_cut_one_way},
    {"wan-loss", "20 % of the packets between the two regions are lost",
        "A bad line: everything arrives late, and some of it only when it is sent again.",
        DRILL_AFTER, 15000, 120000, false, .plan = plan_wan_loss},
    {"flapping", "every line of the source's region is cut and whole again, each 4 s",
        "A line that comes and goes: whatever decides at once decides wrongly, and again and again.",
        DRILL_AFTER, 30000, 120000, false, .flap_ms = 4000, .plan = plan_dark},
    {"clock-jump", "the clock of the source's host jumps an hour ahead",
        "Somebody corrects a clock that was right. Whatever is decided by wall time goes wrong.",
        DRILL_AFTER, 15000, 120000, false, .plan = plan_clock_jump},
    {"store-leader-loss", "kill -9 of the state store's leading member",
        "The member that orders the platform's decisions dies; the others choose another.",
        DRILL_RESTART, 5000, 120000, false, .plan = plan_store_leader_loss},
    {"controller-death", "dark, and every control outside dies at each step of the failover",
        "Those who decide die in the middle of it, again and again; whoever comes next goes on from "
        "the journal.",
        DRILL_FAILOVER, 5000, 300000, true, .kill_controls = true, .plan = plan_dark},
    {0},
};

int drill_find(const char *name, const struct drill_fault **ret, struct err *e)
{
    const char *names[64];
    size_t n = 0;
    for (const struct drill_fault *f = drill_catalogue; f->name && n < ARRAY_SIZE(names); f++) {
        if (str_eq(f->name, name))
            return *ret = f, 0;
        names[n++] = f->name;
    }
    const char *near = str_nearest(name, names, n);
    err_set(e, ERR_USAGE, "there is no drill '%s'", name);
    if (near)
        err_fix(e, "did you mean %s?", near);
    else
        err_fix(e, "`mcp drill list` shows them");
    return ERR_USAGE;
}
