/* SPDX-License-Identifier: Apache-2.0 */
/* The vault: keeps a source's binary logs, each byte as it wrote it, on the host of a replica. It
 * asks as a replica does, over TLS with the host's own certificate, checks every event's sum, and
 * goes on at the last whole event after whatever death. A log that is over is packed; logs go when
 * they are older than the retention, or when all together take more than their share.
 *
 * One thread of its own while somebody is followed; everything here belongs to the loop. How the
 * files lie: service/copies. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#include <uv.h>

struct vault;

struct vault_config { /* copied */
    uv_loop_t *loop;
    const char *dir;    /* <dir>/<server id>/ */
    const char *tls;    /* folder of ca.pem, cert.pem, key.pem; NULL: none */
    const char *user;
    uint32_t server_id; /* ours: nobody else asks that source with it */
    /* from the loop: it follows again, or has ceased to */
    void (*changed)(void *ctx);
    void *ctx;
};

struct vault_source {
    uint32_t id;
    const char *address;
    uint16_t port;
};

struct vault_limits {
    int64_t retention_ms;
    uint64_t max_bytes; /* 0: no limit */
};

MUST_CHECK int vault_new(const struct vault_config *c, struct vault **ret, struct err *e);
/* NULL: nobody. The same as before changes nothing. */
void vault_follow(struct vault *v, const struct vault_source *s, const struct vault_limits *l);
/* {"source": server id, "state": "idle" | "connecting" | "following" | "waiting", "why", "since_ms"
 * (boot), "log", "gtid": on disk up to here, "last_s", "files", "bytes", "stored", "short": true when
 * logs had to go before their time} */
json_t *vault_json(struct vault *v);
/* The thread has ended when `closed` comes. */
void vault_close(struct vault *v, void (*closed)(void *ctx), void *ctx);
