/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside service/scheduler. */
#pragma once

#include "service/scheduler/scheduler.h"

#include "base/str/str.h"

#define TTL_MS 5000u
#define GATHER_MS 50u
#define RETRY_MS 500u

enum follow_kind { FOLLOW_PLACEMENT, FOLLOW_DEPLOY, FOLLOW_KINDS };

struct follow { /* a copy of all documents below one prefix */
    struct scheduler *owner;
    const char *prefix; /* "placement/" */
    struct kv_watch *watch;
    bool listing, again; /* asked; what comes was asked for too early */
    bool read;           /* once since the start */
    bool fresh;          /* since the leader began to load */
    unsigned written;    /* as s->written when it was asked */
};

enum lead_state {
    LEAD_NOT,     /* another does, or nobody */
    LEAD_ASKING,  /* one of the questions on the way to it is on its way */
    LEAD_LOADING, /* the epoch is ours; the documents are read again */
    LEAD_LEADING,
};

struct scheduler {
    uv_loop_t *loop;
    struct kv *kv;
    char *root; /* /mcp/<platform>/ */
    char *host, *cache_path;
    uint64_t ttl_ms;
    struct scheduler_handler handler;
    void *ctx;
    int refs; /* ours, the timers', and each callback that the state store still owes us */
    bool closing;

    struct follow follows[FOLLOW_KINDS];
    json_t *docs; /* placement/… and deploy/… */
    json_t *mods; /* key -> mod revision of both */
    uv_timer_t follow_timer, save_timer;

    enum lead_state state;
    int64_t lease, epoch, epoch_mod, lease_mod;
    uint64_t sent_ms, sure_until_ms; /* of the renewal on its way; of the last that came back */
    bool keeping, asking, told_leads, aside;
    struct kv_watch *lease_watch;
    uv_timer_t lead_timer; /* tries again, or renews */

    struct schedule *schedule;
    json_t *writing; /* what of a step is still to be written; NULL: nothing is on its way */
    json_t *batch;   /* what of it is in the transaction on its way */
    struct schedule_note *notes; /* told once it is written */
    size_t n_notes;
    unsigned written; /* transactions that came back: a list asked for before one is too old */
    bool stale;       /* somebody else wrote: read all again */
    bool poked;
    uv_timer_t step_timer;
    char trouble[512];
};

/* follow.c */
void follow_start(struct scheduler *s);
void follow_again(struct scheduler *s, enum follow_kind kind); /* from a list that is read anew */
void follow_stop(struct scheduler *s);
void follow_load_cache(struct scheduler *s);
void follow_save_soon(struct scheduler *s);

/* lead.c */
void lead_start(struct scheduler *s);
void lead_loaded(struct scheduler *s); /* placement and deploy were read */
void lead_reload(struct scheduler *s); /* is the epoch still ours? then all documents again */
void lead_lose(struct scheduler *s, const struct err *e);
void lead_stop(struct scheduler *s);

/* step.c */
void step_soon(struct scheduler *s, uint64_t ms);
void step_stop(struct scheduler *s);
MUST_CHECK int step_load(struct scheduler *s, struct err *e);

/* scheduler.c */
void scheduler_ref(struct scheduler *s);
void scheduler_unref(struct scheduler *s);
void scheduler_trouble(struct scheduler *s, const struct err *e);
