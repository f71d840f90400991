/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of an alarm: one pure step over its rule, what the rule says now, and its document
 * alarm/<name> in the state store. The document is all that is known of it, so whoever leads next
 * neither repeats what was told nor forgets what is due.
 *
 *   ok ── true ──► pending ── true for `for` ──► firing ── clear ──► clearing ── for `clear_for` ──► ok
 *        ◄─ false ──┘                               ◄──── true again ───┘
 *
 * What is unknown moves nothing. Each raising has a number (id). What is to be told or started
 * stands in `due`, written together with the state that it tells of and before anybody is told, and
 * leaves it when it was done or given up: it is done at least once, and twice only if the leader dies
 * between the deed and the writing of it. `delivery` names it for good, whoever tells it and however
 * often: a receiver drops what it has had. While an alarm is silenced nobody is told and nothing is
 * started; if it still fires when the silence ends, that is made up for.
 *
 * {"format": 1, "state", "since_ms", "id", "severity", "why", "fired_ms", "cleared_ms", "said_ms",
 *  "unsaid", "acked": {"by", "at_ms", "why"}, "silence": {"by", "until_ms", "why"},
 *  "due": [{"id", "what": "raised"|"still"|"cleared", "kind": "notify"|"run", "to", "tries",
 *           "next_ms", "at_ms", "why", "delivery"}],
 *  "failed": {"to", "what", "id", "error", "at_ms"}}                all times wall clock */
#pragma once

#include "domain/alarm/rule.h"

#define ALARM_FORMAT 1
#define ALARM_NAME_MAX 120u
#define ALARM_NOTIFY_MAX 8u
#define ALARM_DUE_MAX 32u  /* the oldest is given up for a newer one */
#define ALARM_TRIES_MAX 6u /* 2, 4, 8, 16, 32 s between them: a minute in all */
#define ALARM_SILENCE_MAX_MS (366ull * 24 * 3600 * 1000)

enum alarm_severity { ALARM_INFO, ALARM_WARNING, ALARM_CRITICAL };
const char *alarm_severity_name(enum alarm_severity s);
bool alarm_severity_parse(const char *word, enum alarm_severity *ret);

struct alarm_rule {
    char name[ALARM_NAME_MAX + 1]; /* declared: one label; built in: with dots, "data.trade.lag" */
    struct alarm_expr *when, *clear; /* clear NULL: when `when` is false */
    const char *text;                /* the expression as declared; borrowed */
    uint64_t for_ms, clear_for_ms;
    uint64_t repeat_ms; /* told again while it fires and nobody has acknowledged it; 0: never */
    enum alarm_severity severity;
    const char *notify[ALARM_NOTIFY_MAX]; /* borrowed */
    size_t n_notify;
    const char *run; /* a function; NULL: none. Borrowed */
    bool builtin;
};

struct alarm_look { /* what the rule says now */
    enum alarm_truth when, clear;
    const char *why;
};

struct alarm_run { /* how long a state has lasted, by a clock that does not jump; begun zeroed */
    int64_t since_wall_ms;
    uint64_t since_boot_ms;
};

enum alarm_change {
    ALARM_SAME,    /* or nothing that people are told: pending, and back */
    ALARM_RAISED,
    ALARM_CLEARED,
};

/* doc NULL: never raised. A new document, or the very same pointer (increased; NULL for NULL) when
 * nothing is to be written. */
json_t *alarm_step(const json_t *doc, const struct alarm_rule *rule, const struct alarm_look *look,
    struct alarm_run *run, uint64_t now_ms, int64_t wall_ms, enum alarm_change *ret);

/* The first entry of `due` whose time has come, borrowed; NULL: none. */
const json_t *alarm_due(const json_t *doc, int64_t wall_ms);
/* That entry was done (error NULL), or has to be tried again, or is given up. *ret_over: it will
 * not be tried again. What is not there any more changes nothing. */
json_t *alarm_told(
    const json_t *doc, const json_t *entry, const char *error, int64_t wall_ms, bool *ret_over);

/* By a person. ERR_REFUSED: it does not fire. for_ms 0 ends a silence. */
MUST_CHECK int alarm_ack(const json_t *doc, const char *by, const char *why, int64_t wall_ms,
    json_t **ret, struct err *e);
json_t *alarm_silence(
    const json_t *doc, const char *by, const char *why, uint64_t for_ms, int64_t wall_ms);

const char *alarm_state(const json_t *doc); /* "ok", "pending", "firing", "clearing" */
bool alarm_fires(const json_t *doc);        /* firing or clearing */
bool alarm_silenced(const json_t *doc, int64_t wall_ms);
/* What people see, for `mcp alarms`. doc may be NULL. */
json_t *alarm_show(const struct alarm_rule *rule, const json_t *doc, const struct alarm_look *look,
    int64_t wall_ms);
