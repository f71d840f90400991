/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a query to a whole zone, over both transports: what comes back is a well-formed
 * response to it. */
#include "domain/zone/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char snapshot[] =
    "{\"format\":1,\"revision\":7,\"domain\":\"reindeers.com\",\"ttl_s\":60,"
    "\"regions\":[{\"name\":\"hk\",\"addresses\":[\"203.0.113.20\",\"2001:db8::20\"]},"
    "{\"name\":\"seoul\",\"addresses\":[\"203.0.113.40\"]}],"
    "\"lists\":[[0,1],[1,0]],\"countries\":{\"KR\":1},\"overrides\":[[\"168.126.0.0/16\",\"KR\"]],"
    "\"names\":[{\"name\":\"reindeers.com\",\"regions\":[0,1]},{\"name\":\"api.reindeers.com\","
    "\"regions\":[0]}],"
    "\"nameservers\":[{\"name\":\"ns1.reindeers.com\",\"region\":0},{\"name\":\"ns2.reindeers."
    "com\",\"region\":1}],"
    "\"records\":[{\"name\":\"reindeers.com\",\"type\":\"MX\",\"value\":\"10 "
    "mail.reindeers.com.\",\"ttl_s\":60},"
    "{\"name\":\"mail.reindeers.com\",\"type\":\"A\",\"value\":\"203.0.113.9\",\"ttl_s\":60},"
    "{\"name\":\"alias.reindeers.com\",\"type\":\"CNAME\",\"value\":\"mail\",\"ttl_s\":60},"
    "{\"name\":\"*.wild.reindeers.com\",\"type\":\"TXT\",\"value\":\"any\",\"ttl_s\":60},"
    "{\"name\":\"a.ent.reindeers.com\",\"type\":\"TXT\",\"value\":\"below\",\"ttl_s\":60}]}";

static struct dns_state *state(struct dns_ctx *ctx)
{
    static struct dns_state s;
    static struct metric_set *set;
    if (!s.zone) {
        struct err e = {0};
        json_t *j;
        ASSERT(json_parse(snapshot, sizeof snapshot - 1, &j, &e) >= 0);
        ASSERT(zone_new(j, &s.zone, &e) >= 0);
        json_decref(j);
        struct geo_builder *b = geo_builder_new(zone_countries(s.zone));
        size_t n;
        const struct zone_override *o = zone_overrides(s.zone, &n);
        ASSERT(geo_builder_add(b, GEO_OVERRIDE, &o->prefix, o->country, &e) >= 0);
        ASSERT(geo_builder_finish(b, &s.geo, &e) >= 0);
        geo_builder_free(b);
        snprintf(s.nsid, sizeof s.nsid, "hk1");
        set = metrics_set_new(metrics_process(), dns_metric_defs, DNS_M_COUNT, NULL, 0);
    }
    ctx->metrics = set;
    return &s;
}

static void check(const uint8_t *q, size_t q_len, const uint8_t *r, size_t len, bool tcp)
{
    struct dns_walk w;
    struct dns_rr rr;
    enum dns_section section;
    int more;
    if (!len)
        return;
    ASSERT(len >= DNS_HEADER_SIZE && len <= (tcp ? DNS_MESSAGE_MAX : DNS_UDP_MAX));
    ASSERT(!memcmp(q, r, 2) && r[2] & 0x80);
    ASSERT(dns_walk_init(&w, r, len));
    while ((more = dns_walk_next(&w, &rr, &section)) > 0) {
        char value[2048];
        if (section != DNS_QUESTION)
            dns_rdata_format(rr.type, r, len, rr.rdata_offset, rr.rdata_size, value, sizeof value);
    }
    ASSERT(more == 0 && w.offset == len);
    ASSERT(q_len >= DNS_HEADER_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_ctx ctx = {0};
    struct dns_state *s = state(&ctx);
    struct ip_addr client = {.family = 4, .bytes = {168, 126, 63, 1}};
    for (int tcp = 0; tcp < 2; tcp++) {
        size_t cap = tcp ? DNS_MESSAGE_MAX : DNS_UDP_MIN + size % 1024;
        uint8_t *out = xmalloc(cap); /* exact, so that a write past it is seen */
        check(data, size, out, dns_answer(s, &ctx, &client, data, size, out, cap, tcp), tcp);
        free(out);
    }
    return 0;
}
