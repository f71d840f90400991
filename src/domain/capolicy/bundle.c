/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/capolicy/bundle.h"

#include "base/str/str.h"

#include <stdio.h>
#include <string.h>

#define FORMAT 1
#define ROOTS_MAX 4u

static const char *const kinds[CABUNDLE_KINDS] = {"hosts", "state"};

json_t *cabundle_new(const struct cabundle_side sides[CABUNDLE_KINDS])
{
    json_t *b = json_pack("{s:i,s:i}", "format", FORMAT, "renew_after_ms", 0);
    for (size_t k = 0; k < CABUNDLE_KINDS; k++)
        json_object_set_new(b, kinds[k],
            json_pack("{s:[s],s:s,s:s}", "roots", sides[k].root, "intermediate",
                sides[k].intermediate, "issuer", sides[k].issuer));
    return b;
}

static int check_side(const json_t *side, struct err *e)
{
    const char *text;
    json_t *roots;
    int r = json_get_array(side, "roots", &roots, e);
    if (r >= 0 && (!json_array_size(roots) || json_array_size(roots) > ROOTS_MAX))
        return err_set(e, ERR_INVALID, "%zu roots", json_array_size(roots));
    for (size_t i = 0; r >= 0 && i < json_array_size(roots); i++)
        if (!json_is_string(json_array_get(roots, i)))
            return err_set(e, ERR_INVALID, "root %zu is no text", i);
    if (r >= 0)
        r = json_get_str(side, "intermediate", &text, e);
    return r < 0 ? r : json_get_str(side, "issuer", &text, e);
}

int cabundle_check(const json_t *b, struct err *e)
{
    int64_t format;
    json_t *side;
    int r = json_get_int(b, "format", FORMAT, FORMAT, &format, e);
    for (size_t k = 0; k < CABUNDLE_KINDS && r >= 0; k++) {
        r = json_get_obj(b, kinds[k], &side, e);
        if (r >= 0)
            r = check_side(side, e);
    }
    return r < 0 ? err_wrap(e, "bundle of roots") : 0;
}

char *cabundle_roots(const json_t *b, enum cabundle_kind k)
{
    struct str s = STR_INIT;
    size_t i;
    json_t *root;
    json_array_foreach (json_object_get(json_object_get(b, kinds[k]), "roots"), i, root) {
        const char *text = json_string_value(root);
        str_add(&s, text ? text : "");
    }
    return str_steal(&s);
}

const char *cabundle_issuer(const json_t *b, enum cabundle_kind k)
{
    return json_opt_str(json_object_get(b, kinds[k]), "issuer", "");
}

void cabundle_trust_of(const char *hosts_roots, const char *state_roots, char ret[DIGEST_SIZE])
{
    _cleanup_free_ char *both = xasprintf("%s\n%s", hosts_roots, state_roots);
    digest_mem(both, strlen(both), ret);
}

void cabundle_trust(const json_t *b, char ret[DIGEST_SIZE])
{
    _cleanup_free_ char *hosts = cabundle_roots(b, CABUNDLE_HOSTS),
                        *state = cabundle_roots(b, CABUNDLE_STATE);
    cabundle_trust_of(hosts, state, ret);
}

/* ---- begin */

static int check_next(const json_t *request, struct err *e)
{
    static const char *const members[] = {"root", "intermediate", "issuer"};
    json_t *next, *side;
    const char *text;
    int r = json_get_obj(request, "next", &next, e);
    for (size_t k = 0; k < CABUNDLE_KINDS && r >= 0; k++) {
        r = json_get_obj(next, kinds[k], &side, e);
        for (size_t i = 0; i < ARRAY_SIZE(members) && r >= 0; i++)
            r = json_get_str(side, members[i], &text, e);
    }
    if (r >= 0)
        r = json_get_obj(request, "sealed", &next, e);
    return r;
}

/* From here on leaves are by what comes next. */
static void issue_by_next(json_t *b)
{
    const json_t *next = json_object_get(json_object_get(b, "rotation"), "next");
    for (size_t k = 0; k < CABUNDLE_KINDS; k++) {
        json_t *to = json_object_get(b, kinds[k]), *from = json_object_get(next, kinds[k]);
        json_object_set(to, "intermediate", json_object_get(from, "intermediate"));
        json_object_set(to, "issuer", json_object_get(from, "issuer"));
    }
}

static void set_roots(json_t *b, bool keep_old)
{
    const json_t *next = json_object_get(json_object_get(b, "rotation"), "next");
    for (size_t k = 0; k < CABUNDLE_KINDS; k++) {
        json_t *roots = json_object_get(json_object_get(b, kinds[k]), "roots");
        if (!keep_old)
            json_array_clear(roots);
        json_array_append(roots, json_object_get(json_object_get(next, kinds[k]), "root"));
    }
}

static bool trusts(const json_t *b, const json_t *request)
{
    for (size_t k = 0; k < CABUNDLE_KINDS; k++) {
        const json_t *root =
            json_object_get(json_object_get(json_object_get(request, "next"), kinds[k]), "root");
        bool found = false;
        size_t i;
        json_t *have;
        json_array_foreach (json_object_get(json_object_get(b, kinds[k]), "roots"), i, have)
            found |= json_equal(have, root);
        if (!found)
            return false;
    }
    return true;
}

static bool same_rotation(const json_t *running, const json_t *request)
{
    return json_equal(json_object_get(running, "kind"), json_object_get(request, "kind"))
           && json_equal(json_object_get(running, "next"), json_object_get(request, "next"));
}

static void start(json_t *b, const char *kind, const json_t *request, int64_t now_ms)
{
    bool is_root = !strcmp(kind, "root");
    json_t *r = json_pack("{s:s,s:s,s:s,s:I}", "kind", kind, "phase", is_root ? "trust" : "issue",
        "by", json_opt_str(request, "by", ""), "started_ms", (json_int_t)now_ms);
    json_object_set_new(b, "rotation", r);
    if (!strcmp(kind, "leaves")) {
        json_object_set_new(b, "renew_after_ms", json_integer(now_ms));
        return;
    }
    json_object_set(r, "next", json_object_get(request, "next"));
    json_object_set(r, "sealed", json_object_get(request, "sealed"));
    if (is_root)
        set_roots(b, true);
    else
        issue_by_next(b);
}

int cabundle_begin(
    const json_t *b, const json_t *request, int64_t now_ms, json_t **ret, struct err *e)
{
    const json_t *running = json_object_get(b, "rotation");
    const char *kind;
    int r = json_get_str(request, "kind", &kind, e);
    *ret = NULL;
    if (r < 0)
        return r;
    if (running && same_rotation(running, request))
        return 0;
    if (running) {
        err_set(e, ERR_CONFLICT, "a rotation (%s) is on its way already",
            json_opt_str(running, "kind", "?"));
        err_fix(e, "`mcp ca status` says what it waits for");
        return ERR_CONFLICT;
    }
    if (strcmp(kind, "leaves") != 0 && strcmp(kind, "intermediate") != 0
        && strcmp(kind, "root") != 0)
        return err_set(e, ERR_INVALID, "nothing called %.20s is rotated", kind);
    r = strcmp(kind, "leaves") != 0 ? check_next(request, e) : 0;
    if (r >= 0 && strcmp(kind, "leaves") != 0
        && trusts(b, request) != !strcmp(kind, "intermediate"))
        r = err_set(e, ERR_REFUSED,
            !strcmp(kind, "root") ? "that root is trusted already"
                                  : "the new intermediate is not by a root that is trusted");
    if (r < 0)
        return r;
    *ret = json_deep_copy(b);
    start(*ret, kind, request, now_ms);
    return 0;
}

/* ---- step */

struct look { /* of one step */
    const json_t *b;
    const struct cabundle_host *hosts;
    size_t n;
    char *waiting;
    char trust[DIGEST_SIZE];
};

static bool PRINTF_LIKE(2, 3) wait_for(struct look *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(l->waiting, 256, fmt, ap);
    va_end(ap);
    return false;
}

static const json_t *certs_of(const struct cabundle_host *h)
{
    return json_object_get(h->report, "certs");
}

static bool all_heard(struct look *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (!certs_of(&l->hosts[i]))
            return wait_for(l, "host %s is not heard", l->hosts[i].name);
    return true;
}

static bool all_trust(struct look *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (!str_eq(json_opt_str(certs_of(&l->hosts[i]), "trust", NULL), l->trust))
            return wait_for(l, "host %s does not trust the same roots yet", l->hosts[i].name);
    return true;
}

static bool member_is_well(const struct cabundle_host *h)
{
    size_t i;
    json_t *u;
    if (!json_opt_bool(json_object_get(h->report, "state_store"), "connected", false))
        return false;
    json_array_foreach (json_object_get(h->report, "units"), i, u)
        if (str_eq(json_opt_str(u, "module", NULL), "etcd"))
            return str_eq(json_opt_str(u, "state", NULL), "ready");
    return false;
}

/* A member whose etcd has read older roots; all of them must be well before one is restarted. NULL:
 * none, or (with `waiting`) not now. */
static const char *next_restart(struct look *l)
{
    const char *next = NULL;
    for (size_t i = 0; i < l->n; i++) {
        const struct cabundle_host *h = &l->hosts[i];
        if (!h->is_member)
            continue;
        if (!member_is_well(h)) {
            wait_for(l, "the state store's member on %s is not ready", h->name);
            return NULL;
        }
        if (!next && !str_eq(json_opt_str(certs_of(h), "state_trust", NULL), l->trust))
            next = h->name;
    }
    if (next)
        wait_for(l, "the state store's member on %s restarts", next);
    return next;
}

static bool holders_have(struct look *l)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < CABUNDLE_KINDS && l->hosts[i].is_holder; k++)
            if (!str_eq(
                    json_opt_str(json_object_get(certs_of(&l->hosts[i]), "holds"), kinds[k], NULL),
                    cabundle_issuer(l->b, (enum cabundle_kind)k)))
                return wait_for(
                    l, "host %s does not hold the new intermediate yet", l->hosts[i].name);
    return true;
}

static bool leaf_is_new(const struct look *l, const json_t *leaf)
{
    bool state = str_eq(json_opt_str(leaf, "kind", NULL), "state");
    return str_eq(json_opt_str(leaf, "issuer", NULL),
               cabundle_issuer(l->b, state ? CABUNDLE_STATE : CABUNDLE_HOSTS))
           && json_opt_int(leaf, "renewed_ms", 0) >= json_opt_int(l->b, "renew_after_ms", 0);
}

static bool leaves_are_new(struct look *l)
{
    for (size_t i = 0; i < l->n; i++) {
        size_t k;
        json_t *leaf;
        json_array_foreach (json_object_get(certs_of(&l->hosts[i]), "leaves"), k, leaf)
            if (!leaf_is_new(l, leaf))
                return wait_for(l, "host %s has not renewed its certificate %s yet",
                    l->hosts[i].name, json_opt_str(leaf, "name", "?"));
    }
    return true;
}

static json_t *to_phase(const json_t *b, const char *phase)
{
    json_t *next = json_deep_copy(b), *r = json_object_get(next, "rotation");
    json_object_set_new(r, "phase", json_string(phase));
    json_object_del(r, "restart");
    if (!strcmp(phase, "issue"))
        issue_by_next(next);
    else
        set_roots(next, false);
    return next;
}

static json_t *finish(const json_t *b, int64_t now_ms)
{
    json_t *next = json_deep_copy(b), *r = json_object_get(next, "rotation");
    json_object_set_new(next, "last",
        json_pack("{s:O,s:O,s:O,s:I}", "kind", json_object_get(r, "kind"), "by",
            json_object_get(r, "by"), "started_ms", json_object_get(r, "started_ms"), "ended_ms",
            (json_int_t)now_ms));
    json_object_del(next, "rotation");
    return next;
}

/* The roots are everywhere, in the running members too? Else what is to be done for it. */
static bool trust_is_everywhere(struct look *l, json_t **ret)
{
    const char *asked = json_opt_str(json_object_get(l->b, "rotation"), "restart", NULL);
    if (!all_trust(l))
        return false;
    const char *host = next_restart(l);
    if (!host)
        return !*l->waiting;
    if (!str_eq(host, asked)) {
        *ret = json_deep_copy(l->b);
        json_object_set_new(json_object_get(*ret, "rotation"), "restart", json_string(host));
    }
    return false;
}

json_t *cabundle_step(const json_t *b, const struct cabundle_host *hosts, size_t n, int64_t now_ms,
    char ret_waiting[256])
{
    const json_t *r = json_object_get(b, "rotation");
    const char *phase = json_opt_str(r, "phase", "");
    struct look l = {.b = b, .hosts = hosts, .n = n, .waiting = ret_waiting};
    json_t *next = NULL;
    ret_waiting[0] = '\0';
    if (!r || !all_heard(&l))
        return NULL;
    cabundle_trust(b, l.trust);
    if (!strcmp(phase, "trust") && trust_is_everywhere(&l, &next))
        next = to_phase(b, "issue");
    else if (!strcmp(phase, "issue") && holders_have(&l) && leaves_are_new(&l))
        next =
            str_eq(json_opt_str(r, "kind", NULL), "root") ? to_phase(b, "drop") : finish(b, now_ms);
    else if (!strcmp(phase, "drop") && trust_is_everywhere(&l, &next))
        next = finish(b, now_ms);
    return next;
}
