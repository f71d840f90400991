/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's error: fixed size, no allocation, untouched on success. A failing function fills it
 * with err_set(), callers on the way up put what they were doing in front with err_wrap(). `where`
 * is the place in the user's words (file:line:col, a host, a unit), `fix` the next thing to do. Not
 * thread shared. */
#pragma once

#include "base/util/util.h"

#include <stdarg.h>

/* Codes are negative so that `return err_set(...)` reads well. err_code_name() gives the JSON form.
 */
enum err_code {
    ERR_FAILED = -1,  /* anything without a better word */
    ERR_USAGE = -2,   /* the caller's words are wrong: exit code 2 */
    ERR_REFUSED = -3, /* a rule refuses: exit code 3 */
    ERR_INVALID = -4, /* input does not parse or validate */
    ERR_NOT_FOUND = -5,
    ERR_EXISTS = -6,
    ERR_CONFLICT = -7,    /* somebody else changed it first; read again */
    ERR_UNAVAILABLE = -8, /* peer, quorum or service not reachable now; try again */
    ERR_TIMEOUT = -9,
    ERR_LIMIT = -10,  /* over a limit; the message names it */
    ERR_SYSTEM = -11, /* a system call failed; the message holds strerror */
    ERR_DENIED = -12,
    ERR_PROTOCOL = -13, /* a peer broke the protocol */
    ERR_CANCELED = -14,
};

struct err {
    int code; /* enum err_code, 0 while unset */
    char where[192];
    char message[768];
    char fix[384];
};

/* Fills *e and returns `code`. e may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Same, with ": strerror(errno_value)" behind; code ERR_SYSTEM (ENOENT: ERR_NOT_FOUND, EEXIST:
 * ERR_EXISTS). */
int err_errno(struct err *e, int errno_value, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts "fmt: " in front of the message. Returns e->code, so `return err_wrap(e, ...)` works. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
void err_where(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
void err_fix(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

const char *err_code_name(int code);  /* "invalid", "refused", ... */
int err_code_parse(const char *name); /* ERR_FAILED when unknown */
int err_exit_status(int code);        /* 1, or 2 usage, or 3 refused */
