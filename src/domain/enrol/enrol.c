/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/enrol/enrol.h"

#include "base/clock/clock.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"

#include <string.h>

static int refuse(struct err *e, const char *fix, const char *fmt, ...) PRINTF_LIKE(3, 4);

static int refuse(struct err *e, const char *fix, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(e, ERR_REFUSED, "%s", text);
    err_fix(e, "%s", fix);
    return ERR_REFUSED;
}

#define NEW_TOKEN "`mcp host token` on a host of the platform makes another one"

int enrol_check_token(const json_t *doc, const struct token *t, int64_t now_ms, struct err *e)
{
    char hash[TOKEN_HASH_SIZE];
    token_hash(t->secret, hash);
    const char *kept = json_opt_str(doc, "hash", "");
    if (!doc || strlen(kept) != strlen(hash) || !str_mem_eq_const(kept, hash, strlen(hash)))
        return refuse(e, NEW_TOKEN, "the platform knows no such token");
    const json_t *used = json_object_get(doc, "used");
    if (json_is_object(used)) {
        char when[CLOCK_STAMP_SIZE];
        clock_format_rfc3339(json_opt_int(used, "at_ms", 0), when);
        return refuse(e, NEW_TOKEN, "the token was used already, by %s from %s at %s",
            json_opt_str(used, "host", "?"), json_opt_str(used, "from", "?"), when);
    }
    int64_t expires = json_opt_int(doc, "expires_ms", 0);
    if (now_ms >= expires) {
        char when[CLOCK_STAMP_SIZE];
        clock_format_rfc3339(expires, when);
        return refuse(e, NEW_TOKEN, "the token expired at %s", when);
    }
    return 0;
}

int enrol_check_clock(int64_t theirs_ms, int64_t ours_ms, struct err *e)
{
    int64_t off = theirs_ms - ours_ms;
    if (off <= ENROL_CLOCK_MS && off >= -ENROL_CLOCK_MS)
        return 0;
    char theirs[CLOCK_STAMP_SIZE], ours[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(theirs_ms, theirs);
    clock_format_rfc3339(ours_ms, ours);
    return refuse(e, "set the clock (chrony, systemd-timesyncd) and join again",
        "the clocks differ by more than %d s: the machine that joins says %s, the platform %s",
        ENROL_CLOCK_MS / 1000, theirs, ours);
}

static bool has_address(const struct enrol_request *rq, const struct model_host *h)
{
    for (size_t i = 0; i < rq->n_addresses; i++)
        if (ip_eq(&rq->addresses[i], &h->addresses.v[0]))
            return true;
    return false;
}

static void list_free(const struct enrol_facts *f, struct str *out)
{
    for (size_t i = 0; i < f->model->n_hosts; i++)
        if (!json_object_get(f->joined, f->model->hosts[i].name))
            str_addf(out, "%s%s", out->len ? ", " : "", f->model->hosts[i].name);
}

/* By its own word, by the token's, by the address that is declared. */
static int choose(const struct enrol_facts *f, const struct enrol_request *rq,
    const struct model_host **ret, struct err *e)
{
    const char *bound = json_opt_str(f->token, "host", NULL);
    const char *name = rq->host ? rq->host : bound;
    if (bound && rq->host && strcmp(bound, rq->host) != 0)
        return refuse(e, NEW_TOKEN, "the token is for the host %s, not for %s", bound, rq->host);
    if (name) {
        *ret = model_find_host(f->model, name);
        return *ret ? 0
                    : refuse(e, "declare it in `hosts:` and `mcp apply`, or use another name",
                          "the declaration has no host %s", name);
    }
    for (size_t i = 0; i < f->model->n_hosts; i++)
        if (has_address(rq, &f->model->hosts[i])) {
            *ret = &f->model->hosts[i];
            return 0;
        }
    _cleanup_str_ struct str names = STR_INIT;
    list_free(f, &names);
    return refuse(e, "say who it is: `mcp host join … --as HOST`; its address is in `hosts:`",
        "no host of the declaration has an address of this machine; not joined yet: %s",
        names.len ? str_cstr(&names) : "none");
}

int enrol_decide(const struct enrol_facts *f, const struct enrol_request *rq,
    const struct model_host **ret, struct err *e)
{
    const struct model_host *h;
    int r = enrol_check_token(f->token, &rq->token, f->now_ms, e);
    if (r >= 0)
        r = enrol_check_clock(rq->time_ms, f->now_ms, e);
    if (r >= 0)
        r = choose(f, rq, &h, e);
    if (r < 0)
        return r;
    char address[IP_TEXT_SIZE];
    ip_format(&h->addresses.v[0], address);
    if (!has_address(rq, h))
        return refuse(e, "correct the address in the declaration, or run this on the right machine",
            "%s is declared at %s, which this machine does not have", h->name, address);
    /* One that joined once has certificates: another machine takes its place only if an operator
     * said so when making the token. */
    if (json_object_get(f->joined, h->name) && !json_opt_str(f->token, "host", NULL))
        return refuse(e, "`mcp host token --as HOST` makes a token that replaces it",
            "%s has joined already", h->name);
    *ret = h;
    return 0;
}

json_t *enrol_token_doc(const struct token *t, const char *host, const char *by, int64_t now_ms,
    int64_t ttl_ms)
{
    char hash[TOKEN_HASH_SIZE];
    token_hash(t->secret, hash);
    return json_pack("{s:i,s:s,s:I,s:I,s:s,s:s?,s:n}", "format", 1, "hash", hash, "created_ms",
        (json_int_t)now_ms, "expires_ms", (json_int_t)(now_ms + ttl_ms), "by", by, "host", host,
        "used");
}

json_t *enrol_token_used(const json_t *doc, const char *host, const char *from, int64_t now_ms)
{
    json_t *j = json_deep_copy(doc);
    json_object_set_new(j, "used",
        json_pack("{s:s,s:s,s:I}", "host", host, "from", from, "at_ms", (json_int_t)now_ms));
    return j;
}

bool enrol_token_spent(const json_t *doc, int64_t now_ms)
{
    return now_ms > json_opt_int(doc, "expires_ms", 0) + ENROL_FORGET_MS;
}

json_t *enrol_host_doc(
    const json_t *old, const char *seal_public, const char *version, int64_t now_ms)
{
    json_t *j = old ? json_deep_copy(old) : json_object();
    json_t *now = json_pack("{s:i,s:s,s:I,s:s,s:[i,i]}", "format", 1, "seal_public", seal_public,
        "joined_ms", (json_int_t)now_ms, "version", version, "protocol", RPC_PROTOCOL_MIN,
        RPC_PROTOCOL_MAX);
    json_object_update(j, now);
    json_decref(now);
    if (!json_object_get(j, "drained"))
        json_object_set_new(j, "drained", json_false());
    return j;
}
