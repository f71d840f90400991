/* SPDX-License-Identifier: Apache-2.0 */
/* Health of a target, which is one routed name in one region: what a single observer concludes from
 * its probes (the hysteresis), what observers tell each other (the view), and what all views
 * together mean (the verdict).
 *
 * Three states: unknown is not down. A state changes only after `down` failures or `up` successes
 * in a row; the first success after unknown is up at once, there is nothing to flap from.
 * Everything here is a pure function of its arguments: `now_ms` is boot time of the host that
 * calls. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define HEALTH_REGIONS_MAX 64 /* region sets are bits of a uint64_t */
#define HEALTH_NAMES_MAX 1024 /* routed host names of one platform */
#define HEALTH_VIEW_JSON_MAX (4u * 1024 * 1024)

struct health_params {
    uint64_t interval_ms; /* between two probes of one target */
    uint64_t timeout_ms;  /* of one probe, below interval */
    unsigned down, up;    /* consecutive failures, successes */
};

enum health_state { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN };

/* What one probe saw. The ones from HEALTH_APP up prove that the edge of the region was reached. */
enum health_class {
    HEALTH_NONE, /* not probed yet */
    HEALTH_TIMEOUT,
    HEALTH_REFUSED,
    HEALTH_UNREACHABLE, /* no route, reset, any other error of the network */
    HEALTH_TLS,         /* no certificate, or one that does not verify */
    HEALTH_PROTOCOL,    /* something answers that is not an edge */
    HEALTH_APP,         /* the edge answers and says that this name does not work here */
    HEALTH_DEGRADED,    /* works, with a rollout or a crash loop going on: steers nothing */
    HEALTH_OK,
};

/* One observer's conclusion about one target. Zeroed memory is a target never probed. */
struct health_target {
    enum health_state state;
    enum health_class class; /* of the last probe */
    bool streak_ok;          /* the last results in a row were successes */
    unsigned streak;         /* how many, saturating; 0: none yet in this life */
    int64_t since_wall_ms;   /* of `state`, for people */
    uint64_t
        answered_ms; /* boot time of the last result that proves the edge was reached; 0: never */
};

bool health_class_is_ok(enum health_class c);
bool health_class_is_answer(enum health_class c); /* the edge was reached */
/* Feeds one probe result; true when `state` changed. */
bool health_target_step(struct health_target *t, const struct health_params *p,
    enum health_class result, uint64_t now_ms, int64_t wall_ms);
/* How many more results like the last one change the state; 0 when the last one does not work
 * towards a change. */
unsigned health_target_left(const struct health_target *t, const struct health_params *p);

const char *health_state_name(enum health_state s); /* "unknown", "up", "down" */
const char *health_class_name(enum health_class c);
bool health_state_parse(const char *name, enum health_state *ret);
bool health_class_parse(const char *name, enum health_class *ret);

/* Which targets exist, so that views and verdicts can use indexes. */
struct health_space {
    const char *const *regions; /* names */
    size_t n_regions;
    const char *const *names; /* routed host names */
    size_t n_names;
};
#define HEALTH_TARGET(space, region, name) ((name) * (space)->n_regions + (region))

/* What one host tells the others. A row of targets for each name. */
struct health_view {
    char host[48];
    size_t region;        /* where it observes from */
    uint64_t incarnation; /* of its control: grows with every start; with seq it orders views */
    uint64_t seq;
    uint64_t age_ms;  /* of the newest probe result in it, when it was sent */
    uint64_t reached; /* regions but its own that answered or were heard in its last round */
    bool references;  /* one of routing.health.references was reached in its last round */
    bool self;        /* the public address of its own region answered in its last round */
    struct health_vote {
        uint8_t state, class, streak; /* enum health_state, enum health_class */
        bool streak_ok;
        int64_t since_wall_ms;
    } * targets; /* [HEALTH_TARGET()], the view's own memory */
};

void health_view_done(struct health_view *v);
/* {"format":1,"host","region","incarnation","seq","age_ms","reached":[region],"references","self","targets":
 * {region: {name: [state, class, streak (negative: failures), since_ms]}}}. Regions and names that
 * this host does not know are skipped (revisions differ for a moment); ones that are missing stay
 * unknown. */
json_t *health_view_format(const struct health_view *v, const struct health_space *s);
MUST_CHECK int health_view_parse(
    const json_t *j, const struct health_space *s, struct health_view *ret, struct err *e);

/* A view as somebody holds it: its own one, or one that was received. */
struct health_heard {
    const struct health_view *view;
    uint64_t received_ms; /* boot time; for the own view: now */
};

struct health_council { /* what a verdict is made from */
    const struct health_space *space;
    const struct health_params *params;
    const struct health_heard *heard; /* the own view first */
    size_t n_heard;
    size_t own_region;
    bool has_references; /* the platform declares references */
    bool round_done;     /* a whole round has passed since this host began to look */
    bool alone;          /* health_alone() of it, filled in before verdicts are asked */
    uint64_t now_ms;
};

/* Older than two intervals is unknown. */
bool health_heard_fresh(const struct health_council *c, const struct health_heard *h);
/* This region hears nobody and reaches nobody outside, while its own network is known to work: by a
 * reference, or, where none is declared, by its own public address. Then nobody else can be asked,
 * and whoever hears an answer from here reaches this region: its word is enough
 * (doc/adr/0006-steering-alone.md). */
bool health_alone(const struct health_council *c);

struct health_verdict {
    enum health_state state; /* unknown: keep what was concluded before */
    enum health_class why;   /* what most of the observers that say down saw */
    unsigned down, up;       /* eligible observing regions that say so */
    unsigned eligible;       /* ... that are heard and eligible, whatever they say */
    unsigned heard;          /* ... that are heard */
    unsigned need;           /* how many must say down */
    unsigned probes_left;    /* until an observer that is on its way changes its mind; 0: none is */
    bool alone;
    uint64_t down_by, up_by; /* the regions */
};

void health_verdict(
    const struct health_council *c, size_t region, size_t name, struct health_verdict *ret);
