/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/secret/made.h"

#include "base/str/str.h"
#include "domain/secret/priv.h"

static json_t *versions_of(const json_t *doc)
{
    return json_object_get(doc, "versions");
}

static const json_t *newest_of(const json_t *doc)
{
    return secret_doc_version(doc, secret_doc_newest(doc));
}

const char *secret_phase_name(enum secret_phase p)
{
    static const char *const names[] = {
        [SECRET_STEADY] = "steady", [SECRET_PLACING] = "placing", [SECRET_OVERLAP] = "overlap"};
    return names[p];
}

bool secret_doc_made(const json_t *doc)
{
    return json_is_object(json_object_get(doc, "made"));
}

enum secret_phase secret_doc_phase(const json_t *doc)
{
    if (json_opt_bool(newest_of(doc), "waits", false))
        return SECRET_PLACING;
    return json_array_size(versions_of(doc)) > 1 ? SECRET_OVERLAP : SECRET_STEADY;
}

json_t *secret_doc_with_made(json_t *doc, const struct secret_made *m)
{
    json_t *list = json_copy(versions_of(doc));
    size_t n = json_array_size(list);
    json_t *newest = json_copy(json_array_get(list, n - 1));
    json_object_set_new(newest, "public", json_pack("{s:s,s:s}", "user", m->module, "hash", m->hash));
    if (n > 1)
        json_object_set_new(newest, "waits", json_true());
    json_array_set_new(list, n - 1, newest);
    while (json_array_size(list) > SECRET_ALTERNATIVES)
        json_array_remove(list, 0);
    json_object_set_new(doc, "versions", list);
    json_object_set_new(doc, "made",
        json_pack("{s:s,s:s,s:I}", "database", m->database, "module", m->module, "overlap_ms",
            (json_int_t)m->overlap_ms));
    return doc;
}

int secret_made_may_rotate(const json_t *doc, bool taken, struct err *e)
{
    const char *name = json_opt_str(doc, "name", "");
    enum secret_phase phase = secret_doc_phase(doc);
    if (phase == SECRET_STEADY || (phase == SECRET_OVERLAP && taken))
        return 0;
    err_set(e, ERR_CONFLICT, "%s is being rotated: version %lld is %s", name,
        (long long)secret_doc_newest(doc),
        phase == SECRET_PLACING ? "not taken by all of the database's servers yet"
                                : "not in place on every host yet");
    err_fix(e, "`mcp secret list` shows where it is; try again when it is done");
    return ERR_CONFLICT;
}

json_t *secret_made_hashes(const json_t *doc)
{
    json_t *list = json_array(), *versions = versions_of(doc);
    for (size_t i = json_array_size(versions); i-- > 0;) {
        json_t *public = json_object_get(json_array_get(versions, i), "public");
        json_t *hash = json_object_get(public, "hash");
        if (json_is_string(hash) && json_array_size(list) < SECRET_ALTERNATIVES)
            json_array_append(list, hash);
    }
    return list;
}

/* Holders get it from now on. */
static json_t *delivered(const json_t *doc, int64_t now_ms)
{
    json_t *copy = json_copy((json_t *)doc), *list = json_copy(versions_of(doc));
    size_t last = json_array_size(list) - 1;
    json_t *newest = json_copy(json_array_get(list, last));
    json_object_del(newest, "waits");
    json_object_set_new(newest, "since_ms", json_integer((json_int_t)now_ms));
    json_array_set_new(list, last, newest);
    json_object_set_new(copy, "versions", list);
    return copy;
}

static bool is_over(const json_t *doc, const struct secret_made_facts *f)
{
    int64_t overlap_ms = json_opt_int(json_object_get(doc, "made"), "overlap_ms", SECRET_OVERLAP_MS);
    int64_t age_ms = f->now_ms - json_opt_int(newest_of(doc), "since_ms", 0);
    return (f->taken && age_ms >= overlap_ms) || age_ms >= overlap_ms + SECRET_STRAGGLER_MS;
}

json_t *secret_made_step(const json_t *doc, const struct secret_made_facts *f,
    const struct secret_change_note *note, const char **ret_what)
{
    enum secret_phase phase = secret_doc_phase(doc);
    json_t *next = NULL;
    if (f->v != secret_doc_newest(doc))
        return NULL;
    if (phase == SECRET_PLACING && f->placed) {
        *ret_what = "the database takes it, modules get it; the older one is valid still";
        next = delivered(doc, f->now_ms);
    } else if (phase == SECRET_OVERLAP && is_over(doc, f)) {
        *ret_what = "the older one is no longer valid";
        next = secret_doc_pruned(doc);
    }
    if (next)
        secret_history_add(next, note,
            json_sprintf("version %lld: %s", (long long)secret_doc_newest(doc), *ret_what));
    return next;
}
