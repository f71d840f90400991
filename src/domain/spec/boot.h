/* SPDX-License-Identifier: Apache-2.0 */
/* The boot record: what a host knows before anybody else answers (/var/lib/mcp/boot.json). Written
 * when a host is created or joins and whenever control learns of a change; read by `mcp host`,
 * handed to every role. Holds no key. Immutable after boot_parse(); everything lives in one arena
 * and dies with boot_free(). */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"

#define BOOT_FORMAT 1
#define BOOT_PATH "/var/lib/mcp/boot.json"
/* goes to each role in one message of a sequenced-packet socket */
#define BOOT_BYTES_MAX (128u * 1024)
#define BOOT_NAME_MAX 63u
#define BOOT_ADDRS_MAX 8u
#define BOOT_PEERS_MAX 256u
#define BOOT_ROLES_MAX 16u
#define BOOT_ENDPOINTS_MAX 16u

struct boot_addrs {
    const struct ip_addr *v;
    size_t n;
};

enum boot_state { BOOT_SQLITE, BOOT_ETCD };

struct boot_peer { /* another host of the platform */
    const char *host;
    const char *region;
    struct boot_addrs addresses;
};

struct boot {
    struct arena *arena;
    const char *platform, *host, *region;
    struct boot_addrs addresses; /* private, at least one; the first is the host's main one */
    struct boot_addrs public;    /* none: not a public host */
    struct ip_prefix bridge;     /* of its containers; contains none of the addresses */
    struct ip_addr gateway;      /* the bridge's first address: the host in it */
    const char *const *roles;    /* "control", "agent", ...; each once */
    size_t n_roles;
    enum boot_state state;
    const char *const *endpoints; /* etcd: of the members */
    size_t n_endpoints;
    const char *member; /* the state-store member that runs here, or NULL */
    const struct boot_peer *peers;
    size_t n_peers;
    const char *cgroup; /* "/mcp/reindeers.hk1": path prefix below each controller */
    const char *geo;    /* path of the country database, or NULL */
    json_t *tree;       /* the whole record as read, unknown members included */
};

/* Borrows nothing from `tree`. ERR_INVALID names the member. */
MUST_CHECK int boot_parse(const json_t *tree, struct boot **ret, struct err *e);
void boot_free(struct boot *b); /* NULL is fine */
/* The JSON form of what the struct says (not of b->tree). */
json_t *boot_to_json(const struct boot *b);
bool boot_has_role(const struct boot *b, const char *role);
