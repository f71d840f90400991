/* SPDX-License-Identifier: Apache-2.0 */
/* The durable account of a run: a text file, only ever appended to, one record a line, each with a
 * checksum of its own:
 *
 *   mcp-traffic 1 RUN NAME STARTED CHECK     what it is about, first
 *   i SEQ COUNTRY CHECK                      the order SEQ is about to be sent for the first time
 *   a SEQ ID CHECK                           it was acknowledged as ID
 *   e REASON CHECK                           the run ended in order
 *
 * The order's key is RUN-SEQ, SEQ in eight digits. What was written survives the death of the
 * process; a thread of its own makes it survive the machine's, LEDGER_SYNC_MS later at most. A crash
 * can only cut the last record short: reading drops that one, and refuses a file that is spoilt
 * elsewhere. */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"

#define LEDGER_SYNC_MS 100
#define LEDGER_ORDERS_MAX 20000000u /* 9 bytes each while they are compared */
#define LEDGER_RUN_SIZE 20
#define LEDGER_KEY_SIZE 40
#define LEDGER_NAME_SIZE 256
#define LEDGER_ID_MAX 64

struct ledger;

/* Creates the file, which must not be there. `run`: lower-case letters and digits. */
MUST_CHECK int ledger_create(const char *path, const char *run, const char *name,
    const char *started, struct ledger **ret, struct err *e);
void ledger_intent(struct ledger *l, uint32_t seq, const char *country);
void ledger_ack(struct ledger *l, uint32_t seq, const char *id); /* id: ledger_id_ok() */
/* Gives what was noted since to the kernel: before the orders are sent, before acknowledgements are
 * counted. Fails too when the disk said no to an earlier sync. */
MUST_CHECK int ledger_write(struct ledger *l, struct err *e);
/* The last record, everything on the disk; frees l in any case. */
MUST_CHECK int ledger_close(struct ledger *l, const char *reason, struct err *e);
bool ledger_id_ok(const char *id);
/* FNV-1a: it tells a record that was cut from a whole one, not a forgery from the truth. */
uint32_t ledger_check(const char *text, size_t len);
void ledger_key(const char *run, uint32_t seq, char out[LEDGER_KEY_SIZE]);

/* ---- reading and comparing ---- */

struct book {
    char run[LEDGER_RUN_SIZE], name[LEDGER_NAME_SIZE];
    uint32_t n;         /* orders 0 .. n-1 */
    uint8_t *flags;     /* of each order, below */
    uint64_t *ids;      /* hash of the id that it was seen with first */
    bool torn, ended;   /* the last record was cut short; the run ended in order */
    uint64_t strangers; /* rows of this run that the ledger knows nothing of */
};

enum book_flag { BOOK_INTENT = 1, BOOK_ACKED = 2, BOOK_PRESENT = 4, BOOK_TWICE = 8 };

MUST_CHECK int book_read(const char *path, struct book *ret, struct err *e);
void book_done(struct book *b);
/* A row of the database. False: its key is not of this run. */
bool book_row(struct book *b, const char *key, const char *id);

struct book_sums {
    uint64_t intents, acked, present, lost, duplicated, unacked_present;
};

void book_sum(const struct book *b, struct book_sums *ret);
