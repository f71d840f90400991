/* SPDX-License-Identifier: Apache-2.0 */
/* What the meshes of two hosts say to each other, inside TLS (ALPN "mcp-mesh/1"), before the bytes of
 * those that they join; in the framing of net/splice, once for each call of a connection. Who calls
 * is in the caller's certificate. What is called is named twice: as server name of the handshake,
 * which picks the certificate that answers, and here.
 *
 *   hello of a module     "MCPM", 1, length and text of the module, length and text of the unit
 *   hello of a database   "MCPM", 2, length and text of the database, end ('r' or 'w'), epoch (8)
 *   answer                'M', status
 *
 * Names are DNS labels. The unit may be empty: any of the module's. The epoch (big endian) is the
 * one that the caller knows: who knows a higher one is not the one to be asked. Nothing else
 * follows; the caller sends on when it has the answer. Pure: bytes in, structs out. */
#pragma once

#include "base/util/util.h"

#define MESH_ALPN "mcp-mesh/1"
#define MESH_NAME_MAX 63
#define MESH_HELLO_MAX (7 + 2 * MESH_NAME_MAX)
#define MESH_ANSWER_SIZE 2

enum mesh_hello_kind { MESH_TO_MODULE = 1, MESH_TO_DATABASE = 2 };

struct mesh_hello {
    enum mesh_hello_kind kind;
    char name[MESH_NAME_MAX + 1]; /* of the module, of the database */
    char unit[MESH_NAME_MAX + 1]; /* of a module */
    bool write;                   /* of a database: the rw end */
    int64_t epoch;                /* of a database; not negative */
};

enum mesh_status {
    MESH_OK,
    MESH_DENIED,      /* the certificate's module does not need that one */
    MESH_UNKNOWN,     /* nothing of that name runs here */
    MESH_UNAVAILABLE, /* it does not answer */
    /* Of databases only. */
    MESH_MOVED, /* the source is elsewhere, or the epoch is another here */
    MESH_DOWN,  /* the engine takes no connection */
    MESH_SLOW,  /* it took one and says nothing */
    MESH_STATUSES,
};

/* Returns the length. The names must be labels (bugs assert). */
size_t mesh_hello_format(const struct mesh_hello *h, uint8_t out[MESH_HELLO_MAX]);
/* Bytes taken; 0: more is needed; negative: not a hello of a kind that is known. */
int mesh_hello_parse(const uint8_t *p, size_t len, struct mesh_hello *ret);
void mesh_answer_format(enum mesh_status s, uint8_t out[MESH_ANSWER_SIZE]);
/* False: not an answer. */
bool mesh_answer_parse(const uint8_t *p, size_t len, enum mesh_status *ret);
const char *mesh_status_text(enum mesh_status s);
bool mesh_is_name(const char *text); /* a label of at most MESH_NAME_MAX */
