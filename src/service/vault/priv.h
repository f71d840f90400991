/* SPDX-License-Identifier: Apache-2.0 */
/* vault.c belongs to the loop, follow.c and file.c to the thread; between them lies `told`. */
#pragma once

#include "service/vault/vault.h"

#include "driver/sql/dialect.h"
#include "driver/sql/worker.h"
#include "proto/binlog/binlog.h"
#include "service/copies/copies.h"

#include <pthread.h>

struct told { /* how it is, for the loop */
    char log[160], gtid[COPIES_GTID_MAX];
    bool following, is_short;
    uint64_t since_ms;
    int64_t last_s;
    uint64_t files, bytes, stored; /* of all that is packed */
    uint64_t open_bytes;
};

struct order { /* whom, and how; a copy for the thread */
    uint32_t source, server_id;
    char address[64], user[64];
    uint16_t port;
    char dir[192], tls[192];
    struct vault_limits limits;
};

struct vault {
    struct vault_config config;
    struct order order; /* source 0: nobody */
    struct sql_worker *worker;
    struct sql_job *job;
    uv_timer_t timer;
    unsigned tries;
    uint64_t retry_ms;
    char why[256];
    pthread_mutex_t lock; /* of told */
    struct told told;
    bool was_following, closing;
    unsigned handles;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* The thread's: follows until something fails or it is stopped. */
MUST_CHECK int vault_run(
    struct vault *v, const struct order *o, struct sql_stop *stop, struct err *e);

/* ---- the log that is being written (file.c) */

struct open_log {
    int fd; /* -1: none */
    char path[400], name[128]; /* "<dir>/0001795450500-binlog.000007", "binlog.000007" */
    uint32_t created_s;
    uint64_t size; /* what is in the file and in the buffer */
    uint8_t *buffer;
    size_t buffered;
    bool dirty;
    struct binlog_reader *reader;
};

void open_log_init(struct open_log *f);
void open_log_done(struct open_log *f); /* closes, loses what is in the buffer */
/* The newest raw log in the folder, cut to what is whole, ready to go on; fd -1: there is none, and
 * `name` is that of the newest packed one, or "". */
MUST_CHECK int open_log_resume(struct open_log *f, const char *folder, struct err *e);
MUST_CHECK int open_log_begin(struct open_log *f, const char *folder, const char *name,
    uint32_t created_s, struct err *e);
MUST_CHECK int open_log_add(struct open_log *f, const uint8_t *event, size_t len, struct err *e);
MUST_CHECK int open_log_sync(struct open_log *f, struct err *e);
/* Syncs and closes it. */
MUST_CHECK int open_log_end(struct open_log *f, struct err *e);
bool open_log_is_packed(const char *folder, const char *name, uint32_t created_s);
