/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/hygiene.h"

#include "base/str/str.h"
#include "base/units/units.h"

#include <string.h>

#define NAMED_MAX 8u /* of a list in a text */
#define LOGIN_TRIES 3u /* a source that is being formed refuses one or two */
#define CERT_LOW 4 /* a quarter of its life: two tries to renew it have failed */

static const json_t *part(const struct hygiene_input *in, const char *name)
{
    return json_object_get(in->facts, name);
}

/* "a, b, c and 4 more" */
static void add_names(const json_t *list, struct str *out)
{
    size_t i, n = json_array_size(list);
    json_t *j;
    json_array_foreach ((json_t *)list, i, j)
        if (i < NAMED_MAX)
            str_addf(out, "%s%s", i ? ", " : "", json_is_string(j) ? json_string_value(j) : "?");
    if (n > NAMED_MAX)
        str_addf(out, " and %zu more", n - NAMED_MAX);
}

static const char *duration(uint64_t ms, char out[UNITS_TEXT_SIZE])
{
    units_format_duration(ms < 1000 ? ms : ms / 1000 * 1000, out);
    return out;
}

/* ---- does a replica refuse writes? */

static void judge_canary(const struct hygiene_input *in, const json_t *c, json_t *list)
{
    _cleanup_str_ struct str who = STR_INIT;
    _cleanup_free_ char *errant = xasprintf(
        "`mcp data errant %s` shows what was written here and is not the source's", in->database);
    if (json_opt_bool(c, "closed", false)) {
        data_finding(list, "writable", "error", errant,
            "this replica took a write of an ordinary account; read_only is set again, and the "
            "next write was refused");
        return;
    }
    add_names(json_object_get(c, "powerful"), &who);
    data_finding(list, "writable", "error",
        "REVOKE `READ_ONLY ADMIN`, and SUPER, from whoever has it; PUBLIC gives it to everybody",
        "this replica takes writes of an ordinary account, read_only notwithstanding%s%s",
        who.len ? ": " : "", str_cstr(&who));
}

static void judge_writable(const struct hygiene_input *in, json_t *list)
{
    const json_t *c = part(in, "canary"), *writes = json_object_get(c, "writes");
    if (in->duty != REPLICATION_REPLICA)
        return;
    if (in->reached && !in->read_only)
        data_finding(list, "writable", "error", "it is made read-only at once; find who opened it",
            "this replica takes writes: read_only is off");
    if (json_is_true(writes))
        judge_canary(in, c, list);
    else if (c && json_is_null(writes) && in->reached)
        data_finding(list, "read-only-unproven", "warning",
            "the account mcp_probe must be able to log in and to insert into mcp_dts.canary",
            "that writes are refused here could not be proven: %s (error %lld)",
            json_opt_str(c, "error", "?"), (long long)json_opt_int(c, "number", 0));
}

/* ---- can it serve? */

static void judge_serving(const struct hygiene_input *in, json_t *list)
{
    const json_t *s = part(in, "serving");
    const char *error = json_opt_str(s, "error", NULL);
    int64_t limit = json_opt_int(s, "max_connections", 0);
    if (in->duty != REPLICATION_REPLICA || !s)
        return;
    if (error && in->reached)
        data_finding(list, "cannot-serve", "error", "reads and a switchover to it would fail",
            "it cannot answer a simple query: %s", error);
    if (limit && in->source_connections && limit != in->source_connections)
        data_finding(list, "max-connections", "warning",
            "`connections` of the declaration sets both; a server that was changed by hand takes it "
            "at its next start",
            "it takes %lld connections, the source %lld: as the source it would refuse some",
            (long long)limit, (long long)in->source_connections);
}

static void judge_events(const struct hygiene_input *in, json_t *list)
{
    const char *events = json_opt_str(part(in, "serving"), "event_scheduler", "OFF");
    if (in->duty == REPLICATION_REPLICA && str_eq(events, "ON"))
        data_finding(list, "event-scheduler", "warning", "SET GLOBAL event_scheduler=OFF",
            "the event scheduler runs: at a replica its events write what the source has not");
}

/* ---- who replicates, who writes */

static bool is_member(const struct hygiene_input *in, uint64_t id, const char *address)
{
    size_t i;
    json_t *m;
    json_array_foreach ((json_t *)in->members, i, m)
        if ((id && json_opt_int(m, "server_id", 0) == (int64_t)id)
            || (address && str_eq(json_opt_str(m, "address", NULL), address)))
            return true;
    return false;
}

static void add_text(struct str *out, const char *text)
{
    str_addf(out, "%s%s", out->len ? ", " : "", text);
}

static void judge_replicas(const struct hygiene_input *in, json_t *list)
{
    _cleanup_str_ struct str unknown = STR_INIT;
    size_t i;
    json_t *r;
    json_array_foreach (json_object_get(part(in, "survey"), "replicas"), i, r) {
        int64_t id = json_opt_int(r, "id", 0);
        _cleanup_free_ char *text = xasprintf(
            "server %lld at %s", (long long)id, json_opt_str(r, "host", "an unknown address"));
        if (id > 0 && !is_member(in, (uint64_t)id, NULL))
            add_text(&unknown, text);
    }
    json_array_foreach (json_object_get(part(in, "survey"), "feeds"), i, r) {
        const char *host = json_opt_str(r, "host", "");
        if (*host && !str_eq(host, "localhost") && !is_member(in, 0, host))
            add_text(&unknown, host);
    }
    if (unknown.len)
        data_finding(list, "unknown-replica", "error",
            "end it, or declare it; who has a certificate of the kind `data` may replicate",
            "somebody who is not a member of this database replicates from here: %s",
            str_cstr(&unknown));
}

/* Or still says who it is. */
static bool is_declared(const json_t *accounts, const char *user)
{
    size_t i;
    json_t *a;
    if (str_eq(user, "unauthenticated user"))
        return true;
    json_array_foreach ((json_t *)accounts, i, a)
        if (str_eq(json_opt_str(a, "user", NULL), user))
            return true;
    return false;
}

static void judge_writers(const struct hygiene_input *in, json_t *list)
{
    _cleanup_str_ struct str who = STR_INIT;
    size_t i;
    json_t *j;
    json_array_foreach (json_object_get(part(in, "survey"), "writers"), i, j) {
        _cleanup_free_ char *text =
            xasprintf("server %lld", (long long)json_integer_value(j));
        add_text(&who, text);
    }
    if (json_is_array(in->accounts))
        json_array_foreach (json_object_get(part(in, "survey"), "sessions"), i, j) {
            const char *user = json_opt_str(j, "user", "");
            _cleanup_free_ char *text = xasprintf("%s@%s", user, json_opt_str(j, "host", "?"));
            if (!is_declared(in->accounts, user) && who.len < 512)
                add_text(&who, text);
        }
    if (who.len)
        data_finding(list, "unknown-writer", "error",
            "`needs: [{data: …}]` gives a module its account; everything else does not belong here",
            "somebody whom nobody declared writes, or may write, here: %s", str_cstr(&who));
}

static void judge_source(const struct hygiene_input *in, json_t *list)
{
    _cleanup_str_ struct str other = STR_INIT;
    size_t i;
    json_t *j;
    bool wrong = in->duty == REPLICATION_SOURCE || !str_eq(in->follows, in->source_address)
                 || in->follows_port != in->source_port;
    if (in->reached && in->attached && wrong)
        str_addf(&other, "%s:%u", in->follows, in->follows_port);
    json_array_foreach (json_object_get(part(in, "survey"), "named"), i, j) {
        _cleanup_free_ char *text = xasprintf(
            "%s (connection %s)", json_opt_str(j, "host", "?"), json_opt_str(j, "name", "?"));
        add_text(&other, text);
    }
    if (other.len)
        data_finding(list, "wrong-source", "error",
            "the platform attaches its own connection by itself; a named one: STOP SLAVE 'name'; "
            "RESET SLAVE 'name' ALL",
            "it replicates from %s; by the document %s (%s:%u) is the source", str_cstr(&other),
            in->source_host, in->source_address, in->source_port);
}

/* ---- tables, applying */

static void judge_tables(const struct hygiene_input *in, json_t *list)
{
    const json_t *tables = part(in, "tables");
    _cleanup_str_ struct str names = STR_INIT;
    if (in->duty != REPLICATION_SOURCE || !json_array_size(tables))
        return;
    add_names(tables, &names);
    data_finding(list, "no-primary-key", "warning",
        "ALTER TABLE … ADD PRIMARY KEY (…): each changed row costs replicas a scan of the table",
        "tables without a primary key: %s", str_cstr(&names));
}

/* With a fix that fits what is known. */
static void judge_apply(const struct hygiene_input *in, json_t *list)
{
    const json_t *a = part(in, "apply"), *b = json_object_get(a, "blocker");
    const char *table = json_opt_str(a, "table", ""), *state = json_opt_str(a, "state", "");
    char waits[UNITS_TEXT_SIZE];
    _cleanup_str_ struct str why = STR_INIT, fix = STR_INIT;
    if (in->duty != REPLICATION_REPLICA || !in->receiving
        || in->waiting_ms < MAX(in->objective_ms, (uint64_t)HYGIENE_APPLY_MS) + in->delay_ms)
        return;
    if (json_is_object(b)) {
        str_addf(&why, "; session %lld of %s holds it up for %lld s: %s",
            (long long)json_opt_int(b, "id", 0), json_opt_str(b, "user", "?"),
            (long long)json_opt_int(b, "seconds", 0), json_opt_str(b, "statement", ""));
        str_addf(&fix, "KILL %lld, at this replica", (long long)json_opt_int(b, "id", 0));
    } else if (*table) {
        str_addf(&why, "; it looks for rows of %s, which has no primary key", table);
        str_addf(&fix, "ALTER TABLE %s ADD PRIMARY KEY (…), at the source", table);
    } else {
        str_addf(&why, "%s%s", *state ? "; it says: " : "", state);
        str_add(&fix, "more memory or a faster disk here; fewer, smaller transactions there");
    }
    data_finding(list, "slow-apply", "warning", str_cstr(&fix),
        "what has come from the source waits %s to be applied%s",
        duration(in->waiting_ms - in->delay_ms, waits), str_cstr(&why));
}

/* ---- clocks, certificates, logins, commits */

static void judge_clock(const struct hygiene_input *in, json_t *list)
{
    if (in->duty != REPLICATION_REPLICA || !in->reached)
        return;
    if (in->clock_jumped)
        data_finding(list, "clock-uncertain", "warning",
            "it clears when the hosts have compared their clocks again; look after their time service",
            "a clock has jumped, here or at %s: the lag is uncertain", in->source_host);
    else if (in->clock_unknown_ms >= HYGIENE_CLOCKS_MS)
        data_finding(list, "clock-uncertain", "warning",
            "the controls of both hosts must reach each other, within 50 ms of certainty",
            "the clocks of here and of %s are not compared well enough: the lag is uncertain",
            in->source_host);
}

static void judge_certificate(const struct hygiene_input *in, json_t *list)
{
    char left[UNITS_TEXT_SIZE];
    if (in->cert_life_ms <= 0 || in->cert_left_ms >= in->cert_life_ms / CERT_LOW)
        return;
    if (in->cert_left_ms <= 0)
        data_finding(list, "certificate", "error", "`mcp status` says why it was not renewed",
            "its certificate for replication has ended: nobody can begin to replicate with it");
    else
        data_finding(list, "certificate", "warning", "`mcp status` says why it was not renewed",
            "its certificate for replication ends in %s",
            duration((uint64_t)in->cert_left_ms, left));
}

static void judge_login(const struct hygiene_input *in, json_t *list)
{
    char next[UNITS_TEXT_SIZE];
    if (in->duty == REPLICATION_REPLICA && in->refused && in->tries >= LOGIN_TRIES)
        data_finding(list, "login-refused", "error",
            "the account mcp_repl at the source, and the certificates of both; it is tried slowly, and "
            "at once when certificates are renewed",
            "%s refuses this replica's login (error %u: %.200s); tried %u times, again in %s",
            in->source_host, in->refused_number, in->refused_text ? in->refused_text : "",
            in->tries, duration(in->next_ms, next));
}

static void judge_semisync(const struct hygiene_input *in, json_t *list)
{
    const json_t *s = part(in, "semisync");
    if (in->duty != REPLICATION_SOURCE || !in->semi_sync || !s || in->read_only)
        return;
    if (!json_opt_bool(s, "on", false) || !json_opt_bool(s, "active", false))
        data_finding(list, "semi-sync-degraded", "warning",
            "it returns by itself when a replica acknowledges in time; `mcp data status` shows which "
            "one does not replicate",
            "commits wait for no replica (%lld follow): declared semi-sync, it is asynchronous now",
            (long long)json_opt_int(s, "clients", 0));
}

void hygiene_judge(const struct hygiene_input *in, json_t *list)
{
    static void (*const judges[])(const struct hygiene_input *, json_t *) = {judge_writable,
        judge_serving, judge_events, judge_replicas, judge_writers, judge_source, judge_tables,
        judge_apply, judge_clock, judge_certificate, judge_login, judge_semisync};
    for (size_t i = 0; i < ARRAY_SIZE(judges); i++)
        judges[i](in, list);
}
