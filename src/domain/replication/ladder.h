/* SPDX-License-Identifier: Apache-2.0 */
/* How replication is resumed after it stopped, by itself and step after step, as one pure step over
 * what a replica's threads say:
 *
 *   reconnect -> restart the receiving thread -> rebuild the relay log from the GTID
 *             -> (purged at the source) refill from a vault -> reseed
 *
 * Never: skipping a transaction. What says that data differ (1062, 1032, 1950 and everything that is
 * not known to be passing) freezes replication until somebody has looked; what says that credentials
 * are wrong is tried slowly, for a source locks out who storms it. A half-open connection looks
 * healthy to the server for a minute (measured): here neither heartbeats nor transactions for two
 * periods are enough.
 *
 * The server itself reconnects once a second while its receiving thread lives; the waits here (1 s
 * doubling to 30 s, each up to a quarter longer) are for threads that ended. Which errors mean what
 * is the table in ladder.c. No I/O, no clock, no allocation. */
#pragma once

#include "base/rnd/rnd.h"
#include "base/util/util.h"

enum ladder_step {
    LADDER_NONE, /* all is well */
    LADDER_RECONNECT,
    LADDER_RESTART_IO,
    LADDER_REBUILD,
    LADDER_REFILL,
    LADDER_RESEED,
    LADDER_FROZEN,
};
const char *ladder_step_name(enum ladder_step s);

enum ladder_class {
    LADDER_FINE,
    LADDER_PASSING,     /* network, restarts: tried until it works */
    LADDER_LIMITED,     /* locks: tried LADDER_LIMITED_TRIES times, then it is no longer passing */
    LADDER_CREDENTIALS, /* tried slowly */
    LADDER_RELAY,       /* the relay log is broken: fetched anew */
    LADDER_PURGED,      /* the source has not got it any more */
    LADDER_DIVERGED,    /* this replica has what the source has not */
    LADDER_DATA,        /* frozen */
};
/* What an error of the receiving or of the applying thread means; 0 is LADDER_FINE. */
enum ladder_class ladder_classify(bool io, unsigned number, const char *text);

/* What a replica says of itself at one moment. */
enum ladder_io { LADDER_IO_NO, LADDER_IO_CONNECTING, LADDER_IO_YES };

struct ladder_look {
    enum ladder_io io;
    bool sql;
    unsigned io_errno, sql_errno;
    const char *io_error, *sql_error; /* borrowed */
    uint64_t heartbeats; /* received since the connection began */
    uint64_t received;   /* grows with each transaction that came */
};

enum ladder_act {
    LADDER_WAIT,
    LADDER_ACT_START,      /* both threads, as they are */
    LADDER_ACT_RESTART_IO, /* end and start the receiving thread */
    LADDER_ACT_REBUILD,    /* forget the relay log, fetch from the GTID that was applied last */
    LADDER_ACT_STOP_IO,    /* so that a server does not storm with wrong credentials */
    LADDER_ACT_REFILL,
    LADDER_ACT_RESEED,
    LADDER_ACT_FREEZE, /* keep the evidence */
};

#define LADDER_WAIT_MIN_MS 1000u
#define LADDER_WAIT_MAX_MS 30000u
#define LADDER_SLOW_MIN_MS 2000u /* credentials: a source that is being formed has them in a moment */
#define LADDER_SLOW_MAX_MS 300000u
#define LADDER_RESTARTS 3u /* of the receiving thread without anything coming: then rebuild */
#define LADDER_LIMITED_TRIES 20u
#define LADDER_CALM_MS 30000u    /* well for so long: the tries are forgotten */
#define LADDER_CONNECT_MS 60000u /* connecting without an error for so long is hanging */

struct ladder {
    enum ladder_step step;
    enum ladder_class held; /* why the threads are stopped, if they are */
    unsigned tries;         /* acts since it was well for LADDER_CALM_MS */
    unsigned fruitless;     /* restarts since something came */
    unsigned limited;       /* tries of what may be tried LADDER_LIMITED_TRIES times */
    uint64_t next_ms;       /* not before */
    uint64_t progress_ms;   /* something came then, or could not have come until then */
    uint64_t well_ms;       /* everything has been running since; 0: it does not */
    uint64_t connecting_ms; /* since; 0: it does not */
    uint64_t heartbeats, received;
    bool looked;     /* the two above are known */
    unsigned number; /* of the error that froze it */
    bool skips;      /* mutation check of the simulator: never set elsewhere */
};

struct ladder_params {
    uint64_t heartbeat_ms;
    bool manual;   /* recovery: manual. It only ever reconnects */
    bool has_vault; /* transactions can be had from elsewhere */
};

/* One look at the threads. The caller carries the act out; whether it did shows in the next look. */
enum ladder_act ladder_step(struct ladder *l, const struct ladder_params *p,
    const struct ladder_look *look, uint64_t now_ms, struct rnd *rnd);
/* Attached anew, or somebody has looked and says: try again. */
void ladder_reset(struct ladder *l);
/* Credentials are others now: no need to wait. */
void ladder_hurry(struct ladder *l);
/* min doubling to max with each try, up to a quarter longer. */
uint64_t ladder_wait_ms(unsigned tries, uint64_t min_ms, uint64_t max_ms, struct rnd *rnd);
