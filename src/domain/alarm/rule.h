/* SPDX-License-Identifier: Apache-2.0 */
/* When an alarm is raised: an expression over named values.
 *
 *   either     = both {"or" both}
 *   both       = one {"and" one}
 *   one        = "not" one | "(" either ")" | PATH OP VALUE
 *   OP         = "==" "!=" "<" "<=" ">" ">="
 *   VALUE      = true | false | 12 | 0.05 | 5% | 3s | 256MiB | "text" | word
 *
 * PATH is words of small letters, digits, hyphens and underscores with dots between them
 * ("data.trade.lag_ms"); which ones there are, values.h knows. 5% is 0.05, durations are
 * milliseconds, sizes are bytes.
 *
 * There are three answers: what is compared with a value that is not known is unknown, and so is
 * what hangs on it; `false and unknown` is false, `true or unknown` true. What is unknown neither
 * raises nor clears (alarm.h). Pure; no allocation. */
#pragma once

#include "base/json/json.h"

#define ALARM_TEXT_MAX 512u /* of an expression */
#define ALARM_NODES_MAX 32u
#define ALARM_DEPTH_MAX 8u /* of parentheses and "not" */
#define ALARM_PATH_MAX 160u
#define ALARM_WORD_MAX 64u
#define ALARM_WHY_MAX 480u

enum alarm_kind { ALARM_BOOL, ALARM_NUMBER, ALARM_WORD };
enum alarm_unit { ALARM_PLAIN, ALARM_MS, ALARM_BYTES, ALARM_SHARE };
enum alarm_truth { ALARM_FALSE, ALARM_TRUE, ALARM_UNKNOWN };
enum alarm_op {
    ALARM_EQ,
    ALARM_NE,
    ALARM_LT,
    ALARM_LE,
    ALARM_GT,
    ALARM_GE,
    ALARM_AND,
    ALARM_OR,
    ALARM_NOT,
};

struct alarm_literal {
    enum alarm_kind kind;
    enum alarm_unit unit; /* of a number as it was written */
    bool b;
    double n;
    char word[ALARM_WORD_MAX + 1];
};

struct alarm_node {
    enum alarm_op op;
    unsigned left, right; /* AND, OR: both; NOT: left */
    unsigned at;          /* a comparison: where its path begins, characters from 1 */
    unsigned value_at;
    char path[ALARM_PATH_MAX + 1];
    struct alarm_literal value;
};

struct alarm_expr {
    struct alarm_node nodes[ALARM_NODES_MAX];
    unsigned n, root;
};

/* ERR_INVALID: *ret_at (may be NULL) is the character, from 1, where it stops to make sense. */
MUST_CHECK int alarm_expr_parse(
    const char *text, size_t len, struct alarm_expr *ret, unsigned *ret_at, struct err *e);
/* values: {"data.trade.lag_ms": 120, ...}; null or absent is unknown, and so is a value of another
 * kind than it is compared with. */
enum alarm_truth alarm_expr_eval(const struct alarm_expr *x, const json_t *values);
/* The comparisons with what they found, "data.trade.answering is false, data.trade.lag_ms is not
 * known"; at most ALARM_WHY_MAX bytes. */
void alarm_expr_why(const struct alarm_expr *x, const json_t *values, char out[ALARM_WHY_MAX + 1]);
bool alarm_op_compares(enum alarm_op op);
const char *alarm_op_text(enum alarm_op op);
