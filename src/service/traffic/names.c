/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/names.h"

#include <string.h>

void names_init(struct names *n, size_t n_servers, size_t first)
{
    *n = (struct names){.n_servers = n_servers, .server = first % n_servers};
}

bool names_known(const struct names *n, uint64_t now_ms)
{
    return n->n && now_ms <= n->until_ms;
}

bool names_has(const struct names *n, const struct ip_addr *address)
{
    for (size_t i = 0; i < n->n; i++)
        if (ip_eq(&n->addresses[i], address))
            return true;
    return false;
}

static enum names_act fail(struct names *n, uint64_t after_ms, uint64_t now_ms)
{
    n->tries = 0;
    n->n = 0;
    n->next_ms = now_ms + after_ms;
    n->failed++;
    return NAMES_FAILED;
}

static enum names_act ask(struct names *n, uint64_t now_ms)
{
    if (n->tries)
        n->server = (n->server + 1) % n->n_servers;
    if (n->tries >= n->n_servers * NAMES_ROUNDS)
        return fail(n, NAMES_FAILED_MS, now_ms);
    n->tries++;
    n->asked++;
    n->next_ms = now_ms + NAMES_TRY_MS;
    return NAMES_ASK;
}

enum names_act names_step(struct names *n, bool wanted, uint64_t now_ms)
{
    bool due = now_ms >= n->next_ms;
    if (n->tries)
        return due ? ask(n, now_ms) : NAMES_NOTHING;
    return wanted && due && !names_known(n, now_ms) ? ask(n, now_ms) : NAMES_NOTHING;
}

enum names_act names_answer(struct names *n, const struct dns_answer *a, uint64_t now_ms)
{
    if (!n->tries)
        return NAMES_NOTHING; /* a late one */
    uint64_t ttl_ms = MIN(a->ttl, NAMES_TTL_MAX_S) * 1000ull;
    bool none = a->rcode == DNS_NXDOMAIN || (a->rcode == DNS_NOERROR && !a->truncated);
    if (!a->n || a->rcode != DNS_NOERROR)
        return none ? fail(n, MAX(ttl_ms, NAMES_FAILED_MS), now_ms) : ask(n, now_ms);
    n->tries = 0;
    n->next_ms = 0;
    memcpy(n->addresses, a->addresses, sizeof n->addresses);
    n->n = a->n;
    n->until_ms = now_ms + ttl_ms;
    return NAMES_NOTHING;
}

uint64_t names_next_ms(const struct names *n)
{
    return n->tries ? n->next_ms : UINT64_MAX;
}
