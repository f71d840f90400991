/* SPDX-License-Identifier: Apache-2.0 */
/* Which region a name's answer names, for each ordered list of regions: the first that is up. The
 * controller is a pure step: it says which probes to make, when to send its view, what to answer,
 * what to journal and what to report; the service (or the simulator) does it and feeds back what
 * happened.
 *
 * Invariants:
 * - unknown keeps what was concluded before, also across a restart (the journal answers at once);
 * - when every region of a name is down its answers stay as they were: the last one standing is
 * never withdrawn;
 * - a region that somebody steers away from (domain/steering/away.h) is left like one that is down;
 * - a region that went is not used again before `up` - 1 intervals have passed;
 * - a name that would lose more than half of its regions within 60 s because their edges say that
 * it does not work is frozen: those losses are not acted on until at most half of its regions say
 * so; regions that die are still left.
 *
 * One thread. Everything belongs to the struct; nothing reads a clock: `now_ms` is boot time and
 * never falls, `wall_ms` of an event is for people. */
#pragma once

#include "domain/health/health.h"
#include "domain/model/model.h"
#include "domain/timeline/timeline.h"

#include "base/rnd/rnd.h"

#define STEER_LISTS_MAX 256
#define STEER_TTL_MIN_S 5 /* resolvers treat less as 0 or as an attack */
#define STEER_FREEZE_WINDOW_MS 60000
#define STEER_JOURNAL_MAX (8u * 1024 * 1024)

/* The part of a declaration that steering needs, with every name turned into an index. */
struct steer_list {
    char *label; /* "JP, KR" or "default": the countries that use it */
    uint8_t order[HEALTH_REGIONS_MAX];
    size_t n;
};

struct steer_country {
    char code[4];
    size_t list;
};

struct steer_plan {
    struct arena *arena;
    uint64_t revision;
    struct health_space space; /* regions in declared order, names sorted */
    struct health_params params;
    uint32_t ttl_s;
    bool has_references;
    uint64_t *serves;         /* per name: regions with an address that run all of it */
    struct steer_list *lists; /* no order twice; [0] is the default, for every other country */
    size_t n_lists;
    struct steer_country *countries; /* sorted by code */
    size_t n_countries;
};

/* ERR_LIMIT when the declaration has more names or lists than a plan holds. */
MUST_CHECK int steer_plan_new(
    const struct model *m, uint64_t revision, struct steer_plan **ret, struct err *e);
void steer_plan_free(struct steer_plan *p); /* NULL is fine */
/* The list of a country; NULL, "" or an unlisted one: 0. */
size_t steer_plan_list(const struct steer_plan *p, const char *country);
bool steer_plan_find_name(const struct steer_plan *p, const char *name, size_t *ret);

struct steer;

struct steer_options {
    const char *host, *region; /* of this control */
    uint64_t seed;             /* of phases and jitter */
};

enum steer_event_kind {
    STEER_CONFIG,    /* a plan is taken over; targets known by name keep their state */
    STEER_PROBE,     /* a probe that was asked for has ended */
    STEER_REFERENCE, /* one of the references was reached, or none was */
    STEER_VIEW,      /* a view was received */
    STEER_AWAY,      /* which regions somebody steers away from */
    STEER_TICK,      /* time passed: at wake_ms at the latest */
};

struct steer_event {
    enum steer_event_kind kind;
    int64_t wall_ms;
    union {
        struct steer_plan *plan; /* taken */
        struct {
            size_t region, name; /* as asked */
            uint64_t plan_seq;   /* as asked: answers to an older plan are dropped */
            enum health_class result;
        } probe;
        bool reference;           /* reached */
        const json_t *away;       /* the document of away.h, borrowed; NULL: there is none */
        struct health_view *view; /* its targets are taken; made for the current plan's space */
    };
};

struct steer_probe {
    size_t region, name;
    uint64_t plan_seq;
    bool after_failure; /* the last one of this target was none that it works */
};

/* What the step wants done. Zeroed at first; the caller empties it with steer_actions_clear()
 * between steps. */
struct steer_actions {
    struct steer_probe *probes;
    size_t n_probes, cap_probes;
    bool probe_references; /* reach one of them, report STEER_REFERENCE */
    bool send_view;        /* steer_view() to every other control */
    bool publish;          /* steer_choices() differ */
    bool save;             /* steer_journal_format() to disk */
    struct timeline_draft *entries;
    size_t n_entries, cap_entries;
    uint64_t wake_ms; /* step again by then */
};
void steer_actions_clear(struct steer_actions *a);
void steer_actions_done(struct steer_actions *a);

/* `journal` (may be NULL) is what an earlier life saved: it takes effect with the first
 * STEER_CONFIG. */
struct steer *steer_new(const struct steer_options *o, const json_t *journal);
void steer_free(struct steer *s); /* NULL is fine */
void steer_step(struct steer *s, struct steer_event *ev, uint64_t now_ms, struct steer_actions *a);

/* NULL before the first STEER_CONFIG. */
const struct steer_plan *steer_plan_of(const struct steer *s);
uint64_t steer_plan_seq(const struct steer *s); /* grows with every plan that is taken over */
/* The own view, to be formatted and sent; valid until the next step. */
const struct health_view *steer_view(const struct steer *s);
json_t *steer_journal_format(const struct steer *s);

/* The answer of a name for a list: a region and how long it may be kept. */
struct steer_choice {
    uint8_t region;
    uint32_t ttl_s;
};
struct steer_choice steer_choice(const struct steer *s, size_t name, size_t list);
/* Regions that answers of this name are chosen from now. */
uint64_t steer_up_mask(const struct steer *s, size_t name);
/* The health message of domain/zone: {"revision", "seq", "names": {name: {"ttl_s", "choice":
 * [region index per list]}}}; lists are in the zone's order. */
json_t *steer_choices_format(const struct steer *s, uint64_t seq);

/* One region for one name, as it is acted on, and why. */
struct steer_region_state {
    enum health_state state; /* up or down */
    enum health_class why;   /* of down */
    int64_t since_wall_ms;   /* 0: never changed */
    bool held;               /* down, not acted on: the name is frozen */
    bool away;               /* somebody steers this name away from it */
    struct health_verdict verdict;
    enum health_class own; /* this host's last probe */
};
void steer_region_state(
    const struct steer *s, size_t name, size_t region, struct steer_region_state *ret);
bool steer_frozen(const struct steer *s, size_t name);
bool steer_none_up(const struct steer *s, size_t name);

/* Who asks what from where; what `mcp explain dns` is about. */
struct steer_question {
    const char *name;    /* lower case, no trailing dot */
    const char *type;    /* upper case */
    const char *from;    /* an address, as text */
    const char *country; /* "": not known */
    const char
        *source; /* where the country comes from: "the country database", "routing.geo.overrides" */
};
/* {"name", "type", "from", "country", "list", "order": [region], "answer": [text], "ttl",
 * "because", "regions": [{"name", "state", "since", "why", "held", "own",
 * "away" (absent: not; {"by", "why"}), "down_by", "up_by", "need", "eligible", "heard"}]};
 * because is a sentence: "KR → [ap-seoul, ap-hongkong]; ap-seoul is down since 12:00:03 (3 of 3
 * observers: timeout) → ap-hongkong". */
json_t *steer_explain(const struct steer *s, const struct model *m, const struct steer_question *q);
