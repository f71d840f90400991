/* SPDX-License-Identifier: Apache-2.0 */
/* What a shared cache may do, by RFC 9111: may this response be stored, may that one answer this
 * request, is it fresh, how is it validated, what does it replace, what does an unsafe request make
 * invalid. With it RFC 5861 (stale while revalidating, stale if there is an error), RFC 9211
 * (Cache-Status), RFC 9213 (targeted Cache-Control), and conditions and ranges of RFC 9110.
 *
 * Times are wall clock milliseconds: what is stored outlives the process. A clock that jumps back makes
 * nothing younger than it came. Texts point into the caller's bytes. Pure: no allocation, no clock; any
 * thread. HOT PATH. */
#pragma once

#include "proto/fields/fields.h"

#define CACHE_VARY_MAX 16u    /* names in Vary */
#define CACHE_VARY_BYTES 512u /* of these names, in normal form */
#define CACHE_VARIANT_BYTES                                                                        \
    4096u                     /* of the values that a response was selected by, in normal form */
#define CACHE_KEY_MAX 8704u   /* host, path and query */
#define CACHE_NEVER INT64_MIN /* no such time */

struct cache_policy {
    bool obey_requests; /* Cache-Control of requests counts; else anybody could empty the cache */
    bool fill_ranges;   /* a range of what is not stored fetches the whole */
    uint32_t heuristic_max_s; /* 0: only what says how long it is fresh is stored as fresh */
    /* How long after its time a response may serve while no upstream can be reached at all (section
     * 4.2.4: disconnected). */
    uint32_t stale_unreachable_s;
    const char *targeted; /* "cdn-cache-control", or NULL */
};
extern const struct cache_policy cache_policy_default;

/* Of a request, as far as caches are concerned. */
struct cache_request {
    const struct http_fields *fields;
    struct fields_cc cc;
    bool get, head, safe; /* safe: RFC 9110 section 9.2.1; unknown methods are not */
    bool authorization;
    bool range;
    bool conditional; /* If-None-Match or If-Modified-Since: a cache can answer them */
    bool for_origin;  /* If-Match or If-Unmodified-Since: the origin alone can */
};
void cache_request_read(
    const struct http_request *r, const struct cache_policy *policy, struct cache_request *ret);

/* Of a stored response; plain data, also on disk. */
enum cache_flag {
    CACHE_NO_CACHE = 1,        /* never without validation */
    CACHE_MUST_REVALIDATE = 2, /* must-revalidate or proxy-revalidate: never stale */
    CACHE_S_MAXAGE = 4,        /* never stale, unless the origin says for how long (RFC 5861) */
    CACHE_HEURISTIC = 8,
    CACHE_TARGETED = 16, /* by CDN-Cache-Control */
};
struct cache_meta {
    int64_t received_ms;    /* response_time of section 4.2.3 */
    int64_t initial_age_ms; /* corrected_initial_age */
    int64_t date_s;
    int64_t modified_s; /* Last-Modified, or CACHE_NEVER */
    uint32_t lifetime_s, stale_while_s, stale_if_error_s;
    uint16_t status;
    uint16_t flags; /* enum cache_flag */
};
struct cache_stored {
    const struct cache_meta *meta;
    struct http_text etag, modified; /* as received; empty: none */
    struct http_text vary, variant;  /* cache_vary_format(), cache_variant_format() */
    uint64_t size;                   /* of the content */
};

/* Why a response is stored or is not. */
#define CACHE_STORES(X)                                                                            \
    X(OK, "ok", "stored")                                                                          \
    X(METHOD, "method", "only responses to GET are stored")                                        \
    X(STATUS, "status", "responses with this status are not stored")                               \
    X(NO_STORE, "no_store", "the response says no-store")                                          \
    X(REQUEST_NO_STORE, "request_no_store", "the request says no-store")                           \
    X(PRIVATE, "private", "the response is private")                                               \
    X(AUTHORIZATION, "authorization",                                                              \
        "the request was authorised and the response does not say public")                         \
    X(NOT_CACHEABLE, "not_cacheable", "nothing in the response says that it may be stored")        \
    X(SET_COOKIE, "set_cookie", "it sets a cookie and does not say how long it is fresh")          \
    X(VARY_ANY, "vary_any", "it varies by more than requests tell")                                \
    X(VARY_LIMIT, "vary_limit", "it varies by too many or too long fields")                        \
    X(TAGS, "tags", "its tags are too many, too long or not valid")                                \
    X(USELESS, "useless", "it is stale at once and has nothing to validate it by")
enum cache_store {
#define X(id, name, text) CACHE_STORE_##id,
    CACHE_STORES(X)
#undef X
        CACHE_STORE_COUNT,
};
const char *cache_store_name(enum cache_store s); /* "no_store": for metrics and explain */
const char *cache_store_text(enum cache_store s);

struct cache_storing { /* what was found out on the way; vary and cc serve what follows */
    struct cache_meta meta;
    struct fields_cc cc;
    struct http_text etag, modified;
    struct http_text tags[FIELDS_TAGS_MAX];
    size_t n_tags;
    char vary[CACHE_VARY_BYTES];
    size_t vary_len;
    char variant[CACHE_VARIANT_BYTES];
    size_t variant_len;
};
/* May the response to q be stored (section 3), and as what? `request_ms`: when the request was sent
 * upstream, `now_ms`: when the response's head came. For a stored response that a 304 has updated: its
 * own status with the updated fields. */
enum cache_store cache_store_decide(const struct cache_request *q, unsigned status,
    const struct http_fields *response, int64_t request_ms, int64_t now_ms,
    const struct cache_policy *policy, struct cache_storing *ret);
/* Is the field stored (section 3.1)? Those of a connection, Age, Content-Length and what cc withholds
 * are not. */
bool cache_field_stored(const struct http_field *f, const struct fields_cc *cc);
/* Does the field of a 304 replace the stored ones of its name (section 3.2)? */
bool cache_field_updates(const struct http_field *f, const struct fields_cc *cc);

/* The names of Vary in normal form: lower case, sorted, once each, "," between. False: it does not
 * fit, or *any: it varies by more than fields. */
bool cache_vary_format(const struct http_fields *response, struct http_out *out, bool *any);
/* The values that a request has for these names, in normal form: what is equal selects the same
 * response (section 4.1). */
bool cache_variant_format(
    struct http_text vary, const struct http_fields *request, struct http_out *out);

int64_t cache_age_ms(const struct cache_meta *m, int64_t now_ms); /* section 4.2.3 */
int64_t cache_ttl_ms(
    const struct cache_meta *m, int64_t now_ms); /* of freshness; negative: stale for */

enum cache_action {
    CACHE_HIT,         /* send the stored response */
    CACHE_HIT_REFRESH, /* send it, and validate it meanwhile (stale-while-revalidate) */
    CACHE_REVALIDATE,  /* ask upstream whether it still holds */
    CACHE_MISS,        /* ask upstream; the response may be stored */
    CACHE_BYPASS,      /* the cache has no part in it */
    CACHE_UNSATISFIED, /* 504: only-if-cached, and it is not */
};
enum cache_forward { /* fwd of RFC 9211 */
    CACHE_FORWARD_NONE,
    CACHE_FORWARD_BYPASS,
    CACHE_FORWARD_METHOD,
    CACHE_FORWARD_URI_MISS,
    CACHE_FORWARD_VARY_MISS,
    CACHE_FORWARD_REQUEST,
    CACHE_FORWARD_STALE,
};
struct cache_decision {
    enum cache_action action;
    enum cache_forward forward;
    const struct cache_stored *stored; /* with the first three */
    /* Others who want the same may wait for this fetch. Not for one whose answer may be 304 or 206. */
    bool coalesce;
    bool drop_conditions; /* If-None-Match, If-Modified-Since, If-Range and Range go no further */
};
/* What to do with a request, given the stored responses of its key. */
void cache_lookup_decide(const struct cache_request *q, const struct cache_stored *stored, size_t n,
    int64_t now_ms, const struct cache_policy *policy, struct cache_decision *ret);
/* Upstream answered a validation or a refresh with an error (`status`), or not at all (0): may the
 * stored response be sent? */
bool cache_stale_on_error(const struct cache_request *q, const struct cache_stored *s,
    unsigned status, int64_t now_ms, const struct cache_policy *policy);

/* Field lines that ask upstream whether s still holds; none when it has no validator. */
void cache_validate_format(const struct cache_stored *s, struct http_out *out);
enum cache_validated {
    CACHE_VALIDATED_FRESHEN, /* 304: update its fields, send it */
    CACHE_VALIDATED_AGAIN, /* a 304 that means another response: forget s, ask without conditions */
    CACHE_VALIDATED_ERROR, /* 5xx: cache_stale_on_error(), else pass it on, s stays */
    CACHE_VALIDATED_REPLACE, /* anything else is the answer, and takes the place of s */
};
enum cache_validated cache_validated_decide(
    const struct cache_stored *s, unsigned status, const struct http_fields *response);
/* A response to HEAD with status 200: does it describe s (section 4.3.5)? True: update s's fields;
 * false: s is no longer valid. */
bool cache_head_freshens(
    const struct cache_stored *s, const struct http_fields *response, uint64_t now_ms);

/* How a stored response is sent: conditions and ranges of RFC 9110 sections 13.2.2 and 14. */
enum cache_serve {
    CACHE_SERVE_WHOLE,
    CACHE_SERVE_NOT_MODIFIED, /* 304, fields by cache_field_in_304() */
    CACHE_SERVE_RANGES,       /* 206; one: Content-Range, more: multipart/byteranges */
    CACHE_SERVE_UNSATISFIED,  /* 416 with Content-Range: bytes * / size */
};
struct cache_ranges {
    struct fields_range v[FIELDS_RANGES_MAX];
    size_t n;
};
enum cache_serve cache_serve_decide(const struct cache_request *q, const struct cache_stored *s,
    int64_t now_ms, struct cache_ranges *ret);
bool cache_field_in_304(const struct http_field *f, bool has_etag);
/* "bytes 0-4/10", and with r = NULL "bytes * /10" (without the blank). */
void cache_content_range_format(const struct fields_range *r, uint64_t size, struct http_out *out);
/* What stands in front of part i of a multipart/byteranges answer; i == n: what stands behind the last.
 * `type`: Content-Type of the whole, may be empty. */
void cache_part_format(const struct cache_ranges *r, size_t i, uint64_t size, struct http_text type,
    struct http_text boundary, struct http_out *out);
uint64_t cache_parts_length(
    const struct cache_ranges *r, uint64_t size, struct http_text type, struct http_text boundary);

/* Does the answer to such a request make the stored responses of its target invalid (section 4.4)? */
bool cache_invalidates(const struct cache_request *q, unsigned status);
struct cache_target {
    bool tls;
    struct http_text host; /* normal form, without port */
    uint16_t port;         /* 0: the scheme's */
    struct http_text path; /* normal form */
    struct http_text query;
    bool has_query;
};
/* The key that stored responses are found by: host, path, query. False: it is too long. */
bool cache_key_format(const struct cache_target *t, struct http_out *out);
/* The key of what a Location or Content-Location field of that answer names; false: none, or of
 * another origin. */
bool cache_location_key(
    const struct cache_target *t, struct http_text location, struct http_out *out);

struct cache_report {      /* what Cache-Status says */
    struct http_text name; /* of this cache, a token */
    enum cache_action action;
    enum cache_forward forward;
    unsigned forward_status; /* 0: nothing was asked, or it is the status that is sent */
    bool has_ttl;
    int64_t ttl_s;
    bool stored, collapsed;
    const char *detail; /* a token, or NULL */
};
/* A member of Cache-Status (RFC 9211), to be appended behind those that upstream wrote. */
void cache_status_format(const struct cache_report *r, struct http_out *out);
const char *cache_action_name(enum cache_action a); /* "hit", "refresh", ...: metrics and explain */
