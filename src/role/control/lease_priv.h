/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by lease.c (the holder's acts, the challenger's facts) and failsafe.c (promises). */
#pragma once

#include "role/control/lease.h"
#include "role/control/priv.h"

struct lease_of { /* one database; lives until the close */
    struct lease_of *next;
    struct control *c;
    char database[MODEL_DATABASE_NAME_MAX + 1];
    struct lease_holder h;
    struct lease_watch watch;
    char told[128]; /* why there is none, as noted last */
    bool noted;     /* that it is held */
    bool begun;     /* a failover of it, here */
    int64_t shut_epoch, shut_id; /* the gate stays shut at that epoch until that change is over */
    struct lease_promise promise;
};

struct control_lease {
    struct control *c;
    struct documents *docs;
    uv_timer_t timer;
    struct lease_of *holders;
};

struct lease_of *lease_find(const struct control *c, const char *database); /* NULL: none */
struct lease_of *lease_get(struct control *c, const char *database);
void lease_step(struct lease_of *o, const struct lease_event *ev);

/* failsafe.c */
void lease_ask_promises(struct lease_of *o, uint64_t id); /* answered with EV_PROMISED */
void lease_load_promises(struct control *c);
