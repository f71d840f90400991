/* SPDX-License-Identifier: Apache-2.0 */
/* What every C module shares: a name, routes, an optional beat, and one call that runs it all until
 * SIGTERM. One thread, one poll loop; every connection, buffer and wait is bounded. */
#pragma once

#include "http.h"

#include <poll.h>
#include <stdint.h>

struct conn;
struct promise;

struct reply {
    int status;       /* 200 unless the handler says otherwise */
    const char *type; /* application/json unless the handler says otherwise */
    const char *field; /* one more header line with its CRLF; NULL: none */
    struct buf body;
    struct promise *later; /* set by reply_later() */
};

/* An answer that is still to come. It stands in whatever the module keeps about the request, until
 * it was given; conn is NULL once the client has gone, and then nobody hears it. */
struct promise {
    struct conn *conn;
    bool head_only, keep_alive;
};

/* Instead of an answer: the handler returns, the connection waits. What the request holds is gone
 * then. The module answers within PROMISE_MS, or the connection is cut. */
#define PROMISE_MS 10000
void reply_later(struct reply *reply, struct promise *promise);
struct reply reply_new(void); /* to fill for promise_keep(), before anything else is answered */
void promise_keep(struct promise *promise, struct reply *reply);

typedef void(route_fn)(const struct http_request *request, struct reply *reply);

/* A path ending in '*' stands for everything that begins so. GET routes answer HEAD as well. */
struct route {
    const char *method, *path;
    route_fn *answer;
    bool quiet; /* a line in the log only for what went wrong: too many of them */
};

/* What a module waits for besides its clients. The loop polls what want() asks for, and calls
 * step() after every wait, whatever happened. */
#define WATCH_MAX 64
struct watch {
    /* At most WATCH_MAX entries, and until when to wait at the longest. */
    size_t (*want)(struct pollfd *fds, uint64_t *until_ms);
    void (*step)(const struct pollfd *fds, size_t n, uint64_t now_ms);
};

struct module {
    const char *name;
    const struct route *routes;
    size_t route_count;
    void (*beat)(void); /* called at the start and every MODULE_HEARTBEAT_MS (30 s); may be NULL */
    bool listen_by_default; /* on 8080 without PORT; a worker listens only when PORT is set */
    int (*start)(void);        /* once, before anybody is served; -1 ends the module; may be NULL */
    const struct watch *watch; /* may be NULL */
};

int module_run(const struct module *module);

/* Whose instance this is, as the platform said at the start; empty text where it said nothing. */
struct identity {
    const char *module, *region, *instance, *host;
    uint64_t started_ms;
};
const struct identity *module_identity(void);

uint64_t now_ms(void); /* monotonic */

void reply_error(struct reply *reply, int status, const char *text);

/* One line `level module area msg key=value` on stdout. */
__attribute__((format(printf, 3, 4))) void log_line(
    const char *level, const char *area, const char *format, ...);
