/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/gtid/priv.h"

#include <inttypes.h>

void gtid_uuid_format(const uint8_t uuid[16], char out[GTID_UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (at == 8 || at == 13 || at == 18 || at == 23)
            out[at++] = '-';
        out[at++] = digits[uuid[i] >> 4];
        out[at++] = digits[uuid[i] & 15];
    }
    out[at] = '\0';
}

/* One server: uuid:1-5:7:tag:1-3. A tag counts until the next one. */
static void add_intervals(const struct gtid_range *v, size_t n, struct str *out)
{
    for (size_t i = 0; i < n; i++) {
        const struct gtid_range *r = &v[i], *last = i ? &v[i - 1] : NULL;
        bool same_uuid = last && !memcmp(last->uuid, r->uuid, sizeof r->uuid);
        if (!same_uuid) {
            char uuid[GTID_UUID_TEXT_SIZE];
            gtid_uuid_format(r->uuid, uuid);
            str_addf(out, "%s%s", last ? "," : "", uuid);
        }
        if (r->tag[0] && !(same_uuid && !strcmp(last->tag, r->tag)))
            str_addf(out, ":%s", r->tag);
        str_addf(out, ":%" PRIu64, r->from);
        if (r->to != r->from)
            str_addf(out, "-%" PRIu64, r->to);
    }
}

void gtid_set_format(const struct gtid_set *s, struct str *out)
{
    if (s->flavour == GTID_MYSQL) {
        add_intervals(s->ranges, s->n, out);
        return;
    }
    for (size_t i = 0; i < s->n; i++)
        str_addf(out, "%s%" PRIu32 "-%" PRIu32 "-%" PRIu64, i ? "," : "", s->at[i].domain,
            s->at[i].server, s->at[i].seq);
}

void gtid_ranges_format(const struct gtid_ranges *r, struct str *out)
{
    if (r->flavour == GTID_MYSQL) {
        add_intervals(r->v, r->n, out);
        return;
    }
    for (size_t i = 0; i < r->n; i++) {
        str_addf(out, "%s%" PRIu32 ":%" PRIu64, i ? "," : "", r->v[i].domain, r->v[i].from);
        if (r->v[i].to != r->v[i].from)
            str_addf(out, "-%" PRIu64, r->v[i].to);
    }
}

const char *gtid_order_name(enum gtid_order o)
{
    static const char *const names[] = {[GTID_SAME] = "same",
        [GTID_BEHIND] = "behind",
        [GTID_AHEAD] = "ahead",
        [GTID_DIVERGED] = "diverged"};
    return (size_t)o < ARRAY_SIZE(names) ? names[o] : "?";
}
