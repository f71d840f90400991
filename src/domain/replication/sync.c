/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/sync.h"

#include "base/str/str.h"

const char *sync_host(const json_t *doc)
{
    const json_t *hosts = json_object_get(json_object_get(doc, "sync"), "hosts");
    return json_string_value(json_array_get(hosts, 0));
}

static bool is_trying(const json_t *doc)
{
    return json_opt_bool(json_object_get(doc, "sync"), "try", false);
}

bool sync_waits(const json_t *doc)
{
    return sync_host(doc) || is_trying(doc);
}

static json_t *with(const json_t *doc, const char *host, bool trying, int64_t wall_ms)
{
    json_t *new = json_deep_copy(doc), *hosts = json_array();
    if (host)
        json_array_append_new(hosts, json_string(host));
    json_object_set_new(new, "sync", json_pack("{s:o,s:b,s:I}", "hosts", hosts, "try", (int)trying,
                                         "at_ms", (json_int_t)wall_ms));
    return new;
}

/* Since when it holds; 0: it does not. */
static void since(uint64_t *at, bool holds, uint64_t now_ms)
{
    *at = !holds ? 0 : *at ? *at : now_ms;
}

static bool for_long(uint64_t at, uint64_t now_ms, uint64_t ms)
{
    return at && now_ms - at >= ms;
}

static bool must_leave(const struct sync_run *run, const struct sync_facts *f, uint64_t now_ms)
{
    return f->stalled_ms >= SYNC_STALL_MS || for_long(run->away_ms, now_ms, SYNC_AWAY_MS);
}

json_t *sync_step(json_t *doc, struct sync_run *run, const struct sync_facts *f, uint64_t now_ms,
    int64_t wall_ms)
{
    const char *host = sync_host(doc);
    bool trying = is_trying(doc), member = f->member && (!host || str_eq(host, f->member));
    since(&run->follows_ms, member && f->follows, now_ms);
    since(&run->away_ms, !member || !f->follows, now_ms);
    since(&run->try_ms, trying && !host, now_ms);
    if (json_is_object(json_object_get(doc, "change"))) /* the source is on its way elsewhere */
        return json_incref(doc);
    if (!f->required)
        return sync_waits(doc) ? with(doc, NULL, false, wall_ms) : json_incref(doc);
    if (host)
        return must_leave(run, f, now_ms) ? with(doc, NULL, false, wall_ms) : json_incref(doc);
    if (trying && f->firm && f->clients && member && f->follows && f->stalled_ms < SYNC_STALL_MS)
        return with(doc, f->member, false, wall_ms);
    if (trying && (must_leave(run, f, now_ms) || for_long(run->try_ms, now_ms, SYNC_TRY_MS))) {
        run->again_ms = now_ms + SYNC_AGAIN_MS;
        return with(doc, NULL, false, wall_ms);
    }
    bool ready = for_long(run->follows_ms, now_ms, SYNC_STEADY_MS) && now_ms >= run->again_ms;
    return !trying && ready && f->source_writable ? with(doc, NULL, true, wall_ms)
                                                  : json_incref(doc);
}
