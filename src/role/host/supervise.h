/* SPDX-License-Identifier: Apache-2.0 */
/* When a role's process is started, stopped, killed and started again: one state x event table,
 * pure. The first restart comes at once, further ones after 0.1 s, doubling to 30 s, each with
 * jitter; 10 s of health forget the past. A start that takes over 60 s and a stop that takes over
 * 10 s end in SIGKILL. */
#pragma once

#include "base/rnd/rnd.h"
#include "base/util/util.h"

#define SUP_HEALTHY_MS 10000u
#define SUP_START_MS 60000u
#define SUP_STOP_MS 10000u
#define SUP_KILL_AGAIN_MS 5000u
#define SUP_BACKOFF_MIN_MS 100u
#define SUP_BACKOFF_MAX_MS 30000u

enum sup_state {
    SUP_DOWN,       /* no process, none wanted */
    SUP_STARTING,   /* process runs, has not said ready */
    SUP_UP,         /* ready */
    SUP_BACKOFF,    /* no process, waits for its time */
    SUP_STOPPING,   /* asked to stop, for good */
    SUP_RESTARTING, /* asked to stop, comes again at once */
    SUP_N_STATES
};

enum sup_event {
    SUP_WANT,   /* the role belongs to this host */
    SUP_UNWANT, /* or no longer, or host stops */
    SUP_CHANGE, /* its sockets or the boot record changed */
    SUP_READY,  /* it said so */
    SUP_EXIT,   /* its process ended, or could not be started */
    SUP_HUNG,   /* it no longer answers pings */
    SUP_TIMER,  /* timer_at_ms has come */
    SUP_N_EVENTS
};

enum sup_action { SUP_NOTHING, SUP_SPAWN, SUP_ASK_STOP, SUP_KILL };

struct sup { /* zeroed: down */
    enum sup_state state;
    uint64_t timer_at_ms; /* 0: none */
    unsigned failures;    /* ends that nobody asked for, since it was last healthy */
    unsigned starts;
};

enum sup_action sup_step(struct sup *s, enum sup_event event, uint64_t now_ms, struct rnd *rnd);
const char *sup_state_name(enum sup_state state);
