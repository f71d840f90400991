/* SPDX-License-Identifier: Apache-2.0 */
/* Validation (RFC 9111 section 4.3): what is asked, what the answer means. HOT PATH. */
#include "domain/cache/cache.h"

void cache_validate_format(const struct cache_stored *s, struct http_out *out)
{
    if (s->etag.len) {
        http_out_str(out, "If-None-Match: ");
        http_out_text(out, s->etag);
        http_out_str(out, "\r\n");
    }
    if (s->modified.len) {
        http_out_str(out, "If-Modified-Since: ");
        http_out_text(out, s->modified);
        http_out_str(out, "\r\n");
    }
}

/* Section 4.3.4, for the one response that we asked about: a validator of the 304 must be its own. With
 * none at all the 304 answers our condition, and there was one only. */
static bool is_about(const struct cache_stored *s, const struct http_fields *response)
{
    const struct http_field *etag = fields_find(response, "etag", NULL);
    const struct http_field *modified = fields_find(response, "last-modified", NULL);
    struct fields_etag theirs, ours;
    if (etag && fields_etag_parse(etag->value, &theirs)) {
        if (!fields_etag_parse(s->etag, &ours))
            return !s->etag.len && s->modified.len; /* it has one now: the date was what matched */
        return theirs.weak ? fields_etag_weak(&theirs, &ours) : fields_etag_strong(&theirs, &ours);
    }
    if (modified && s->modified.len && !s->etag.len)
        return fields_same(modified->value, s->modified);
    return true;
}

enum cache_validated cache_validated_decide(
    const struct cache_stored *s, unsigned status, const struct http_fields *response)
{
    if (status == 304)
        return is_about(s, response) ? CACHE_VALIDATED_FRESHEN : CACHE_VALIDATED_AGAIN;
    return status >= 500 ? CACHE_VALIDATED_ERROR : CACHE_VALIDATED_REPLACE;
}

bool cache_head_freshens(
    const struct cache_stored *s, const struct http_fields *response, uint64_t now_ms)
{
    const struct http_field *etag = fields_find(response, "etag", NULL);
    const struct http_field *modified = fields_find(response, "last-modified", NULL);
    const struct http_field *length = fields_find(response, "content-length", NULL);
    uint64_t size;
    int64_t t;
    if (etag && !fields_same(etag->value, s->etag))
        return false;
    if (modified
        && (!fields_date_parse(modified->value, (int64_t)(now_ms / 1000), &t)
            || t != s->meta->modified_s))
        return false;
    return !length || (fields_number(length->value, UINT64_MAX, &size) && size == s->size);
}
