/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that a failover of one database is decided by, as plain data of one moment: the leader
 * gathers it, the rules (rules.h) and the controller (fsm.h) judge it, the simulator makes it up.
 *
 * A zeroed struct is "nothing is known", and what is not known forbids. Times are ages in
 * milliseconds (nothing here is a point in time), FAILOVER_NEVER where a thing never happened. T0 is
 * when the source was seen well for the last time. "Target" is the member that would become the
 * source: while a change is under way, the one that it names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAILOVER_NEVER UINT64_MAX
#define FAILOVER_REGIONS_MAX 16u
#define FAILOVER_NAME_SIZE 64u
#define FAILOVER_GTID_SIZE 512u
#define FAILOVER_TEXT_SIZE 160u

/* Why the source does not answer. Only the first is a reason to promote another. */
enum failover_class {
    FAILOVER_DEAD, /* its host is silent, its process is gone or stands still */
    FAILOVER_SLOW,
    FAILOVER_FULL_OF_SESSIONS,
    FAILOVER_AUTHENTICATION,
    FAILOVER_CERTIFICATE,
    FAILOVER_NAMES,      /* who asks it could not resolve its name */
    FAILOVER_PROBER_ILL, /* who asks it lacks memory or descriptors */
};
const char *failover_class_name(enum failover_class c);
/* Of a server that is not dead: by what its host's data role said of why it does not answer. */
enum failover_class failover_class_of(const char *why);

#define FAILOVER_JUMP_MS 1000u /* between two looks; a clock that is slewed stays far below */

/* Whether the wall clock was set, or the machine was suspended. Begun zeroed. */
struct failover_clock {
    bool looked;
    int64_t ahead_ms;     /* wall clock minus boot clock, at the look before */
    uint64_t slept_ms;    /* clock_slept_ms(), at the look before */
    uint64_t stepped_ms;  /* boot clock of the last such thing; 0: none was seen */
};
/* true: it happened since the look before. */
bool failover_clock_look(
    struct failover_clock *k, int64_t wall_ms, uint64_t boot_ms, uint64_t slept_ms);

struct failover_source {
    uint64_t silent_ms; /* since its host was heard by the leader */
    bool answers;       /* by what its host told last: the server answers a statement */
    bool reaches_store; /* by what its host told last: it reaches the state store */
    uint64_t down_ms; /* its own host says the process is gone or stands still, for so long; 0: it
                         does not say so */
    enum failover_class class;
};

/* What the control of one region (best of its hosts) sees of the source. */
struct failover_vantage {
    char region[FAILOVER_NAME_SIZE];
    bool heard;      /* its view is not older than two rounds */
    bool sees_fault; /* cannot reach the source, or its replica lost it; of the source's own region:
                        the host says that the process is gone */
    bool references; /* it reaches another region or an address of routing.health.references */
};

struct failover_voters { /* members of the state store */
    unsigned total, answering;
    unsigned regions;   /* different regions that hold one */
    bool witness;       /* one answers that is neither in the source's region nor in the target's */
    bool same_version;  /* of the configuration (revision), at all that answer */
    bool journal;       /* a write of the journal came to a majority's disks just now */
};

struct failover_target {
    char host[FAILOVER_NAME_SIZE], region[FAILOVER_NAME_SIZE];
    bool heard;          /* its data role's report is there */
    bool hears_source;   /* its receiving thread brought something in the last two heartbeats (that
                            it is connected says nothing: a frozen server stays connected) */
    bool lag_known;      /* there is a sample at all */
    uint64_t lag_ms;     /* the last sample before T0 */
    uint64_t lag_age_ms; /* how old that sample was at T0 */
    uint64_t heartbeat_ms;
    bool unapplied;        /* it has received what it has not applied */
    uint64_t unapplied_ms; /* for so long */
    bool stuck;            /* and does not apply it: its applying thread stands still with an error */
    bool broken_before;    /* replication had stopped with an error before T0 */
    bool diverged;         /* errant transactions, another ancestry, a later epoch than the document's */
    bool in_sync_set;      /* of the last published one */
    bool test_login, disk_low, delayed;
    bool drift;  /* its server is of another version than the source's */
    bool leaves; /* its host is drained, or it is its turn in an upgrade */
    bool lacks; /* image, secret or capacity of what shall run there */
    uint64_t clock_off_ms; /* by how much its clock is off */
    bool serving;          /* its region's entry points answer */
};

struct failover_lease {
    bool enforced; /* this database's source needs one in order to write */
    bool known;    /* the record was read, and is of the document's epoch */
    int64_t epoch;
    uint64_t length_ms, age_ms; /* since its last change was read by this control */
    bool released, revoked;
    uint64_t safe_in_ms; /* until the challenger may count on its end (lease_challenge); 0: now */
    uint64_t promised_ms; /* what is left of a promise not to promote (failsafe) */
    char gtid[FAILOVER_GTID_SIZE]; /* of the last renewal; "": none */
};

/* Of a source that others run: it has no lease. */
enum failover_fence_by { FAILOVER_FENCE_NONE, FAILOVER_FENCE_STATEMENT, FAILOVER_FENCE_FUNCTION };

struct failover_fence {
    enum failover_fence_by by;
    bool reaches; /* its host does not say that the server is out of reach */
};

struct failover_automation {
    bool automatic; /* declared: failover.auto */
    bool paused;      /* by a person */
    bool maintenance; /* the source's host is drained, or it is its turn in an upgrade */
    bool drill;     /* one is running */
    bool drill_own; /* and it injected this very fault */
};

struct failover_armed {
    bool known, matches; /* rehearsed at all; and with the settings of now (fence-relevant ones) */
    uint64_t age_ms, max_age_ms;
};

struct failover_past {
    uint64_t since_ms;  /* the last failover that ran by itself or by hand; FAILOVER_NEVER: none */
    bool acknowledged;
    unsigned count;     /* that began by themselves, not acknowledged, in the window */
    uint64_t cooldown_ms;
    bool foreign_change; /* another change of the document is under way */
    bool left_undone;    /* the last one ended partial, and nobody has said that this is well */
};

struct failover_world {
    bool seen_healthy;     /* this control has seen the source well since it began */
    bool topology_known;   /* every member of the document was heard since then */
    unsigned regions_lost; /* that fell silent within a minute, the source's not counted */
    bool target_was_lost;  /* the target fell ill in the same minute */
    uint64_t clock_step_ms; /* since the clock of the leader, the target or another voter but the
                               source jumped, or the machine slept; FAILOVER_NEVER */
    uint64_t clock_off_ms;    /* the worst of the voters' */
    unsigned regions_on;      /* that users are still sent to after the switch */
    bool two_sources;         /* two servers are writable */
};

enum failover_functions { /* failover.before */
    FAILOVER_NO_FUNCTIONS,
    FAILOVER_FUNCTIONS_DUE, /* declared; not yet run, or running */
    FAILOVER_FUNCTIONS_DONE,
    FAILOVER_FUNCTIONS_FAILED,
};

/* What a person said with the order; from the journal while one is under way. */
struct failover_order {
    bool by_hand;
    bool accept_loss;
    uint64_t loss_ms; /* that is accepted */
    bool source_off;  /* "the old source is powered off" */
};

struct failover_home { /* where the source belongs, for the way back */
    bool away;       /* the source is in another region than the declared one */
    bool replicates; /* the home member follows, within the limit */
};

struct failover_facts {
    struct failover_automation automation;
    struct failover_voters voters;
    struct failover_vantage vantages[FAILOVER_REGIONS_MAX];
    size_t n_vantages;
    char leader_region[FAILOVER_NAME_SIZE];
    struct failover_source source;
    struct failover_target target;
    struct failover_lease lease;
    struct failover_fence fence;
    struct failover_armed armed;
    struct failover_past past;
    struct failover_world world;
    struct failover_home home;
    struct failover_order order;
    uint64_t max_lag_ms;
    bool sync_required; /* replication.mode: semi-sync */
    bool has_before, has_after; /* functions are declared */
    enum failover_functions before;
    char before_text[FAILOVER_TEXT_SIZE]; /* what the failed function said */
    bool fencing; /* the failover has begun: its fencing must be proven now, not just possible */
    bool fenced_ack; /* the old source's host has said that it is fenced, and was read back */
};
