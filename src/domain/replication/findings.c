/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/findings.h"

#include "base/str/str.h"

#include <string.h>

static const json_t *find(const json_t *list, const char *id)
{
    size_t i;
    json_t *f;
    json_array_foreach ((json_t *)list, i, f)
        if (str_eq(json_opt_str(f, "id", NULL), id))
            return f;
    return NULL;
}

void data_finding(json_t *list, const char *id, const char *severity, const char *fix,
    const char *fmt, ...)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (json_array_size(list) >= FINDINGS_MAX || find(list, id))
        return;
    va_list ap;
    va_start(ap, fmt);
    str_addv(&text, fmt, ap);
    va_end(ap);
    /* What a server said may be no UTF-8. */
    json_t *f = json_pack("{s:s,s:s,s:s,s:s}", "id", id, "severity", severity, "text",
        str_cstr(&text), "fix", fix);
    json_array_append_new(list, f ? f : json_pack("{s:s,s:s,s:s,s:s}", "id", id, "severity",
                                            severity, "text", "(not readable)", "fix", ""));
}

static bool is_told(const json_t *f)
{
    return strcmp(json_opt_str(f, "severity", ""), "info") != 0;
}

static void drop_gone(json_t *book, uint64_t now_ms, findings_told_fn told, void *ctx)
{
    const char *id;
    void *next;
    json_t *entry;
    json_object_foreach_safe (book, next, id, entry) {
        uint64_t seen = (uint64_t)json_opt_int(entry, "seen_ms", 0);
        if (now_ms - seen < FINDINGS_HOLD_MS)
            continue;
        const json_t *f = json_object_get(entry, "finding");
        if (is_told(f))
            told(ctx, f, false);
        json_object_del(book, id);
    }
}

void findings_step(
    json_t *book, const json_t *list, uint64_t now_ms, findings_told_fn told, void *ctx)
{
    size_t i;
    json_t *f;
    json_array_foreach ((json_t *)list, i, f) {
        const char *id = json_opt_str(f, "id", "");
        bool is_new = !json_object_get(book, id);
        json_object_set_new(
            book, id, json_pack("{s:O,s:I}", "finding", f, "seen_ms", (json_int_t)now_ms));
        if (is_new && is_told(f))
            told(ctx, f, true);
    }
    drop_gone(book, now_ms, told, ctx);
}

json_t *findings_shown(const json_t *book)
{
    static const char *const order[] = {"error", "warning", "info"};
    json_t *list = json_array(), *entry;
    const char *id;
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        json_object_foreach ((json_t *)book, id, entry) {
            json_t *f = json_object_get(entry, "finding");
            if (str_eq(json_opt_str(f, "severity", ""), order[i]))
                json_array_append(list, f);
        }
    return list;
}
