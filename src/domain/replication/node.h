/* SPDX-License-Identifier: Apache-2.0 */
/* One database on one host, as one pure step: what control says it shall be (a view), what its
 * server says it is (samples, once a second), and what is asked of it go in; what is to be done to
 * the server comes out, one operation at a time.
 *
 * It goes by levels: the first row of the table in node.c whose condition holds names the next
 * operation, so that a restart anywhere begins where things stand. What always holds:
 *  - a server is made writable only while a view that was read from the quorum just now names it as
 *    the source, at no lower epoch than the server itself has seen or an earlier view has told, and no
 *    freeze of a change that is not over lies on it;
 *  - where a lease is needed, it is writable under one of its epoch only, and made read-only when that
 *    ends;
 *  - a server that is not the source of its view is made read-only first of all;
 *  - no transaction is ever skipped: the ladder (ladder.h) says how replication is resumed;
 *  - a freeze, and the highest epoch that was told, are kept on disk before an operation begins.
 * No I/O, no clock, no allocation. */
#pragma once

#include "domain/replication/ladder.h"

#define REPLICATION_WHY_SIZE 256
#define REPLICATION_FRESH_MS 10000u /* what was read from the quorum is good for that long */
#define REPLICATION_SEED_MIN_MS 5000u /* after a seed that failed, doubling */
#define REPLICATION_SILENT_MS 5000u /* samples that fail for so long: unreachable */

enum replication_duty { REPLICATION_NO_DUTY, REPLICATION_SOURCE, REPLICATION_REPLICA };

enum replication_state {
    REPLICATION_STARTING, /* the server was not reached yet */
    REPLICATION_FORMING,  /* a source is being given its accounts and tables */
    REPLICATION_SEEDING,
    REPLICATION_READ_ONLY,
    REPLICATION_WRITABLE,
    REPLICATION_REPLICATING,
    REPLICATION_STOPPED, /* a replica whose threads do not run: the ladder is at it */
    REPLICATION_FROZEN,  /* the ladder ended at data that differ */
    REPLICATION_BROKEN,  /* only a seed, or a person, helps */
    REPLICATION_UNREACHABLE,
};
const char *replication_state_name(enum replication_state s);

/* May an empty replica begin at the start of the source's logs, or do these lack the beginning (or
 * are they so long that a copy is quicker)? */
enum replication_log { REPLICATION_LOG_WHOLE, REPLICATION_LOG_UNKNOWN, REPLICATION_LOG_CUT };

/* What control says of this database on this host. */
struct replication_view {
    enum replication_duty duty;
    uint64_t epoch;
    uint32_t self, source; /* ids of the members: server and domain */
    uint64_t fresh_ms;     /* read from the quorum, and good for so long from now; 0: it is not */
    uint64_t last_change;  /* the newest change that has ended */
    bool tls_ready;        /* certificates for the connection to the source are there */
    bool manual;           /* recovery: manual */
    bool has_vault;
    bool leased; /* a source writes only under a lease (failover/lease.h) */
    enum replication_log source_log;
    uint64_t heartbeat_ms;
    uint64_t form; /* of accounts and schema files: another number, another content */
    bool sync; /* commits wait for a replica, without a limit */
};

/* What the server says. Texts are borrowed. */
struct replication_sample {
    bool read_only;
    bool attached;   /* it has a source at all */
    bool as_wanted;  /* and that is the view's, reached in the way it shall be */
    bool all_applied; /* what was received has been applied */
    bool empty;      /* no transaction of its own or of anybody */
    uint64_t epoch;  /* of the newest epoch row; 0: none */
    uint32_t epoch_server; /* the source then */
    bool sync; /* it does wait so */
    struct ladder_look threads;
};

enum replication_event_kind {
    REPLICATION_EV_VIEW,
    REPLICATION_EV_SAMPLE,
    REPLICATION_EV_UNREACHABLE, /* no sample: text says why */
    REPLICATION_EV_DONE,        /* the operation has ended, well or not (number, text) */
    REPLICATION_EV_FREEZE,      /* asked: no writes until change `id` is over; 0: until EV_THAW */
    REPLICATION_EV_THAW,        /* asked: a freeze without a change is over */
    REPLICATION_EV_FOLLOW,      /* asked: look again, also at what is frozen */
    REPLICATION_EV_IDENTITY,    /* other certificates */
    REPLICATION_EV_SEEDING,     /* a seed is under way: nothing but read-only is seen to meanwhile */
    REPLICATION_EV_SEEDED,      /* it has ended: the server holds the copy (ok), or not (text) */
    REPLICATION_EV_LEASE,       /* told: of `epoch`, good for writing until `until_ms`; 0: none */
    REPLICATION_EV_TICK,
};

struct replication_event {
    enum replication_event_kind kind;
    const struct replication_view *view;
    const struct replication_sample *sample;
    uint64_t ops; /* SAMPLE: replication_node.ops when the server was asked: what an operation has
                     overtaken is not listened to */
    bool ok;          /* DONE, SEEDED */
    unsigned number;  /* DONE: the server's error */
    const char *text; /* DONE, UNREACHABLE, SEEDED */
    uint64_t id, epoch; /* FREEZE: the change, and whose epoch it is; LEASE: its epoch */
    uint64_t until_ms;  /* LEASE */
};

enum replication_op {
    REPLICATION_NOTHING,
    REPLICATION_OP_READ_ONLY, /* and end the sessions of applications that are left */
    REPLICATION_OP_WRITABLE,
    REPLICATION_OP_PROMOTE, /* end following: wait for what was received, forget the source */
    REPLICATION_OP_EPOCH,   /* the tables of the platform, and the row of this epoch */
    REPLICATION_OP_FORM,    /* accounts and schema files */
    REPLICATION_OP_ATTACH,  /* to the view's source, behind what was applied */
    REPLICATION_OP_ATTACH_CURRENT, /* a former source: behind its own writes as well */
    REPLICATION_OP_SYNC,   /* commits wait for a replica */
    REPLICATION_OP_UNSYNC, /* and no longer */
    REPLICATION_OP_START,
    REPLICATION_OP_RESTART_IO,
    REPLICATION_OP_REBUILD,
    REPLICATION_OP_STOP_IO,
    REPLICATION_OP_REFILL,
    REPLICATION_OP_RESEED,
    REPLICATION_OP_EVIDENCE,
    REPLICATION_OP_RESCUE,    /* a former source: what only it has becomes files */
    REPLICATION_OP_FLASHBACK, /* and is undone here; where that cannot be, a seed replaces it */
    REPLICATION_OPS,
};
const char *replication_op_name(enum replication_op op);

struct replication_actions {
    enum replication_op op; /* to be begun now; answered with EV_DONE */
    uint64_t epoch;         /* that it is for */
    bool save;              /* write replication_node_save() durably, before the operation */
    bool report;            /* state, reason or the ladder's step changed */
};

enum { /* mutation checks of the simulator: never set elsewhere */
    REPLICATION_OFF_FRESH = 1 << 0,
    REPLICATION_OFF_EPOCH = 1 << 1,
    REPLICATION_OFF_FREEZE = 1 << 2,
    REPLICATION_OFF_REPLICA = 1 << 3,
    REPLICATION_OFF_LEASE = 1 << 4,
};

/* A source that returns with transactions that its successor lacks: first they are saved, only then
 * anything is done to it. Not kept over a restart: it begins again, and finds what is saved. */
enum replication_rescue { RESCUE_NONE, RESCUE_DUE, RESCUE_SAVED };

struct replication_node {
    struct replication_view view;
    uint64_t fresh_until_ms;
    bool lease_told; /* something was said of it: what stands is not ended for want of news */
    uint64_t lease_epoch, lease_until_ms;
    struct replication_sample sample; /* its texts are not kept */
    bool known, sampled;
    uint64_t silent_ms; /* samples fail since; 0: they do not */
    enum replication_op op; /* under way */
    enum replication_op failed_op;
    unsigned failures; /* of failed_op, in a row */
    uint64_t retry_ms;
    uint64_t ops;           /* operations that have ended */
    bool stale;             /* an operation has begun since the sample was taken */
    uint64_t op_form;       /* view.form when it began */
    uint64_t formed, formed_epoch; /* what is in place here; 0: not known */
    bool frozen;                   /* by FREEZE */
    uint64_t freeze_id, freeze_epoch;
    uint64_t told_epoch; /* the highest of any view: one that comes late must not open anything */
    bool evidence_due, needs_seed;
    enum replication_rescue rescue;
    bool seeding;
    unsigned seed_failures; /* in a row */
    uint64_t seed_retry_ms;
    bool asked; /* to try again, whatever the threads say */
    struct ladder ladder;
    enum replication_state state;
    char why[REPLICATION_WHY_SIZE]; /* "" where there is nothing to say */
    unsigned guards_off;
};

void replication_node_init(struct replication_node *n);
/* The actions are those of this event; the caller has nothing under way that it did not report. */
void replication_node_step(struct replication_node *n, const struct replication_event *ev,
    uint64_t now_ms, struct rnd *rnd, struct replication_actions *out);
/* A freeze or another call for that epoch and change is of the past. */
bool replication_node_refuses(const struct replication_node *n, uint64_t epoch, uint64_t id);
/* May this server take writes now? (The caller asks again at the moment of the act.) */
bool replication_node_may_write(const struct replication_node *n, uint64_t now_ms);
/* Until when, unless something else is told meanwhile; 0: it may not. */
uint64_t replication_node_write_until(const struct replication_node *n, uint64_t now_ms);
/* What a restart of the role must know. */
struct replication_saved {
    bool frozen;
    uint64_t freeze_id, freeze_epoch;
    uint64_t told_epoch;
};
void replication_node_save(const struct replication_node *n, struct replication_saved *ret);
void replication_node_restore(struct replication_node *n, const struct replication_saved *s);
