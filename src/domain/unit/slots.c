/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/unit/slots.h"

#include "base/str/str.h"

unsigned slots_find(const struct slots *s, const char *name)
{
    for (unsigned i = 0; i < SLOT_MAX; i++)
        if (s->names[i] && !strcmp(s->names[i], name))
            return i + 1;
    return 0;
}

bool slot_address(unsigned slot, const struct ip_prefix *bridge, struct ip_addr *ret)
{
    /* 0 is the network, 1 the gateway, the last of an IPv4 prefix its broadcast. */
    struct ip_addr after;
    if (bridge->addr.family == 4 && !ip_prefix_nth(bridge, slot + 2, &after))
        return false;
    return ip_prefix_nth(bridge, slot + 1, ret);
}

struct ip_prefix slots_half(const struct ip_prefix *bridge, bool upper)
{
    struct ip_prefix half = {bridge->addr, (uint8_t)(bridge->bits + 1)};
    if (upper)
        half.addr.bytes[bridge->bits / 8] |= (uint8_t)(0x80u >> bridge->bits % 8);
    return half;
}

uint32_t slot_uid(unsigned slot)
{
    return SLOT_UID_FIRST + (slot - 1) * SLOT_UIDS;
}

unsigned slots_take(struct slots *s, const char *name, const struct ip_prefix *bridge)
{
    unsigned held = slots_find(s, name);
    if (held)
        return held;
    for (unsigned tries = 0; tries < SLOT_MAX; tries++) {
        unsigned i = (s->next + tries) % SLOT_MAX;
        struct ip_addr unused;
        if (s->names[i] || !slot_address(i + 1, bridge, &unused))
            continue;
        s->names[i] = xstrdup(name);
        s->next = (i + 1) % SLOT_MAX;
        return i + 1;
    }
    return 0;
}

void slots_free(struct slots *s, const char *name)
{
    unsigned slot = slots_find(s, name);
    if (!slot)
        return;
    free(s->names[slot - 1]);
    s->names[slot - 1] = NULL;
}

void slots_done(struct slots *s)
{
    for (unsigned i = 0; i < SLOT_MAX; i++)
        free(s->names[i]);
    memset(s, 0, sizeof *s);
}

json_t *slots_format(const struct slots *s)
{
    json_t *held = json_object();
    for (unsigned i = 0; i < SLOT_MAX; i++)
        if (s->names[i])
            json_object_set_new(held, s->names[i], json_integer(i + 1));
    return json_pack("{s:i,s:i,s:o}", "format", 1, "next", (int)s->next, "slots", held);
}

void slots_parse(struct slots *s, const json_t *j)
{
    int64_t next = json_opt_int(j, "next", 0);
    s->next = next >= 0 && next < SLOT_MAX ? (unsigned)next : 0;
    const char *name;
    json_t *v;
    json_object_foreach (json_object_get(j, "slots"), name, v) {
        int64_t n = json_is_integer(v) ? json_integer_value(v) : 0;
        if (n >= 1 && n <= SLOT_MAX && !s->names[n - 1])
            s->names[n - 1] = xstrdup(name);
    }
}
