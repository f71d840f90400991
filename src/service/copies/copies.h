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

#include <stdatomic.h>

#define COPIES_GTID_MAX 4096u

struct copies_source {
    const char *socket; /* of the server */
    const char *user;   /* who may log in there over the socket without a password */
    const char *data_dir;
    unsigned throttle; /* reads a second, of about 64 KiB (mariadb-backup); 0: as fast as it goes */
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

/* ---- a folder of backups: DIRECTORY/<database>/<id>.xb.zst, with its manifest */

struct copies_place {
    const char *directory, *database;
    const char *host;   /* ours: part of the ids */
    int64_t keep_ms;    /* older ones go after each backup, but never the newest whole one */
};

struct copies_backup {
    char id[192]; /* domain/replication/archive.h */
    char path[512];
    struct copies_archive a;
    int64_t begun_ms; /* as the id says */
    bool whole;       /* the archive is there and as long as its manifest says */
};

#define COPIES_BACKUPS_MAX 4096u
/* Newest first; free() it. No folder is no backups. */
MUST_CHECK int copies_store_list(
    const struct copies_place *p, struct copies_backup **ret, size_t *ret_n, struct err *e);
MUST_CHECK int copies_store_find(
    const struct copies_place *p, const char *id, struct copies_backup *ret, struct err *e);
struct copies_part { /* what is being written, for another thread to look at */
    char path[512];
    atomic_bool named;
};

/* One at a time in a folder (ERR_CONFLICT). What an earlier one left half done is removed first;
 * when this one fails those that are there stay. */
MUST_CHECK int copies_store_make(const struct copies_place *p, const struct copies_source *s,
    struct copies_part *part, struct sql_stop *stop, struct copies_backup *ret, struct err *e);

/* ---- the vault: DIR/<server id>/, a server's binary logs, each byte as it wrote it
 *
 * <name>                raw: the one that is being written, or one that somebody put there
 * <name>.zst            one that is over, with what is in it beside: <name>.zst.json
 * Names sort in the order of time. Followed by service/vault. */

struct copies_log {
    char path[256];
    uint32_t server;
    uint64_t bytes, stored;                          /* of the log; of the file */
    int64_t first_s, last_s;                         /* of its transactions; 0: none */
    char from[COPIES_GTID_MAX], to[COPIES_GTID_MAX]; /* GTID before its first, and of its last */
    uint64_t whole; /* raw: it is good up to this byte */
    bool torn;      /* ends within an event, or one is damaged: it is good up to there */
    bool packed;
    char digest[80]; /* packed: of the file */
    char why[160];   /* packed: its manifest cannot be read, nothing is known of it; else "" */
};

#define COPIES_LOGS_MAX 4096u
/* By server, then by name. free() it. Raw files are read whole. No folder is no logs. */
MUST_CHECK int copies_vault_list(
    const char *dir, struct copies_log **ret, size_t *ret_n, struct err *e);
/* Those of one folder, after the *n that are there (room for COPIES_LOGS_MAX): a server's own. */
MUST_CHECK int copies_logs_add(
    const char *folder, uint32_t server, struct copies_log *v, size_t *n, struct err *e);
/* Packs a raw log: PATH.zst and its manifest, whole or not at all; then the raw one goes. */
MUST_CHECK int copies_log_pack(const char *path, struct sql_stop *stop, struct err *e);
/* `out` becomes the log again, as far as it is good. A packed one that is not what its manifest says
 * is ERR_INVALID and named. */
MUST_CHECK int copies_log_unpack(
    const struct copies_log *log, const char *out, struct sql_stop *stop, struct err *e);
/* Where the vault is not continuous: [{"server", "after", "from"}], of each server. */
json_t *copies_gaps(const struct copies_log *v, size_t n);
json_t *copies_log_json(const struct copies_log *log);

/* ---- back in time */

struct copies_stop_at { /* one of: */
    const char *gtid;   /* everything up to this position, and nothing after it */
    int64_t time_s;     /* everything before the first transaction of this second (wall clock) */
};

/* Applies to a running server (`socket`, as `user`) what the logs of the vault have behind `begin`,
 * its position, transaction by transaction with the GTIDs that they had. *gtid: where that leads.
 * Killed, it is called again with the position then. ERR_NOT_FOUND: nothing goes on from `begin`. */
MUST_CHECK int copies_refill(const char *vault, const char *socket, const char *user,
    const char *begin, const char *scratch, struct sql_stop *stop, char gtid[COPIES_GTID_MAX],
    struct err *e);

enum copies_phase { COPIES_CHECKING, COPIES_UNPACKING, COPIES_READING, COPIES_APPLYING, COPIES_PROVING };
const char *copies_phase_name(enum copies_phase p);

struct copies_order {
    const char *archive;
    const char *vault;     /* NULL: only the archive */
    const char *own_logs;  /* the server's own folder of binary logs, whose id is `server`; NULL */
    uint32_t server;
    const char *dir;                 /* must not exist; the data folder is made in it */
    const struct copies_stop_at *at; /* NULL: to the end of the logs */
    bool prove;                      /* sum all tables in the end */
    atomic_int *phase;               /* enum copies_phase; NULL */
};

struct copies_restored {
    char gtid[COPIES_GTID_MAX]; /* where it ended */
    size_t logs;                /* how many it took */
    json_t *tables;             /* prove: [{"database", "table", "rows", "checksum"}]; the caller's */
};

/* Unpacks the archive to `dir`/data and applies the logs up to the point, with a server of its own
 * that nobody else reaches. A point that the archive lies behind is ERR_REFUSED, one that the logs
 * do not reach ERR_NOT_FOUND; whatever fails, `dir` is taken away. */
MUST_CHECK int copies_restore(const struct copies_order *o, struct sql_stop *stop,
    struct copies_restored *ret, struct err *e);

/* ---- programs */

/* Runs `from | to` (`to` NULL: one program) with these as first input and last output (-1:
 * /dev/null). Any end but success is an error that quotes the last line that either wrote to its
 * standard error. */
MUST_CHECK int copies_pipe(const char *const *from, const char *const *to, int input, int output,
    struct sql_stop *stop, struct err *e);
