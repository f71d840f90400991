/* SPDX-License-Identifier: Apache-2.0 */
#include "service/agent/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"

#define SLOTS_FILE_MAX (2u * 1024 * 1024)

static void free_unit_later(struct agent_unit *u);

/* --- files --- */

static int load_specs(const char *dir, const char *name, struct unit_specs **ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
    _cleanup_json_ json_t *doc = NULL;
    int r = json_read_file(path, UNIT_SPECS_BYTES_MAX, &doc, e);
    if (r == ERR_NOT_FOUND) {
        doc = json_pack("{s:i,s:[]}", "revision", 0, "units");
        r = 0;
    }
    if (r >= 0)
        r = unit_specs_parse(doc, ret, e);
    return r < 0 ? err_wrap(e, "%s", path) : 0;
}

/* A damaged file stops nothing: what runs is kept as it is until control says what is wanted. */
static void load_or_keep(struct agent *a, const char *name, struct unit_specs **ret)
{
    struct err e = {0};
    if (load_specs(a->state_dir, name, ret, &e) >= 0)
        return;
    *(ret == &a->boot ? &a->boot_damaged : &a->blind) = true;
    if (a->cfg.timeline)
        a->cfg.timeline(
            a->cfg.ctx, "agent", "keeps what runs until control tells what is wanted", e.message);
    _cleanup_json_ json_t *none = json_pack("{s:i,s:[]}", "revision", 0, "units");
    int r = unit_specs_parse(none, ret, &e);
    ASSERT(r >= 0);
}

static void load_slots(struct agent *a)
{
    _cleanup_free_ char *path = xasprintf("%s/slots.json", a->state_dir);
    _cleanup_json_ json_t *j = NULL;
    struct err ignored;
    /* A lost file costs new addresses at the next start, nothing else. */
    if (json_read_file(path, SLOTS_FILE_MAX, &j, &ignored) >= 0)
        slots_parse(&a->slots, j);
}

struct save_job {
    uv_work_t work;
    struct agent *agent;
    char *path, *text, *slots_path, *slots_text;
};

static void run_save(uv_work_t *work)
{
    struct save_job *j = work->data;
    struct err e;
    /* A disk that refuses leaves the snapshot before: the host starts with it until control says again. */
    if (j->text && file_write_durable(j->path, j->text, strlen(j->text), 0600, &e) < 0)
        return;
    if (file_write_durable(j->slots_path, j->slots_text, strlen(j->slots_text), 0600, &e) < 0)
        return;
}

static void save_soon(struct agent *a);

static void after_save(uv_work_t *work, int status)
{
    struct save_job *j = work->data;
    struct agent *a = j->agent;
    a->saving = false;
    a->jobs--;
    free(j->path);
    free(j->text);
    free(j->slots_path);
    free(j->slots_text);
    free(j);
    if ((a->save_pending || a->slots_changed) && !a->closed)
        save_soon(a);
}

static void save_soon(struct agent *a)
{
    if (a->saving)
        return;
    a->slots_changed = false;
    struct save_job *j = xcalloc(1, sizeof *j);
    _cleanup_json_ json_t *slots = slots_format(&a->slots);
    j->work.data = j;
    j->agent = a;
    j->path = xasprintf("%s/units.json", a->state_dir);
    j->text = a->save_pending ? json_text(a->save_pending) : NULL;
    j->slots_path = xasprintf("%s/slots.json", a->state_dir);
    j->slots_text = json_text(slots);
    json_decref(a->save_pending);
    a->save_pending = NULL;
    a->saving = true;
    a->jobs++;
    int r = uv_queue_work(a->cfg.loop, &j->work, run_save, after_save);
    ASSERT(r == 0);
}

void agent_slots_save(struct agent *a)
{
    a->slots_changed = true;
    save_soon(a);
}

/* --- time --- */

static void on_timer(uv_timer_t *t)
{
    struct agent *a = t->data;
    uint64_t now = clock_boot_ms();
    for (struct agent_unit *u = a->units, *next; u; u = next) {
        next = u->next;
        if (unit_deadline(&u->life) <= now)
            agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_TICK});
    }
    agent_changed(a);
}

static void arm(struct agent *a)
{
    uint64_t now = clock_boot_ms(), due = UNIT_NEVER;
    for (struct agent_unit *u = a->units; u; u = u->next)
        due = MIN(due, unit_deadline(&u->life));
    uv_update_time(a->cfg.loop);
    if (due == UNIT_NEVER)
        uv_timer_stop(a->timer);
    else
        /* libuv's clock does not count suspend, the units' does: look at least every minute. */
        uv_timer_start(a->timer, on_timer, due > now ? MIN(due - now, 60000) : 0, 0);
}

/* What must not happen inside a step, since it may free units: once, at the end of this turn of the loop. */
static void on_tell(uv_timer_t *t)
{
    struct agent *a = t->data;
    for (struct agent_unit *u = a->units, *next; u; u = next) {
        next = u->next;
        if (!u->wanted && u->life.state == UNIT_STOPPED && !u->jobs)
            free_unit_later(u);
    }
    agent_roll(a);
    arm(a);
    agent_secrets_tell(a);
    if (a->cfg.status) {
        _cleanup_json_ json_t *units = agent_status(a);
        a->cfg.status(a->cfg.ctx, units);
    }
}

void agent_changed(struct agent *a)
{
    if (!a->closed && !uv_is_active((uv_handle_t *)a->tell))
        uv_timer_start(a->tell, on_tell, 0, 0);
}

/* Not wanted, stopped: nothing of it stays but what the file system refuses to give up. */
static void free_unit_later(struct agent_unit *u)
{
    struct agent *a = u->agent;
    struct err ignored;
    slots_free(&a->slots, u->spec->name);
    runtime_secrets_close(u->secrets_dir);
    _cleanup_free_ char *dir = xasprintf("%s/units/%s", a->state_dir, u->spec->name);
    if (file_remove_tree(u->run_dir, &ignored) < 0 || file_remove_tree(dir, &ignored) < 0)
        ignored.code = 0;
    agent_unit_free(u);
    save_soon(a);
}

/* --- wanted and running --- */

/* One unit of a module at a time: the next is replaced when all others of it are ready again. One that is not ready
 * anyhow loses nothing. */
static bool may_replace(struct agent *a, const struct agent_unit *u)
{
    if (u->life.state != UNIT_READY)
        return true;
    for (const struct agent_unit *v = a->units; v; v = v->next)
        if (v != u && v->rolling && v->life.wanted && !strcmp(v->spec->module, u->spec->module))
            return false;
    return true;
}

static void replace(struct agent_unit *u)
{
    struct unit_params p;
    unit_params_of(&u->changed_doc->v[0], &p);
    unit_set_params(&u->life, &p);
    u->rolling = true;
    agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_CHANGED});
}

/* What it lacks is what it waits for; told once. */
static bool may_start(struct agent_unit *u, const struct unit_spec *s)
{
    char why[UNIT_REASON_SIZE] = "";
    agent_secrets_missing(u, s, why, sizeof why);
    if (!strcmp(why, u->waiting))
        return !*why;
    str_copy(u->waiting, sizeof u->waiting, why);
    if (*why && u->agent->cfg.timeline)
        u->agent->cfg.timeline(u->agent->cfg.ctx, s->name, "waits", why);
    return !*why;
}

/* A secret that asks for a restart: the same process again, one after the other. */
static void refresh(struct agent_unit *u)
{
    u->refresh = false;
    u->rolling = true;
    agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_CHANGED});
}

void agent_roll(struct agent *a)
{
    for (struct agent_unit *u = a->units; u; u = u->next) {
        if (u->refresh && !u->changed_doc && !u->jobs && u->life.state == UNIT_READY
            && may_replace(a, u))
            refresh(u);
        if (!u->changed_doc || u->jobs)
            continue;
        /* Back to what runs already, or only the standby mark changed: no process is replaced for it. */
        bool same = !strcmp(u->changed_doc->v[0].digest, u->spec->digest);
        if (same || !u->life.alive)
            agent_unit_swap_spec(u);
        bool ready = same || may_start(u, &u->changed_doc->v[0]);
        ready = ready && (u->life.state != UNIT_READY || agent_unit_next_here(u, NULL));
        if (!same && ready && u->life.wanted && u->life.state != UNIT_STOPPING && may_replace(a, u))
            replace(u);
    }
}

static void want(struct agent *a, const struct unit_spec *s)
{
    struct agent_unit *u = agent_unit_find(a, s->name);
    if (!u) {
        u = agent_unit_new(a, s->name);
        agent_unit_take_spec(u, s);
    } else {
        const struct unit_spec *latest = agent_unit_latest(u);
        if (strcmp(latest->digest, s->digest) != 0 || latest->standby != s->standby
            || !str_eq(latest->generation, s->generation))
            agent_unit_take_spec(u, s);
    }
    u->wanted = true;
    if (!u->life.wanted && !u->life.alive && !may_start(u, s))
        return;
    agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_WANT}); /* standbys run like all others */
}

void agent_reconcile(struct agent *a)
{
    for (struct agent_unit *u = a->units; u; u = u->next)
        u->wanted = a->blind || (a->boot_damaged && u->spec->kind == UNIT_ENGINE);
    for (size_t i = 0; i < a->boot->n; i++)
        want(a, &a->boot->v[i]);
    for (size_t i = 0; i < a->wanted->n; i++)
        if (!unit_specs_find(a->boot, a->wanted->v[i].name))
            want(a, &a->wanted->v[i]);
    for (struct agent_unit *u = a->units, *next; u; u = next) {
        next = u->next;
        if (!u->wanted)
            agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_UNWANT});
    }
    agent_want_images(a);
    agent_changed(a);
}

int agent_apply(struct agent *a, json_t *doc, struct err *e)
{
    struct unit_specs *specs;
    int r = unit_specs_parse(doc, &specs, e);
    if (r < 0)
        return err_wrap(e, "the snapshot of units");
    bool same = json_equal(specs->json, a->wanted->json);
    unit_specs_free(a->wanted);
    a->wanted = specs;
    a->blind = false;
    agent_reconcile(a);
    if (!same) {
        json_decref(a->save_pending);
        a->save_pending = json_incref(specs->json);
        save_soon(a);
    }
    return 0;
}

int agent_set_boot(struct agent *a, json_t *doc, struct err *e)
{
    struct unit_specs *specs;
    int r = unit_specs_parse(doc, &specs, e);
    if (r < 0)
        return err_wrap(e, "the boot units");
    _cleanup_free_ char *path = xasprintf("%s/boot-units.json", a->state_dir);
    _cleanup_free_ char *text = json_text_pretty(doc);
    r = file_write_durable(path, text, strlen(text), 0644, e);
    if (r < 0) {
        unit_specs_free(specs);
        return r;
    }
    unit_specs_free(a->boot);
    a->boot = specs;
    a->boot_damaged = false;
    agent_reconcile(a);
    return 0;
}

/* --- life of the agent --- */

static uv_timer_t *new_timer(struct agent *a)
{
    uv_timer_t *t = xmalloc(sizeof *t);
    uv_timer_init(a->cfg.loop, t);
    t->data = a;
    return t;
}

static int open_agent(struct agent *a, struct err *e)
{
    int r = file_mkdirs(a->state_dir, 0700, e);
    if (r >= 0)
        r = file_mkdirs(a->units_dir, 0711, e);
    if (r < 0)
        return r;
    load_or_keep(a, "boot-units.json", &a->boot);
    load_or_keep(a, "units.json", &a->wanted);
    load_slots(a);
    return agent_adopt(a, e);
}

int agent_new(const struct agent_config *cfg, struct agent **ret, struct err *e)
{
    struct agent *a = xcalloc(1, sizeof *a);
    a->cfg = *cfg;
    a->state_dir = xstrdup(cfg->state_dir);
    a->units_dir = xstrdup(cfg->units_dir);
    a->secrets_dir = xstrdup(cfg->secrets_dir);
    a->cgroup = xstrdup(cfg->cgroup);
    a->functions_dir = xstrdup(cfg->functions_dir ? cfg->functions_dir : RUNTIME_FUNCTIONS_DIR);
    rnd_seed(&a->rnd, cfg->seed);
    a->timer = new_timer(a);
    a->tell = new_timer(a);
    int r = open_agent(a, e);
    if (r < 0) {
        agent_free(a);
        return r;
    }
    agent_reconcile(a);
    agent_secrets_sweep(a);
    agent_functions_sweep(a);
    save_soon(a); /* the slots */
    *ret = a;
    return 0;
}

static void finish_jobs(struct agent *a)
{
    /* Jobs hold pointers into the agent: wait for those that run. Bounded by what they do themselves. */
    while (a->jobs)
        uv_run(a->cfg.loop, UV_RUN_ONCE);
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    a->closed = true;
    finish_jobs(a);
    agent_functions_done(a);
    while (a->units)
        agent_unit_free(a->units);
    uv_close((uv_handle_t *)a->timer, close_free);
    uv_close((uv_handle_t *)a->tell, close_free);
    unit_specs_free(a->boot);
    unit_specs_free(a->wanted);
    slots_done(&a->slots);
    json_decref(a->save_pending);
    free(a->state_dir);
    free(a->units_dir);
    free(a->functions_dir);
    free(a->secrets_dir);
    agent_secrets_done(a);
    free(a->cgroup);
    free(a);
}

int agent_restart(struct agent *a, const char *unit, struct err *e)
{
    struct agent_unit *u = agent_unit_find(a, unit);
    if (!u)
        return err_set(e, ERR_NOT_FOUND, "this host has no unit %s", unit);
    agent_unit_feed(
        u, (struct unit_event){.kind = UNIT_EV_CHANGED, .incarnation = u->life.incarnation});
    return 0;
}
