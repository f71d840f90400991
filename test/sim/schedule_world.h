/* SPDX-License-Identifier: Apache-2.0 */
/* The world that the scheduler is simulated in: a state store, hosts with agents and edges that follow it late or not
 * at all, one leader at a time that dies and is followed by another, operators who change their minds. */
#pragma once

#include "fixture.h"

#include "base/json/json.h"
#include "domain/schedule/schedule.h"

#define HOSTS_MAX 8u
#define UNITS_MAX 96u
#define MODULES 5u
#define FAULTS_MS (80u * 1000)
#define GRACE_MS                                                                                   \
    (4u * 60 * 1000) /* a silence, every deadline and every drain, one after the other */
#define END_MS (FAULTS_MS + GRACE_MS + 60000)
#define DRAIN_MS 5000u
#define START_TIMEOUT_MS 4000u
#define DRAINS_MAX 512u
#define TABLE_MAX 128u
#define REGIONS 3u

enum image { IMAGE_GOOD, IMAGE_CRASHES, IMAGE_HANGS };

struct unit_at { /* a process of a host */
    char name[64], module[64], spec[DIGEST_SIZE];
    enum image image;
    const char *state; /* NULL: the slot is free */
    bool standby;
    int restarts;
    uint64_t incarnation;
};

struct host_at {
    struct world *w;
    const char *name, *region;
    bool up, cut, slow, drained, must_ack;
    struct unit_at units[UNITS_MAX];
    int64_t followed;
    int64_t edge_seq, edge_max; /* what its edge has taken over, now and ever */
    /* as the leader knows it */
    json_t *reported;
    uint64_t heard_at;
    int64_t acked;
};

struct step_view { /* what the leader saw when it decided */
    bool heard[HOSTS_MAX], drained[HOSTS_MAX];
    json_t *units[HOSTS_MAX];
    bool admitted;
};

struct taking { /* an instance that takes requests */
    char name[64], spec[DIGEST_SIZE];
    size_t host, module;
};

struct region_table {
    struct taking v[TABLE_MAX];
    size_t n;
};

struct drain_seen { /* since when the store says so */
    char key[160];
    uint64_t at;
};

struct world {
    struct sim *sim;
    struct host_at hosts[HOSTS_MAX];
    size_t n_hosts;
    bool has_serving;
    bool calm; /* only leaders die: in truth, too, nothing may be missing */
    struct model *model;
    json_t *files, *images; /* digest -> enum image */
    int64_t revision;
    unsigned counts[MODULES]; /* in the main region */
    const char *waves[MODULES];
    unsigned image_number;
    enum image wanted[MODULES];
    json_t *docs, *versions; /* the state store */
    uint64_t last_write;
    struct schedule *s; /* of the leader; NULL: none */
    uint64_t leader;    /* its number: what is older is void */
    uint64_t boot_skew;
    int64_t wall_skew;
    json_t *loaded;  /* versions as it knows them */
    json_t *pending; /* its write that is on the way */
    struct step_view view;
    bool admitted; /* the standby of the last module, in ap-b */
    bool step_soon;
    uint64_t due;
    int guard_off; /* -1: none */
    bool settled;  /* everything was ready once */
    struct region_table tables[REGIONS];
    unsigned wanted_in[MODULES][REGIONS];
    struct drain_seen drains[DRAINS_MAX];
    size_t n_drains;
};

extern const char *const module_names[MODULES];
extern const char *const region_names[REGIONS];
extern const enum rollout_strategy module_strategies[MODULES];

void world_init(struct world *w, uint64_t seed, bool trace, int guard_off);
void world_done(struct world *w);
bool world_faulty(const struct world *w);
unsigned world_wanted(const struct world *w, size_t module, const char *region);
bool world_has_standby(size_t module, const char *region);
json_t *world_instances(const json_t *docs, const char *region);
struct host_at *world_host(struct world *w, const char *name);
const char *world_image_state(const struct world *w, const char *spec);

/* schedule.c: the checks */
void check_write(struct world *w, const json_t *before, const json_t *after);
void check_truth(struct world *w);
