/* SPDX-License-Identifier: Apache-2.0 */
/* Which unit holds which slot of its host. A slot is a number from 1 up that gives the unit its address on the bridge
 * (slot + 1 behind the gateway, the first address) and its range of 65,536 user ids; it is kept as long as the unit is
 * known, and a freed one is taken again last, so that a late packet or file of the old holder meets nobody. */
#pragma once

#include "base/ip/ip.h"
#include "base/json/json.h"

#define SLOT_MAX 4096u
#define SLOT_UIDS 65536u
/* systemd's documented range for containers starts at 0x80000; a high part of it, away from /etc/subuid's 100000. */
#define SLOT_UID_FIRST 0x10000000u

struct slots {
    char *names[SLOT_MAX]; /* index: slot - 1; NULL: free */
    unsigned next;         /* where the search for a free one begins */
};

/* The unit's slot, taking one when it has none. 0: all are taken, or the prefix has no address for it. */
unsigned slots_take(struct slots *s, const char *name, const struct ip_prefix *bridge);
unsigned slots_find(const struct slots *s, const char *name); /* 0: none */
void slots_free(struct slots *s, const char *name);
void slots_done(struct slots *s);
json_t *slots_format(const struct slots *s);
void slots_parse(
    struct slots *s, const json_t *j); /* into an empty one; anything wrong in it is left out */
bool slot_address(unsigned slot, const struct ip_prefix *bridge, struct ip_addr *ret);
/* Units have the lower half of their host's bridge, what the mesh listens on the upper one. */
struct ip_prefix slots_half(const struct ip_prefix *bridge, bool upper);
uint32_t slot_uid(unsigned slot); /* first of its range */
