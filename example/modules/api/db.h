/* SPDX-License-Identifier: Apache-2.0 */
/* The database `trade` through the platform's two endpoints: `rw`, the source wherever it is, and
 * `ro`, the nearest replica. A fixed number of connections to each, made when they are needed and
 * kept; statements are prepared once a connection. One thread: nothing here blocks, the loop polls
 * for it (struct watch). Every question ends exactly once, by its deadline at the latest. */
#pragma once

#include "module.h"

enum db_side { DB_RW, DB_RO, DB_SIDES };

enum db_statement { DB_INSERT, DB_BY_KEY, DB_BY_ID, DB_NEWEST, DB_EXPORT, DB_STATEMENTS };

#define DB_VALUES_MAX 9
#define DB_TEXT_MAX 168 /* bytes of one column as text, with its end */

struct db_value { /* text NULL: the number */
    const char *text;
    unsigned long size;
    long long number;
};

enum db_end {
    DB_DONE,      /* the database said OK: committed, where it was a change */
    DB_DUPLICATE, /* an insert met a row with its key */
    DB_AGAIN,     /* the database said no, and nothing happened; another attempt may do better */
    DB_REFUSED,   /* the same, and it will say no again: no such table, no right to it */
    DB_LOST,      /* sent, and no answer: it has happened or not */
    DB_LATE,      /* not even sent before the deadline */
};

struct db_rows; /* valid within done() */
/* The next row's columns as text, in the order of the statement; false behind the last. */
bool db_row(struct db_rows *rows, const char **columns);

struct db_query { /* the caller's, untouched until done() */
    enum db_side side;
    enum db_statement statement;
    struct db_value values[DB_VALUES_MAX];
    uint64_t deadline_ms;
    void (*done)(struct db_query *query, enum db_end end, struct db_rows *rows);
    struct db_query *next; /* the pool's */
};

/* Reads the environment: DB_RW, DB_RO (host:port), DB_SECRET (a file), DB_CONNECTIONS. -1 when it
 * cannot be. */
int db_start(void);
/* May be called from done(). */
void db_ask(struct db_query *query);
extern const struct watch db_watch;
