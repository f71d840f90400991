/* SPDX-License-Identifier: Apache-2.0 */
/* The failover of databases as this control sees it: the facts of each database (failover_facts.c),
 * looked at every half second by every control, so that whoever leads next knows how things were
 * before the fault; the steps, which the leader takes (failover.c); what people order
 * (failover_orders.c). On the control loop. */
#pragma once

#include "domain/failover/doc.h"
#include "domain/failover/fsm.h"
#include "domain/model/model.h"
#include "service/documents/documents.h"

struct control;

#define FAILOVER_LOOK_MS 500u

/* What a look at one database remembers of those before; times of the boot clock, 0: never. */
struct failover_seen {
    bool healthy;
    uint64_t well_ms;         /* the source was well */
    uint64_t down_ms;         /* its process has been gone since; 0: it has not */
    uint64_t target_lost_ms;  /* the target fell ill */
    bool target_was_good;
    char wanted[FAILOVER_NAME_SIZE]; /* target that a person names in this look; "" */
    char target[FAILOVER_NAME_SIZE]; /* that the rest is about */
    bool lag_known, broken;
    uint64_t lag_ms, lag_at_ms; /* the last sample while the source was well */
    uint64_t unapplied_ms;      /* since when; 0: all is applied */
    json_t *news;  /* {host: {"mark": what came from the source last, "at": when}} */
    json_t *heard; /* {host: true}: members whose data role was heard since the start */
    char version[64]; /* of the source's server */
};

/* The same of everything that is not about one database. */
struct failover_world_seen {
    json_t *regions; /* {region: when it fell silent; 0: it is heard} */
    struct failover_clock clock;
};

struct watcher { /* one database */
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    struct failover_seen seen;
    struct failover_facts facts; /* of the last look */
    struct failover_run run, next_run; /* the second: when the write has succeeded */
    struct failover_action action;
    struct happened *queue; /* answers that have not been taken in */
    struct happened *now;   /* NULL: a tick */
    bool editing, moved, told_doc;
    char told[160]; /* step or state that the timeline has */
    int64_t acked_drill; /* change that a drill has acknowledged, as the timeline has it */
    uint64_t told_ms; /* failover/<database> was written last */
    int64_t far_id; /* the change that a source of others is fenced for, by this leader since then */
    uint64_t far_ms;
    struct watcher *next;
};

struct control_failover {
    struct control *c;
    uv_timer_t timer;
    struct documents *docs; /* failover/<database> */
    struct failover_world_seen world;
    struct watcher *watchers;
};

/* failover_facts.c */
void failover_look_world(struct control *c, struct failover_world_seen *w);
/* Everything about that database as of now, into w->facts; false: it has no document yet. */
bool failover_look(struct control *c, struct watcher *w);
void failover_seen_done(struct failover_seen *s);

/* failover_orders.c: what the function that fences a source of others is told */
json_t *failover_fence_input(const struct control *c, const struct model_database *db, int64_t id, int64_t epoch,
    bool rehearsal);

/* failover.c */
/* A database whose failover is declared. */
bool failover_is_declared(const struct model_database *db);
struct watcher *failover_watcher(struct control *c, const char *database); /* NULL: none */
const json_t *failover_doc_of(const struct control *c, const char *database); /* NULL: none */
void failover_hurry(struct control *c); /* something was ordered: the next look is now */
