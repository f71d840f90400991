/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder alone. */
#pragma once

#include "domain/steering/away.h"

#define STEER_HOSTS_MAX 256 /* whose views are kept */

struct target {
    struct health_target own;
    uint64_t due_ms; /* of the next probe */
    uint64_t asked_ms;
    bool in_flight;
    bool seen_up; /* by this host once: from then on its full hysteresis holds */
    /* What all views together said last, kept while they say nothing. */
    enum health_state concluded; /* never unknown */
    bool confirmed;              /* somebody saw it up once; before, `concluded` is an assumption */
    enum health_class why;
    int64_t since_wall_ms;
    uint64_t since_ms;    /* boot time; 0: before this life */
    uint64_t app_lost_ms; /* when it went down because its edge said so; 0: it did not */
    bool held;            /* ... and that is not acted on: the name is frozen */
    struct health_verdict verdict;
};

struct name_state {
    uint64_t
        up; /* regions that answers are chosen from: never empty while any region runs the name */
    bool frozen;
    bool none_up;
    uint64_t away;  /* regions that somebody steers it away from */
    bool away_kept; /* ... which is not acted on: no other region is up */
};

struct list_choice {
    struct steer_choice c;
    uint64_t switched_ms; /* boot time of the last change of region; 0: none in this life */
};

struct heard_host {
    struct health_view view;
    uint64_t received_ms;
};

struct steer {
    char host[48], region_name[48];
    struct rnd rnd;
    json_t *journal; /* until the first plan */
    json_t *away;    /* document of away.h; NULL: none */
    bool away_told;  /* by an event: newer than what the journal has */
    struct steer_plan *plan;
    uint64_t plan_seq;
    uint64_t plan_ms;            /* when it was taken over */
    size_t region;               /* own */
    struct target *targets;      /* [HEALTH_TARGET()] */
    struct name_state *names;    /* [n_names] */
    struct list_choice *choices; /* [name * n_lists + list] */
    struct heard_host *hosts;
    size_t n_hosts, cap_hosts;
    struct health_heard heard[STEER_HOSTS_MAX + 1]; /* scratch of the council */
    struct health_view own;                         /* always current */
    uint64_t incarnation, seq;
    uint64_t reference_ms, reference_due_ms; /* last reached; next try */
    bool reference_in_flight;
    uint64_t newest_result_ms, view_due_ms;
    uint64_t conclude_ms; /* views came: conclude then; 0: nothing is due */
    uint64_t settled_ms;  /* no conclusions before */
    uint64_t gap_from_ms; /* of a time when this process stood still, its begin */
    uint64_t
        round_done_ms; /* from then on every target was asked since this process began or went on */
    bool alone;
    uint64_t now_ms; /* of the step that runs */
    int64_t wall_ms;
};

static inline struct target *steer_target(const struct steer *s, size_t name, size_t region)
{
    return &s->targets[HEALTH_TARGET(&s->plan->space, region, name)];
}

/* Something that happened at `since` (0: never) is at most `window` old. */
static inline bool steer_within(uint64_t now, uint64_t since, uint64_t window)
{
    return since && (now <= since || now - since <= window);
}

/* A round: within it every target is probed once and the result is in. */
uint64_t steer_round_ms(const struct steer *s);
/* observe.c: what is seen and heard, the own view and the council of all views. */
void steer_observe_refresh(struct steer *s);
void steer_observe_probe(struct steer *s, const struct steer_event *ev, struct steer_actions *a);
void steer_observe_view(struct steer *s, struct steer_event *ev);
void steer_observe_remap(struct steer *s, const struct steer_plan *old);
struct health_council steer_council(
    const struct steer *s, struct health_heard heard[STEER_HOSTS_MAX + 1]);

/* conclude.c: from views to answers. */
void steer_conclude_name(struct steer *s, size_t name, struct steer_actions *a);
const json_t *steer_away_from(const struct steer *s, size_t name, size_t region); /* NULL: not */
void steer_conclude_alone(struct steer *s, struct steer_actions *a);

/* journal.c */
void steer_journal_restore(struct steer *s);

/* Adds an entry for the timeline; `cause` "" when there is none. */
void steer_note(const struct steer *s, struct steer_actions *a, const char *kind,
    const char *subject, const char *cause, const char *fmt, ...) PRINTF_LIKE(6, 7);
/* "3 of 3 observers: timeout". */
void steer_print_votes(const struct health_verdict *v, struct str *out);
