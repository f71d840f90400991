/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside service/agent: the agent's and a unit's memory. See agent.h. */
#pragma once

#include "base/rnd/rnd.h"
#include "base/secret/secret.h"
#include "base/str/str.h"
#include "domain/unit/slots.h"
#include "domain/unit/unit.h"
#include "service/agent/agent.h"

struct probe;

struct agent_unit {
    struct agent *agent;
    struct agent_unit *next;
    struct unit life;
    struct unit_specs *doc;         /* owns spec: a document of this one unit */
    const struct unit_spec *spec;   /* of the process that runs, or of the next start */
    struct unit_specs *changed_doc; /* wanted, but not yet taken over; NULL: none */
    char *run_dir, *log_dir, *cgroup, *secrets_dir;
    unsigned slot;
    struct ip_addr address;
    int64_t since_wall_ms;
    pid_t pid;         /* of the unit's first process; 0: none known */
    pid_t shim;        /* 0: none */
    int pidfd;         /* of the shim; -1 */
    bool wanted;       /* in the wanted list; else removed once it has stopped */
    bool rolling;      /* replaced by its new spec, and not ready since */
    bool stale;        /* its secrets are to be renewed, when no job uses them */
    bool refresh;      /* a secret is another: to be replaced, by the same spec */
    char waiting[UNIT_REASON_SIZE]; /* why it (or its next spec) is not started; "" */
    bool started_told; /* STARTED was fed for this incarnation */
    bool awaits;       /* START was asked for, and the image is not here yet */
    unsigned jobs;     /* on worker threads, which use run_dir and spec */
    uv_poll_t *watch_shim;
    uv_fs_event_t *watch_dir;
    struct probe *probe;
    char *saved; /* text of unit.json as written last */
};

struct agent {
    struct agent_config cfg;
    char *state_dir, *units_dir, *secrets_dir, *functions_dir, *cgroup;
    struct agent_unit *units; /* in order of their first appearance */
    struct unit_specs *boot, *wanted;
    struct slots slots;
    struct rnd rnd;
    struct agent_secret *secrets;
    struct function_run *functions;
    json_t *function_answers; /* of the newest runs */
    json_t *secrets_want, *secrets_have; /* as told last */
    uv_timer_t *timer;    /* the next deadline of any unit */
    uv_timer_t *tell;     /* runs once at the end of this turn of the loop */
    json_t *save_pending; /* units.json to be written */
    bool saving, closed, slots_changed; /* since they were last written */
    /* What is wanted could not be read: nothing (no engine) is stopped for being unwanted. */
    bool blind, boot_damaged;
    unsigned jobs;
};

static inline void close_free(uv_handle_t *h)
{
    free(h);
}

/* unit.c */
struct agent_unit *agent_unit_new(struct agent *a, const char *name);
void agent_unit_free(struct agent_unit *u);
struct agent_unit *agent_unit_find(struct agent *a, const char *name);
void agent_unit_feed(struct agent_unit *u, struct unit_event ev);
void agent_unit_take_spec(struct agent_unit *u, const struct unit_spec *s);
void agent_unit_swap_spec(struct agent_unit *u); /* takes over changed_doc; not while a job runs */
const struct unit_spec *agent_unit_latest(const struct agent_unit *u); /* as wanted */
/* The shim's descriptor becomes readable when it ends. Feeds STARTED and EXITED from then on. */
void agent_unit_watch(struct agent_unit *u, pid_t shim);
void agent_unit_note_started(struct agent_unit *u);
/* The shim is gone (or never was): reads its record, cleans up if there is none, feeds EXITED or START_FAILED. */
void agent_unit_gone(struct agent_unit *u);

/* image.c */
/* True: the start goes on. Else the unit is told why not, and started when the image is here. */
bool agent_unit_image_here(struct agent_unit *u);
void agent_unit_stop_waiting(struct agent_unit *u);
/* May what runs be replaced by what is wanted? *text (may be NULL): what is missing for it. */
bool agent_unit_next_here(const struct agent_unit *u, char text[IMAGES_TEXT_SIZE]);
void agent_want_images(struct agent *a);
void agent_unit_start_now(struct agent_unit *u); /* unit.c */

/* agent.c */
void agent_changed(struct agent *a); /* re-arms the timer, rolls on, tells status soon */
void agent_roll(struct agent *a);
void agent_slots_save(struct agent *a);
void agent_reconcile(struct agent *a);

/* secrets.c */
/* Why the unit cannot be started by that spec; false: it can. */
bool agent_secrets_missing(
    const struct agent_unit *u, const struct unit_spec *spec, char *why, size_t size);
/* The files of u->spec, before its process. */
MUST_CHECK int agent_secrets_prepare(struct agent_unit *u, struct err *e);
void agent_secrets_tell(struct agent *a);
void agent_secrets_sweep(struct agent *a);
void agent_secrets_done(struct agent *a);

/* function.c */
void agent_functions_sweep(struct agent *a);
void agent_functions_done(struct agent *a);

/* identity.c: the socket in `dir` by which a run, of those params, asks the platform */
struct identity;
MUST_CHECK int identity_open(struct agent *a, const char *dir, const json_t *params,
    struct identity **ret, struct err *e);
void identity_close(struct identity *i); /* NULL is fine */

/* engine.c: on a worker thread */
MUST_CHECK int agent_engine_prepare(
    const struct agent *a, const struct unit_engine *g, struct err *e);

/* adopt.c */
MUST_CHECK int agent_adopt(struct agent *a, struct err *e);
void agent_unit_save(struct agent_unit *u);

/* probe.c */
/* `text` NULL: well. Called once, unless the probe is dropped before. */
typedef void (*probe_done_fn)(void *ctx, const char *text);
struct probe *probe_start(
    struct agent *a, const struct agent_unit *u, probe_done_fn done, void *ctx);
void probe_drop(struct probe *p); /* no callback; NULL is fine */

/* The units that a request names ("unit" or "module"): at most max, in order. Error filled when none. */
size_t agent_select(
    struct agent *a, const json_t *params, struct agent_unit **out, size_t max, struct err *e);
