/* SPDX-License-Identifier: Apache-2.0 */
/* Whole copies of a MariaDB server's data: archives (mariadb-backup, zstd), what they become again,
 * and the vault of binary logs that takes an archive forward to any later transaction. A seed for a
 * replica and a backup are the same archive.
 *
 * Everything blocks and runs programs: for a worker's thread, as the system user of the server. A
 * `stop` that is raised ends what runs. Archives and manifests appear whole or not at all: they are
 * written beside, synced and renamed. */
#pragma once

#include "base/json/json.h"
#include "driver/sql/sql.h"

#define COPIES_GTID_MAX 4096u

struct copies_source {
    const char *socket; /* of the server */
    const char *user;   /* who may log in there over the socket without a password */
    const char *data_dir;
    unsigned throttle; /* reads of 10 MB a second (mariadb-backup); 0: as fast as it goes */
};

struct copies_archive {         /* the manifest beside it: PATH.json */
    char gtid[COPIES_GTID_MAX]; /* it holds everything up to here, and nothing after it */
    char digest[80];
    char version[64]; /* of the server */
    uint64_t bytes;
    int64_t begun_ms, ended_ms; /* wall clock */
};

/* Writes the archive to `path` and its manifest beside it; `work_dir` is for what it needs meanwhile. */
MUST_CHECK int copies_make(const struct copies_source *s, const char *path, const char *work_dir,
    struct sql_stop *stop, struct copies_archive *ret, struct err *e);
MUST_CHECK int copies_manifest_read(
    const char *path, struct copies_archive *ret, struct err *e); /* path: the archive's */
json_t *copies_manifest_json(const struct copies_archive *a);
/* The archive is what its manifest says, and unpacks. */
MUST_CHECK int copies_check(const char *path, struct sql_stop *stop, struct err *e);
/* Makes a data directory of it, ready to be started; `dir` must not exist. */
MUST_CHECK int copies_unpack(const char *path, const char *dir, struct sql_stop *stop,
    char gtid[COPIES_GTID_MAX], struct err *e);

/* ---- the vault: DIR/<server id>/<name of the log>, raw, as the server wrote them */

struct copies_log {
    char path[256];
    uint32_t server;
    uint64_t bytes;
    int64_t first_s, last_s;                         /* of its transactions; 0: none */
    char from[COPIES_GTID_MAX], to[COPIES_GTID_MAX]; /* GTID before its first, and of its last */
    bool torn; /* ends within an event, or one is damaged: it is good up to there */
};

#define COPIES_LOGS_MAX 4096u
/* By server, then by name. free() it. Reads every file whole. */
MUST_CHECK int copies_vault_list(
    const char *dir, struct copies_log **ret, size_t *ret_n, struct err *e);

/* ---- back in time */

struct copies_stop_at { /* one of: */
    const char *gtid;   /* everything up to this position, and nothing after it */
    int64_t time_s;     /* everything before this second (wall clock) */
};

/* Unpacks the archive to `dir`/data and applies the vault's logs up to the point (NULL: to their
 * end), with a server of its own that nobody else reaches. *gtid: where it ended. A position that
 * the logs do not reach is ERR_NOT_FOUND, and `dir` is taken away. */
MUST_CHECK int copies_restore(const char *archive, const char *vault, const char *dir,
    const struct copies_stop_at *at, struct sql_stop *stop, char gtid[COPIES_GTID_MAX],
    struct err *e);
