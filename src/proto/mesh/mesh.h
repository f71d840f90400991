/* SPDX-License-Identifier: Apache-2.0 */
/* What the meshes of two hosts say to each other, inside TLS (ALPN "mcp-mesh/1"), before the bytes of
 * the modules that they join; in the framing of net/splice, once for each call of a connection. Who
 * calls is in the caller's certificate; the called module is named twice, as server name of the
 * handshake, which picks the certificate that answers, and here.
 *
 *   hello   "MCPM", version (1), length and text of the module, length and text of the unit
 *   answer  'M', status
 *
 * Names are DNS labels. The unit may be empty: any of the module's. Nothing else follows; the
 * caller sends on when it has the answer. Pure: bytes in, structs out. */
#pragma once

#include "base/util/util.h"

#define MESH_ALPN "mcp-mesh/1"
#define MESH_VERSION 1
#define MESH_NAME_MAX 63
#define MESH_HELLO_MAX (7 + 2 * MESH_NAME_MAX)
#define MESH_ANSWER_SIZE 2

struct mesh_hello {
    char module[MESH_NAME_MAX + 1];
    char unit[MESH_NAME_MAX + 1];
};

enum mesh_status {
    MESH_OK,
    MESH_DENIED,      /* the certificate's module does not need that one */
    MESH_UNKNOWN,     /* nothing of that name runs here */
    MESH_UNAVAILABLE, /* it does not answer */
    MESH_STATUSES,
};

/* Returns the length. The names must be labels (bugs assert). */
size_t mesh_hello_format(const struct mesh_hello *h, uint8_t out[MESH_HELLO_MAX]);
/* Bytes taken; 0: more is needed; negative: not a hello of a version that is known. */
int mesh_hello_parse(const uint8_t *p, size_t len, struct mesh_hello *ret);
void mesh_answer_format(enum mesh_status s, uint8_t out[MESH_ANSWER_SIZE]);
/* False: not an answer. */
bool mesh_answer_parse(const uint8_t *p, size_t len, enum mesh_status *ret);
const char *mesh_status_text(enum mesh_status s);
bool mesh_is_name(const char *text); /* a label of at most MESH_NAME_MAX */
