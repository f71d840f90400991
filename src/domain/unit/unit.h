/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one unit as a pure step: events in, actions out, one state × event table (unit.c). It decides when a
 * process is started, probed, stopped, killed and tried again; the agent and the simulator carry it out.
 *
 *   pending -> starting -> ready <-> unhealthy -> stopping -> stopped      backoff, failed: tried again later
 *
 * Invariants: START is asked for only while no process of the unit is known to live, and never before the back-off
 * allows it; every state has an exit; a deadline missed (clock jump, suspended machine) is simply due. Times are
 * boot-time milliseconds, given by the caller. No allocation; one thread. */
#pragma once

#include "base/json/json.h"
#include "base/rnd/rnd.h"
#include "domain/spec/spec.h"

#define UNIT_REASON_SIZE 256
#define UNIT_ACTIONS_MAX 5 /* each kind at most once a step */
#define UNIT_NEVER UINT64_MAX

enum unit_state {
    UNIT_PENDING,  /* not asked to run yet (the agent has just heard of it) */
    UNIT_STARTING, /* START was asked for; not ready yet */
    UNIT_READY,
    UNIT_UNHEALTHY, /* runs, but its probe has failed often enough to take it out of service */
    UNIT_STOPPING,  /* TERM was sent; KILL follows */
    UNIT_STOPPED,
    UNIT_BACKOFF, /* died or could not start: waits for its next try */
    UNIT_FAILED,  /* cannot start for a reason that trying again at once does not mend */
    UNIT_STATES,
};

enum unit_event_kind {
    UNIT_EV_WANT,         /* it shall run */
    UNIT_EV_UNWANT,       /* it shall not */
    UNIT_EV_CHANGED,      /* its spec is another now: replace the process */
    UNIT_EV_STARTED,      /* the process runs */
    UNIT_EV_START_FAILED, /* there is no process; `permanent`: the image is missing or unusable */
    UNIT_EV_PROBE_OK,
    UNIT_EV_PROBE_FAIL,
    UNIT_EV_EXITED,  /* the process is gone and what it held is cleaned up */
    UNIT_EV_WAITING, /* what it starts from is on its way (text): no deadline runs meanwhile */
    UNIT_EV_BEGINS,  /* and is here now: the start has begun */
    UNIT_EV_TICK,    /* time has passed */
    UNIT_EVENTS_PUBLIC,
};

struct unit_exit {
    int code;   /* exit status, when signal is 0 */
    int signal; /* that ended it */
    bool oom;   /* the memory limit ended it */
    bool lost;  /* it ended unobserved */
};

struct unit_event {
    enum unit_event_kind kind;
    uint64_t incarnation; /* STARTED … BEGINS: of which process; others are ignored as late */
    struct unit_exit exit;
    bool permanent;
    const char *text; /* START_FAILED, PROBE_FAIL, WAITING: why */
};

enum unit_action_kind {
    UNIT_ACT_START, /* begin incarnation u->incarnation; answer STARTED, or START_FAILED, or EXITED */
    UNIT_ACT_TERM,   /* ask it to stop (its stop signal) */
    UNIT_ACT_KILL,   /* kill all of it */
    UNIT_ACT_PROBE,  /* probe once, answer PROBE_OK or PROBE_FAIL */
    UNIT_ACT_REPORT, /* the state or its reason changed: status and timeline */
};

struct unit_actions {
    enum unit_action_kind v[UNIT_ACTIONS_MAX];
    size_t n;
};

/* What of the spec the life depends on. */
struct unit_params {
    enum probe_kind probe;
    uint64_t interval_ms, start_timeout_ms, stop_timeout_ms;
    unsigned failures;
    uint64_t memory_bytes; /* for the words of an OOM */
    /* Slow is not dead: however long it does not answer, only its end starts it anew. For what
     * recovers by reading its logs, and would begin that again. */
    bool patient;
};

struct unit {
    enum unit_state state;
    bool wanted;
    bool alive;   /* a process may exist: from START until EXITED or START_FAILED */
    bool probing; /* a PROBE has been asked for and not been answered */
    uint64_t incarnation;
    unsigned misses;   /* consecutive failed probes */
    unsigned failures; /* consecutive deaths and failed starts, since the last healthy period */
    unsigned restarts; /* starts after the first */
    uint64_t since_ms; /* in this state since */
    uint64_t start_due, stop_due, retry_due, probe_due, healthy_due; /* UNIT_NEVER: unarmed */
    uint64_t earliest_start; /* the back-off's promise, also across an agent's restart */
    struct unit_exit last_exit;
    struct unit_params params;
    char reason[UNIT_REASON_SIZE]; /* why it is in this state; "" when ready */
    char cause[UNIT_REASON_SIZE]; /* of the last failure: "exit 1", "out of memory (limit 64MiB)" */
    bool backoff_off;             /* mutation check of the simulator: never set elsewhere */
};

/* Restart delays: the first try at once, then 1, 2, 4 ... 60 s, each up to a quarter longer. */
#define UNIT_BACKOFF_FIRST_MS 1000u
#define UNIT_BACKOFF_CAP_MS 60000u
#define UNIT_BACKOFF_PATIENT_MS 8000u /* the cap of what is patient, a database's server */
#define UNIT_HEALTHY_MS 60000u      /* ready this long: the failures are forgotten */
#define UNIT_FAILED_RETRY_MS 10000u /* at first; a missing image may have come meanwhile */
#define UNIT_KILL_AGAIN_MS 5000u
#define UNIT_START_PROBE_MS 100u /* between two probes of a starting unit */
#define UNIT_START_EXEC_PROBE_MS 500u

void unit_init(struct unit *u, const struct unit_params *p, uint64_t now_ms);
/* The parameters of a changed spec; they count from the next start. */
void unit_set_params(struct unit *u, const struct unit_params *p);
void unit_params_of(const struct unit_spec *s, struct unit_params *ret);
/* Adds to *out, which the caller has emptied. `rnd` jitters the back-off. */
void unit_step(struct unit *u, const struct unit_event *ev, uint64_t now_ms, struct rnd *rnd,
    struct unit_actions *out);
uint64_t unit_deadline(const struct unit *u); /* when to send TICK; UNIT_NEVER: not needed */
/* The shortest delay allowed after that many failures in a row. */
uint64_t unit_backoff_ms(unsigned failures);
const char *unit_state_name(enum unit_state s);
void unit_exit_describe(const struct unit_exit *x, uint64_t memory_bytes, char *out, size_t size);

/* What an agent's successor must know: state, incarnation, failures, deadlines. After unit_restore() the caller says
 * what became of the process: nothing while it lives, EXITED when it is gone. */
json_t *unit_save(const struct unit *u);
MUST_CHECK int unit_restore(struct unit *u, const json_t *saved, const struct unit_params *p,
    uint64_t now_ms, struct err *e);
