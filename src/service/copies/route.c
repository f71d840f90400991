/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/priv.h"

#include "base/str/str.h"

#include <unistd.h>

#define SLACK_S 5 /* a source that is idle writes its heartbeat each second */

/* The next log that begins where we are and goes on: whatever server wrote it. */
static bool next_log(const struct copies_log *v, size_t n, const char *reached, size_t *ret)
{
    for (size_t i = 0; i < n; i++)
        if (*v[i].to && !copies_is_behind(v[i].to, reached)
            && copies_is_behind(v[i].from, reached)) {
            *ret = i;
            return true;
        }
    return false;
}

/* A log that may be what is missing. */
static const struct copies_log *suspect(const struct copies_log *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (*v[i].why || (v[i].torn && v[i].packed))
            return &v[i];
    return NULL;
}

static int too_short(const struct copies_log *v, size_t n, const char *end, const char *wanted,
    struct err *e)
{
    const struct copies_log *bad = suspect(v, n);
    err_set(e, ERR_NOT_FOUND, "the backup and the logs end at %s, before %s%s%s%s%s", end, wanted,
        bad ? "; damaged: " : "", bad ? bad->path : "", bad && *bad->why ? ": " : "",
        bad ? bad->why : "");
    err_fix(e, "is the vault complete? `mcp data vault` lists it and its gaps; another host may have "
               "more");
    return e->code;
}

/* Where in this log the second, or the transaction, lies; *ret_past false: behind it. */
static int find_in(const struct copies_log *log, const struct copies_stop_at *at,
    const char *scratch, struct sql_stop *stop, struct copies_route *route, bool *ret_past,
    struct err *e)
{
    char to[COPIES_GTID_MAX];
    uint32_t until_s = (uint32_t)MIN(at->time_s, (int64_t)UINT32_MAX);
    int r = copies_log_unpack(log, scratch, stop, e);
    if (r >= 0)
        r = copies_log_before(scratch, log->whole, until_s, at->gtid, to, ret_past, e);
    unlink(scratch);
    if (r < 0 || !*ret_past)
        return r;
    str_copy(route->stop, sizeof route->stop, route->end);
    return copies_union(route->stop, to, e);
}

static int by_time(const struct copies_log *v, size_t n, const struct copies_stop_at *at,
    const char *scratch, struct sql_stop *stop, struct copies_route *route, struct err *e)
{
    size_t i;
    int64_t time_s = at->time_s;
    int64_t last_s = 0;
    bool past = false;
    while (!past && next_log(v, n, route->end, &i) && !(v[i].first_s && v[i].first_s >= time_s)) {
        last_s = v[i].last_s;
        if (last_s >= time_s && find_in(&v[i], at, scratch, stop, route, &past, e) < 0)
            return e->code;
        route->logs[route->n++] = i;
        if (copies_union(route->end, past ? route->stop : v[i].to, e) < 0)
            return e->code;
    }
    bool reaches = past || last_s + SLACK_S >= time_s || next_log(v, n, route->end, &i);
    return reaches ? 0 : too_short(v, n, route->end, "that time", e);
}

/* The place in the log of this transaction: where a domain is not spoken of, it goes as far as the
 * source was then; where it is, not further than was said. */
static int end_at(const struct copies_log *log, const struct copies_stop_at *at, const char *scratch,
    struct sql_stop *stop, struct copies_route *route, struct err *e)
{
    bool past = false;
    if (find_in(log, at, scratch, stop, route, &past, e) < 0)
        return e->code;
    if (!past)
        return err_set(e, ERR_INVALID, "%s does not hold what it says: %s", log->path, at->gtid);
    if (copies_replace(route->stop, at->gtid, e) < 0)
        return e->code;
    str_copy(route->end, sizeof route->end, route->stop);
    return 0;
}

static int by_gtid(const struct copies_log *v, size_t n, const struct copies_stop_at *at,
    const char *scratch, struct sql_stop *stop, struct copies_route *route, struct err *e)
{
    size_t i;
    while (!copies_is_behind(at->gtid, route->end) && next_log(v, n, route->end, &i)) {
        route->logs[route->n++] = i;
        bool last = copies_is_behind(at->gtid, v[i].to);
        if (last && end_at(&v[i], at, scratch, stop, route, e) < 0)
            return e->code;
        if (!last && copies_union(route->end, v[i].to, e) < 0)
            return e->code;
    }
    return copies_is_behind(at->gtid, route->end) ? 0 : too_short(v, n, route->end, at->gtid, e);
}

static int to_the_end(
    const struct copies_log *v, size_t n, struct copies_route *route, struct err *e)
{
    size_t i;
    while (next_log(v, n, route->end, &i)) {
        route->logs[route->n++] = i;
        if (copies_union(route->end, v[i].to, e) < 0)
            return e->code;
    }
    return 0;
}

int copies_route_find(const struct copies_log *v, size_t n, const char *begin,
    const struct copies_stop_at *at, const char *scratch, struct sql_stop *stop,
    struct copies_route *ret, struct err *e)
{
    *ret = (struct copies_route){0};
    str_copy(ret->end, sizeof ret->end, begin);
    if (at && at->gtid && copies_is_past(begin, at->gtid)) {
        err_set(e, ERR_REFUSED, "the backup holds %s, which is after %s", begin, at->gtid);
        err_fix(e, "an older backup is needed: `mcp backup list`");
        return e->code;
    }
    if (at && at->time_s)
        return by_time(v, n, at, scratch, stop, ret, e);
    return at && at->gtid ? by_gtid(v, n, at, scratch, stop, ret, e) : to_the_end(v, n, ret, e);
}
