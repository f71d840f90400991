/* SPDX-License-Identifier: Apache-2.0 */
/* Values of HTTP fields that caches live by: lists and quoted strings (RFC 9110 section 5.6), dates,
 * entity tags, byte ranges, Cache-Control (RFC 9111 section 5.2), dictionaries of structured fields
 * (RFC 8941), lists of tags.
 *
 * Each parser says what it does with what does not parse: a restriction is kept as far as it can be
 * recognised, a permission counts only when it is well formed.
 *
 * Results point into the caller's bytes. Pure: no allocation, no clock; any thread. HOT PATH. */
#pragma once

#include "proto/http/http.h"

/* The next line of that name (lower case) behind `after`; NULL: from the start. */
const struct http_field *fields_find(
    const struct http_fields *f, const char *name, const struct http_field *after);
bool fields_same(struct http_text a, struct http_text b);        /* byte by byte */
bool fields_same_nocase(struct http_text a, struct http_text b); /* ASCII letters fold */
struct http_text fields_trim(struct http_text t);                /* blanks and tabs at both ends */
/* Takes the next member of a comma list off *rest: trimmed, quoted strings whole, empty members left
 * out. */
bool fields_list_next(struct http_text *rest, struct http_text *ret);
/* Is there a member `name` (any case) in any line of the field? */
bool fields_list_has(const struct http_fields *f, const char *field, struct http_text name);
/* Digits and nothing else; saturates at `max`. */
bool fields_number(struct http_text t, uint64_t max, uint64_t *ret);

/* An HTTP-date in one of the three formats of RFC 9110 section 5.6.7, and nothing else. now_s: which
 * century a year of two digits is of. Seconds since 1970; years before that are negative. */
bool fields_date_parse(struct http_text t, int64_t now_s, int64_t *ret_s);
#define FIELDS_DATE_SIZE 30 /* "Sun, 06 Nov 1994 08:49:37 GMT" and its NUL */
void fields_date_format(
    int64_t s, char out[FIELDS_DATE_SIZE]); /* years 0 to 9999, else the nearest */

/* Entity tags. One without quotes is not valid, but servers send it: it equals itself alone. */
struct fields_etag {
    struct http_text opaque; /* with its quotes */
    bool weak;
};
bool fields_etag_parse(struct http_text t, struct fields_etag *ret);
bool fields_etag_strong(
    const struct fields_etag *a, const struct fields_etag *b); /* section 8.8.3.2 */
bool fields_etag_weak(const struct fields_etag *a, const struct fields_etag *b);
/* Takes the next one off an If-None-Match list; false at the end, or where it does not parse. */
bool fields_etag_next(struct http_text *rest, struct fields_etag *ret);

/* Byte ranges of a whole of `size` bytes (section 14.1.2), those that can be satisfied. */
#define FIELDS_RANGES_MAX 16u
struct fields_range {
    uint64_t first, last; /* inclusive */
};
enum fields_ranges_verdict {
    FIELDS_RANGES_NONE, /* not valid, another unit, or more than is sane: the whole is sent */
    FIELDS_RANGES_UNSATISFIED, /* 416 */
    FIELDS_RANGES_SOME,
};
enum fields_ranges_verdict fields_ranges_parse(
    struct http_text t, uint64_t size, struct fields_range ret[FIELDS_RANGES_MAX], size_t *ret_n);

/* Cache-Control of either side, all lines of it. */
#define FIELDS_DIRECTIVES(X)                                                                       \
    X(MAX_AGE, "max-age", SECONDS)                                                                 \
    X(S_MAXAGE, "s-maxage", SECONDS)                                                               \
    X(MAX_STALE, "max-stale", SECONDS_OR_NONE)                                                     \
    X(MIN_FRESH, "min-fresh", SECONDS)                                                             \
    X(STALE_WHILE_REVALIDATE, "stale-while-revalidate", SECONDS)                                   \
    X(STALE_IF_ERROR, "stale-if-error", SECONDS)                                                   \
    X(NO_CACHE, "no-cache", NAMES)                                                                 \
    X(PRIVATE, "private", NAMES)                                                                   \
    X(NO_STORE, "no-store", NONE)                                                                  \
    X(NO_TRANSFORM, "no-transform", NONE)                                                          \
    X(ONLY_IF_CACHED, "only-if-cached", NONE)                                                      \
    X(MUST_REVALIDATE, "must-revalidate", NONE)                                                    \
    X(PROXY_REVALIDATE, "proxy-revalidate", NONE)                                                  \
    X(MUST_UNDERSTAND, "must-understand", PERMIT)                                                  \
    X(PUBLIC, "public", PERMIT)                                                                    \
    X(IMMUTABLE, "immutable", PERMIT)

enum fields_directive {
#define X(name, text, kind) FIELDS_CC_##name,
    FIELDS_DIRECTIVES(X)
#undef X
        FIELDS_CC_COUNT,
};
#define FIELDS_SECONDS_MAX 2147483648u /* 2^31: what more than that counts as (section 1.2.2) */
#define FIELDS_NAMES_MAX 4u

struct fields_cc {
    uint32_t has;     /* bits: 1u << enum fields_directive */
    uint32_t invalid; /* of `has`: with a value that is not valid; seconds are 0 then */
    uint32_t seconds[FIELDS_CC_NO_CACHE]; /* of those in front of no-cache, which have seconds */
    /* no-cache="..." and private="...": lists of field names. Without names: all of the response. */
    struct http_text no_cache[FIELDS_NAMES_MAX], private[FIELDS_NAMES_MAX];
    uint8_t n_no_cache, n_private;
    bool all_no_cache, all_private;
    bool present; /* there was a line at all */
};
static inline bool fields_cc_has(const struct fields_cc *cc, enum fields_directive d)
{
    return cc->has >> d & 1;
}
void fields_cc_parse(const struct http_fields *f, const char *name, struct fields_cc *ret);
/* The same from a targeted field (RFC 9213): a dictionary of structured fields. False: there is
 * none, it is empty, or it does not parse; then it is as if it were not there. */
bool fields_cc_parse_targeted(const struct http_fields *f, const char *name, struct fields_cc *ret);
/* One of the names in a list of no-cache="..." or private="..."? */
bool fields_names_have(const struct http_text *lists, size_t n, struct http_text name);

/* Dictionaries of structured fields (RFC 8941 section 3.2), parsed strictly. Parameters and members
 * of inner lists are checked and left out. */
enum fields_sf_type {
    FIELDS_SF_INTEGER,
    FIELDS_SF_DECIMAL,
    FIELDS_SF_STRING,
    FIELDS_SF_TOKEN,
    FIELDS_SF_BYTES,
    FIELDS_SF_BOOLEAN,
    FIELDS_SF_INNER_LIST,
};
struct fields_sf_member {
    struct http_text key;
    enum fields_sf_type type;
    int64_t integer;       /* integer, boolean; of a decimal its whole part */
    struct http_text text; /* string (between its quotes, escapes left as they are), token, bytes */
};
#define FIELDS_SF_MAX 64u
/* The number of members, the last of each key, or -1 when it does not parse. */
int fields_sf_dictionary(struct http_text t, struct fields_sf_member ret[FIELDS_SF_MAX]);

/* Tags of a response: Cache-Tag (commas) and Surrogate-Key (blanks). */
#define FIELDS_TAGS_MAX 128u
#define FIELDS_TAG_MAX 256u /* bytes of one */
/* The number of tags, duplicates left out, or -1: over a limit, or a byte that is not visible. */
int fields_tags(const struct http_fields *f, struct http_text ret[FIELDS_TAGS_MAX]);
