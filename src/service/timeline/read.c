/* SPDX-License-Identifier: Apache-2.0 */
/* Reading backwards from the newest segment, so that "the last 50" costs what it gives. */
#include "service/timeline/priv.h"

#include "base/file/file.h"

struct found {
    struct timeline_entry *v; /* newest first */
    size_t n, cap;
};

static void read_segment(
    const struct str *text, const struct timeline_filter *f, size_t limit, struct found *found)
{
    size_t end = text->len;
    while (end > 0 && found->n < limit) {
        size_t stop = text->buf[end - 1] == '\n' ? end - 1 : end;
        size_t start = stop;
        while (start > 0 && text->buf[start - 1] != '\n')
            start--;
        struct timeline_entry t;
        if (timeline_line_parse(text->buf + start, stop - start, &t) && timeline_matches(&t, f)) {
            struct timeline_entry *slot = GROW(found->v, found->n, found->cap);
            *slot = t;
        }
        end = start;
    }
}

static void reverse(struct found *found)
{
    for (size_t i = 0; i < found->n / 2; i++) {
        struct timeline_entry t = found->v[i];
        found->v[i] = found->v[found->n - 1 - i];
        found->v[found->n - 1 - i] = t;
    }
}

int timeline_read(const char *dir, const struct timeline_filter *f, size_t limit,
    struct timeline_entry **ret, size_t *ret_len, struct err *e)
{
    uint64_t firsts[TIMELINE_SEGMENTS_SEEN];
    size_t n;
    struct found found = {0};
    int r = timeline_segments(dir, firsts, &n, e);
    if (r < 0)
        return err_wrap(e, "timeline");
    limit = MIN(limit, (size_t)TIMELINE_READ_MAX);
    for (size_t i = n; i > 0 && found.n < limit; i--) {
        if (i < n && firsts[i] <= f->after_seq + 1) /* everything older is before it */
            break;
        _cleanup_free_ char *path = timeline_segment_path(dir, firsts[i - 1]);
        _cleanup_str_ struct str text = STR_INIT;
        struct err gone = {0};
        r = file_read(path, 8u * TIMELINE_SEGMENT_BYTES, &text, &gone);
        if (r < 0 && gone.code == ERR_NOT_FOUND) /* rotated away meanwhile */
            break;
        if (r < 0) {
            free(found.v);
            *e = gone;
            return err_wrap(e, "timeline");
        }
        read_segment(&text, f, limit, &found);
    }
    reverse(&found);
    *ret = found.v;
    *ret_len = found.n;
    return 0;
}
