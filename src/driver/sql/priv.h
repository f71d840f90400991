/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder only. */
#pragma once

#include "driver/sql/dialect.h"

#include <mysql.h>

enum sql_gave_up { SQL_WENT_ON, SQL_TIMED_OUT, SQL_CANCELED };

struct sql_conn {
    MYSQL *my;
    struct sql_server server;
    const struct sql_dialect *dialect;
    struct sql_stop *stop;
    uint64_t connect_deadline_ms; /* while connecting, else 0 */
    uint64_t read_timeout_ms, write_timeout_ms;
    enum sql_gave_up gave_up; /* of the call in progress */
    bool lost;
    bool leaving; /* nothing is waited for any more */
    unsigned number;
    char state[SQLSTATE_LENGTH + 1];
    uint64_t affected;
};

int sql_stop_fd(const struct sql_stop *s);
uint64_t sql_stop_deadline(const struct sql_stop *s);
/* ERR_CANCELED or ERR_TIMEOUT when nothing more may begin, else 0. */
MUST_CHECK int sql_stop_check(const struct sql_stop *s, struct err *e);

/* Between these the library may wait on behalf of c. */
void sql_enter(struct sql_conn *c);
void sql_leave(struct sql_conn *c);
/* What the library says of its failure. `quiet`: without the server's words. */
int sql_fail(struct sql_conn *c, bool quiet, struct err *e);
/* Cuts the session off: what it was in the middle of is not read to its end. */
void sql_cut(struct sql_conn *c);
/* The certificate of a session over TLS comes from the CA that it was opened with. */
MUST_CHECK int sql_check_chain(const struct sql_conn *c, struct err *e);

/* Takes the text over. */
void sql_script_take(struct sql_script *s, struct str *text);
/* This error of the last statement is fine. */
void sql_script_tolerate(struct sql_script *s, unsigned number);

/* ", NAME='text'" for CHANGE MASTER and its like; nothing when text is NULL. */
void sql_add_option(struct str *out, const char *name, const char *text);
void sql_add_option_u64(struct str *out, const char *name, uint64_t value);
MUST_CHECK int sql_attach_check(const struct sql_attach *a, size_t password_max, struct err *e);

/* ---- reading rows: what is not there stays zero */
uint64_t sql_u64_or(const struct sql_row *row, const char *name, uint64_t otherwise);
void sql_take_text(const struct sql_row *row, const char *name, char *out, size_t size);
MUST_CHECK int sql_take_gtid(enum gtid_flavour flavour, const struct sql_row *row, const char *name,
    struct gtid_set *ret, struct err *e);
/* The one row of a statement; *ret_any false: none. */
MUST_CHECK int sql_one_row(struct sql_conn *c, const char *statement, struct sql_rows *rows,
    const struct sql_row **ret, struct err *e);

/* REQUIRE and WITH of an account, and the account itself. */
void sql_add_require(struct str *out, const struct sql_account *a);
