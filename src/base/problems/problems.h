/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that is wrong with one text, by position, so that its author sees all of it at once. A
 * problem is a place, what was wrong with what was expected, and the next thing to do. Texts are
 * kept printable: control characters become '?', long ones are cut at a character. Bounded: over
 * PROBLEMS_KEPT they are only counted. */
#pragma once

#include "base/json/json.h"

#define PROBLEMS_KEPT 1000u /* sorted before the first PROBLEMS_SHOWN are taken */
#define PROBLEMS_SHOWN 100u
#define PROBLEMS_QUOTE_SIZE 72

struct problem {
    unsigned line, column; /* from 1; column counts characters */
    size_t order;          /* found as the n-th: ties keep it */
    char *message;
    char *fix; /* may be NULL */
};

struct problems {
    const char *file; /* as shown; borrowed */
    struct problem *v;
    size_t n, cap;
    size_t total;           /* with those not kept */
    struct problem scratch; /* takes what is not kept */
};

void problems_init(struct problems *p, const char *file);
void problems_done(struct problems *p);
/* True when further ones are only counted: a costly message need not be made. */
bool problems_full(const struct problems *p);
struct problem *problems_add(
    struct problems *p, unsigned line, unsigned column, const char *fmt, ...) PRINTF_LIKE(4, 5);
void problem_fix(struct problem *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
void problems_sort(struct problems *p);
/* Sorted, one a line: "file:line:col: message; fix: ..." */
void problems_format(struct problems *p, struct str *out);
/* Sorted: [{"where", "message", "fix"}] */
json_t *problems_json(struct problems *p);
/* Fills *e (ERR_INVALID) from the problems, which must not be empty: the only one with its place
 * and fix, else a count with all of them, as many as fit. Returns ERR_INVALID. */
int problems_err(struct problems *p, struct err *e);
/* What a user wrote, in quotes, cut to fit a message. Returns out. */
const char *problems_quote(const char *text, char out[PROBLEMS_QUOTE_SIZE]);
