/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/maker.h"
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "service/copies/copies.h"
#include "service/data/seed.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Reads a second, of about 64 KiB (measured: 42 MiB of tablespaces are 700): 50 MiB a second, which
 * leaves a disk and a core to what the source is there for. */
#define THROTTLE 800u
#define KEEP_MS 1800000u  /* after somebody last asked for it */
#define REUSE_MS 900000   /* one so old is still good for another replica */
#define SPARE_BYTES (64ull << 20) /* that the source keeps in any case */

struct maker {
    struct db *db; /* NULL: closed */
    struct data *data;
    struct sql_worker *worker;
    unsigned refs;
    bool making, failed;
    char dir[256];
    struct copies_archive archive; /* digest "": there is none */
    struct copies_archive made;    /* the thread's, while it makes one */
    uint64_t asked_ms, data_bytes;
    char why[256];
};

static void path_in(const struct maker *m, const char *name, char out[320])
{
    snprintf(out, 320, "%s/spool/%s", m->dir, name);
}

static void remove_archive(struct maker *m)
{
    static const char *const names[] = {"copy.zst", "copy.zst.json", "copy.zst.part"};
    char path[320];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        path_in(m, names[i], path);
        unlink(path);
    }
    m->archive = (struct copies_archive){0};
}

/* One that an earlier process made. */
static void find_archive(struct maker *m)
{
    char path[320];
    struct err ignored;
    path_in(m, "copy.zst", path);
    if (!file_exists(path) || copies_manifest_read(path, &m->archive, &ignored) < 0)
        remove_archive(m);
}

static struct maker *maker_of(struct db *db)
{
    if (db->maker)
        return db->maker;
    struct maker *m = db->maker = xcalloc(1, sizeof *m);
    *m = (struct maker){.db = db, .data = db->owner, .refs = 1};
    str_copy(m->dir, sizeof m->dir, db->want.dir);
    find_archive(m);
    return m;
}

/* ---- making it, on a thread */

static int run(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct maker *m = ctx;
    char path[320], spool[320];
    _cleanup_free_ char *socket = xasprintf("%s/run/db.sock", m->dir),
                        *data = xasprintf("%s/data", m->dir);
    const struct copies_source s = {
        .socket = socket, .user = DATA_USER, .data_dir = data, .throttle = THROTTLE};
    path_in(m, "copy.zst", path);
    path_in(m, "", spool);
    int r = file_mkdirs(spool, 0700, e);
    return r < 0 ? r : copies_make(&s, path, spool, stop, &m->made, e);
}

static void unref(struct maker *m)
{
    if (!--m->refs)
        free(m);
}

static void on_worker_closed(void *ctx)
{
    struct maker *m = ctx;
    data_unref(m->data);
    unref(m);
}

static void on_made(void *ctx, int result, unsigned number, const struct err *e)
{
    struct maker *m = ctx;
    m->making = false;
    m->failed = e != NULL;
    m->archive = e ? (struct copies_archive){0} : m->made;
    str_copy(m->why, sizeof m->why, e ? e->message : "");
    if (m->db && e)
        data_note(m->data, m->db, "data", "a copy for a replica could not be made", e->message);
    else if (m->db)
        data_note(m->data, m->db, "data", "a copy for a replica was made", m->archive.gtid);
    if (m->worker) /* else maker_close() did */
        sql_worker_close(util_steal_ptr(&m->worker), on_worker_closed, m);
}

static int check_room(struct maker *m, struct err *e)
{
    struct statvfs fs;
    uint64_t free_bytes, need = m->data_bytes + SPARE_BYTES;
    if (statvfs(m->dir, &fs) < 0)
        return 0;
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= need)
        return 0;
    err_set(e, ERR_LIMIT,
        "a copy of %s may need %llu MiB at the source, %s has %llu MiB free", m->db->name,
        (unsigned long long)(need >> 20), m->dir, (unsigned long long)(free_bytes >> 20));
    err_fix(e, "free space there");
    return e->code;
}

static int begin(struct maker *m, struct err *e)
{
    struct sql_worker *w;
    remove_archive(m);
    int r = check_room(m, e);
    if (r >= 0)
        r = sql_worker_new(m->data->config.loop, NULL, &w, e);
    if (r < 0)
        return r;
    m->data->refs++;
    m->refs++;
    m->worker = w;
    m->making = true;
    m->failed = false;
    sql_worker_run(w, 0, run, on_made, m);
    return 0;
}

/* ---- what is asked */

static bool is_good(const struct maker *m, const char *not)
{
    return !m->making && *m->archive.digest && !str_eq(m->archive.digest, not)
           && clock_wall_ms() - m->archive.ended_ms < REUSE_MS;
}

static json_t *state_json(struct maker *m, const char *not)
{
    char path[320];
    struct stat st;
    bool good = is_good(m, not);
    int64_t bytes = (int64_t)m->archive.bytes;
    path_in(m, "copy.zst.part", path);
    if (m->making)
        bytes = stat(path, &st) < 0 ? 0 : st.st_size;
    return json_pack("{s:s,s:I,s:I,s:s,s:s,s:s}", "state",
        m->making  ? "making"
        : good     ? "ready"
        : m->failed ? "failed"
                   : "none",
        "data_bytes", (json_int_t)m->data_bytes, "bytes", (json_int_t)bytes, "digest",
        good ? m->archive.digest : "", "gtid", good ? m->archive.gtid : "", "why", m->why);
}

static int may_make(struct db *db, const json_t *params, struct err *e)
{
    uint64_t epoch = (uint64_t)MAX(json_opt_int(params, "epoch", 0), 0);
    if (db->want.duty != REPLICATION_SOURCE || db->want.epoch != epoch)
        return err_set(e, ERR_REFUSED, "%s is not the source of %s at epoch %llu",
            db->owner->config.host, db->name, (unsigned long long)epoch);
    if (db->node.state != REPLICATION_WRITABLE && db->node.state != REPLICATION_READ_ONLY)
        return err_set(e, ERR_UNAVAILABLE, "the source of %s is %s", db->name,
            replication_state_name(db->node.state));
    return 0;
}

void maker_call(struct db *db, struct rpc_req *req, json_t *params)
{
    struct err e = {0};
    struct maker *m = maker_of(db);
    const char *not = json_opt_str(params, "not", "");
    int r = may_make(db, params, &e);
    m->asked_ms = clock_boot_ms();
    if (r >= 0 && !m->making && !is_good(m, not)) {
        _cleanup_free_ char *data = xasprintf("%s/data", m->dir);
        m->data_bytes = seed_tree_bytes(data);
        /* Who begins anew tells; who only looks hears why it failed. */
        if (json_opt_bool(params, "ask", false))
            r = check_room(m, &e);
        else if (!m->failed || json_opt_bool(params, "begin", false))
            r = begin(m, &e);
    }
    if (r < 0)
        rpc_reply_error(req, &e);
    else
        rpc_reply(req, state_json(m, not));
}

void maker_drop(struct db *db, struct rpc_req *req, json_t *params)
{
    struct maker *m = maker_of(db);
    if (!m->making && str_eq(m->archive.digest, json_opt_str(params, "digest", NULL)))
        remove_archive(m);
    rpc_reply(req, NULL);
}

int maker_open(struct db *db, const char *digest)
{
    char path[320];
    struct maker *m = maker_of(db);
    path_in(m, "copy.zst", path);
    m->asked_ms = clock_boot_ms();
    if (m->making || !str_eq(m->archive.digest, digest))
        return -1;
    return open(path, O_RDONLY | O_CLOEXEC);
}

void maker_tick(struct db *db)
{
    struct maker *m = db->maker;
    if (m && !m->making && *m->archive.digest && clock_boot_ms() - m->asked_ms > KEEP_MS)
        remove_archive(m);
}

void maker_close(struct db *db)
{
    struct maker *m = util_steal_ptr(&db->maker);
    if (!m)
        return;
    m->db = NULL;
    if (m->worker)
        sql_worker_close(util_steal_ptr(&m->worker), on_worker_closed, m);
    unref(m);
}
