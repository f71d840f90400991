/* SPDX-License-Identifier: Apache-2.0 */
/* The failover of a database as one pure step of whoever leads, over the database's document
 * (replication/doc.h), whose `change` is the journal:
 *
 *   {"kind": "failover", "id", "from", "to", "step", "step_ms", "begun_ms", "by", "auto": bool,
 *    "why", "cause"?, "accept_loss_ms"?, "source_off"?, "proof", "tries",
 *    "missing": {"from_gtid", "to_gtid", "known", "since_ms"}, "steps": [{"step", "at_ms"}, ...]}
 *
 *   in memory:  healthy -> suspect -> confirmed -> (begins)      [blocked, manual, paused, drill]
 *   journaled:  fencing -> fenced -> promoting -> verifying -> admitting -> switching -> (done)
 *                   \--------\-> restoring -> (undone)    \--- each of them: -> (partial)
 *   afterwards: dr-active -> cooldown -> failback-ready -> switchover (planned) -> healthy
 *
 * fencing: before-functions ran, then the lease is revoked and the old source's host told to stop;
 * it ends with proof that the source cannot acknowledge a write any more. fenced: all rules are asked
 * once more. promoting: the document names the target, one epoch higher; from here nothing goes back.
 * restoring: the source came back in time, or the failover may not go on; the lease is given back.
 * partial: the promotion stands, a later step does not; it is tried again, by the next leader too.
 *
 * A step is written before its acts; acts are idempotent, carry the change's number and the epoch,
 * and are repeated until answered. The transitions are the table in fsm.c. No I/O, no clock. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/failover/facts.h"
#include "domain/failover/rules.h"

#define FAILOVER_SUSPECT_MS 3000u  /* silence of the source's host */
#define FAILOVER_SILENT_MS 6000u   /* and until it counts as lost */
#define FAILOVER_RESTART_MS 5000u  /* for a server that died to come back in place */
#define FAILOVER_FENCE_MS 90000u   /* for functions and the proof; then it is called off */
#define FAILOVER_FENCED_MS 20000u  /* for the rules to permit; then it is called off */
#define FAILOVER_PROMOTE_MS 60000u
#define FAILOVER_VERIFY_MS 20000u
#define FAILOVER_ADMIT_MS 30000u
#define FAILOVER_SWITCH_MS 60000u
#define FAILOVER_RETRY_MS 30000u /* between two tries of what was left partial, doubling */
#define FAILOVER_RETRY_MAX_MS 600000u
#define FAILOVER_AGAIN_MS 500u /* between two tries of an act */

enum failover_state {
    FAILOVER_HEALTHY,
    FAILOVER_SUSPECT,
    FAILOVER_CONFIRMED,
    FAILOVER_BLOCKED,
    FAILOVER_MANUAL, /* the source is dead, and a person must say so: failover.auto is off */
    FAILOVER_PAUSED,
    FAILOVER_DRILL, /* one is running that is not this failover's */
    FAILOVER_DR_ACTIVE,
    FAILOVER_COOLDOWN,
    FAILOVER_FAILBACK_READY,
    FAILOVER_SWITCHOVER,
    FAILOVER_PARTIAL,
    /* journaled: named by the change's step */
    FAILOVER_FENCING,
    FAILOVER_FENCED,
    FAILOVER_PROMOTING,
    FAILOVER_VERIFYING,
    FAILOVER_ADMITTING,
    FAILOVER_SWITCHING,
    FAILOVER_RESTORING,
    FAILOVER_STATES,
};
const char *failover_state_name(enum failover_state s);

enum failover_act {
    FAILOVER_NOTHING,
    FAILOVER_BEFORE,  /* run failover.before; done when all of them ended well, ERR_REFUSED: one did not */
    FAILOVER_REVOKE,  /* lease record: revoked, by CAS at this epoch. ERR_REFUSED: another epoch */
    FAILOVER_FENCE,   /* at `host`: no more writes for change `id`; answers, read back, with its GTID */
    FAILOVER_RESTORE, /* lease record: no longer revoked. ERR_REFUSED: it is not there any more */
    FAILOVER_PROMOTE, /* at `host`: answered when it is writable; with the GTID it took over at */
    FAILOVER_VERIFY,  /* at `host`: a write and a read, stamped with `epoch` */
    FAILOVER_ADMIT,   /* what is on standby in `region` is admitted */
    FAILOVER_SWITCH,  /* do the answers of every living region name living regions? */
    FAILOVER_AFTER,   /* run failover.after */
    FAILOVER_ACTS,
};
const char *failover_act_name(enum failover_act act);

struct failover_action {
    enum failover_act act;
    char host[FAILOVER_NAME_SIZE], region[FAILOVER_NAME_SIZE];
    int64_t id, epoch;
    unsigned attempt; /* from 1, of this act under this leader */
    uint64_t wait_ms; /* how long the act may take */
};

struct failover_try {
    bool asked, done, refused;
    unsigned attempts;
    uint64_t again_ms;
    char text[FAILOVER_TEXT_SIZE]; /* of the last failure */
};

/* What a leader keeps in memory; begins zeroed, and again whenever it begins to lead. */
struct failover_run {
    enum failover_state state; /* of those that are not journaled */
    int64_t id;                /* the change and the step that the rest is about */
    enum failover_state step;
    struct failover_try tries[FAILOVER_ACTS];
    char fence_gtid[FAILOVER_GTID_SIZE], promote_gtid[FAILOVER_GTID_SIZE];
    struct failover_rule rule; /* that forbids; id "": none */
    unsigned row;              /* of the table, that fired last (1..), and all that ever did: for */
    uint64_t rows;             /* tests */
    unsigned guards_off;
};

enum { /* mutation checks of the simulator: never set elsewhere */
    FAILOVER_OFF_FENCING = 1 << 0, /* promotes without proof */
    FAILOVER_OFF_RULES = 1 << 1,   /* asks no rule but R6 */
    FAILOVER_OFF_RETURN = 1 << 2,  /* goes on although the source is back */
};

enum failover_event_kind { FAILOVER_TICK, FAILOVER_ANSWER };

struct failover_event {
    enum failover_event_kind kind;
    const struct failover_facts *facts; /* both kinds; `order`, `fencing`, `fenced_ack` and `before`
                                           are filled in by the step */
    /* ANSWER: to which act of which change */
    enum failover_act act;
    int64_t id;
    const char *gtid;        /* FENCE, PROMOTE; may be NULL */
    const struct err *error; /* NULL: it was done. ERR_REFUSED: it will not be */
};

/* Is the source well / lost, by the facts alone? Both may be false. */
bool failover_source_well(const struct failover_facts *f);
/* Well, and its lease was renewed when it was due, which takes a write on its disk. What a replica's lag grows by
 * while the source writes nothing is nothing that it lacks. */
bool failover_source_writes(const struct failover_facts *f);
bool failover_source_lost(const struct failover_facts *f);

/* What a person orders. */
struct failover_wish {
    const char *to, *by, *why; /* `to`: a host, a member of the document */
    const char *cause; /* "silent", "gone", "lease"; NULL: a person's */
    bool automatic;
    struct failover_order order;
    const struct failover_facts *facts; /* by which it was permitted; NULL: nobody looked */
};
/* ERR_REFUSED: `to` cannot be, or another change must end first. */
MUST_CHECK int failover_may_begin(const json_t *doc, const char *to, struct err *e);
/* A new document in which it has begun. A failover that is under way ends by it: "partial" where it
 * is past its point of no return, else "undone". */
json_t *failover_begin(const json_t *doc, const struct failover_wish *w, int64_t wall_ms);

/* One event. Returns a new reference: the document as it shall be, or the very same (increased).
 * When it is another, write it first (compare and swap): *ret then holds nothing, and the next TICK
 * has the act. now_ms: the leader's boot clock. Call it again with TICK until *ret holds nothing:
 * acts of one step run side by side. */
json_t *failover_step(json_t *doc, struct failover_run *run, const struct failover_event *ev,
    uint64_t now_ms, int64_t wall_ms, struct failover_action *ret);

/* The state by document and memory. */
enum failover_state failover_state_of(const json_t *doc, const struct failover_run *run);
/* Why it is not further: the rule that forbids, or what an act said; "" where there is nothing. */
const char *failover_reason(const json_t *doc, const struct failover_run *run, char *buf, size_t size);
/* The facts with what journal and memory say of the order, of fencing and of functions. */
struct failover_facts failover_facts_of(
    const json_t *doc, const struct failover_run *run, const struct failover_facts *f);

/* ---- the table, for tests */
struct failover_row {
    uint32_t states; /* bits of enum failover_state */
    const char *event;
    enum failover_state goal; /* FAILOVER_STATES: the change ends, or is taken up where it was left */
};
size_t failover_table(struct failover_row *ret, size_t max);
