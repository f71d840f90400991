/* SPDX-License-Identifier: Apache-2.0 */
/* What every C module shares: a name, routes, an optional beat, and one call that runs it all until
 * SIGTERM. One thread, one poll loop; every connection, buffer and wait is bounded. */
#pragma once

#include "http.h"

#include <stdint.h>

struct reply {
    int status;       /* 200 unless the handler says otherwise */
    const char *type; /* application/json unless the handler says otherwise */
    struct buf body;
};

typedef void(route_fn)(const struct http_request *request, struct reply *reply);

/* A path ending in '*' stands for everything that begins so. GET routes answer HEAD as well. */
struct route {
    const char *method, *path;
    route_fn *answer;
};

struct module {
    const char *name;
    const struct route *routes;
    size_t route_count;
    void (*beat)(void); /* called at the start and every MODULE_HEARTBEAT_MS (30 s); may be NULL */
    bool listen_by_default; /* on 8080 without PORT; a worker listens only when PORT is set */
};

int module_run(const struct module *module);

/* Whose instance this is, as the platform said at the start; empty text where it said nothing. */
struct identity {
    const char *module, *region, *instance, *host;
    uint64_t started_ms;
};
const struct identity *module_identity(void);

void reply_error(struct reply *reply, int status, const char *text);

/* One line `level module area msg key=value` on stdout. */
__attribute__((format(printf, 3, 4))) void log_line(
    const char *level, const char *area, const char *format, ...);
