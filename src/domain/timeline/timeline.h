/* SPDX-License-Identifier: Apache-2.0 */
/* One entry of the timeline: what the platform did or saw, and why. Every host writes its own
 * timeline (service/ timeline); this is the entry itself, its JSON form, the filter that readers
 * give, and the merge of several hosts' timelines into one. Entries have a fixed size: longer texts
 * are cut at a character boundary and end in "…".
 *
 * JSON: {"seq", "time" (RFC 3339, UTC), "boot_ms", "host", "region", "kind", "subject", "message",
 * "cause", "revision"}; unknown members are ignored, "cause" and "revision" may be missing. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define TIMELINE_JSON_MAX 8192u /* one entry as JSON: more is not an entry */

/* What somebody reports; time, host and number are added by the timeline it goes to. */
struct timeline_draft {
    char kind[24];     /* "health", "steering", "unit", "role", "revision", "alarm", ... */
    char subject[128]; /* what it is about: "ap-seoul/api.reindeers.com", "api-1", "dns@hk1" */
    char message[320]; /* what happened, a sentence without full stop */
    char cause[512];   /* why; "" when there is none */
    uint64_t revision; /* of the platform, 0: not known */
};

struct timeline_entry {
    uint64_t seq;     /* 1, 2, 3, ... of this host, across restarts */
    int64_t wall_ms;  /* for people: may jump */
    uint64_t boot_ms; /* CLOCK_BOOTTIME */
    char host[48];
    char region[48];
    struct timeline_draft draft;
};

/* Fills a draft; texts that do not fit are cut. */
void timeline_draft_set(struct timeline_draft *d, const char *kind, const char *subject,
    const char *message, const char *cause);
void timeline_draft_setf(struct timeline_draft *d, const char *kind, const char *subject,
    const char *cause, const char *message_fmt, ...) PRINTF_LIKE(5, 6);
/* {"kind", "subject", "message", "cause"}: what a role sends to its control. kind must be [a-z-].
 */
MUST_CHECK int timeline_draft_parse(const json_t *j, struct timeline_draft *ret, struct err *e);
json_t *timeline_draft_format(const struct timeline_draft *d);

/* The one form of time that entries have: "2026-11-23T05:30:12.345Z". */
bool timeline_time_parse(const char *text, int64_t *ret_ms);
MUST_CHECK int timeline_entry_parse(const json_t *j, struct timeline_entry *ret, struct err *e);
json_t *timeline_entry_format(const struct timeline_entry *t);
/* "05:30:12.345 hk1 health ap-seoul/x: down (3 of 3 observers: timeout)". Appends, no newline. */
void timeline_entry_print(const struct timeline_entry *t, bool with_date, struct str *out);

/* Every condition that is set must hold. kinds: any of them. */
struct timeline_filter {
    uint64_t after_seq;    /* 0: all */
    uint64_t upto_seq;     /* 0: all */
    int64_t since_wall_ms; /* INT64_MIN: all */
    const char *kind;      /* NULL: all; a comma-separated list */
    const char *subject;   /* NULL: all; equal, or a prefix that ends at '/' */
};
bool timeline_matches(const struct timeline_entry *t, const struct timeline_filter *f);

/* By wall time, then host, then seq; within one host never against its seq (a clock that jumped
 * back does not reorder what one host saw). lists[i] is in seq order. *ret (heap) points into the
 * lists. */
void timeline_merge(const struct timeline_entry *const *lists, const size_t *lens, size_t n_lists,
    const struct timeline_entry ***ret, size_t *ret_len);
