/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/timeline/timeline.h"

#include "base/clock/clock.h"

#include <inttypes.h>

static const char ellipsis[] = "…";

/* Length of the UTF-8 character at p, 0 when it is none. */
static size_t utf8_len(const unsigned char *p)
{
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0)
        || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return n;
}

/* Reports quote what peers and files say: control characters would reach a terminal, broken UTF-8
 * breaks JSON. */
static void clean_text(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p;) {
        size_t n = utf8_len(p);
        if (n == 0 || (n == 1 && (*p < 0x20 || *p == 0x7f))) {
            *p = n ? ' ' : '?';
            n = 1;
        }
        p += n;
    }
}

/* Copies what fits; a cut text loses its last, maybe broken, character and ends in an ellipsis. */
static void copy_text(char *dst, size_t size, const char *src)
{
    size_t len = strlen(src);
    if (len < size) {
        memcpy(dst, src, len + 1);
        clean_text(dst);
        return;
    }
    size_t keep = size - sizeof ellipsis;
    while (keep && ((unsigned char)src[keep] & 0xc0) == 0x80)
        keep--;
    memcpy(dst, src, keep);
    memcpy(dst + keep, ellipsis, sizeof ellipsis);
    clean_text(dst);
}

void timeline_draft_set(struct timeline_draft *d, const char *kind, const char *subject,
    const char *message, const char *cause)
{
    *d = (struct timeline_draft){0};
    copy_text(d->kind, sizeof d->kind, kind);
    copy_text(d->subject, sizeof d->subject, subject);
    copy_text(d->message, sizeof d->message, message);
    copy_text(d->cause, sizeof d->cause, cause ? cause : "");
}

void timeline_draft_setf(struct timeline_draft *d, const char *kind, const char *subject,
    const char *cause, const char *message_fmt, ...)
{
    _cleanup_str_ struct str message = STR_INIT;
    va_list ap;
    va_start(ap, message_fmt);
    str_addv(&message, message_fmt, ap);
    va_end(ap);
    timeline_draft_set(d, kind, subject, str_cstr(&message), cause);
}

static bool kind_ok(const char *kind)
{
    size_t n = strspn(kind, "abcdefghijklmnopqrstuvwxyz-");
    return n > 0 && n < sizeof((struct timeline_draft *)0)->kind && kind[n] == '\0';
}

int timeline_draft_parse(const json_t *j, struct timeline_draft *ret, struct err *e)
{
    const char *kind, *subject, *message;
    int r = json_get_str(j, "kind", &kind, e);
    if (r >= 0)
        r = json_get_str(j, "subject", &subject, e);
    if (r >= 0)
        r = json_get_str(j, "message", &message, e);
    if (r < 0)
        return r;
    if (!kind_ok(kind))
        return err_set(e, ERR_INVALID, "kind: expected lower-case letters and '-'");
    timeline_draft_set(ret, kind, subject, message, json_opt_str(j, "cause", ""));
    int64_t revision = json_opt_int(j, "revision", 0);
    ret->revision = revision > 0 ? (uint64_t)revision : 0;
    return 0;
}

json_t *timeline_draft_format(const struct timeline_draft *d)
{
    json_t *j =
        json_pack("{s:s,s:s,s:s}", "kind", d->kind, "subject", d->subject, "message", d->message);
    if (*d->cause)
        json_object_set_new(j, "cause", json_string(d->cause));
    if (d->revision)
        json_object_set_new(j, "revision", json_integer((json_int_t)d->revision));
    return j;
}

json_t *timeline_entry_format(const struct timeline_entry *t)
{
    char stamp[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(t->wall_ms, stamp);
    json_t *j = timeline_draft_format(&t->draft);
    json_object_set_new(j, "seq", json_integer((json_int_t)t->seq));
    json_object_set_new(j, "time", json_string(stamp));
    json_object_set_new(j, "boot_ms", json_integer((json_int_t)t->boot_ms));
    json_object_set_new(j, "host", json_string(t->host));
    json_object_set_new(j, "region", json_string(t->region));
    return j;
}

bool timeline_time_parse(const char *text, int64_t *ret_ms)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return false;
    int ms = 0, used = 0;
    if (sscanf(rest, ".%3dZ%n", &ms, &used) != 1 || used != 5 || ms < 0 || rest[used])
        return false;
    *ret_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return true;
}

int timeline_entry_parse(const json_t *j, struct timeline_entry *ret, struct err *e)
{
    const char *stamp, *host, *region;
    int64_t seq, boot;
    struct timeline_entry t = {0};
    int r = timeline_draft_parse(j, &t.draft, e);
    if (r >= 0)
        r = json_get_int(j, "seq", 1, INT64_MAX, &seq, e);
    if (r >= 0)
        r = json_get_int(j, "boot_ms", 0, INT64_MAX, &boot, e);
    if (r >= 0)
        r = json_get_str(j, "time", &stamp, e);
    if (r >= 0)
        r = json_get_str(j, "host", &host, e);
    if (r >= 0)
        r = json_get_str(j, "region", &region, e);
    if (r < 0)
        return r;
    if (!timeline_time_parse(stamp, &t.wall_ms))
        return err_set(e, ERR_INVALID, "time: expected RFC 3339 with milliseconds, UTC");
    t.seq = (uint64_t)seq;
    t.boot_ms = (uint64_t)boot;
    copy_text(t.host, sizeof t.host, host);
    copy_text(t.region, sizeof t.region, region);
    *ret = t;
    return 0;
}

void timeline_entry_print(const struct timeline_entry *t, bool with_date, struct str *out)
{
    char stamp[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(t->wall_ms, stamp);
    const struct timeline_draft *d = &t->draft;
    str_addf(out, "%s %s %s %s: %s", with_date ? stamp : stamp + 11, t->host, d->kind, d->subject,
        d->message);
    if (*d->cause)
        str_addf(out, " (%s)", d->cause);
}

static bool in_list(const char *list, const char *word)
{
    size_t len = strlen(word);
    while (*list) {
        size_t n = strcspn(list, ",");
        if (n == len && !memcmp(list, word, n))
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

static bool subject_matches(const char *subject, const char *wanted)
{
    size_t n = strlen(wanted);
    return !strncmp(subject, wanted, n) && (subject[n] == '\0' || subject[n] == '/');
}

bool timeline_matches(const struct timeline_entry *t, const struct timeline_filter *f)
{
    return t->seq > f->after_seq && (!f->upto_seq || t->seq <= f->upto_seq)
           && t->wall_ms >= f->since_wall_ms && (!f->kind || in_list(f->kind, t->draft.kind))
           && (!f->subject || subject_matches(t->draft.subject, f->subject));
}

static bool goes_first(const struct timeline_entry *a, const struct timeline_entry *b)
{
    if (a->wall_ms != b->wall_ms)
        return a->wall_ms < b->wall_ms;
    int r = strcmp(a->host, b->host);
    return r ? r < 0 : a->seq < b->seq;
}

void timeline_merge(const struct timeline_entry *const *lists, const size_t *lens, size_t n_lists,
    const struct timeline_entry ***ret, size_t *ret_len)
{
    size_t total = 0;
    for (size_t i = 0; i < n_lists; i++)
        total += lens[i];
    _cleanup_free_ size_t *at = xcalloc(n_lists + 1, sizeof *at);
    const struct timeline_entry **out = xcalloc(total + 1, sizeof *out);
    for (size_t k = 0; k < total; k++) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < n_lists; i++)
            if (at[i] < lens[i]
                && (best == SIZE_MAX || goes_first(&lists[i][at[i]], &lists[best][at[best]])))
                best = i;
        out[k] = &lists[best][at[best]++];
    }
    *ret = out;
    *ret_len = total;
}
