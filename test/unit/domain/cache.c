/* SPDX-License-Identifier: Apache-2.0 */
/* What a shared cache may do, one row a case of RFC 9111 and its companions. Headers are written "name: value", one a
 * line; @N stands for the date N seconds from when the response came. */
#include "test.h"

#include "domain/cache/cache.h"

#include <string.h>

#define NOW 1784203200ll /* the second in which responses come */

struct text_fields {
    struct http_fields f;
    char buf[8192];
};

static struct http_text T(const char *s) {
    return (struct http_text){s, strlen(s)};
}

static void
expand(const char *text, char *out, size_t cap)
{
    size_t n = 0;
    while (*text) {
        char date[FIELDS_DATE_SIZE], *end;
        if (*text == '@') {
            fields_date_format(NOW + strtoll(text + 1, &end, 10), date);
            n += (size_t)snprintf(out + n, cap - n, "%s", date);
            text = end;
        } else {
            out[n++] = *text++;
        }
        assert_true(n < cap);
    }
    out[n] = 0;
}

static void fill(struct text_fields *t, const char *text)
{
    t->f.n = 0;
    expand(text ? text : "", t->buf, sizeof t->buf);
    for (char *line = t->buf; *line;) {
        size_t len = strcspn(line, "\n");
        char *colon = memchr(line, ':', len);
        assert_non_null(colon);
        struct http_text value = {colon + 1, len - (size_t)(colon + 1 - line)};
        t->f.v[t->f.n++] = (struct http_field){
            .name = {line, (size_t)(colon - line)}, .value = fields_trim(value)};
        line += len + (line[len] == '\n');
    }
}

struct exchange {
    struct http_request request;
    struct cache_request q;
    struct text_fields sent, got;
    struct cache_storing st;
    struct cache_stored stored;
    enum cache_store verdict;
};

static void ask(
    struct exchange *x, const char *method, const char *fields, const struct cache_policy *p)
{
    fill(&x->sent, fields);
    x->request.method = T(method);
    x->request.is_head = !strcmp(method, "HEAD");
    x->request.fields = x->sent.f;
    cache_request_read(&x->request, p, &x->q);
}

static void answer(
    struct exchange *x, unsigned status, const char *fields, const struct cache_policy *p)
{
    fill(&x->got, fields);
    x->verdict = cache_store_decide(&x->q, status, &x->got.f, NOW * 1000, NOW * 1000, p, &x->st);
    x->stored = (struct cache_stored){.meta = &x->st.meta,
        .etag = x->st.etag,
        .modified = x->st.modified,
        .vary = {x->st.vary, x->st.vary_len},
        .variant = {x->st.variant, x->st.variant_len},
        .size = 1000};
}

#define POLICY (&cache_policy_default)
enum {
    HIT = CACHE_HIT,
    REFRESH = CACHE_HIT_REFRESH,
    ASK = CACHE_REVALIDATE,
    MISS = CACHE_MISS,
    BYPASS = CACHE_BYPASS,
    G504 = CACHE_UNSATISFIED,
    NOT = 100 /* not stored at all */
};

/* A response to a plain GET, and the same GET again `after` seconds later. */
static const struct {
    const char *name;
    unsigned status;
    const char *response;
    int after, action;
} reuse[] = {
    /* Freshness by Cache-Control: section 4.2.1 */
    {"max-age", 200, "cache-control: max-age=60", 59, HIT},
    {"max-age is over", 200, "cache-control: max-age=60", 60, ASK},
    {"max-age=0", 200, "cache-control: max-age=0\netag: \"1\"", 0, ASK},
    {"max-age=0 and nothing to ask by", 200, "cache-control: max-age=0", 0, NOT},
    {"s-maxage before max-age", 200, "cache-control: max-age=1, s-maxage=60", 59, HIT},
    {"s-maxage is shorter", 200, "cache-control: max-age=60, s-maxage=1", 2, ASK},
    {"in upper case", 200, "CACHE-CONTROL: MAX-AGE=60, S-MAXAGE=60", 59, HIT},
    {"quoted value", 200, "cache-control: max-age=\"60\"", 59, HIT},
    {"2^31", 200, "cache-control: max-age=2147483648", 1000000, HIT},
    {"more than 2^31", 200, "cache-control: max-age=99999999999", 1000000, HIT},
    {"negative", 200, "cache-control: max-age=-60\netag: \"1\"", 0, ASK},
    {"not a number", 200, "cache-control: max-age=sixty\netag: \"1\"\nexpires: @60", 0, ASK},
    {"decimal", 200, "cache-control: max-age=60.0\netag: \"1\"", 0, ASK},
    {"in single quotes", 200, "cache-control: max-age='60'\netag: \"1\"", 0, ASK},
    {"blank behind =", 200, "cache-control: max-age= 60\netag: \"1\"", 0, ASK},
    {"blank in front of =", 200, "cache-control: max-age =60\netag: \"1\"", 0, ASK},
    {"two values, the first counts", 200, "cache-control: max-age=1, max-age=60\netag: \"1\"", 2,
        ASK},
    {"two lines", 200, "cache-control: max-age=1\ncache-control: max-age=60\netag: \"1\"", 2, ASK},
    {"within a quoted string", 200, "cache-control: x=\"a, max-age=60\"", 0, NOT},
    {"unknown directives", 200, "cache-control: x, max-age=60, y=\"z\"", 59, HIT},
    {"max-age before Expires", 200, "cache-control: max-age=60\nexpires: @-1", 59, HIT},
    {"max-age=0 before Expires", 200, "cache-control: max-age=0\nexpires: @60\netag: \"1\"", 0,
        ASK},
    /* Expires: section 5.3 */
    {"Expires", 200, "date: @0\nexpires: @60", 59, HIT},
    {"Expires is over", 200, "date: @0\nexpires: @60", 60, ASK},
    {"Expires in the past", 200, "date: @0\nexpires: @-60\netag: \"1\"", 0, ASK},
    {"Expires against Date", 200, "date: @-50\nexpires: @60", 59, HIT},
    {"Expires without Date", 200, "expires: @60", 59, HIT},
    {"Expires and a Date that is none", 200, "date: yesterday\nexpires: @60", 59, HIT},
    {"Expires: 0", 200, "expires: 0\netag: \"1\"", 0, ASK},
    {"Expires: -1", 200, "expires: -1\nlast-modified: @-100000", 0, ASK},
    {"Expires in another zone", 200, "expires: Thu, 18 Aug 2050 02:01:18 AEST\netag: \"1\"", 0,
        ASK},
    {"Expires with two digits of a year", 200, "expires: Thursday, 18-Aug-50 02:01:18 GMT", 1000,
        HIT},
    {"Expires as asctime", 200, "expires: Thu Aug 18 02:01:18 2050", 1000, HIT},
    {"two of Expires that differ", 200, "expires: @60\nexpires: @90\netag: \"1\"", 0, ASK},
    {"two of Expires alike", 200, "expires: @60\nexpires: @60", 59, HIT},
    /* Age: sections 4.2.3 and 5.1 */
    {"Age", 200, "cache-control: max-age=60\nage: 30", 29, HIT},
    {"Age is over", 200, "cache-control: max-age=60\nage: 30\netag: \"1\"", 30, ASK},
    {"Age of 2^31", 200, "cache-control: max-age=60\nage: 2147483648\netag: \"1\"", 0, ASK},
    {"Age beyond 2^64", 200, "cache-control: max-age=60\nage: 99999999999999999999\netag: \"1\"", 0,
        ASK},
    {"Age: -1", 200, "cache-control: max-age=60\nage: -100", 59, HIT},
    {"Age: a word", 200, "cache-control: max-age=60\nage: abc", 59, HIT},
    {"Age with a suffix", 200, "cache-control: max-age=60\nage: 100s", 59, HIT},
    {"Age: decimal", 200, "cache-control: max-age=60\nage: 100.5", 59, HIT},
    {"Age with a parameter", 200, "cache-control: max-age=60\nage: 100;a=1", 59, HIT},
    {"Age as a list, old first", 200, "cache-control: max-age=60\nage: 100, 0\netag: \"1\"", 0,
        ASK},
    {"Age as a list, young first", 200, "cache-control: max-age=60\nage: 0, 100", 59, HIT},
    {"Age twice", 200, "cache-control: max-age=60\nage: 100\nage: 0\netag: \"1\"", 0, ASK},
    {"Age and nothing in it", 200, "cache-control: max-age=60\nage: ", 59, HIT},
    {"an old Date", 200, "cache-control: max-age=60\ndate: @-100\netag: \"1\"", 0, ASK},
    {"a Date ahead of us", 200, "cache-control: max-age=60\ndate: @100", 59, HIT},
    {"the larger of Age and Date", 200, "cache-control: max-age=60\nage: 5\ndate: @-30", 31, ASK},
    {"Age counts with Expires", 200, "date: @0\nexpires: @60\nage: 50", 10, ASK},
    /* Heuristics: section 4.2.2 */
    {"a tenth of its age", 200, "date: @0\nlast-modified: @-1000", 99, HIT},
    {"not more", 200, "date: @0\nlast-modified: @-1000", 100, ASK},
    {"a day at most", 200, "date: @0\nlast-modified: @-100000000", 86400, ASK},
    {"nothing known", 200, "", 0, NOT},
    {"an entity tag alone", 200, "etag: \"1\"", 0, ASK},
    {"modified in the future", 200, "date: @0\nlast-modified: @100", 0, ASK},
    {"Last-Modified that is none", 200, "last-modified: long ago", 0, NOT},
    {"heuristic 203", 203, "last-modified: @-1000", 9, HIT},
    {"heuristic 204", 204, "last-modified: @-1000", 9, HIT},
    {"heuristic 300", 300, "last-modified: @-1000", 9, HIT},
    {"heuristic 301", 301, "last-modified: @-1000", 9, HIT},
    {"heuristic 308", 308, "last-modified: @-1000", 9, HIT},
    {"heuristic 404", 404, "last-modified: @-1000", 9, HIT},
    {"heuristic 405", 405, "last-modified: @-1000", 9, HIT},
    {"heuristic 410", 410, "last-modified: @-1000", 9, HIT},
    {"heuristic 414", 414, "last-modified: @-1000", 9, HIT},
    {"heuristic 501", 501, "last-modified: @-1000", 9, HIT},
    {"none for 201", 201, "last-modified: @-1000", 0, NOT},
    {"none for 302", 302, "last-modified: @-1000", 0, NOT},
    {"none for 403", 403, "last-modified: @-1000", 0, NOT},
    {"none for 503", 503, "last-modified: @-1000", 0, NOT},
    {"none for 599", 599, "last-modified: @-1000", 0, NOT},
    {"public allows it for 599", 599, "cache-control: public\nlast-modified: @-1000", 9, HIT},
    {"no heuristics with a cookie", 200, "last-modified: @-1000\nset-cookie: a=b", 0, NOT},
    /* Any final status with a time: section 3 */
    {"302 with a time", 302, "cache-control: max-age=60", 59, HIT},
    {"403 with a time", 403, "cache-control: max-age=60", 59, HIT},
    {"503 with a time", 503, "cache-control: max-age=60", 59, HIT},
    {"599 with a time", 599, "cache-control: max-age=60", 59, HIT},
    {"299 with Expires", 299, "expires: @60", 59, HIT},
    {"206 is a part", 206, "cache-control: max-age=60\ncontent-range: bytes 0-4/10", 0, NOT},
    {"304 is an update", 304, "cache-control: max-age=60", 0, NOT},
    {"103 is not final", 103, "cache-control: max-age=60", 0, NOT},
    {"a cookie and a time", 200, "cache-control: max-age=60\nset-cookie: a=b", 59, HIT},
    /* Directives: section 5.2.2 */
    {"no-store", 200, "cache-control: no-store, max-age=60", 0, NOT},
    {"No-Store with junk", 200, "cache-control: No-Store=1, max-age=60", 0, NOT},
    {"no-store on another line", 200, "cache-control: max-age=60\ncache-control: no-store", 0, NOT},
    {"private", 200, "cache-control: private, max-age=60", 0, NOT},
    {"private for one field", 200, "cache-control: private=\"x-a\", max-age=60", 59, HIT},
    {"no-cache", 200, "cache-control: no-cache, max-age=60\netag: \"1\"", 0, ASK},
    {"no-cache and nothing to ask by", 200, "cache-control: no-cache, max-age=60", 0, NOT},
    {"no-cache for one field", 200, "cache-control: no-cache=\"set-cookie\", max-age=60", 59, HIT},
    {"no-store within quotes", 200, "cache-control: x=\"no-store\", max-age=60", 59, HIT},
    {"must-understand, understood", 200, "cache-control: must-understand, no-store, max-age=60", 59,
        HIT},
    {"must-understand, not understood", 599, "cache-control: must-understand, max-age=60", 0, NOT},
    {"public alone is no time", 200, "cache-control: public", 0, NOT},
    {"Pragma of a response means nothing", 200, "cache-control: max-age=60\npragma: no-cache", 59,
        HIT},
    {"Pragma alone", 200, "pragma: no-cache\nlast-modified: @-1000", 9, HIT},
    /* RFC 9213 */
    {"targeted", 200, "cdn-cache-control: max-age=60\ncache-control: no-store", 59, HIT},
    {"targeted, shorter", 200, "cdn-cache-control: max-age=1\ncache-control: max-age=60", 2, ASK},
    {"targeted no-store", 200, "cdn-cache-control: no-store\ncache-control: max-age=60", 0, NOT},
    {"targeted before Expires", 200,
        "cdn-cache-control: public\nexpires: @60\nlast-modified: @-100", 11, ASK},
    {"targeted, does not parse", 200, "cdn-cache-control: max-age=1,,&&\ncache-control: max-age=60",
        59, HIT},
    {"targeted, in upper case", 200, "cdn-cache-control: MAX-AGE=1\ncache-control: max-age=60", 59,
        HIT},
    {"targeted, empty", 200, "cdn-cache-control: \ncache-control: max-age=60", 59, HIT},
    {"targeted, of another type", 200,
        "cdn-cache-control: max-age=\"60\"\ncache-control: max-age=60", 0, NOT},
    {"targeted, with Age", 200, "cdn-cache-control: max-age=60\nage: 50", 10, ASK},
    {"of another cache", 200, "surrogate-control: max-age=60", 0, NOT},
    /* RFC 5861 and section 4.2.4 */
    {"stale while it is validated", 200, "cache-control: max-age=10, stale-while-revalidate=20", 30,
        REFRESH},
    {"not longer", 200, "cache-control: max-age=10, stale-while-revalidate=20", 31, ASK},
    {"must-revalidate forbids", 200,
        "cache-control: max-age=10, must-revalidate, stale-while-revalidate=20", 11, ASK},
    {"proxy-revalidate forbids", 200,
        "cache-control: max-age=10, proxy-revalidate, stale-while-revalidate=20", 11, ASK},
    {"not a number of seconds", 200, "cache-control: max-age=10, stale-while-revalidate=x", 11,
        ASK},
    /* Vary: section 4.1 */
    {"Vary: *", 200, "cache-control: max-age=60\nvary: *", 0, NOT},
    {"Vary: * in a list", 200, "cache-control: max-age=60\nvary: a, *", 0, NOT},
    {"Vary: * behind nothing", 200, "cache-control: max-age=60\nvary: , *", 0, NOT},
    {"Vary: * on another line", 200, "cache-control: max-age=60\nvary: a\nvary: *, b", 0, NOT},
    {"Vary without names", 200, "cache-control: max-age=60\nvary: ,", 59, HIT},
    {"too many names", 200, "cache-control: max-age=60\nvary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", 0,
        NOT},
    {"tags that cannot be kept", 200, "cache-control: max-age=60\ncache-tag: two words", 0, NOT},
};

static void reuse_rows(void **state)
{
    static struct exchange x;
    for (size_t i = 0; i < ARRAY_SIZE(reuse); i++) {
        struct cache_decision d = {.action = (enum cache_action)NOT};
        ask(&x, "GET", NULL, POLICY);
        answer(&x, reuse[i].status, reuse[i].response, POLICY);
        if (x.verdict == CACHE_STORE_OK)
            cache_lookup_decide(&x.q, &x.stored, 1, (NOW + reuse[i].after) * 1000, POLICY, &d);
        if ((int)d.action != reuse[i].action)
            fail_msg("%s: %d (%s)", reuse[i].name, (int)d.action, cache_store_name(x.verdict));
    }
}

/* A stored response (60 s, an entity tag), and a second request some seconds later: section 5.2.1. */
static const struct {
    const char *name, *method, *request, *response;
    int after, action;
} requests[] = {
    {"HEAD from a stored GET", "HEAD", "", NULL, 0, HIT},
    {"POST", "POST", "", NULL, 0, BYPASS},
    {"OPTIONS", "OPTIONS", "", NULL, 0, BYPASS},
    {"no-cache", "GET", "cache-control: no-cache", NULL, 0, ASK},
    {"Pragma: no-cache", "GET", "pragma: no-cache", NULL, 0, ASK},
    {"Pragma next to Cache-Control", "GET", "pragma: no-cache\ncache-control: max-age=30", NULL, 5,
        HIT},
    {"another Pragma", "GET", "pragma: foo", NULL, 0, HIT},
    {"no-store does not keep from using", "GET", "cache-control: no-store", NULL, 0, HIT},
    {"max-age", "GET", "cache-control: max-age=10", NULL, 10, HIT},
    {"max-age is less", "GET", "cache-control: max-age=10", NULL, 11, ASK},
    {"max-age=0", "GET", "cache-control: max-age=0", NULL, 1, ASK},
    {"max-age that is none", "GET", "cache-control: max-age=x", NULL, 1, ASK},
    {"min-fresh", "GET", "cache-control: min-fresh=10", NULL, 50, HIT},
    {"min-fresh is more", "GET", "cache-control: min-fresh=10", NULL, 51, ASK},
    {"max-stale", "GET", "cache-control: max-stale=10", NULL, 70, HIT},
    {"max-stale is less", "GET", "cache-control: max-stale=10", NULL, 71, ASK},
    {"max-stale without a value", "GET", "cache-control: max-stale", NULL, 100000, HIT},
    {"max-stale that is none", "GET", "cache-control: max-stale=x", NULL, 61, ASK},
    {"max-stale against must-revalidate", "GET", "cache-control: max-stale=10",
        "cache-control: max-age=60, must-revalidate", 61, ASK},
    {"max-stale against s-maxage", "GET", "cache-control: max-stale=10",
        "cache-control: s-maxage=60", 61, ASK},
    {"max-stale against no-cache", "GET", "cache-control: max-stale=10",
        "cache-control: max-age=60, no-cache\netag: \"1\"", 1, ASK},
    {"max-age next to max-stale", "GET", "cache-control: max-stale=10, max-age=60", NULL, 65, ASK},
    {"stale-while-revalidate against no-cache", "GET", "cache-control: no-cache",
        "cache-control: max-age=60, stale-while-revalidate=60", 61, ASK},
    {"only-if-cached", "GET", "cache-control: only-if-cached", NULL, 1, HIT},
    {"only-if-cached and stale", "GET", "cache-control: only-if-cached", NULL, 61, G504},
    {"only-if-cached and max-stale", "GET", "cache-control: only-if-cached, max-stale=5", NULL, 61,
        HIT},
    {"If-Match is the origin's", "GET", "if-match: \"1\"", NULL, 0, BYPASS},
    {"If-Unmodified-Since is the origin's", "GET", "if-unmodified-since: @0", NULL, 0, BYPASS},
    {"authorised", "GET", "authorization: Basic eA==", NULL, 0, HIT},
    {"conditional and fresh", "GET", "if-none-match: \"1\"", NULL, 0, HIT},
    {"a range", "GET", "range: bytes=0-1", NULL, 0, HIT},
};

static void request_rows(void **state)
{
    static struct exchange x;
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        struct cache_decision d;
        ask(&x, "GET", NULL, POLICY);
        answer(&x, 200,
            requests[i].response ? requests[i].response : "cache-control: max-age=60\netag: \"1\"",
            POLICY);
        assert_int_equal(x.verdict, CACHE_STORE_OK);
        ask(&x, requests[i].method, requests[i].request, POLICY);
        cache_lookup_decide(&x.q, &x.stored, 1, (NOW + requests[i].after) * 1000, POLICY, &d);
        if ((int)d.action != requests[i].action)
            fail_msg("%s: %d", requests[i].name, (int)d.action);
    }
    /* Clients that are not obeyed get what is fresh. */
    struct cache_policy deaf = *POLICY;
    struct cache_decision d;
    deaf.obey_requests = false;
    ask(&x, "GET", "cache-control: no-cache\npragma: no-cache", &deaf);
    cache_lookup_decide(&x.q, &x.stored, 1, NOW * 1000, &deaf, &d);
    assert_int_equal(d.action, CACHE_HIT);
}

/* What of a request keeps its response from being stored. */
static void storing(void **state)
{
    static const struct {
        const char *method, *request, *response;
        enum cache_store verdict;
    } rows[] = {
        {"GET", "", "cache-control: max-age=60", CACHE_STORE_OK},
        {"HEAD", "", "cache-control: max-age=60", CACHE_STORE_METHOD},
        {"POST", "", "cache-control: max-age=60", CACHE_STORE_METHOD},
        {"GET", "cache-control: no-store", "cache-control: max-age=60",
            CACHE_STORE_REQUEST_NO_STORE},
        {"GET", "authorization: x", "cache-control: max-age=60", CACHE_STORE_AUTHORIZATION},
        {"GET", "authorization: x", "cache-control: max-age=60, public", CACHE_STORE_OK},
        {"GET", "authorization: x", "cache-control: max-age=60, must-revalidate", CACHE_STORE_OK},
        {"GET", "authorization: x", "cache-control: s-maxage=60", CACHE_STORE_OK},
        {"GET", "authorization: x", "cache-control: max-age=60, proxy-revalidate",
            CACHE_STORE_AUTHORIZATION},
        {"GET", "cookie: a=b", "cache-control: max-age=60", CACHE_STORE_OK},
        {"GET", "range: bytes=0-1", "cache-control: max-age=60",
            CACHE_STORE_OK}, /* 200: the whole came */
    };
    static struct exchange x;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ask(&x, rows[i].method, rows[i].request, POLICY);
        answer(&x, 200, rows[i].response, POLICY);
        if (x.verdict != rows[i].verdict)
            fail_msg("%zu: %s", i, cache_store_name(x.verdict));
    }
    ask(&x, "GET", "", POLICY);
    answer(&x, 200, "cache-control: max-age=60\ncache-tag: a,b\nsurrogate-key: c", POLICY);
    assert_int_equal(x.st.n_tags, 3);
    /* The time that the request took counts into its age (section 4.2.3). */
    assert_int_equal(
        cache_store_decide(&x.q, 200, &x.got.f, NOW * 1000 - 5000, NOW * 1000, POLICY, &x.st), 0);
    assert_int_equal(cache_age_ms(&x.st.meta, NOW * 1000 + 1), 5001);
    /* A clock that jumps back makes it no younger than it came. */
    assert_int_equal(cache_age_ms(&x.st.meta, 0), 5000);
}

static void vary_rows(void **state)
{
    static const struct {
        const char *vary, *first, *second;
        bool same;
    } rows[] = {
        {"x-a", "x-a: 1", "x-a: 1", true},
        {"x-a", "x-a: 1", "x-a: 2", false},
        {"X-A", "x-a: 1", "X-a: 1", true},
        {"x-a", "x-a: 1", "", false},
        {"x-a", "", "x-a: 1", false},
        {"x-a", "", "", true},
        {"x-a", "", "x-a:", false}, /* none is not an empty one */
        {"x-a, x-b", "x-a: 1\nx-b: 2", "x-b: 2\nx-a: 1", true},
        {"x-a, x-b", "x-a: 1\nx-b: 2", "x-a: 1\nx-b: 3", false},
        {"x-a", "x-a: 1, 2", "x-a: 1,2", true},        /* blanks */
        {"x-a", "x-a: 1,  2", "x-a: 1\nx-a: 2", true}, /* lines combined */
        {"x-a", "x-a: 1 2", "x-a: 1  2", true},
        {"x-a", "x-a: 1 2", "x-a: 12", false},
        {"x-a", "x-a: \"1 2\"", "x-a: \"1  2\"", false}, /* a quoted string is what it is */
        {"x-a", "x-a: A", "x-a: a", false},
        {"x-a", "x-a: 1, 2", "x-a: 2, 1", false},
        {"accept-encoding", "accept-encoding: gzip, br", "accept-encoding: BR,gzip", true},
        {"accept-encoding", "accept-encoding: gzip;q=0.5, br", "accept-encoding: br, gzip; q=0.5",
            true},
        {"accept-encoding", "accept-encoding: gzip", "accept-encoding: br", false},
        {"accept-language", "accept-language: KO-kr, en", "accept-language: ko-KR,en", true},
        {"accept-language", "accept-language: ko, en", "accept-language: en, ko", false},
        {"x-a, x-a", "x-a: 1", "x-a: 1", true},
    };
    static struct exchange x;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char response[256];
        struct cache_decision d;
        snprintf(response, sizeof response, "cache-control: max-age=60\nvary: %s", rows[i].vary);
        ask(&x, "GET", rows[i].first, POLICY);
        answer(&x, 200, response, POLICY);
        assert_int_equal(x.verdict, CACHE_STORE_OK);
        ask(&x, "GET", rows[i].second, POLICY);
        cache_lookup_decide(&x.q, &x.stored, 1, NOW * 1000, POLICY, &d);
        if (d.action != (rows[i].same ? CACHE_HIT : CACHE_MISS))
            fail_msg("%s | %s | %s", rows[i].vary, rows[i].first, rows[i].second);
        if (!rows[i].same)
            assert_int_equal(d.forward, CACHE_FORWARD_VARY_MISS);
    }
}

/* Of several that match the most recent one is used (section 4.1). */
static void newest(void **state)
{
    static struct exchange a, b;
    struct cache_decision d;
    ask(&a, "GET", "x-a: 1", POLICY);
    ask(&b, "GET", "x-a: 1", POLICY);
    answer(&a, 200, "cache-control: max-age=600\ndate: @-10\nvary: x-a", POLICY);
    answer(&b, 200, "cache-control: max-age=600\ndate: @-5", POLICY);
    struct cache_stored both[2] = {a.stored, b.stored};
    cache_lookup_decide(&a.q, both, 2, NOW * 1000, POLICY, &d);
    assert_ptr_equal(d.stored, &both[1]);
    b.st.meta.date_s -= 100;
    cache_lookup_decide(&a.q, both, 2, NOW * 1000, POLICY, &d);
    assert_ptr_equal(d.stored, &both[0]);
}

/* Which fetches others may wait for, and which conditions go upstream. */
static void upstream(void **state)
{
    static struct exchange x;
    struct cache_decision d;
    struct cache_policy fill_ranges = *POLICY;
    fill_ranges.fill_ranges = true;
    static const struct {
        const char *method, *request;
        bool whole, coalesce, drop;
    } rows[] = {
        {"GET", "", false, true, false},
        {"HEAD", "", false, false, false},
        {"GET", "if-none-match: \"1\"", false, false, false},
        {"GET", "range: bytes=0-1", false, false, false},
        {"GET", "range: bytes=0-1\nif-none-match: \"1\"", true, true, true},
        {"GET", "cache-control: no-store", false, false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ask(&x, rows[i].method, rows[i].request, POLICY);
        cache_lookup_decide(&x.q, NULL, 0, NOW * 1000, rows[i].whole ? &fill_ranges : POLICY, &d);
        if (d.action != CACHE_MISS || d.forward != CACHE_FORWARD_URI_MISS
            || d.coalesce != rows[i].coalesce || d.drop_conditions != rows[i].drop)
            fail_msg("%s %s", rows[i].method, rows[i].request);
    }
    ask(&x, "GET", "", POLICY);
    answer(&x, 200, "cache-control: max-age=1\netag: W/\"1\"\nlast-modified: @-50", POLICY);
    ask(&x, "GET", "if-none-match: \"other\"\nrange: bytes=0-1", POLICY);
    cache_lookup_decide(&x.q, &x.stored, 1, (NOW + 5) * 1000, POLICY, &d);
    assert_true(d.action == CACHE_REVALIDATE && d.coalesce && d.drop_conditions
                && d.forward == CACHE_FORWARD_STALE);
    char buf[256], expect[256];
    struct http_out out = {.p = buf, .cap = sizeof buf - 1};
    cache_validate_format(&x.stored, &out);
    buf[out.len] = 0;
    expand("If-None-Match: W/\"1\"\r\nIf-Modified-Since: @-50\r\n", expect, sizeof expect);
    assert_string_equal(buf, expect);
    ask(&x, "GET", "cache-control: only-if-cached", POLICY);
    cache_lookup_decide(&x.q, NULL, 0, NOW * 1000, POLICY, &d);
    assert_int_equal(d.action, CACHE_UNSATISFIED);
}

/* Sections 4.3.3 to 4.3.5. */
static void validated(void **state)
{
    static const struct {
        const char *stored;
        unsigned status;
        const char *response;
        enum cache_validated expect;
    } rows[] = {
        {"etag: \"1\"", 304, "etag: \"1\"", CACHE_VALIDATED_FRESHEN},
        {"etag: \"1\"", 304, "", CACHE_VALIDATED_FRESHEN},
        {"etag: \"1\"", 304, "etag: \"2\"", CACHE_VALIDATED_AGAIN},
        {"etag: W/\"1\"", 304, "etag: \"1\"",
            CACHE_VALIDATED_AGAIN}, /* a strong one selects strongly */
        {"etag: \"1\"", 304, "etag: W/\"1\"", CACHE_VALIDATED_FRESHEN},
        {"etag: \"1\"\nlast-modified: @-50", 304, "last-modified: @-40", CACHE_VALIDATED_FRESHEN},
        {"last-modified: @-50", 304, "last-modified: @-50", CACHE_VALIDATED_FRESHEN},
        {"last-modified: @-50", 304, "last-modified: @-40", CACHE_VALIDATED_AGAIN},
        {"last-modified: @-50", 304, "etag: \"1\"", CACHE_VALIDATED_FRESHEN},
        {"etag: \"1\"", 200, "etag: \"1\"", CACHE_VALIDATED_REPLACE},
        {"etag: \"1\"", 404, "", CACHE_VALIDATED_REPLACE},
        {"etag: \"1\"", 503, "", CACHE_VALIDATED_ERROR},
    };
    static struct exchange x;
    struct text_fields t;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char response[256];
        snprintf(response, sizeof response, "cache-control: max-age=60\n%s", rows[i].stored);
        ask(&x, "GET", "", POLICY);
        answer(&x, 200, response, POLICY);
        fill(&t, rows[i].response);
        if (cache_validated_decide(&x.stored, rows[i].status, &t.f) != rows[i].expect)
            fail_msg("%s | %u %s", rows[i].stored, rows[i].status, rows[i].response);
    }
    answer(&x, 200, "cache-control: max-age=60\netag: \"1\"\nlast-modified: @-50", POLICY);
    static const struct {
        const char *head;
        bool freshens;
    } heads[] = {{"", true}, {"etag: \"1\"\ncontent-length: 1000\nlast-modified: @-50", true},
        {"etag: \"2\"", false}, {"content-length: 999", false}, {"last-modified: @-49", false}};
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        fill(&t, heads[i].head);
        assert_int_equal(cache_head_freshens(&x.stored, &t.f, NOW * 1000), heads[i].freshens);
    }
}

static void fields(void **state)
{
    static const struct {
        const char *name;
        bool stored, updates;
    } rows[] = {
        {"content-type", true, true},
        {"set-cookie", true, true},
        {"x-private", false, false},
        {"X-No-Cache", false, false},
        {"content-length", false, false},
        {"content-range", true, false},
        {"content-encoding", true, true},
        {"etag", true, true},
        {"cache-control", true, true},
        {"age", false, false},
        {"connection", false, false},
        {"proxy-authenticate", false, false},
        {"te", false, false},
    };
    static struct exchange x;
    ask(&x, "GET", "", POLICY);
    answer(&x, 200, "cache-control: max-age=60, private=\"x-private\", no-cache=\"a, x-no-cache\"",
        POLICY);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_field f = {.name = T(rows[i].name)};
        if (cache_field_stored(&f, &x.st.cc) != rows[i].stored
            || cache_field_updates(&f, &x.st.cc) != rows[i].updates)
            fail_msg("%s", rows[i].name);
    }
    struct http_field hop = {.name = T("x-hop"), .hop = true}, type = {.name = T("Content-Type")},
                      modified = {.name = T("last-modified")}, vary = {.name = T("vary")};
    assert_false(cache_field_stored(&hop, &x.st.cc));
    assert_true(cache_field_in_304(&vary, true) && !cache_field_in_304(&type, true));
    assert_true(cache_field_in_304(&modified, false) && !cache_field_in_304(&modified, true));
}

/* Section 4.3.2, and RFC 9110 sections 13.1 and 14. The stored response has 1,000 bytes. */
static void serving(void **state)
{
    enum {
        WHOLE = CACHE_SERVE_WHOLE,
        NM = CACHE_SERVE_NOT_MODIFIED,
        PART = CACHE_SERVE_RANGES,
        R416 = CACHE_SERVE_UNSATISFIED
    };
    static const struct {
        const char *method, *request, *stored;
        int expect;
    } rows[] = {
        {"GET", "", "etag: \"1\"", WHOLE},
        {"GET", "if-none-match: \"1\"", "etag: \"1\"", NM},
        {"HEAD", "if-none-match: \"1\"", "etag: \"1\"", NM},
        {"GET", "if-none-match: W/\"1\"", "etag: \"1\"", NM},
        {"GET", "if-none-match: \"1\"", "etag: W/\"1\"", NM},
        {"GET", "if-none-match: \"2\"", "etag: \"1\"", WHOLE},
        {"GET", "if-none-match: \"0\", \"1\", \"2\"", "etag: \"1\"", NM},
        {"GET", "if-none-match: \"0\"\nif-none-match: \"1\"", "etag: \"1\"", NM},
        {"GET", "if-none-match: \"0,\\\"\",\"1\"", "etag: \"1\"", WHOLE}, /* does not parse */
        {"GET", "if-none-match: *", "etag: \"1\"", NM},
        {"GET", "if-none-match: *", "", NM},
        {"GET", "if-none-match: 1", "etag: \"1\"", WHOLE},
        {"GET", "if-none-match: 1", "etag: 1", NM},
        {"GET", "if-none-match: \"1\"", "", WHOLE},
        {"GET", "if-none-match: \"2\"\nif-modified-since: @0", "etag: \"1\"\nlast-modified: @-50",
            WHOLE},
        {"GET", "if-none-match: \"1\"\nif-modified-since: @-90", "etag: \"1\"\nlast-modified: @-50",
            NM},
        {"GET", "if-modified-since: @-50", "last-modified: @-50", NM},
        {"GET", "if-modified-since: @-40", "last-modified: @-50", NM},
        {"GET", "if-modified-since: @-51", "last-modified: @-50", WHOLE},
        {"GET", "if-modified-since: now", "last-modified: @-50", WHOLE},
        {"GET", "if-modified-since: @-5", "date: @-5", NM}, /* Date in its place */
        {"GET", "if-modified-since: @-6", "date: @-5", WHOLE},
        {"GET", "range: bytes=0-9", "", PART},
        {"HEAD", "range: bytes=0-9", "", WHOLE},
        {"GET", "range: bytes=1000-", "", R416},
        {"GET", "range: bytes=x", "", WHOLE},
        {"GET", "range: bytes=0-9\nrange: bytes=1-2", "", WHOLE},
        {"GET", "range: bytes=0-9\nif-none-match: \"1\"", "etag: \"1\"", NM},
        {"GET", "range: bytes=0-9\nif-none-match: \"2\"", "etag: \"1\"", PART},
        {"GET", "range: bytes=0-9\nif-range: \"1\"", "etag: \"1\"", PART},
        {"GET", "range: bytes=0-9\nif-range: \"2\"", "etag: \"1\"", WHOLE},
        {"GET", "range: bytes=0-9\nif-range: W/\"1\"", "etag: W/\"1\"", WHOLE},
        {"GET", "range: bytes=0-9\nif-range: @-50", "last-modified: @-50\ndate: @0", PART},
        {"GET", "range: bytes=0-9\nif-range: @-40", "last-modified: @-50\ndate: @0", WHOLE},
        {"GET", "range: bytes=0-9\nif-range: @-50", "last-modified: @-50\ndate: @-50",
            WHOLE}, /* weak */
        {"GET", "range: bytes=1000-\nif-range: \"2\"", "etag: \"1\"", WHOLE},
    };
    static struct exchange x;
    struct cache_ranges r;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char response[256];
        snprintf(response, sizeof response, "cache-control: max-age=600\n%s", rows[i].stored);
        ask(&x, "GET", "", POLICY);
        answer(&x, 200, response, POLICY);
        ask(&x, rows[i].method, rows[i].request, POLICY);
        int got = (int)cache_serve_decide(&x.q, &x.stored, NOW * 1000, &r);
        if (got != rows[i].expect)
            fail_msg("%s | %s: %d", rows[i].request, rows[i].stored, got);
    }
    x.st.meta.status = 404;
    ask(&x, "GET", "if-none-match: *\nrange: bytes=0-1", POLICY);
    assert_int_equal(cache_serve_decide(&x.q, &x.stored, NOW * 1000, &r), CACHE_SERVE_WHOLE);
}

static void parts(void **state)
{
    char buf[1024];
    struct http_out out = {.p = buf, .cap = sizeof buf - 1};
    struct cache_ranges r = {.v = {{0, 4}, {10, 12}}, .n = 2};
    for (int with_type = 0; with_type < 2; with_type++) {
        struct http_text type = T(with_type ? "text/plain" : "");
        uint64_t content = 0;
        out.len = 0;
        for (size_t i = 0; i <= r.n; i++) {
            cache_part_format(&r, i, 1000, type, T("b"), &out);
            content += i < r.n ? r.v[i].last - r.v[i].first + 1 : 0;
        }
        assert_int_equal(cache_parts_length(&r, 1000, type, T("b")), out.len + content);
    }
    buf[out.len] = 0;
    assert_string_equal(buf,
        "--b\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-4/1000\r\n\r\n"
        "\r\n--b\r\nContent-Type: text/plain\r\nContent-Range: bytes 10-12/1000\r\n\r\n"
        "\r\n--b--\r\n");
    out.len = 0;
    cache_content_range_format(NULL, 1000, &out);
    buf[out.len] = 0;
    assert_string_equal(buf, "bytes */1000");
}

/* Sections 4.2.4 and RFC 5861 section 4; the response was fresh for 10 s. */
static void errors(void **state)
{
    static const struct {
        const char *response, *request;
        unsigned status;
        int after;
        bool stale;
    } rows[] = {
        {"max-age=10, stale-if-error=20", "", 503, 30, true},
        {"max-age=10, stale-if-error=20", "", 500, 30, true},
        {"max-age=10, stale-if-error=20", "", 0, 30, true},
        {"max-age=10, stale-if-error=20", "", 503, 31, false},
        {"max-age=10, stale-if-error=20", "", 501, 11, false},
        {"max-age=10, stale-if-error=20", "", 404, 11, false},
        {"max-age=10, stale-if-error=20", "cache-control: no-cache", 503, 11, false},
        {"max-age=10, stale-if-error=20, must-revalidate", "", 503, 11, false},
        {"max-age=10, stale-if-error=20, proxy-revalidate", "", 0, 11, false},
        {"max-age=10, stale-if-error=20, no-cache", "", 0, 1, false},
        {"s-maxage=10, stale-if-error=20", "", 503, 30, true},
        {"max-age=10", "cache-control: stale-if-error=20", 503, 30, true},
        {"s-maxage=10", "cache-control: stale-if-error=20", 503, 30, false},
        {"max-age=10", "", 503, 11, false},
        {"max-age=10", "", 0, 50, true}, /* disconnected: the policy's word */
        {"max-age=10", "", 0, 111, false}, {"s-maxage=10", "", 0, 11, false},
        {"max-age=10, must-revalidate", "", 0, 11, false},
        {"max-age=10, must-revalidate", "cache-control: max-age=0", 503, 5, true}, /* it is fresh */
    };
    static struct exchange x;
    struct cache_policy p = *POLICY;
    p.stale_unreachable_s = 100;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char response[256];
        snprintf(response, sizeof response, "etag: \"1\"\ncache-control: %s", rows[i].response);
        ask(&x, "GET", "", &p);
        answer(&x, 200, response, &p);
        ask(&x, "GET", rows[i].request, &p);
        if (cache_stale_on_error(&x.q, &x.stored, rows[i].status, (NOW + rows[i].after) * 1000, &p)
            != rows[i].stale)
            fail_msg("%s | %s | %u after %d", rows[i].response, rows[i].request, rows[i].status,
                rows[i].after);
    }
    ask(&x, "GET", "", POLICY);
    assert_false(cache_stale_on_error(&x.q, &x.stored, 0, (NOW + 11) * 1000, POLICY));
}

/* Section 4.4. */
static void invalidation(void **state)
{
    static const struct {
        const char *method;
        unsigned status;
        bool invalidates;
    } rows[] = {
        {"POST", 200, true},
        {"PUT", 204, true},
        {"DELETE", 200, true},
        {"PATCH", 201, true},
        {"M-SEARCH", 200, true},
        {"POST", 303, true},
        {"POST", 404, false},
        {"POST", 500, false},
        {"GET", 200, false},
        {"HEAD", 200, false},
        {"OPTIONS", 200, false},
        {"PROPFIND", 207, false},
        {"POST", 100, false},
    };
    static struct exchange x;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ask(&x, rows[i].method, "", POLICY);
        if (cache_invalidates(&x.q, rows[i].status) != rows[i].invalidates)
            fail_msg("%s %u", rows[i].method, rows[i].status);
    }
    static const struct {
        const char *location, *key; /* of https://a.example/d/e?f; NULL: none of ours */
    } locations[] = {
        {"/x", "/x"},
        {"/x?y#z", "/x?y"},
        {"x", "/d/x"},
        {"../x", "/x"},
        {"./", "/d/"},
        {"?y", "/d/e?y"},
        {"#z", "/d/e?f"},
        {"", "/d/e?f"},
        {"https://a.example/x", "/x"},
        {"HTTPS://A.Example:443/x", "/x"},
        {"https://a.example", "/"},
        {"https://a.example?q", "/?q"},
        {"//a.example/x", "/x"},
        {"http://a.example/x", NULL},
        {"https://a.example:8443/x", NULL},
        {"https://b.example/x", NULL},
        {"//b.example/x", NULL},
        {"https:x", NULL},
        {"mailto:a@a.example", NULL},
        {"/../../x", NULL},
        {"https://u@a.example/x", NULL},
        {"/%41%2f", "/A%2F"},
    };
    struct cache_target t = {
        .tls = true, .host = T("a.example"), .path = T("/d/e"), .query = T("f"), .has_query = true};
    for (size_t i = 0; i < ARRAY_SIZE(locations); i++) {
        char buf[CACHE_KEY_MAX];
        struct http_out out = {.p = buf, .cap = sizeof buf};
        bool ok = cache_location_key(&t, T(locations[i].location), &out);
        size_t host = strlen("a.example") + 1;
        struct http_text path = {buf + host, ok ? out.len - host : 0};
        if (ok != !!locations[i].key || (ok && !http_text_is(path, locations[i].key)))
            fail_msg("%s: %.*s", locations[i].location, (int)path.len, path.p);
    }
}

static void status(void **state)
{
    static const struct {
        struct cache_report r;
        const char *expect;
    } rows[] = {
        {{.action = CACHE_HIT, .has_ttl = true, .ttl_s = 376}, "mcp; hit; ttl=376"},
        {{.action = CACHE_HIT_REFRESH, .has_ttl = true, .ttl_s = -412}, "mcp; hit; ttl=-412"},
        {{.action = CACHE_MISS,
             .forward = CACHE_FORWARD_URI_MISS,
             .stored = true,
             .collapsed = true},
            "mcp; fwd=uri-miss; stored; collapsed"},
        {{.action = CACHE_REVALIDATE,
             .forward = CACHE_FORWARD_STALE,
             .forward_status = 304,
             .has_ttl = true,
             .ttl_s = 0},
            "mcp; fwd=stale; fwd-status=304; ttl=0"},
        {{.action = CACHE_BYPASS, .forward = CACHE_FORWARD_METHOD, .detail = "POST"},
            "mcp; fwd=method; detail=POST"},
        {{.action = CACHE_MISS, .forward = CACHE_FORWARD_VARY_MISS}, "mcp; fwd=vary-miss"},
        {{.action = CACHE_REVALIDATE, .forward = CACHE_FORWARD_REQUEST}, "mcp; fwd=request"},
        {{.action = CACHE_BYPASS, .forward = CACHE_FORWARD_BYPASS}, "mcp; fwd=bypass"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char buf[256];
        struct http_out out = {.p = buf, .cap = sizeof buf - 1};
        struct cache_report r = rows[i].r;
        r.name = T("mcp");
        cache_status_format(&r, &out);
        buf[out.len] = 0;
        assert_string_equal(buf, rows[i].expect);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reuse_rows),
        cmocka_unit_test(request_rows),
        cmocka_unit_test(storing),
        cmocka_unit_test(vary_rows),
        cmocka_unit_test(newest),
        cmocka_unit_test(upstream),
        cmocka_unit_test(validated),
        cmocka_unit_test(fields),
        cmocka_unit_test(serving),
        cmocka_unit_test(parts),
        cmocka_unit_test(errors),
        cmocka_unit_test(invalidation),
        cmocka_unit_test(status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
