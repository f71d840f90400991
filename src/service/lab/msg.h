/* SPDX-License-Identifier: Apache-2.0 */
/* What the lab's processes say to each other: one JSON object and at most one descriptor a message,
 * on Unix sockets of kind SOCK_SEQPACKET below /run/mcp-lab/<platform>, a folder of root's alone.
 * Small and blocking on purpose: these work before, without and after everything that the
 * platform's own RPC needs. A request has a member "op"; its answer is {"ok": true, ...} or
 * {"error": {...}}. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define MSG_SIZE_MAX (128u * 1024) /* below the kernel's default send buffer */

/* `path` may be longer than a socket address: the folder is opened, the socket reached through
 * /proc/self/fd. */
MUST_CHECK int msg_listen(const char *path, int *ret_fd, struct err *e);
MUST_CHECK int msg_connect(const char *path, int *ret_fd, struct err *e);
/* pass_fd -1: none. */
MUST_CHECK int msg_send(int fd, const json_t *j, int pass_fd, struct err *e);
/* Returns 1 with a message, 0 when the peer closed. *ret_fd is -1 or the caller's. ERR_UNAVAILABLE:
 * would block. */
MUST_CHECK int msg_recv(int fd, json_t **ret, int *ret_fd, struct err *e);
/* Connects, asks, waits for the answer, turns an error answer into *e. ret may be NULL. */
MUST_CHECK int msg_call(const char *path, const json_t *request, int pass_fd, unsigned timeout_ms,
    json_t **ret, struct err *e);
/* {"ok": true} or, r < 0, the error; a peer that is gone is not an error here. */
void msg_reply(int fd, int r, const struct err *e);
