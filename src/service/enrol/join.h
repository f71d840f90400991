/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp host join`: this machine becomes a host of a platform. Nothing secret is said before the
 * answerer has proven the root certificate that the token names; keys are made here and stay here.
 * Everything is written durably, the boot record last: killed before that, the machine is still a
 * stranger and may try again. Blocks; as root. */
#pragma once

#include "base/ip/ip.h"
#include "base/json/json.h"

struct enrol_join {
    struct ip_addr address; /* of a host of the platform */
    uint16_t port;          /* 0: ENROL_PORT */
    const char *token;
    const char *host; /* who to be; NULL: as token or address say */
    const char *root; /* "" or a folder in front of /var/lib/mcp: for tests */
};

struct enrol_joined {
    char platform[64], host[64], region[64];
    bool member; /* declared to hold a member of the state store */
};

MUST_CHECK int enrol_join(const struct enrol_join *j, struct enrol_joined *ret, struct err *e);
/* ERR_REFUSED when this machine belongs to a platform already. */
MUST_CHECK int enrol_check_unclaimed(const char *root, struct err *e);
/* What a host needs of its machine: root, overlayfs, runc, its ports free on `addresses`. `etcd`:
 * also what a member of the state store needs. */
MUST_CHECK int enrol_check_machine(
    const struct ip_addr *addresses, size_t n, bool etcd, struct err *e);
