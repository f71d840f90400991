/* SPDX-License-Identifier: Apache-2.0 */
/* A zone answers to itself before it answers to anybody: every steered name has an address for
 * every list, addresses from all over get one, and the scope that an answer claims holds at both of
 * its ends. */
#include "service/dns/priv.h"

#include "base/rnd/rnd.h"

#define LOOKUPS 2000

struct test {
    const struct dns_state *state;
    struct metrics *metrics;
    struct dns_ctx ctx;
    uint8_t answer[UDP_OUT_MAX];
    size_t len;
};

static int ask(
    struct test *t, const char *name, uint16_t type, const struct ip_addr *addr, struct err *e)
{
    uint8_t q[DNS_UDP_MIN], wire[DNS_NAME_MAX], option[32];
    size_t size;
    struct dns_writer w;
    struct dns_ecs ecs = {.addr = *addr, .source_bits = addr->family == 4 ? 32 : 128};
    if (!dns_name_parse(name, wire, &size))
        return err_set(e, ERR_INVALID, "%s is not a domain name", name);
    dns_writer_init(&w, q, sizeof q, 1, 0);
    dns_write_question(&w, wire, size, type, DNS_IN);
    dns_write_opt(&w, 0, DNS_UDP_MAX, false, option, dns_ecs_write(&ecs, 0, option));
    size_t len = dns_writer_finish(&w);
    t->len = dns_answer(t->state, &t->ctx, addr, q, len, t->answer, sizeof t->answer, false);
    return 0;
}

/* Answer records of a good answer; -1 for any other. *ret_scope from its client subnet. */
static int count_answers(const struct test *t, unsigned *ret_scope)
{
    struct dns_walk w;
    struct dns_rr rr;
    enum dns_section section;
    int n = 0, more;
    *ret_scope = 0;
    if (!dns_walk_init(&w, t->answer, t->len)
        || (dns_get16(t->answer + 2) & (DNS_RCODE | DNS_TC | DNS_AA)) != DNS_AA)
        return -1;
    while ((more = dns_walk_next(&w, &rr, &section)) > 0) {
        n += section == DNS_ANSWER;
        if (rr.type == DNS_OPT && rr.rdata_size >= 8)
            *ret_scope = t->answer[rr.rdata_offset + 7];
    }
    return more < 0 ? -1 : n;
}

static struct ip_addr end_of_prefix(const struct ip_addr *a, unsigned bits, bool last)
{
    struct ip_addr r = *a;
    for (unsigned i = bits; i < (a->family == 4 ? 32u : 128u); i++) {
        uint8_t bit = (uint8_t)(0x80u >> i % 8);
        r.bytes[i / 8] = (uint8_t)(last ? r.bytes[i / 8] | bit : r.bytes[i / 8] & ~bit);
    }
    return r;
}

static struct ip_addr random_addr(struct rnd *rnd)
{
    struct ip_addr a = {.family = rnd_below(rnd, 2) ? 4 : 6};
    uint64_t v[2] = {rnd_u64(rnd), rnd_u64(rnd)};
    memcpy(a.bytes, v, a.family == 4 ? 4 : 16);
    if (a.family == 6)
        a.bytes[0] = (uint8_t)(0x20 | (a.bytes[0] & 0x1f)); /* where addresses are given out */
    return a;
}

/* The client's address is all that differs between these answers, so they are equal but for the
 * option's address. */
static int check_scope(struct test *t, const char *name, uint16_t type, const struct ip_addr *a,
    unsigned scope, struct err *e)
{
    static const size_t tail = 24; /* the option is the last thing in the message */
    uint8_t first[UDP_OUT_MAX];
    size_t len = t->len;
    memcpy(first, t->answer, len);
    for (int last = 0; last < 2; last++) {
        struct ip_addr end = end_of_prefix(a, scope, last);
        int r = ask(t, name, type, &end, e);
        if (r < 0)
            return r;
        if (t->len != len || memcmp(first, t->answer, len - MIN(len, tail)) != 0) {
            char text[IP_TEXT_SIZE];
            ip_format(a, text);
            return err_set(e, ERR_FAILED, "%s: the scope /%u of %s is wrong", name, scope, text);
        }
    }
    return 0;
}

static int check_lookup(struct test *t, const char *name, const struct ip_addr *a, struct err *e)
{
    static const uint16_t types[] = {DNS_A, DNS_AAAA};
    char text[IP_TEXT_SIZE];
    int found = 0;
    ip_format(a, text);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        unsigned scope;
        int r = ask(t, name, types[i], a, e);
        int n = r < 0 ? r : count_answers(t, &scope);
        if (n < 0)
            return err_set(e, ERR_FAILED, "%s from %s: no good answer", name, text);
        found += n;
        r = check_scope(t, name, types[i], a, scope, e);
        if (r < 0)
            return r;
    }
    return found ? 0 : err_set(e, ERR_FAILED, "%s from %s: the answer is empty", name, text);
}

static int check_choices(const struct zone *z, struct err *e)
{
    for (size_t name = 0; name < zone_n_names(z); name++)
        for (size_t list = 0; list < zone_n_lists(z); list++) {
            uint32_t ttl_s;
            unsigned region = zone_choice(z, name, list, &ttl_s);
            if (!zone_region_serves(z, region, DNS_A) && !zone_region_serves(z, region, DNS_AAAA))
                return err_set(
                    e, ERR_FAILED, "%s: list %zu has no address", zone_name(z, name), list);
        }
    return 0;
}

int dns_selftest(const struct dns_state *state, const struct dns_state *old, struct err *e)
{
    const struct zone *z = state->zone;
    size_t n_names = zone_n_names(z);
    if (!n_names && old && old->zone && zone_n_names(old->zone))
        return err_set(e, ERR_REFUSED,
            "revision %llu serves no name any more, while %zu are served",
            (unsigned long long)zone_revision(z), zone_n_names(old->zone));
    int r = check_choices(z, e);
    struct test t = {.state = state, .metrics = metrics_new()};
    t.ctx.metrics = metrics_set_new(t.metrics, dns_metric_defs, DNS_M_COUNT, NULL, 0);
    struct rnd rnd;
    rnd_seed(&rnd, zone_revision(z));
    for (size_t i = 0; n_names && i < MAX((size_t)LOOKUPS, n_names) && r >= 0; i++) {
        struct ip_addr a = random_addr(&rnd);
        r = check_lookup(&t, zone_name(z, i % n_names), &a, e);
    }
    metrics_free(t.metrics);
    return r < 0 ? err_wrap(e, "the zone does not stand its test") : 0;
}
