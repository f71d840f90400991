/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions and ranges of a request on a stored response (RFC 9111 section 4.3.2, RFC 9110 sections 13
 * and 14). HOT PATH. */
#include "domain/cache/cache.h"

static bool none_match(const struct cache_request *q, const struct cache_stored *s)
{
    struct fields_etag ours, theirs;
    bool has = fields_etag_parse(s->etag, &ours);
    for (const struct http_field *line = NULL;
         (line = fields_find(q->fields, "if-none-match", line));) {
        struct http_text rest = line->value;
        if (http_text_is(fields_trim(rest), "*"))
            return false;
        while (has && fields_etag_next(&rest, &theirs))
            if (fields_etag_weak(&ours, &theirs))
                return false;
    }
    return true;
}

/* Without Last-Modified the date of the response takes its place (RFC 9111 section 4.3.2). */
static bool modified_since(
    const struct cache_request *q, const struct cache_stored *s, int64_t now_ms)
{
    const struct http_field *line = fields_find(q->fields, "if-modified-since", NULL);
    int64_t since,
        modified = s->meta->modified_s == CACHE_NEVER ? s->meta->date_s : s->meta->modified_s;
    if (!line || fields_find(q->fields, "if-modified-since", line)
        || !fields_date_parse(line->value, now_ms / 1000, &since))
        return true;
    return modified > since;
}

/* RFC 9110 section 13.1.5: strong comparison; a date is strong when the response came at least a second
 * later (section 8.8.2.2). */
static bool if_range_holds(
    const struct cache_request *q, const struct cache_stored *s, int64_t now_ms)
{
    const struct http_field *line = fields_find(q->fields, "if-range", NULL);
    struct fields_etag ours, theirs;
    int64_t t;
    if (!line)
        return true;
    if (fields_find(q->fields, "if-range", line))
        return false;
    if (fields_date_parse(line->value, now_ms / 1000, &t))
        return t == s->meta->modified_s && s->meta->date_s > t;
    return fields_etag_parse(line->value, &theirs) && fields_etag_parse(s->etag, &ours)
           && fields_etag_strong(&theirs, &ours);
}

enum cache_serve cache_serve_decide(const struct cache_request *q, const struct cache_stored *s,
    int64_t now_ms, struct cache_ranges *ret)
{
    ret->n = 0;
    /* Conditions count where the answer would be 2xx (RFC 9110 section 13.2.1). */
    if (s->meta->status / 100 != 2)
        return CACHE_SERVE_WHOLE;
    if (q->conditional) {
        bool changed = fields_find(q->fields, "if-none-match", NULL) ? none_match(q, s)
                                                                     : modified_since(q, s, now_ms);
        if (!changed)
            return CACHE_SERVE_NOT_MODIFIED;
    }
    const struct http_field *range =
        q->range && q->get ? fields_find(q->fields, "range", NULL) : NULL;
    if (!range || s->meta->status != 200 || fields_find(q->fields, "range", range)
        || !if_range_holds(q, s, now_ms))
        return CACHE_SERVE_WHOLE;
    switch (fields_ranges_parse(range->value, s->size, ret->v, &ret->n)) {
    case FIELDS_RANGES_SOME:
        return CACHE_SERVE_RANGES;
    case FIELDS_RANGES_UNSATISFIED:
        return CACHE_SERVE_UNSATISFIED;
    case FIELDS_RANGES_NONE:
        break;
    }
    return CACHE_SERVE_WHOLE;
}

/* RFC 9110 section 15.4.5: what a 304 is for, not what describes content that it does not have. */
bool cache_field_in_304(const struct http_field *f, bool has_etag)
{
    static const char *const not [] = {
        "content-encoding", "content-language", "content-length", "content-range", "content-type"};
    for (size_t i = 0; i < ARRAY_SIZE(not ); i++)
        if (http_text_is_nocase(f->name, not [i]))
            return false;
    return !has_etag || !http_text_is_nocase(f->name, "last-modified");
}

void cache_content_range_format(const struct fields_range *r, uint64_t size, struct http_out *out)
{
    http_out_str(out, "bytes ");
    if (r) {
        http_out_u64(out, r->first);
        http_out_str(out, "-");
        http_out_u64(out, r->last);
    } else {
        http_out_str(out, "*");
    }
    http_out_str(out, "/");
    http_out_u64(out, size);
}

void cache_part_format(const struct cache_ranges *r, size_t i, uint64_t size, struct http_text type,
    struct http_text boundary, struct http_out *out)
{
    http_out_str(out, i ? "\r\n--" : "--");
    http_out_text(out, boundary);
    if (i == r->n) {
        http_out_str(out, "--\r\n");
        return;
    }
    if (type.len) {
        http_out_str(out, "\r\nContent-Type: ");
        http_out_text(out, type);
    }
    http_out_str(out, "\r\nContent-Range: ");
    cache_content_range_format(&r->v[i], size, out);
    http_out_str(out, "\r\n\r\n");
}

uint64_t cache_parts_length(
    const struct cache_ranges *r, uint64_t size, struct http_text type, struct http_text boundary)
{
    uint64_t total = 0;
    for (size_t i = 0; i <= r->n; i++) {
        char buf[128]; /* all but the two texts; they are counted */
        struct http_out out = {.p = buf, .cap = sizeof buf};
        cache_part_format(r, i, size, (struct http_text){type.p, type.len ? 1 : 0},
            (struct http_text){"", 0}, &out);
        total += out.len + boundary.len + (i < r->n && type.len ? type.len - 1 : 0);
        total += i < r->n ? r->v[i].last - r->v[i].first + 1 : 0;
    }
    return total;
}
