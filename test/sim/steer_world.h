/* SPDX-License-Identifier: Apache-2.0 */
/* A platform of several regions in virtual time: the truth (which edges live, which paths carry), the controls that
 * find out about it with the real domain/steering code, and an oracle that knows the truth and judges every step. */
#pragma once

#include "fixture.h"

#include "base/arena/arena.h"
#include "domain/steering/steering.h"

#define REGIONS_MAX 5u
#define HOSTS_MAX 6u
#define NAMES_MAX 3u
#define LISTS_MAX 3u

/* From a fault to when every living control must have left a region that is known dead, and to when answers must be
 * ideal again: two intervals and a timeout to see it, two intervals for the views of dead observers to age, `up`
 * intervals to come back after the least stay away, the exchange of views. */
#define DETECT_MS 16000u
#define CONVERGE_MS 40000u

struct oracle_target { /* what a host was told by its probes, counted independently */
    unsigned fails, successes;
    bool ever_up;   /* by its own probes */
    bool confirmed; /* by a verdict */
    enum health_state own, concluded;
    uint64_t own_down_ms; /* last moment its own state was down; 0: never */
    uint64_t left_ms;     /* when it was last concluded down; 0: never */
};

struct sim_host {
    struct world *w;
    size_t index, region;
    char name[16];
    struct steer *steer; /* NULL: its control is dead */
    uint64_t life;
    uint64_t boot_offset; /* of its boot clock */
    int64_t wall_offset;
    uint64_t thaw_ms; /* frozen until then */
    uint64_t wake_generation;
    json_t *disk; /* the journal as it would be read back */
    bool torn;
    struct steer_choice disk_choices[NAMES_MAX][LISTS_MAX];
    bool has_disk_choices;
    struct steer_choice choices[NAMES_MAX][LISTS_MAX];
    uint64_t switched_ms[NAMES_MAX][LISTS_MAX];
    struct oracle_target targets[NAMES_MAX][REGIONS_MAX];
    bool was_frozen[NAMES_MAX];
    unsigned lose_probes; /* the next so many are lost */
    struct steer_actions actions;
    size_t plan_names[NAMES_MAX]; /* of the world's names in its plan */
};

struct message;
struct world {
    struct sim *sim;
    struct arena *arena;
    struct sim_net net;
    size_t n_regions, n_hosts, n_names;
    struct sim_host hosts[HOSTS_MAX];
    struct model model;
    struct message *messages;  /* in flight */
    struct health_params told; /* what the controllers are given; the oracle keeps `right` */
    struct health_params right;
    bool json; /* views travel as JSON */
    uint64_t revision;
    bool extra_name; /* a revision in which every index of a name is another */
    /* Truth. Counters: faults overlap. */
    unsigned edge_down[REGIONS_MAX], edge_refuses[REGIONS_MAX], region_dead[REGIONS_MAX];
    unsigned control_dead[HOSTS_MAX];
    unsigned app_bad[NAMES_MAX][REGIONS_MAX];
    unsigned cut[REGIONS_MAX][REGIONS_MAX];
    unsigned reference_lost[REGIONS_MAX];
    unsigned shaky; /* lossy, slow or frozen: nothing can be demanded in time */
    bool references;
    uint64_t changed_ms; /* the truth changed last */
    unsigned switches;   /* of answers, all hosts */
};

void world_init(struct world *w, struct sim *sim, size_t n_regions, size_t n_names, bool references,
    bool hysteresis);
void world_done(struct world *w);
void world_changed(struct world *w);
/* Gives every living control the current revision. */
void world_configure(struct world *w);
void world_start(struct world *w, size_t host);
void world_crash(struct world *w, size_t host);
void world_kill(struct world *w, size_t region);
void world_heal(struct world *w, size_t region);
void world_set_cut(struct world *w, size_t from, size_t to, bool cut);

/* steer_oracle.c: after every step of a host. `probed`: the step was this probe's result. */
struct probed {
    size_t region, name;
    bool ok;
};
void oracle_step(struct world *w, struct sim_host *h, const struct probed *probed);
void oracle_restarted(struct world *w, struct sim_host *h, bool from_journal);
/* What the rules make of the truth, for a control of `region`. */
enum health_state oracle_verdict(const struct world *w, size_t region, size_t target, size_t name);
/* Nothing happens any more: is everything as it should be? */
void oracle_final(struct world *w);
/* Index of a name of the world in the plan that a host has. */
static inline size_t world_plan_name(const struct sim_host *h, size_t name)
{
    return h->plan_names[name];
}

static inline size_t world_lists(const struct sim_host *h)
{
    return steer_plan_of(h->steer)->n_lists;
}
