/* SPDX-License-Identifier: Apache-2.0 */
/* The lease of a database's source: until when it may acknowledge writes, and from when on another
 * may count on that it does not. Kept in the state store as one record a database:
 *
 *   {"format": 1, "epoch": 3, "seq": 812, "holder": "hk1", "gtid": "1-1-42", "lease_ms": 15000,
 *    "revoked": false, "released": false, "sent_wall_ms": 1764000000000}
 *
 * The holder (the control of the source's host) proves each third of the lease that its server takes
 * a write on its disk, notes the time, and writes the record, on condition that nobody has written it
 * meanwhile and that the database's document still names it at its epoch. When that has succeeded, the
 * deadline is the time that was noted, before sending, plus the lease. What became of a write that
 * was not answered is read; nothing is taken for granted. Server and gate get the deadline as a time
 * of the boot clock (lease_rule(), lease_acknowledges()) and need nobody to end at it: read-only a
 * fifth of the lease before it (3 s at most), killed a tenth before it (1.5 s at most).
 *
 * A challenger counts one lease and LEASE_MARGIN_MS from when it has read the last change, on its own
 * clock: that is later than the holder's deadline, whatever the clocks say, as long as they run about
 * as fast. It has the record say `revoked` first; then no renewal comes in between. A record that is
 * `released` has a holder of which it is proven that it cannot write: no wait.
 *
 * While the state store does not answer, the deadline is prolonged if the control of every other host
 * has promised, on its disk, that nobody is promoted above this epoch for a lease and the margin
 * (struct lease_promise); whoever leads keeps its own promise.
 *
 * Pure: no I/O, no clock; times are CLOCK_BOOTTIME in ms, of the host that it runs on. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define LEASE_FORMAT 1
#define LEASE_MARGIN_MS 1000u
#define LEASE_RETRY_MS 500u
#define LEASE_RENEW_PARTS 3u /* of the lease: how often it is renewed */
#define LEASE_HOST_SIZE 64u
#define LEASE_GTID_SIZE 512u

enum { /* mutation checks of the simulator: never set elsewhere */
    LEASE_OFF_SELF_FENCE = 1 << 0, /* the server goes on after its deadline */
    LEASE_OFF_EPOCH = 1 << 1,      /* nobody looks whose epoch it is */
    LEASE_OFF_MARGIN = 1 << 2,     /* counted from the answer on, and no longer than the lease */
    LEASE_OFF_ACK_GATE = 1 << 3,   /* answers pass after the deadline */
};

/* ---- the record */

struct lease_record {
    int64_t epoch, seq; /* seq: each write of a holder raises it */
    char holder[LEASE_HOST_SIZE];
    char gtid[LEASE_GTID_SIZE]; /* what the server had when it was renewed; "": not known */
    uint64_t lease_ms;
    bool revoked;  /* at this epoch nobody renews it any more */
    bool released; /* it is proven that the holder cannot write */
    int64_t sent_wall_ms;
};

MUST_CHECK int lease_record_parse(const json_t *json, struct lease_record *ret, struct err *e);
/* New references; members that this version does not know survive. `old` NULL: none. */
json_t *lease_record_put(const json_t *old, const struct lease_record *r);
json_t *lease_record_revoke(const json_t *old, bool revoked);

/* ---- the deadline, for the server and for the gate */

uint64_t lease_fence_ms(uint64_t until_ms, uint64_t lease_ms); /* read-only from then on */
uint64_t lease_kill_ms(uint64_t until_ms, uint64_t lease_ms);  /* and ended then */

enum lease_rule { LEASE_WRITE, LEASE_FENCE, LEASE_KILL };
/* What a server with that deadline has to do now. until_ms 0: there is no lease. */
enum lease_rule lease_rule(
    uint64_t until_ms, uint64_t lease_ms, uint64_t now_ms, unsigned guards_off);
/* May a write that was made at `epoch` be acknowledged, under a deadline that is of `lease_epoch`? */
bool lease_acknowledges(uint64_t until_ms, int64_t lease_epoch, int64_t epoch, uint64_t now_ms,
    unsigned guards_off);

/* ---- the challenger */

struct lease_watch { /* begins zeroed */
    bool seen; /* a record was read */
    struct lease_record record;
    uint64_t read_ms; /* the holder's last change of it was read */
};

/* What the state store says (NULL: nothing); the answer came at `now_ms`. */
void lease_watch_see(struct lease_watch *w, const struct lease_record *r, uint64_t now_ms);
/* From when on the holder of an epoch before `epoch` acknowledges nothing; UINT64_MAX: not known. A
 * holder that is not revoked may renew until then: revoke first. */
uint64_t lease_watch_safe_ms(const struct lease_watch *w, int64_t epoch, unsigned guards_off);

/* ---- the holder */

enum lease_act {
    LEASE_NOTHING,
    LEASE_BEAT, /* a write on the server's disk that is there when the power goes; answers its GTID */
    LEASE_READ, /* the record and the database's document */
    LEASE_SEND, /* write `record`, if neither has changed since */
};

struct lease_action {
    enum lease_act act;
    uint64_t id;       /* to be given back with the answer */
    uint64_t ask_id;   /* not 0: ask every other control for its promise, for `lease_ms` */
    bool told;         /* epoch or until_ms of the holder changed: tell server and gate */
    struct lease_record record; /* LEASE_SEND: if both still have these modification revisions */
    int64_t mod, doc_mod;
};

enum lease_event_kind {
    LEASE_EV_TICK,
    LEASE_EV_WANT, /* this host is the source at `epoch` (0: it is not), with `lease_ms` */
    LEASE_EV_BEATEN,
    LEASE_EV_READ,
    LEASE_EV_SENT,
    LEASE_EV_PROMISED, /* by all; ok false: by some not */
    LEASE_EV_DEAD, /* it is proven that the server does not run: released, until it beats again */
};

enum lease_sent { LEASE_SENT_UNKNOWN, LEASE_SENT_DONE, LEASE_SENT_CONFLICT };

struct lease_event {
    enum lease_event_kind kind;
    uint64_t id; /* of the action that it answers */
    bool ok;
    int64_t epoch; /* WANT; READ: the document's, if it names this host as the source, else 0 */
    uint64_t lease_ms;                 /* WANT */
    const char *gtid;                  /* BEATEN */
    const struct lease_record *record; /* READ; NULL: there is none */
    int64_t mod, doc_mod; /* READ: modification revisions of both (0: absent); SENT, done: `mod` */
    enum lease_sent sent;
};

struct lease_try { /* something that was asked */
    uint64_t id, ms;
};

struct lease_holder {
    char host[LEASE_HOST_SIZE];
    int64_t epoch; /* 0: not the source */
    uint64_t lease_ms;
    uint64_t until_ms; /* the deadline; 0: none */
    enum lease_act doing;
    struct lease_try now, ask; /* what is under way; id 0: nothing */
    uint64_t ids;
    uint64_t next_ms, ask_next_ms; /* not before */
    struct lease_record last;      /* as read or written last, if known */
    int64_t mod, doc_mod;
    bool known;
    struct lease_record sent; /* on its way, or not known to have come (id not 0) */
    struct lease_try send;
    struct lease_watch other; /* another host's record of this epoch: its end is waited for */
    char gtid[LEASE_GTID_SIZE];
    uint64_t beat_ms;   /* of the last one that was answered, when it was asked */
    uint64_t silent_ms; /* the state store does not answer since; 0: it does */
    bool dead, release_due;
    bool look_again; /* the release was not answered: is the server back meanwhile? */
    const char *why; /* there is no lease: why; "" */
    unsigned guards_off;
};

void lease_holder_init(struct lease_holder *h, const char *host);
/* wall_ms: for people only. */
void lease_holder_step(struct lease_holder *h, const struct lease_event *ev, uint64_t now_ms,
    int64_t wall_ms, struct lease_action *ret);
/* When to come with a TICK at the latest; UINT64_MAX: there is nothing to wait for. */
uint64_t lease_holder_due_ms(const struct lease_holder *h);

/* ---- a promise of failsafe */

struct lease_promise { /* nobody is promoted above `epoch` before */
    int64_t epoch;
    uint64_t until_ms;
};

/* ERR_REFUSED: this control knows of a higher epoch (doc_epoch), or has begun to promote. */
MUST_CHECK int lease_promise_give(struct lease_promise *p, int64_t epoch, uint64_t lease_ms,
    int64_t doc_epoch, bool promoting, uint64_t now_ms, struct err *e);
/* How long it still keeps from promoting to `epoch`; 0: it does not. */
uint64_t lease_promise_left_ms(const struct lease_promise *p, int64_t epoch, uint64_t now_ms);
