/* SPDX-License-Identifier: Apache-2.0 */
/* The names of the platform, sorted; a name below which others lie exists, one that is not there
 * does not. */
#include "service/resolver/priv.h"

#define NAMES_MAX 20000
#define ADDRESSES_MAX 256 /* of one name */

static const uint8_t zone[] = "\3mcp\10internal"; /* the literal's NUL is the root */
static const uint8_t mname[] = "\10resolver\3mcp\10internal";

struct entry {
    uint8_t name[DNS_NAME_MAX]; /* lower case, without the zone */
    uint8_t size;
    struct ip_addr *v;
    size_t n;
};

struct names {
    struct entry *v;
    size_t n, cap;
};

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int r = memcmp(x->name, y->name, MIN(x->size, y->size));
    return r ? r : (int)x->size - (int)y->size;
}

static int add(struct names *n, const char *text, const json_t *addresses, struct err *e)
{
    uint8_t name[DNS_NAME_MAX];
    size_t size;
    if (!dns_name_parse(text, name, &size) || !resolver_names_covers(name, size))
        return err_set(e, ERR_INVALID, "names: '%s' does not lie in mcp.internal", text);
    if (!json_is_array(addresses) || json_array_size(addresses) > ADDRESSES_MAX
        || n->n == NAMES_MAX)
        return err_set(e, ERR_INVALID, "names: %s: expected a list of at most %d addresses", text,
            ADDRESSES_MAX);
    struct entry *entry = GROW(n->v, n->n, n->cap);
    entry->size = (uint8_t)(size - sizeof zone);
    dns_name_lower(entry->name, name, entry->size);
    entry->n = json_array_size(addresses);
    entry->v = xcalloc(entry->n + 1, sizeof *entry->v);
    for (size_t i = 0; i < entry->n; i++) {
        const char *address = json_string_value(json_array_get(addresses, i));
        if (!address || !ip_parse(address, &entry->v[i]))
            return err_set(
                e, ERR_INVALID, "names: %s: '%s' is not an address", text, address ? address : "");
    }
    return 0;
}

int resolver_names_new(const json_t *names, struct names **ret, struct err *e)
{
    struct names *n = xcalloc(1, sizeof *n);
    const char *text;
    json_t *addresses;
    int r = 0;
    json_object_foreach ((json_t *)(uintptr_t)names, text, addresses) {
        r = add(n, text, addresses, e);
        if (r < 0)
            break;
    }
    if (r < 0) {
        resolver_names_free(n);
        return r;
    }
    if (n->n)
        qsort(n->v, n->n, sizeof *n->v, compare);
    *ret = n;
    return 0;
}

void resolver_names_free(struct names *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n; i++)
        free(n->v[i].v);
    free(n->v);
    free(n);
}

bool resolver_names_covers(const uint8_t *name, size_t size)
{
    return dns_name_under(name, size, zone, sizeof zone);
}

static const struct entry *find(const struct names *n, const uint8_t *name, size_t size)
{
    struct entry key = {.size = (uint8_t)(size - sizeof zone)};
    dns_name_lower(key.name, name, key.size);
    return n->n ? bsearch(&key, n->v, n->n, sizeof *n->v, compare) : NULL;
}

static bool exists_below(const struct names *n, const uint8_t *name, size_t size)
{
    for (size_t i = 0; i < n->n; i++) {
        const struct entry *x = &n->v[i];
        uint8_t full[DNS_NAME_MAX];
        memcpy(full, x->name, x->size);
        memcpy(full + x->size, zone, sizeof zone);
        if (dns_name_under(full, x->size + sizeof zone, name, size))
            return true;
    }
    return false;
}

static void write_soa(struct dns_writer *w)
{
    uint8_t rdata[sizeof mname + sizeof mname + 20];
    static const uint32_t numbers[] = {1, 3600, 600, 86400, RESOLVER_TTL_S};
    memcpy(rdata, mname, sizeof mname);
    memcpy(rdata + sizeof mname, mname, sizeof mname);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        dns_put32(rdata + 2 * sizeof mname + 4 * i, numbers[i]);
    dns_write_rr(w, DNS_AUTHORITY, zone, sizeof zone, DNS_SOA, RESOLVER_TTL_S, rdata, sizeof rdata);
}

static void write_opt(struct dns_writer *w, const struct dns_query *q)
{
    if (q->edns)
        dns_write_opt(w, 0, RESOLVER_UDP_ANSWER_MAX, q->dnssec_ok, NULL, 0);
}

static uint16_t response_flags(const struct dns_query *q, unsigned rcode)
{
    return (uint16_t)(DNS_QR | DNS_RA | (q->flags & (DNS_OPCODE | DNS_RD)) | (rcode & DNS_RCODE));
}

size_t resolver_names_answer(const struct names *n, const struct dns_query *q, const uint8_t *msg,
    unsigned rotate, size_t limit, uint8_t *out, size_t cap)
{
    const struct entry *found = n ? find(n, q->name, q->name_size) : NULL;
    bool exists =
        found || (n && exists_below(n, q->name, q->name_size)) || q->name_size == sizeof zone;
    unsigned rcode = !n ? DNS_SERVFAIL : exists ? DNS_NOERROR : DNS_NXDOMAIN;
    struct dns_writer w;
    dns_writer_init(&w, out, MIN(cap, limit), q->id, (uint16_t)(response_flags(q, rcode) | DNS_AA));
    dns_write_question(&w, q->name, q->name_size, q->type, q->class);
    for (size_t i = 0; found && i < found->n; i++) {
        const struct ip_addr *a = &found->v[(i + rotate) % found->n];
        uint16_t type = a->family == 4 ? DNS_A : DNS_AAAA;
        if (q->type == type || q->type == DNS_ANY)
            dns_write_rr(&w, DNS_ANSWER, q->name, q->name_size, type, RESOLVER_TTL_S, a->bytes,
                a->family == 4 ? 4 : 16);
    }
    if (n && !w.counts[DNS_ANSWER])
        write_soa(&w);
    write_opt(&w, q);
    size_t len = dns_writer_finish(&w);
    return len ? len : resolver_bare_answer(q, msg, rcode, true, out);
}

size_t resolver_bare_answer(
    const struct dns_query *q, const uint8_t *msg, unsigned rcode, bool truncated, uint8_t *out)
{
    uint16_t flags = (uint16_t)(response_flags(q, rcode) | (truncated ? DNS_TC : 0));
    struct dns_writer w;
    dns_writer_init(&w, out, DNS_UDP_MIN, q->id, flags);
    if (q->name)
        dns_write_question(&w, q->name, q->name_size, q->type, q->class);
    if (q->edns)
        dns_write_opt(&w, rcode, RESOLVER_UDP_ANSWER_MAX, q->dnssec_ok, NULL, 0);
    return dns_writer_finish(&w);
}
