/* SPDX-License-Identifier: Apache-2.0 */
/* One unit: feeds its life with what happens and carries out what it decides. */
#include "service/agent/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct start_job {
    uv_work_t work;
    struct agent_unit *unit;
    uint64_t incarnation;
    struct runtime_unit what;
    pid_t pid;
    int result;
    struct err err;
};

struct clean_job {
    uv_work_t work;
    struct agent_unit *unit;
    uint64_t incarnation;
};

struct agent_unit *agent_unit_new(struct agent *a, const char *name)
{
    struct agent_unit *u = xcalloc(1, sizeof *u), **at = &a->units;
    u->agent = a;
    u->pidfd = -1;
    u->run_dir = xasprintf("%s/%s", a->units_dir, name);
    u->log_dir = xasprintf("%s/units/%s/log", a->state_dir, name);
    u->cgroup = xasprintf("%s/units/%s", a->cgroup, name);
    u->secrets_dir = xasprintf("%s/%s", a->secrets_dir, name);
    while (*at)
        at = &(*at)->next;
    *at = u;
    return u;
}

struct agent_unit *agent_unit_find(struct agent *a, const char *name)
{
    for (struct agent_unit *u = a->units; u; u = u->next)
        if (!strcmp(u->spec->name, name))
            return u;
    return NULL;
}

static void stop_watching(struct agent_unit *u)
{
    if (u->watch_shim)
        uv_close((uv_handle_t *)u->watch_shim, close_free);
    if (u->watch_dir)
        uv_close((uv_handle_t *)u->watch_dir, close_free);
    u->watch_shim = NULL;
    u->watch_dir = NULL;
    if (u->pidfd >= 0)
        close(u->pidfd);
    u->pidfd = -1;
    u->shim = 0;
}

void agent_unit_free(struct agent_unit *u)
{
    struct agent_unit **at = &u->agent->units;
    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
    stop_watching(u);
    probe_drop(u->probe);
    unit_specs_free(u->doc);
    unit_specs_free(u->changed_doc);
    free(u->run_dir);
    free(u->log_dir);
    free(u->secrets_dir);
    free(u->cgroup);
    free(u->saved);
    free(u);
}

/* A document of its own, so that a unit outlives the snapshot that named it. */
static struct unit_specs *own_doc(const struct unit_spec *s)
{
    _cleanup_json_ json_t *doc = json_pack("{s:i,s:[O]}", "revision", 0, "units", s->json);
    struct unit_specs *own;
    struct err e;
    int r = unit_specs_parse(doc, &own, &e);
    ASSERT(r >= 0); /* it was parsed before */
    return own;
}

void agent_unit_take_spec(struct agent_unit *u, const struct unit_spec *s)
{
    struct unit_params p;
    unit_params_of(s, &p);
    if (!u->spec) {
        u->doc = own_doc(s);
        u->spec = &u->doc->v[0];
        unit_init(&u->life, &p, clock_boot_ms());
        u->since_wall_ms = clock_wall_ms();
        return;
    }
    unit_specs_free(u->changed_doc);
    u->changed_doc = own_doc(s);
    if (!u->life.alive)
        unit_set_params(&u->life, &p);
}

const struct unit_spec *agent_unit_latest(const struct agent_unit *u)
{
    return u->changed_doc ? &u->changed_doc->v[0] : u->spec;
}

/* --- starting --- */

void agent_unit_swap_spec(struct agent_unit *u)
{
    if (!u->changed_doc)
        return;
    ASSERT(!u->jobs);
    unit_specs_free(u->doc);
    u->doc = u->changed_doc;
    u->spec = &u->doc->v[0];
    u->changed_doc = NULL;
}

static void signal_shim(struct agent_unit *u, bool kill_all)
{
    struct err ignored;
    if (u->pidfd >= 0 && runtime_signal(u->pidfd, kill_all, &ignored) < 0)
        return; /* KILL comes again */
}

static void run_start(uv_work_t *work)
{
    struct start_job *j = work->data;
    const struct agent *a = j->unit->agent;
    const struct unit_spec *s = j->unit->spec;
    j->result = s->engine ? agent_engine_prepare(a, s->engine, &j->err) : 0;
    if (j->result >= 0)
        j->result = a->cfg.runtimes[s->runtime]->start(&a->cfg.host, &j->what, &j->pid, &j->err);
}

static bool retry_is_useless(int code)
{
    return code == ERR_NOT_FOUND || code == ERR_INVALID || code == ERR_LIMIT;
}

static void end_job(struct agent_unit *u)
{
    u->jobs--;
    u->agent->jobs--;
}

static void after_start(uv_work_t *work, int status)
{
    struct start_job *j = work->data;
    struct agent_unit *u = j->unit;
    end_job(u);
    if (u->agent->closed) {
        free(j);
        return;
    }
    if (j->result < 0)
        agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_START_FAILED,
                               .incarnation = j->incarnation,
                               .permanent = retry_is_useless(j->result),
                               .text = j->err.message});
    else
        agent_unit_watch(u, j->pid);
    if (u->life.state == UNIT_STOPPING) /* asked for while there was nobody to tell */
        signal_shim(u, false);
    free(j);
}

static void describe(struct agent_unit *u, struct runtime_unit *w)
{
    const struct unit_spec *s = u->spec;
    const struct agent_config *c = &u->agent->cfg;
    *w = (struct runtime_unit){
        .name = s->name,
        .run_dir = u->run_dir,
        .incarnation = u->life.incarnation,
        .image = s->image,
        .command = s->command,
        .env = s->env,
        .user = s->user,
        .cwd = s->cwd,
        .cgroup = u->cgroup,
        .limits = {s->limits.memory_bytes, s->limits.cpu_milli, s->limits.pids},
        .slot = u->slot,
        .uid_base = u->slot ? slot_uid(u->slot) : 0,
        .address = u->address,
        .secrets_dir = s->n_secrets ? u->secrets_dir : NULL,
        .log = {u->log_dir, c->log_file_bytes, c->log_files, c->log_rate, c->log_burst},
    };
}

static bool take_place(struct agent_unit *u)
{
    struct agent *a = u->agent;
    if (u->spec->runtime == UNIT_EXEC) {
        u->address = a->cfg.own_address;
        return true;
    }
    struct ip_prefix half = slots_half(&a->cfg.host.bridge, false);
    u->slot = slots_take(&a->slots, u->spec->name, &half);
    agent_slots_save(a); /* the next agent looks for the unit there */
    return u->slot && slot_address(u->slot, &half, &u->address);
}

static void do_start(struct agent_unit *u)
{
    agent_unit_swap_spec(u);
    u->pid = 0;
    u->started_told = u->refresh = false;
    if (agent_unit_image_here(u))
        agent_unit_start_now(u);
}

void agent_unit_start_now(struct agent_unit *u)
{
    struct err e = {0};
    if (!take_place(u)) {
        agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_START_FAILED,
                               .incarnation = u->life.incarnation,
                               .text = "the bridge has no address left"});
        return;
    }
    if (file_mkdirs(u->run_dir, 0711, &e) < 0 || agent_secrets_prepare(u, &e) < 0) {
        agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_START_FAILED,
                               .incarnation = u->life.incarnation,
                               .text = e.message});
        return;
    }
    agent_unit_save(u);
    struct start_job *j = xcalloc(1, sizeof *j);
    j->work.data = j;
    j->unit = u;
    j->incarnation = u->life.incarnation;
    describe(u, &j->what);
    u->jobs++;
    u->agent->jobs++;
    int r = uv_queue_work(u->agent->cfg.loop, &j->work, run_start, after_start);
    ASSERT(r == 0);
}

/* --- the process --- */

void agent_unit_note_started(struct agent_unit *u)
{
    struct runtime_state s;
    struct err ignored;
    if (u->started_told || runtime_read_state(u->run_dir, &s, &ignored) < 0
        || s.incarnation != u->life.incarnation)
        return;
    u->started_told = true;
    u->pid = s.pid;
    agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_STARTED, .incarnation = s.incarnation});
}

static void on_dir(uv_fs_event_t *h, const char *file, int events, int status)
{
    if (!file || !strcmp(file, "state.json"))
        agent_unit_note_started(h->data);
}

static void on_shim(uv_poll_t *h, int status, int events)
{
    agent_unit_gone(h->data);
}

void agent_unit_watch(struct agent_unit *u, pid_t shim)
{
    uv_loop_t *loop = u->agent->cfg.loop;
    stop_watching(u);
    u->shim = shim;
    u->pidfd = (int)syscall(SYS_pidfd_open, shim, 0);
    if (u->pidfd < 0) { /* reaped by somebody else already */
        agent_unit_gone(u);
        return;
    }
    u->watch_shim = xmalloc(sizeof *u->watch_shim);
    u->watch_dir = xmalloc(sizeof *u->watch_dir);
    uv_poll_init(loop, u->watch_shim, u->pidfd);
    uv_fs_event_init(loop, u->watch_dir);
    u->watch_shim->data = u->watch_dir->data = u;
    uv_poll_start(u->watch_shim, UV_READABLE, on_shim);
    uv_fs_event_start(u->watch_dir, on_dir, u->run_dir, 0);
    /* It may have been quicker than the watch. */
    agent_unit_note_started(u);
}

static void run_clean(uv_work_t *work)
{
    struct clean_job *j = work->data;
    struct agent_unit *u = j->unit;
    struct err e;
    if (runtime_clean(&u->agent->cfg.host, u->spec->name, u->cgroup, &e) < 0)
        return; /* the next start cleans again, and says so when it cannot */
}

static void after_clean(uv_work_t *work, int status)
{
    struct clean_job *j = work->data;
    struct agent_unit *u = j->unit;
    end_job(u);
    if (!u->agent->closed)
        agent_unit_feed(
            u, (struct unit_event){
                   .kind = UNIT_EV_EXITED, .incarnation = j->incarnation, .exit = {.lost = true}});
    free(j);
}

/* The shim was killed: nobody else ends what it ran. */
static void clean(struct agent_unit *u)
{
    struct clean_job *j = xcalloc(1, sizeof *j);
    j->work.data = j;
    j->unit = u;
    j->incarnation = u->life.incarnation;
    u->jobs++;
    u->agent->jobs++;
    int r = uv_queue_work(u->agent->cfg.loop, &j->work, run_clean, after_clean);
    ASSERT(r == 0);
}

void agent_unit_gone(struct agent_unit *u)
{
    struct runtime_exit x;
    struct err ignored;
    agent_unit_note_started(u); /* it may have lived between two turns of the loop */
    if (u->shim > 0)
        waitpid(u->shim, NULL, WNOHANG); /* ours unless adopted */
    stop_watching(u);
    u->pid = 0;
    if (runtime_read_exit(u->run_dir, &x, &ignored) < 0 || x.incarnation != u->life.incarnation) {
        clean(u);
        return;
    }
    struct unit_event ev = {.kind = *x.error ? UNIT_EV_START_FAILED : UNIT_EV_EXITED,
        .incarnation = x.incarnation,
        .exit = {.code = x.code, .signal = x.signal, .oom = x.oom},
        .permanent = x.permanent,
        .text = x.error};
    agent_unit_feed(u, ev);
}

/* --- probes --- */

static void after_probe(void *ctx, const char *text)
{
    struct agent_unit *u = ctx;
    u->probe = NULL;
    agent_unit_feed(u, (struct unit_event){.kind = text ? UNIT_EV_PROBE_FAIL : UNIT_EV_PROBE_OK,
                           .incarnation = u->life.incarnation,
                           .text = text});
}

static void do_probe(struct agent_unit *u)
{
    probe_drop(u->probe);
    u->probe = probe_start(u->agent, u, after_probe, u);
}

/* --- the life --- */

static void report(struct agent_unit *u, enum unit_state before)
{
    struct agent *a = u->agent;
    const struct unit *l = &u->life;
    if (l->state == before || !a->cfg.timeline)
        return;
    char message[64];
    snprintf(message, sizeof message, "%s", unit_state_name(l->state));
    a->cfg.timeline(a->cfg.ctx, u->spec->name, message, l->reason);
}

void agent_unit_feed(struct agent_unit *u, struct unit_event ev)
{
    struct unit_actions acts = {.n = 0};
    enum unit_state before = u->life.state;
    unit_step(&u->life, &ev, clock_boot_ms(), &u->agent->rnd, &acts);
    if (u->life.state != before)
        u->since_wall_ms = clock_wall_ms();
    if (u->life.state == UNIT_READY)
        u->rolling = false;
    if (!u->life.alive) {
        probe_drop(u->probe);
        u->probe = NULL;
    }
    agent_unit_save(u); /* before anything is done: a successor must not do it again */
    report(u, before);
    for (size_t i = 0; i < acts.n; i++) {
        if (acts.v[i] == UNIT_ACT_START)
            do_start(u);
        else if (u->awaits && (acts.v[i] == UNIT_ACT_TERM || acts.v[i] == UNIT_ACT_KILL))
            agent_unit_stop_waiting(u);
        else if (acts.v[i] == UNIT_ACT_TERM || acts.v[i] == UNIT_ACT_KILL)
            signal_shim(u, acts.v[i] == UNIT_ACT_KILL);
        else if (acts.v[i] == UNIT_ACT_PROBE)
            do_probe(u);
    }
    agent_changed(u->agent);
}
