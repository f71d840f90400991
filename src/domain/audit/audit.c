/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/audit/audit.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

static const char *text(const char *s)
{
    return s ? s : "";
}

json_t *audit_entry(const struct audit_draft *d)
{
    static const char *const outcomes[] = {"accepted", "refused", "failed"};
    char stamp[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(d->wall_ms, stamp);
    ASSERT((size_t)d->outcome < ARRAY_SIZE(outcomes));
    json_t *j = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "format", AUDIT_FORMAT,
        "id", d->id, "time", stamp, "who", text(d->who), "from", text(d->from), "host",
        text(d->host), "action", text(d->action), "subject", text(d->subject), "outcome",
        outcomes[d->outcome], "reason", text(d->reason), "of", text(d->of));
    ASSERT(j);
    return j;
}

static void hash_of(const json_t *entry, char ret[DIGEST_SIZE])
{
    _cleanup_json_ json_t *bare = json_copy((json_t *)entry);
    json_object_del(bare, "hash");
    _cleanup_free_ char *canonical = json_text(bare);
    digest_mem(canonical, strlen(canonical), ret);
}

void audit_link(json_t *entry, int64_t seq, const char *previous)
{
    char hash[DIGEST_SIZE];
    json_object_set_new(entry, "seq", json_integer(seq));
    json_object_set_new(entry, "previous", json_string(previous));
    hash_of(entry, hash);
    json_object_set_new(entry, "hash", json_string(hash));
}

static int check(
    const json_t *entry, int64_t seq, const char *previous, char ret[DIGEST_SIZE], struct err *e)
{
    hash_of(entry, ret);
    if (json_opt_int(entry, "seq", -1) != seq)
        return err_set(e, ERR_INVALID, "entry %lld is missing", (long long)seq);
    if (!str_eq(json_opt_str(entry, "previous", NULL), previous))
        return err_set(
            e, ERR_INVALID, "entry %lld does not follow the one before it", (long long)seq);
    if (!str_eq(json_opt_str(entry, "hash", NULL), ret))
        return err_set(e, ERR_INVALID, "entry %lld was changed", (long long)seq);
    return 0;
}

int audit_verify(const json_t *entries, int64_t seq, const char *previous,
    char ret_last[DIGEST_SIZE], struct err *e)
{
    char last[DIGEST_SIZE], hash[DIGEST_SIZE];
    size_t i;
    json_t *entry;
    str_copy(last, sizeof last, previous);
    json_array_foreach (entries, i, entry) {
        int r = check(entry, seq + (int64_t)i, last, hash, e);
        if (r < 0)
            return r;
        str_copy(last, sizeof last, hash);
    }
    if (ret_last)
        str_copy(ret_last, DIGEST_SIZE, last);
    return 0;
}
