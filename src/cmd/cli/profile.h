/* SPDX-License-Identifier: Apache-2.0 */
/* What `mcp login` leaves on an operator's machine, one file a platform, 0600, in
 * $XDG_CONFIG_HOME/mcp or ~/.config/mcp: {"format": 1, "platform", "operator", "address", "port",
 * "root": PEM, "token"}. Whoever reads it is the operator. */
#pragma once

#include "service/remote/remote.h"

struct profile {
    json_t *json; /* the texts of `peer` live in it */
    struct remote_peer peer;
};

void profile_done(struct profile *p);
#define _cleanup_profile_ _cleanup_(profile_done)

/* ERR_NOT_FOUND: nobody has logged in to that platform from here. A file that others may read is
 * refused. */
MUST_CHECK int profile_load(const char *platform, struct profile *ret, struct err *e);
MUST_CHECK int profile_save(
    const struct remote_peer *peer, const char *operator_name, struct err *e);
/* Takes the login away from this machine; a missing one is ERR_NOT_FOUND. */
MUST_CHECK int profile_remove(const char *platform, struct err *e);
/* The only platform that there is a login for: false when there are none or several. */
bool profile_only(char *ret, size_t size);
