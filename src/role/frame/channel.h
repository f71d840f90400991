/* SPDX-License-Identifier: Apache-2.0 */
/* The channel between `mcp host` and one role: a sequenced-packet socket, one JSON message a
 * packet, descriptors on it. Host to role: boot {boot, listens} + sockets; link {role} + one end of
 * a socket pair; roles {roles}; ping; stop. Role to host: ready; relink; roles (send me "roles");
 * pong; keep + sockets (hand them to my successor, in place of those before); control alone: upgrade
 * {digest}, upgrade.confirm {digest}, upgrade.back {reason}. A closed channel means that the other
 * has gone. */
#pragma once

#include "base/json/json.h"

#define CHANNEL_FD 3         /* the role's end, by agreement */
#define CHANNEL_FDS_MAX 240u /* the kernel carries 253 a message */
/* a boot record and its sockets' names; under the default socket buffer */
#define CHANNEL_TO_ROLE_MAX (160u * 1024)
#define CHANNEL_TO_HOST_MAX 1024u /* roles have little to say to a root process */

struct channel_msg {
    json_t *root;
    const char *method;
    json_t *params; /* an object */
    int fds[CHANNEL_FDS_MAX];
    size_t n_fds;
};

/* Takes params (NULL: {}); the descriptors stay the caller's. ERR_UNAVAILABLE: the other does not
 * read, or has gone. */
MUST_CHECK int channel_send(
    int fd, const char *method, json_t *params, const int *fds, size_t n_fds, struct err *e);
/* 1: a message; 0: none now; ERR_UNAVAILABLE: the other end has gone; ERR_PROTOCOL: not a message.
 * Does not wait. */
MUST_CHECK int channel_recv(int fd, size_t max_bytes, struct channel_msg *ret, struct err *e);
/* Closes what is left in fds (-1: taken). */
void channel_msg_done(struct channel_msg *m);
