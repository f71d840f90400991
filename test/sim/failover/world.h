/* SPDX-License-Identifier: Apache-2.0 */
/* The world of build/mcp-sim: three regions of one host each, in virtual time. ap-hongkong has the source of one
 * database, ap-seoul its replica, ap-singapore a member of the state store.
 *
 *   client -> gate (mesh) -> server -> gate -> client        a write is acknowledged when the gate lets the answer by
 *   control <-> state store, control <-> control, control -> data role, mesh, watchdog of its own host
 *
 * Decisions are made by the production object code (domain/failover, domain/replication/node); the world around it is
 * modelled: processes that crash and are stopped, clocks of different speed, links that are cut in one direction or in
 * both, a state store that needs a majority, servers with transactions as counters and disks that stall.
 *
 * Every transaction of the world has another number: a server's position in a domain (the domain of the host that
 * wrote it) is the highest number that it has of it. A run is a function of its seed; its faults are a list that is
 * made first, so that a failing run is played again with some of them left out. */
#pragma once

#include "../fixture.h"

#include "base/json/json.h"
#include "domain/failover/doc.h"
#include "domain/failover/fsm.h"
#include "domain/failover/lease.h"
#include "domain/failover/local_check.h"
#include "domain/replication/doc.h"
#include "domain/replication/node.h"

#define HOSTS 3u
#define HK 0u
#define KR 1u
#define SG 2u
#define NOBODY HOSTS

#define FAULTS_MAX 24u
#define EPOCHS_MAX 64u
#define LEASE_MS 15000u
#define FAULTS_END_MS 60000u
#define BOOT_MS 1000000u /* boot clocks begin about there */
#define WALL_MS 1800000000000ll

enum process { P_CONTROL, P_DATA, P_MESH, P_WATCHDOG, P_SERVER, P_MEMBER, PROCESSES };

struct process_state {
    bool up;
    unsigned life;
    uint64_t stopped_until; /* SIGSTOP */
    uint64_t began_ms;
};

struct server {
    bool stalled; /* its disk: nothing is written, what is in memory is answered */
    bool read_only, by_hand;
    uint64_t opened_epoch;
    uint64_t have[HOSTS], got[HOSTS],
        purged[HOSTS];             /* of each domain: applied, received, no longer in its logs */
    uint64_t beat_ms, got_beat_ms; /* true time of the newest heartbeat row of these */
    unsigned attached;
    bool own_too; /* behind its own writes as well */
    enum ladder_io io;
    bool sql, differs; /* differs: the next row does not fit */
    unsigned io_errno, sql_errno;
    uint64_t beats, received, heard_ms;
    unsigned in_flight;
    unsigned pid;
};

/* What a data role says of itself; controls pass it on to each other. */
struct report {
    bool told;      /* by its data role, just now */
    bool reachable; /* the server is */
    bool gone;      /* its process is */
    bool writable, io_yes, all_applied, broken, diverged, replicating;
    uint64_t epoch;
    uint64_t have[HOSTS];
    uint64_t lag_ms, down_ms; /* down_ms: unreachable or gone for so long */
};

struct beat {
    unsigned from;
    struct report report;
    bool hears[HOSTS], reaches_store;
    bool sees_fault; /* it cannot reach the source, or its replica lost it */
    uint64_t epoch;  /* of the document that it knows */
};

struct heard {      /* of a host, at another one */
    uint64_t at_ms; /* own boot clock; 0: never */
    struct beat beat;
};

enum request_kind { REQUEST_READ, REQUEST_LEAD, REQUEST_DOC, REQUEST_NOTES, REQUEST_LEASE };
enum outcome { OUTCOME_DONE, OUTCOME_REFUSED, OUTCOME_UNKNOWN };

enum purpose { /* who waits for the answer */
    FOR_PICTURE,
    FOR_HOLDER,
    FOR_LEADER, /* to become one, to stay it */
    FOR_STEP,   /* a step of the journal */
    FOR_ACT,    /* REVOKE, RESTORE */
    FOR_NOTE,   /* the failover is noted in failover/<db> */
    FOR_PERSON,
};

struct request {
    enum request_kind kind;
    enum purpose purpose;
    enum outcome outcome;
    unsigned host, life;
    uint64_t sent_ms;
    uint64_t lead_epoch;                   /* LEAD: 0 takes it; others: guard, 0: none */
    int64_t doc_rev, notes_rev, lease_rev; /* what is compared, or was read; 0: not compared */
    json_t *json;                          /* the new document */
    json_t *doc, *notes;                   /* read: kept by the world until its end */
    struct lease_record lease;
    bool has_lease;
    uint64_t id; /* of what it is the answer to */
    int act;
    bool lead_free;    /* read: nobody leads */
    uint64_t asked_ms; /* own boot clock */
};

struct picture { /* what one control has read from the state store */
    json_t *doc, *notes;
    struct replication_doc parsed;
    unsigned source, target; /* hosts, as the document has them */
    int64_t doc_rev, notes_rev, lease_rev;
    struct lease_record lease;
    bool has_lease;
    uint64_t read_ms; /* own boot clock: when it was asked for */
};

struct role { /* the data role */
    struct replication_node node;
    struct replication_saved saved; /* on disk */
    uint64_t write_until_ms;
    bool may_write;
    uint64_t until_ms, lease_epoch; /* of the lease that it was told */
    uint64_t silent_ms; /* own boot clock: the server does not answer since; 0: it does */
    struct local_check check; /* of the process `checked`: its life */
    unsigned checked, moves;
    uint64_t looked_ms; /* true time of the newest look that counted, and what was seen */
    bool seen_read_only;
    uint64_t told_seq;
};

struct watchdog {
    unsigned pid;
    uint64_t until_ms, ordered_ms, told_seq;
};

struct gate {
    bool open;
    uint64_t epoch, deadline_ms, told_seq;
    uint64_t sent_seq; /* by its control, newest */
};

struct happened { /* an answer to an act, with what it points to */
    struct failover_event ev;
    struct err error;
    char gtid[96];
};

#define HAPPENED_MAX 8u

struct memory { /* what a control remembers of what it has seen, leading or not; own boot clock */
    uint64_t well_ms; /* the source was seen to be well and to write then; 0: never */
    bool healthy;     /* it was well, once */
    uint64_t lag_ms, lag_at_ms; /* the target's last sample, and when */
    bool lag_known, broken_before;
    uint64_t unapplied_ms, tick_ms, stepped_ms;
    uint64_t lost_ms[HOSTS]; /* fell silent then; 0: never */
    bool was_fresh[HOSTS], was_heard[HOSTS];
};

struct leader {
    bool leads;
    uint64_t epoch, until_ms, since_ms, asked_ms;
    struct failover_run run, next_run;
    bool writing;
    struct happened queue[HAPPENED_MAX];
    size_t n_queue;
    uint64_t journal_ms;
    bool promotes; /* a document of a higher epoch is on its way */
    bool blind;    /* what it has read may be of the past */
    uint64_t blind_ms;
    unsigned turns;
    enum failover_state told;
    char told_rule[4];
};

struct control {
    struct heard heard[HOSTS];
    struct picture now;
    bool has_picture;
    struct report report; /* of its own data role */
    uint64_t report_ms;
    uint64_t store_ms, born_ms; /* own boot clock: the state store answered; it began */
    unsigned ticks;
    struct lease_holder holder;
    struct lease_promise promise; /* on its disk */
    unsigned promises;            /* of the others, that were given for ask_id */
    uint64_t ask_id;
    struct lease_watch watch;
    struct memory memory;
    struct leader leader;
};

struct host {
    bool powered;
    uint64_t frozen_until; /* all of it */
    struct process_state p[PROCESSES];
    int ppm; /* of its boot clock */
    uint64_t boot_ms;
    int64_t wall_ms; /* its wall clock is so wrong */
    struct server server;
    struct role role;
    struct watchdog watchdog;
    struct gate gate;
    struct control control;
};

struct job { /* something that is under way */
    struct world *w;
    struct job *next;
    unsigned host, from, life, control_life, pid;
    int kind, code;
    bool ok;
    uint64_t epoch, id, action_id, seq, ms, ops;
    json_t *json; /* owned */
    char gtid[96], text[96];
    union {
        struct request request;
        struct beat beat;
        struct replication_view view;
        struct server look;
    };
};

enum fault_kind {
    FAULT_DARK,   /* all links of a host are cut */
    FAULT_POWER,  /* everything of it ends, links down */
    FAULT_FREEZE, /* all of its processes stand still */
    FAULT_CUT,    /* between two hosts, both ways */
    FAULT_ONE_WAY,
    FAULT_LOSS,
    FAULT_KILL,    /* a process */
    FAULT_STOP,    /* a process */
    FAULT_DEAD,    /* the server's process, and it does not come back until the fault is over */
    FAULT_STALL,   /* the disk of a server */
    FAULT_ERRANT,  /* somebody writes at a replica */
    FAULT_DIFFERS, /* a row of a replica differs */
    FAULT_SLOW_APPLY,
    FAULT_WALL,   /* a wall clock jumps */
    FAULT_LEADER, /* the leading control ends */
    FAULT_STORE_LEADER,
    FAULT_SWITCH_FAILS, /* answers of DNS are not what they shall be */
    FAULT_PAUSE,        /* an operator: mcp pause, for a while */
    FAULT_FAILOVER,     /* an operator: mcp failover --to */
    FAULT_ATTEST,       /* an operator: mcp failover --attest-source-off, if it is */
    FAULT_WATCHERS,     /* data role and watchdog of a host stand still together */
    FAULT_ACK,          /* an operator: mcp ack */
    FAULTS,
};

struct fault {
    enum fault_kind kind;
    uint64_t at_ms, for_ms;
    unsigned a, b;
    bool left_out;
};

struct epoch { /* what became of each */
    unsigned host;
    uint64_t began_ms;
    uint64_t last_acked; /* number of the last transaction that was acknowledged */
    uint64_t acked;
    unsigned
        lost_domain; /* of what was acknowledged before and is not here: after lost_from, up to lost_to */
    uint64_t lost_from, lost_to;
    bool found; /* saved when its server returned */
    bool loss_accepted; /* by the order that began it */
    bool opened;
};

struct options {
    uint64_t seed;
    bool trace;
    unsigned lease_off, failover_off, node_off;
    const struct scenario *scenario; /* NULL: by the seed */
    uint32_t left_out;               /* bits of faults */
    bool no_holders;                 /* logs go by age alone */
};

#define LOGS_MAX 24u
struct log {
    uint64_t start[HOSTS]; /* everything before it */
    int64_t written_ms;    /* by the wall clock of its host */
};

struct logs { /* oldest first; the last is being written */
    struct log v[LOGS_MAX];
    size_t n;
};

struct world {
    struct sim *sim;
    struct options o;
    struct job *free_jobs;
    struct chunk *chunks;
    struct host h[HOSTS];
    bool has_db[HOSTS];
    unsigned cut[HOSTS][HOSTS];
    uint64_t delay_ms[HOSTS][HOSTS];
    unsigned lossy;             /* percent */
    unsigned stays_dead[HOSTS]; /* counters: faults overlap */
    unsigned slow_apply, switch_fails;
    bool semi_sync, automatic, calm;
    bool half_open; /* a replica does not notice that its source is gone */
    bool small_disks, sacrifice; /* logs fill them; the replica kr1 may be given up for that */
    struct logs logs[HOSTS];
    uint64_t purged; /* logs */
    uint64_t seq;
    struct {
        uint64_t seq;
        unsigned host;
    } rows[EPOCHS_MAX]; /* epoch rows */
    struct {
        unsigned leader;
        uint64_t ready_ms, lost_ms;
        unsigned lead_holder;
        uint64_t lead_epoch, lead_until_ms;
        json_t *doc, *notes;
        int64_t doc_rev, notes_rev, lease_rev, revs;
        struct lease_record lease;
        bool has_lease;
        uint64_t renewed_ms; /* by its holder */
    } store;
    json_t **kept; /* every document there was */
    size_t n_kept, cap_kept;
    struct fault faults[FAULTS_MAX];
    size_t n_faults;
    struct epoch epochs[EPOCHS_MAX];
    uint64_t epoch; /* of the state store's document */
    uint64_t acked, committed, acked_ms, calm_ms, disturbed_ms;
    uint64_t lawful_ms[HOSTS],
        lawful_epoch[HOSTS]; /* deadlines, by the records that were written */
    unsigned errant[HOSTS];
    struct {
        uint64_t from, to;
    } rescued[HOSTS]; /* of its own domain: saved to files */
    uint64_t promised;
    uint64_t took_ms; /* from the first fault to the first acknowledged write at another epoch */
    bool wrote_again; /* since the faults are over */
    uint64_t tells;
    bool paused;
    uint64_t moved_ms; /* the source, for the last time */
    bool acked_all;    /* and somebody has said that it is well, or ordered it */
    unsigned autos, failovers, partials, seeds;
};

/* ---- world.c */
struct job *job_new(struct world *w);
void job_free(struct job *j);
void jobs_done(struct world *w);
void job_in(struct job *j, uint64_t delay_ms, sim_fn fn);
uint64_t boot_now(const struct world *w, unsigned h);
int64_t wall_now(const struct world *w, unsigned h);
bool link_carries(const struct world *w, unsigned from, unsigned to);
bool link_send(struct world *w, unsigned from, unsigned to, uint64_t *ret_ms);
const char *process_name(enum process p);
const char *host_name(unsigned h);
const char *region_name(unsigned h);
unsigned host_of(const char *name); /* NOBODY: none of that name */
bool is_up(const struct world *w, unsigned h, enum process p);
uint64_t goes_on_ms(const struct world *w, unsigned h, enum process p);
bool is_stopped(const struct world *w, unsigned h, enum process p);
bool runs(const struct world *w, unsigned h, enum process p);
/* True: `fn` is called again when the process goes on. */
bool postponed(struct job *j, unsigned h, enum process p, sim_fn fn);
void world_keep(struct world *w, json_t *doc);

/* ---- store.c */
#define LEAD_MS 5000u
void store_start(struct world *w);
bool store_works(const struct world *w);
void store_send(struct world *w, const struct request *r);

/* ---- server.c */
#define IO_TIMEOUT_MS 5000u
bool covers(const uint64_t a[HOSTS], const uint64_t b[HOSTS]);
void gtid_text(const uint64_t have[HOSTS], char *out, size_t size);
uint64_t server_epoch(const struct world *w, const struct server *s, unsigned *ret_by);
bool server_answers(const struct world *w, unsigned h);
bool server_is_empty(const struct server *s);
const char *server_io_text(const struct world *w, unsigned h);
void server_die(struct world *w, unsigned h, const char *why);
void server_back(void *ctx, uint64_t arg);
void servers_start(struct world *w);
void server_seed(struct world *w, unsigned h, unsigned from);
uint64_t server_commit(struct world *w, unsigned h);
bool server_carry_out(
    struct world *w, unsigned h, enum replication_op op, const struct replication_view *v);
void client_write(struct world *w, unsigned from, unsigned to);

/* ---- retain.c: binary logs */
void retain_start(struct world *w);
void retain_seeded(struct world *w, unsigned h);

/* ---- host.c: data role, watchdog */
void hosts_start(struct world *w);
void role_start(struct world *w, unsigned h);
void role_server_died(struct world *w, unsigned h);
bool role_may_write(const struct world *w, unsigned h, uint64_t epoch);
void role_told_view(struct world *w, unsigned h, const struct replication_view *v);
void role_told_lease(struct world *w, unsigned h, uint64_t epoch, uint64_t until_ms);
void role_beat(struct world *w, unsigned h, uint64_t id); /* -> control_role_beaten() */
void role_call(struct job *j, uint64_t wait_ms);          /* -> control_role_answered() */
void role_follow(struct world *w, unsigned h);

/* ---- control.c */
void controls_start(struct world *w);
void control_born(struct world *w, unsigned h);
void control_answered(struct world *w, const struct request *r);
void control_sees(struct world *w, const struct request *r);
void control_server_gone(struct world *w, unsigned h);
void control_reported(struct world *w, unsigned h, const struct report *r);
void control_role_beaten(struct job *j);
void control_role_answered(struct job *j);
void control_call(struct world *w, unsigned from, const struct failover_action *a);
void control_tell(struct world *w, unsigned h);
/* The mesh has acknowledged that, and nothing that opens it is on its way; or there is none. */
bool control_gate_shut(const struct world *w, unsigned h);
uint64_t control_silence(const struct world *w, unsigned h, unsigned of); /* own boot clock */

/* ---- leader.c */
#define FINGERPRINT "as rehearsed"
#define COOLDOWN_MS 60000u
void leader_tick(struct world *w, unsigned h, uint64_t now);
void leader_wants(struct world *w, unsigned h);
void leader_answered(struct world *w, const struct request *r);
void leader_act_answered(const struct job *j);
bool leader_promotes(const struct world *w, unsigned h);
/* A person's order, at the control of host h. */
void leader_order(struct world *w, unsigned h, const struct failover_wish *wish);

/* ---- scenario.c */
struct scenario {
    const char *name, *about;
    void (*make)(struct world *w);
    void (*expect)(struct world *w); /* at the end */
};
extern const struct scenario scenarios[];
extern const size_t n_scenarios;

/* ---- fault.c */
struct fault *fault_add(struct world *w, enum fault_kind kind, unsigned a, unsigned b, uint64_t at_ms,
    uint64_t for_ms); /* both within the time of faults */
void faults_make(struct world *w, struct rnd *rnd);
void faults_start(struct world *w);
void faults_calm(struct world *w);
void fault_text(const struct fault *f, char *buf, size_t size);

/* ---- main.c */
enum person { PERSON_PAUSE, PERSON_RESUME, PERSON_ACK };
void person_says(struct world *w, enum person what);

/* ---- check.c */
void check_document(struct world *w, const json_t *old, const json_t *new);
void check_notes(struct world *w, const json_t *notes);
void check_lease(struct world *w, const struct request *r);
void check_promised(struct world *w, unsigned h, uint64_t epoch, uint64_t asked_ms);
void check_committed(struct world *w, unsigned h, uint64_t epoch, uint64_t seq);
void check_ack(struct world *w, unsigned h, uint64_t epoch, uint64_t seq);
void check_opened(struct world *w, unsigned h, uint64_t epoch);
void check_discard(struct world *w, unsigned h, unsigned from);
bool check_settled(struct world *w, bool say);
