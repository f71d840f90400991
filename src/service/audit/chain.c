/* SPDX-License-Identifier: Apache-2.0 */
/* From the journal into the chain: read the head, link what is pending to it, write both if the
 * head is still the same. One at a time. */
#include "service/audit/priv.h"

#include "base/str/str.h"

#define BATCH 30 /* entries of one transaction (KV_TXN_MAX with room for the head) */
#define RETRY_MS 2000u
#define RACE_MS 20u /* another host's control was first */
#define RECENT_MAX 64

struct append {
    struct audit *a;
    json_t *entries; /* linked */
    size_t drop;     /* pending entries that are in the chain when this is done */
};

char *audit_entry_key(const struct audit *a, int64_t seq)
{
    return xasprintf("%s%012lld", a->entry_prefix, (long long)seq);
}

static void done(struct audit *a, uint64_t again_ms)
{
    a->busy = false;
    if (a->closed)
        audit_chain_free(a);
    else if (json_array_size(a->pending) > 0)
        audit_chain_kick(a, again_ms);
}

/* ---- the head ---- */

static json_t *parse_head(const struct kv_pair *pairs, size_t n)
{
    json_t *head = NULL;
    struct err ignored;
    if (n && json_parse(pairs[0].value, pairs[0].len, &head, &ignored) < 0)
        head = NULL;
    return head ? head
                : json_pack("{s:i,s:i,s:s,s:i,s:s,s:[]}", "format", AUDIT_FORMAT, "seq", 0, "hash",
                    AUDIT_START, "first_seq", 1, "first_previous", AUDIT_START, "recent");
}

static bool is_recent(const json_t *head, const json_t *entry)
{
    size_t i;
    json_t *id;
    json_array_foreach (json_object_get(head, "recent"), i, id)
        if (str_eq(json_string_value(id), json_opt_str(entry, "id", NULL)))
            return true;
    return false;
}

static void remember(json_t *head, const json_t *entry)
{
    json_t *recent = json_object_get(head, "recent");
    json_array_append(recent, json_object_get(entry, "id"));
    if (json_array_size(recent) > RECENT_MAX)
        json_array_remove(recent, 0);
}

/* ---- dropping the oldest ---- */

static int64_t surplus(const struct audit *a, const json_t *head)
{
    return json_opt_int(head, "seq", 0) - json_opt_int(head, "first_seq", 1) + 1 - (int64_t)a->kept;
}

struct trim {
    struct audit *a;
    json_t *head;
    int64_t head_revision, n;
};

static void end_trim(struct trim *t)
{
    struct audit *a = t->a;
    json_decref(t->head);
    free(t);
    done(a, 0);
}

static void on_trimmed(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    end_trim(ctx); /* what failed is done after a later entry */
}

static void on_last_dropped(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct trim *t = ctx;
    _cleanup_json_ json_t *last = NULL;
    struct err ignored;
    if (e || n == 0 || json_parse(pairs[0].value, pairs[0].len, &last, &ignored) < 0) {
        end_trim(t);
        return;
    }
    int64_t first = json_opt_int(t->head, "first_seq", 1);
    struct kv_op ops[BATCH + 1];
    char *keys[BATCH];
    for (int64_t i = 0; i < t->n; i++) {
        keys[i] = audit_entry_key(t->a, first + i);
        ops[i] = (struct kv_op){.key = keys[i]};
    }
    json_object_set_new(t->head, "first_seq", json_integer(first + t->n));
    json_object_set(t->head, "first_previous", json_object_get(last, "hash"));
    _cleanup_free_ char *text = json_text(t->head);
    ops[t->n] = (struct kv_op){.key = t->a->head_key, .value = text};
    struct kv_compare cmp = {t->a->head_key, t->head_revision};
    kv_txn(t->a->kv, &cmp, 1, ops, (size_t)t->n + 1, on_trimmed, t);
    for (int64_t i = 0; i < t->n; i++)
        free(keys[i]);
}

static void on_head_to_trim(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct audit *a = ctx;
    _cleanup_json_ json_t *head = e ? NULL : parse_head(pairs, n);
    if (!head || a->closed || surplus(a, head) <= 0) {
        done(a, 0);
        return;
    }
    struct trim *t = xcalloc(1, sizeof *t);
    *t = (struct trim){.a = a,
        .head = json_incref(head),
        .head_revision = pairs[0].mod_revision,
        .n = MIN(surplus(a, head), (int64_t)BATCH)};
    _cleanup_free_ char *key = audit_entry_key(a, json_opt_int(head, "first_seq", 1) + t->n - 1);
    kv_get(a->kv, key, on_last_dropped, t);
}

/* ---- appending ---- */

static void on_written(void *ctx, bool succeeded, int64_t revision, const struct err *e)
{
    struct append *p = ctx;
    struct audit *a = p->a;
    size_t i;
    json_t *entry;
    if (succeeded) {
        for (i = 0; i < p->drop; i++)
            json_array_remove(a->pending, 0);
        audit_journal_rewrite(a);
        json_array_foreach (p->entries, i, entry)
            if (a->chained && !a->closed)
                a->chained(a->ctx, entry);
    }
    json_decref(p->entries);
    free(p);
    if (succeeded && !a->closed)
        kv_get(a->kv, a->head_key, on_head_to_trim, a);
    else
        done(a, e ? RETRY_MS : RACE_MS);
}

/* Links what is pending behind the head, which is changed accordingly. */
static struct append *link_pending(struct audit *a, json_t *head)
{
    struct append *p = xcalloc(1, sizeof *p);
    *p = (struct append){.a = a, .entries = json_array()};
    while (p->drop < json_array_size(a->pending) && json_array_size(p->entries) < BATCH) {
        const json_t *entry = json_array_get(a->pending, p->drop++);
        if (is_recent(head, entry))
            continue;
        json_t *linked = json_deep_copy(entry);
        audit_link(linked, json_opt_int(head, "seq", 0) + 1, json_opt_str(head, "hash", ""));
        json_object_set(head, "seq", json_object_get(linked, "seq"));
        json_object_set(head, "hash", json_object_get(linked, "hash"));
        remember(head, linked);
        json_array_append_new(p->entries, linked);
    }
    return p;
}

static void on_head(
    void *ctx, const struct kv_pair *pairs, size_t n, int64_t revision, const struct err *e)
{
    struct audit *a = ctx;
    if (e || a->closed) {
        done(a, RETRY_MS);
        return;
    }
    _cleanup_json_ json_t *head = parse_head(pairs, n);
    struct append *p = link_pending(a, head);
    struct kv_compare cmp = {a->head_key, n ? pairs[0].mod_revision : 0};
    struct kv_op ops[BATCH + 1];
    char *keys[BATCH], *texts[BATCH];
    size_t count = json_array_size(p->entries);
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(p->entries, i);
        keys[i] = audit_entry_key(a, json_opt_int(entry, "seq", 0));
        texts[i] = json_text(entry);
        ops[i] = (struct kv_op){.key = keys[i], .value = texts[i]};
    }
    _cleanup_free_ char *head_text = json_text(head);
    ops[count] = (struct kv_op){.key = a->head_key, .value = head_text};
    kv_txn(a->kv, &cmp, 1, ops, count + 1, on_written, p);
    for (size_t i = 0; i < count; i++) {
        free(keys[i]);
        free(texts[i]);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct audit *a = CONTAINER_OF(t, struct audit, timer);
    if (a->busy || json_array_size(a->pending) == 0)
        return;
    a->busy = true;
    kv_get(a->kv, a->head_key, on_head, a);
}

void audit_chain_kick(struct audit *a, uint64_t after_ms)
{
    if (!a->busy)
        uv_timer_start(&a->timer, on_timer, after_ms, 0);
}
