/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of this folder. */
#pragma once

#include "db.h"

#include <mysql.h>
#include <netdb.h>

/* -- account.c: who we are to the database, as the platform's file says ------------------------ */

struct account {
    char user[81], password[161], database[65];
};

void account_init(const char *file);
/* Looks whether the file is another than when it was read; true when it is now. */
bool account_refresh(bool reread);
const struct account *account_get(void); /* NULL: there is none */

/* -- resolve.c: names to addresses, in a thread, since the C library blocks -------------------- */

int resolve_start(void);
int resolve_fd(void); /* readable when an answer came */
void resolve_taken(void);
void resolve_want(enum db_side side, const char *host);
/* The newest answer since resolve_want(): 1; 0: none yet, -1: the name has no address now. */
int resolve_get(enum db_side side, char address[NI_MAXHOST]);

/* -- link.c: one connection -------------------------------------------------------------------- */

enum link_state { LINK_DOWN, LINK_CONNECT, LINK_IDLE, LINK_PREPARE, LINK_EXECUTE, LINK_STORE };

struct link {
    enum db_side side;
    enum link_state state;
    MYSQL *mysql, *connected;
    MYSQL_STMT *statements[DB_STATEMENTS]; /* NULL: not prepared yet */
    int failed;                            /* of the stage that ended */
    int waits;                             /* MYSQL_WAIT_ bits; 0: of nothing */
    uint64_t until_ms;                     /* of the stage under way */
    struct db_query *query;
    struct account account; /* the library reads it while it connects */
    char address[NI_MAXHOST];
};

struct link_error { /* why one went down */
    bool connecting; /* it never stood */
    unsigned code;
    char text[160];
};

#define CONNECT_MS 2000

void link_connect(struct link *l, const char *address, unsigned port, uint64_t now);
void link_ask(struct link *l, struct db_query *query);
struct pollfd link_pollfd(const struct link *l);
void link_ready(struct link *l, short revents);
void link_expire(struct link *l); /* until_ms passed */
void link_drop(struct link *l);   /* an idle one */

/* pool.c, told by link.c */
void pool_linked(struct link *l);
void pool_link_down(struct link *l, const struct link_error *error);
