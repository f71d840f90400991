/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshot of an edge that belongs to no platform (`mcp edge serve`): every route leads to one
 * upstream. The text is YAML with the key `route`, which holds what a module's `route:` holds. A
 * route that wants a token answers 401: nobody can check one. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"
#include "base/json/json.h"

#define EDGE_ALONE_TEXT_MAX (1024u * 1024)

struct edge_alone {
    const char *file, *text; /* its name, for errors; its text; NULL: all names, all paths */
    size_t text_len;
    struct ip_addr upstream;
    uint16_t port;
    const char *cert, *key; /* PEM texts; NULL: no TLS */
};

/* A document for edge_set_routes(). Errors of the text name their place in the file. */
MUST_CHECK int edge_alone_routes(const struct edge_alone *alone, json_t **ret, struct err *e);
