/* SPDX-License-Identifier: Apache-2.0 */
#include "service/data/seed.h"
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/digest/digest.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "service/copies/copies.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TURN_MS 1000u
#define SWAP_TURN_MS 200u
#define SHUTDOWN_AGAIN_MS 30000u
#define CALL_MS 15000u
#define TRIES 40u /* of one step that does not get on: with their waits about ten minutes */
#define WAIT_MIN_MS 1000u
#define WAIT_MAX_MS 20000u
#define JOB_MAX 65536u
#define SPARE_BYTES (64ull << 20)
#define DEPTH_MAX 16
#define NOTE "mcp_seed.json"   /* in the data folder: the position is still to be set */
#define PAST "mcp_seeded.json" /* it was */

enum step { STEP_NONE, STEP_ASK, STEP_MAKE, STEP_FETCH, STEP_UNPACK, STEP_SWAP };
static const char *const step_names[] = {
    [STEP_NONE] = "none",
    [STEP_ASK] = "ask",
    [STEP_MAKE] = "make",
    [STEP_FETCH] = "fetch",
    [STEP_UNPACK] = "unpack",
    [STEP_SWAP] = "swap",
};

struct seed { /* kept when it has ended, for who asks how */
    struct db *db; /* NULL: closed */
    struct data *data;
    unsigned refs;
    uv_timer_t timer;
    struct sql_worker *worker; /* NULL: no step needs it */
    struct rpc_call *fetching; /* NULL: nothing is fetched */
    bool busy;                 /* a call or a job is under way */
    bool gives_up;             /* the view changed meanwhile */
    enum step step;
    int64_t id; /* when it was begun, wall clock */
    bool by_hand, told_begin;
    uint64_t epoch;
    char dir[256], from[64], digest[80], not[80];
    char gtid[COPIES_GTID_MAX];
    uint64_t bytes, have, data_bytes;
    unsigned tries;
    uint64_t asked_ms; /* for the server's end, last */
    const char *outcome; /* "done", "failed"; NULL: under way */
    char why[256];
    struct rnd rnd;
};

static char *path_of(const struct seed *s, const char *name)
{
    return xasprintf("%s/%s", s->dir, name);
}

/* ---- what is on disk */

static void save(struct seed *s)
{
    struct err e;
    _cleanup_free_ char *path = path_of(s, "spool/seed.json"), *spool = path_of(s, "spool");
    _cleanup_json_ json_t *j = json_pack("{s:i,s:I,s:s,s:b,s:I,s:s,s:s,s:s,s:I,s:I}", "format", 1,
        "id", (json_int_t)s->id, "step", step_names[s->step], "by_hand", (int)s->by_hand, "epoch",
        (json_int_t)s->epoch, "from", s->from, "digest", s->digest, "gtid", s->gtid, "bytes",
        (json_int_t)s->bytes, "data_bytes", (json_int_t)s->data_bytes);
    _cleanup_free_ char *text = json_text(j);
    if (file_mkdirs(spool, 0700, &e) < 0 || file_write_durable(path, text, strlen(text), 0600, &e) < 0)
        data_note(s->data, s->db, "data", "the progress of a seed cannot be kept", e.message);
}

static bool load(struct seed *s)
{
    struct err ignored;
    _cleanup_free_ char *path = path_of(s, "spool/seed.json");
    _cleanup_json_ json_t *j = NULL;
    if (json_read_file(path, JOB_MAX, &j, &ignored) < 0 || json_opt_int(j, "format", 0) != 1)
        return false;
    const char *step = json_opt_str(j, "step", "");
    for (size_t i = STEP_ASK; i < ARRAY_SIZE(step_names); i++)
        if (str_eq(step_names[i], step))
            s->step = (enum step)i;
    s->id = json_opt_int(j, "id", 0);
    s->by_hand = json_opt_bool(j, "by_hand", false);
    s->epoch = (uint64_t)MAX(json_opt_int(j, "epoch", 0), 0);
    s->bytes = (uint64_t)MAX(json_opt_int(j, "bytes", 0), 0);
    s->data_bytes = (uint64_t)MAX(json_opt_int(j, "data_bytes", 0), 0);
    return str_copy(s->from, sizeof s->from, json_opt_str(j, "from", ""))
           && str_copy(s->digest, sizeof s->digest, json_opt_str(j, "digest", ""))
           && str_copy(s->gtid, sizeof s->gtid, json_opt_str(j, "gtid", "")) && s->step;
}

static void remove_named(const struct seed *s, const char *name)
{
    _cleanup_free_ char *path = path_of(s, name);
    unlink(path);
}

static bool has(const struct seed *s, const char *name)
{
    _cleanup_free_ char *path = path_of(s, name);
    return file_exists(path);
}

static void remove_folder(const struct seed *s, const char *name)
{
    struct err ignored;
    _cleanup_free_ char *path = path_of(s, name);
    (void)!file_remove_tree(path, &ignored);
}

static uint64_t bytes_below(int dir_fd, unsigned depth)
{
    uint64_t sum = 0;
    struct dirent *entry;
    DIR *d = fdopendir(dir_fd);
    if (!d) {
        close(dir_fd);
        return 0;
    }
    while ((entry = readdir(d))) {
        struct stat st;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")
            || fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        sum += (uint64_t)st.st_blocks * 512;
        if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
            continue;
        int fd = openat(dirfd(d), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            sum += bytes_below(fd, depth + 1);
    }
    closedir(d);
    return sum;
}

uint64_t seed_tree_bytes(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? 0 : bytes_below(fd, 0);
}

bool seed_is_new(const struct data_want *w)
{
    _cleanup_free_ char *path = xasprintf("%s/data/" NOTE, w->dir);
    return !w->external && file_exists(path);
}

bool seed_was_copy(const struct data_want *w)
{
    _cleanup_free_ char *path = xasprintf("%s/data/" PAST, w->dir),
                        *info = xasprintf("%s/data/xtrabackup_info", w->dir);
    return !w->external && (file_exists(path) || file_exists(info));
}

/* Set, then renamed: done again after a death in between, it sets the same, for nothing was attached
 * yet. */
int seed_set_start(struct sql_conn *c, const struct data_want *w, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/data", w->dir),
                        *path = xasprintf("%s/" NOTE, dir), *past = xasprintf("%s/" PAST, dir);
    _cleanup_json_ json_t *j = NULL;
    _cleanup_gtid_ struct gtid_set gtid = {0};
    const char *text;
    if (!seed_is_new(w))
        return 0;
    int r = json_read_file(path, JOB_MAX, &j, e);
    if (r >= 0)
        r = json_get_str(j, "gtid", &text, e);
    if (r >= 0)
        r = gtid_set_parse(GTID_MARIADB, text, strlen(text), &gtid, e);
    if (r >= 0)
        r = sql_set_start(c, &gtid, e);
    if (r >= 0 && rename(path, past) < 0)
        r = err_errno(e, errno, "rename %s", path);
    if (r >= 0)
        r = file_fsync_dir(dir, e);
    return r < 0 ? err_wrap(e, "the position of the seed") : 1;
}

/* The last one that was taken: if that was of no use, it is not asked for again. */
static void read_past(struct seed *s)
{
    struct err ignored;
    _cleanup_free_ char *path = path_of(s, "data/" PAST);
    _cleanup_json_ json_t *j = NULL;
    s->not[0] = '\0';
    if (json_read_file(path, JOB_MAX, &j, &ignored) >= 0)
        str_copy(s->not, sizeof s->not, json_opt_str(j, "digest", ""));
}

/* ---- its end */

static void unref(struct seed *s)
{
    if (--s->refs)
        return;
    data_unref(s->data);
    free(s);
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF((uv_timer_t *)h, struct seed, timer));
}

static void on_worker_closed(void *ctx)
{
    unref(ctx);
}

static void close_worker(struct seed *s)
{
    if (s->worker)
        sql_worker_close(util_steal_ptr(&s->worker), on_worker_closed, s);
}

static struct rpc_conn *control_of(const struct seed *s)
{
    return s->data->config.control(s->data->config.ctx);
}

static void on_dropped(void *ctx, json_t *result, bool more, const struct err *e)
{
}

static void call_source(
    struct seed *s, const char *method, json_t *params, rpc_answer_fn fn, void *ctx)
{
    rpc_call(control_of(s), "data.seed.source",
        json_pack("{s:s,s:s,s:s,s:o}", "database", s->db->name, "host", s->from, "method", method,
            "params", params),
        CALL_MS, fn, ctx);
}

static void end(struct seed *s, bool ok, const char *why)
{
    struct db *db = s->db;
    s->outcome = ok ? "done" : "failed";
    s->step = STEP_NONE;
    str_copy(s->why, sizeof s->why, why);
    uv_timer_stop(&s->timer);
    close_worker(s);
    remove_named(s, "spool/seed.json");
    remove_named(s, "spool/seed.part");
    if (ok && control_of(s))
        call_source(s, "data.seed.drop",
            json_pack("{s:s,s:s}", "database", db->name, "digest", s->digest), on_dropped, NULL);
    if (!ok && !has(s, "seed.ready"))
        remove_folder(s, "seed");
    if (ok)
        data_note(s->data, db, "data", "seeded with a copy of the source", s->gtid);
    else
        data_note(s->data, db, "alarm", "it could not be seeded", why);
    db_event(db,
        &(struct replication_event){.kind = REPLICATION_EV_SEEDED, .ok = ok, .text = s->why});
    db_look_soon(db);
}

static void come_again(struct seed *s, uint64_t in_ms);

/* A step that can be tried again was of no use. */
static void retry(struct seed *s, const char *why)
{
    str_copy(s->why, sizeof s->why, why);
    if (++s->tries > TRIES) {
        _cleanup_free_ char *last = xstrdup(why);
        end(s, false, last);
        return;
    }
    come_again(s, ladder_wait_ms(s->tries, WAIT_MIN_MS, WAIT_MAX_MS, &s->rnd));
}

static void go_to(struct seed *s, enum step step)
{
    s->step = step;
    s->tries = 0;
    s->why[0] = '\0';
    save(s);
    data_report_soon(s->data);
    come_again(s, 0);
}

/* What ended meanwhile. False: nothing more is to be done. */
static bool back(struct seed *s)
{
    s->busy = false;
    if (s->db && s->gives_up)
        end(s, false, "the source is another one now");
    return s->db && s->step != STEP_NONE;
}

/* ---- ask, make */

static bool has_room(struct seed *s, uint64_t archive, uint64_t there, struct err *e)
{
    struct statvfs fs;
    uint64_t need = archive - MIN(there, archive) + s->data_bytes + s->data_bytes / 10 + SPARE_BYTES;
    if (statvfs(s->dir, &fs) < 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= need)
        return true;
    err_set(e, ERR_LIMIT, "a seed needs %llu MiB in %s, %llu MiB are free",
        (unsigned long long)(need >> 20), s->dir,
        (unsigned long long)((uint64_t)fs.f_bavail * fs.f_frsize >> 20));
    return false;
}

static void on_asked(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct seed *s = ctx;
    struct err why;
    if (more)
        return;
    if (back(s) && e && (e->code == ERR_LIMIT || e->code == ERR_REFUSED))
        end(s, false, e->message);
    else if (s->db && s->step != STEP_NONE && e)
        retry(s, e->message);
    else if (s->db && s->step != STEP_NONE) {
        s->data_bytes = (uint64_t)MAX(json_opt_int(result, "data_bytes", 0), 0);
        /* zstd makes nothing bigger. */
        if (!has_room(s, s->data_bytes, 0, &why))
            end(s, false, why.message);
        else
            go_to(s, STEP_MAKE);
    }
    unref(s);
}

static void on_made(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct seed *s = ctx;
    if (more)
        return;
    const char *state = json_opt_str(result, "state", "");
    if (!back(s)) {
        unref(s);
        return;
    }
    s->have = (uint64_t)MAX(json_opt_int(result, "bytes", 0), 0);
    if (e && e->code == ERR_LIMIT)
        end(s, false, e->message);
    else if (e)
        retry(s, e->message);
    else if (str_eq(state, "failed"))
        end(s, false, json_opt_str(result, "why", "the source could not make a copy"));
    else if (str_eq(state, "ready") && str_copy(s->digest, sizeof s->digest, json_opt_str(result, "digest", ""))
             && str_copy(s->gtid, sizeof s->gtid, json_opt_str(result, "gtid", ""))) {
        s->bytes = s->have;
        s->have = 0;
        remove_named(s, "spool/seed.part");
        go_to(s, STEP_FETCH);
    } else {
        s->tries = 0;
        come_again(s, TURN_MS);
    }
    unref(s);
}

static void ask(struct seed *s, bool only)
{
    if (!control_of(s)) {
        retry(s, "control is not linked");
        return;
    }
    s->busy = true;
    s->refs++;
    bool begin = !s->told_begin && !only;
    s->told_begin |= !only;
    call_source(s, "data.seed.make",
        json_pack("{s:s,s:I,s:b,s:b,s:s}", "database", s->db->name, "epoch", (json_int_t)s->epoch,
            "ask", (int)only, "begin", (int)begin, "not", s->not),
        only ? on_asked : on_made, s);
}

/* ---- fetch */

static void on_fetched(void *ctx, json_t *result, bool more, const struct err *e)
{
    struct seed *s = ctx;
    uint64_t have = (uint64_t)MAX(json_opt_int(result, "have", 0), 0);
    if (more) {
        if (have > s->have)
            s->tries = 0;
        s->have = MAX(s->have, have);
        return;
    }
    s->fetching = NULL;
    if (back(s) && !e)
        go_to(s, STEP_UNPACK);
    else if (s->db && s->step != STEP_NONE && e->code == ERR_NOT_FOUND)
        go_to(s, STEP_MAKE); /* the source has not got it any more */
    else if (s->db && s->step != STEP_NONE && e->code == ERR_LIMIT)
        end(s, false, e->message);
    else if (s->db && s->step != STEP_NONE)
        retry(s, e->message);
    unref(s);
}

static void fetch(struct seed *s)
{
    struct err e;
    struct stat st;
    _cleanup_free_ char *path = path_of(s, "spool/seed.part");
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(fd, &st) < 0 || !control_of(s)) {
        retry(s, fd < 0 ? "its file cannot be opened" : "control is not linked");
        return;
    }
    if ((uint64_t)st.st_size > s->bytes && ftruncate(fd, 0) < 0)
        st.st_size = 0;
    s->have = MIN((uint64_t)st.st_size, s->bytes);
    if (!has_room(s, s->bytes, s->have, &e)) {
        end(s, false, e.message);
        return;
    }
    if (s->have == s->bytes) {
        go_to(s, STEP_UNPACK);
        return;
    }
    s->busy = true;
    s->refs++;
    s->fetching = rpc_call_fd(control_of(s), "data.seed.fetch",
        json_pack("{s:s,s:s,s:s,s:I}", "database", s->db->name, "host", s->from, "digest",
            s->digest, "offset", (json_int_t)s->have),
        util_steal_fd(&fd), 0, on_fetched, s);
}

/* ---- unpack, on a thread */

static int write_note(const struct seed *s, const char *gtid, struct err *e)
{
    _cleanup_free_ char *path = path_of(s, "seed/" NOTE);
    _cleanup_json_ json_t *j = json_pack("{s:i,s:s,s:s,s:s}", "format", 1, "gtid", gtid, "digest",
        s->digest, "from", s->from);
    _cleanup_free_ char *text = json_text(j);
    return file_write_durable(path, text, strlen(text), 0600, e);
}

static int sync_folder(const char *path, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || syncfs(fd) < 0 ? err_errno(e, errno, "sync %s", path) : 0;
}

static int run_unpack(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    struct seed *s = ctx;
    char digest[DIGEST_SIZE], gtid[COPIES_GTID_MAX];
    _cleanup_free_ char *archive = path_of(s, "spool/seed.part"), *to = path_of(s, "seed");
    int r = file_remove_tree(to, e);
    if (r >= 0)
        r = digest_file(archive, digest, e);
    if (r >= 0 && !str_eq(digest, s->digest)) {
        unlink(archive);
        r = err_set(e, ERR_INVALID, "what came is not what the source made");
    }
    if (r >= 0)
        r = copies_unpack(archive, to, stop, gtid, e);
    if (r >= 0)
        r = write_note(s, gtid, e);
    return r < 0 ? r : sync_folder(to, e);
}

static void on_unpacked(void *ctx, int result, unsigned number, const struct err *e)
{
    struct seed *s = ctx;
    if (back(s)) {
        close_worker(s);
        if (!e)
            go_to(s, STEP_SWAP);
        else if (has(s, "spool/seed.part"))
            end(s, false, e->message);
        else if (++s->tries > 2)
            end(s, false, e->message);
        else {
            s->step = STEP_FETCH;
            retry(s, e->message);
        }
    }
    unref(s);
}

static void unpack(struct seed *s)
{
    struct err e;
    if (sql_worker_new(s->data->config.loop, NULL, &s->worker, &e) < 0) {
        retry(s, e.message);
        return;
    }
    s->busy = true;
    s->refs += 2; /* the job's, the worker's */
    sql_worker_run(s->worker, 0, run_unpack, on_unpacked, s);
}

/* ---- swap */

static int run_shutdown(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    return sql_exec(c, "SHUTDOWN", e);
}

static void on_shut_down(void *ctx, int result, unsigned number, const struct err *e)
{
    struct seed *s = ctx;
    s->busy = false;
    if (s->db && s->step == STEP_SWAP)
        come_again(s, SWAP_TURN_MS);
    unref(s);
}

/* The mark is gone when the seed has been taken; the seed goes first. */
static void swap(struct seed *s)
{
    struct err e;
    _cleanup_free_ char *mark = path_of(s, "seed.ready");
    bool marked = file_exists(mark);
    if (!marked && !has(s, "seed")) {
        end(s, true, "");
        return;
    }
    if (!marked && file_write_durable(mark, s->digest, strlen(s->digest), 0600, &e) < 0) {
        retry(s, e.message);
        return;
    }
    if (s->asked_ms && clock_boot_ms() - s->asked_ms < SHUTDOWN_AGAIN_MS) {
        come_again(s, SWAP_TURN_MS);
        return;
    }
    s->asked_ms = clock_boot_ms();
    s->busy = true;
    s->refs++;
    /* One that does not answer is down, or restarted by whoever watches over it. */
    sql_worker_run(s->db->act, SHUTDOWN_AGAIN_MS, run_shutdown, on_shut_down, s);
}

/* ---- turns */

static void on_turn(uv_timer_t *t)
{
    struct seed *s = CONTAINER_OF(t, struct seed, timer);
    if (!s->db || s->busy)
        return;
    switch (s->step) {
    case STEP_ASK:
        ask(s, true);
        break;
    case STEP_MAKE:
        ask(s, false);
        break;
    case STEP_FETCH:
        fetch(s);
        break;
    case STEP_UNPACK:
        unpack(s);
        break;
    case STEP_SWAP:
        swap(s);
        break;
    case STEP_NONE:
        break;
    }
}

static void come_again(struct seed *s, uint64_t in_ms)
{
    uv_timer_start(&s->timer, on_turn, in_ms, 0);
}

static struct seed *seed_of(struct db *db)
{
    if (db->seed)
        return db->seed;
    struct seed *s = db->seed = xcalloc(1, sizeof *s);
    *s = (struct seed){.db = db, .data = db->owner, .refs = 1};
    str_copy(s->dir, sizeof s->dir, db->want.dir);
    rnd_seed(&s->rnd, rnd_u64(&db->rnd));
    db->owner->refs++;
    uv_timer_init(db->owner->config.loop, &s->timer);
    return s;
}

static void tell_node(struct db *db)
{
    db_event(db, &(struct replication_event){.kind = REPLICATION_EV_SEEDING});
}

int seed_begin(struct db *db, bool by_hand, struct err *e)
{
    if (db->want.external)
        return err_set(e, ERR_REFUSED,
            "the platform does not run that server: whoever does gives it a copy of the source");
    struct seed *s = seed_of(db);
    if (db->want.duty != REPLICATION_REPLICA)
        return err_set(e, ERR_REFUSED, "%s is the source of %s: there is nobody to seed it from",
            db->owner->config.host, db->name);
    if (s->step != STEP_NONE)
        return 0;
    s->id = clock_wall_ms();
    s->by_hand = by_hand;
    s->epoch = db->want.epoch;
    str_copy(s->from, sizeof s->from, db->want.source.host);
    s->digest[0] = s->gtid[0] = '\0';
    s->bytes = s->have = s->data_bytes = s->asked_ms = 0;
    s->outcome = NULL;
    s->gives_up = s->told_begin = false;
    read_past(s);
    remove_folder(s, "before"); /* of an earlier one: this one needs the room */
    data_note(db->owner, db, "data", "it is seeded with a copy of the source",
        by_hand ? "asked for" : db->node.why);
    go_to(s, STEP_ASK);
    tell_node(db);
    return 0;
}

void seed_resume(struct db *db)
{
    struct seed *s = db->want.external ? NULL : seed_of(db);
    if (!s || s->step != STEP_NONE || s->outcome || !load(s))
        return;
    bool ours = db->want.duty == REPLICATION_REPLICA && s->epoch == db->want.epoch;
    read_past(s);
    tell_node(db);
    if (ours)
        come_again(s, 0);
    else
        seed_view_changed(db);
}

/* A mark that nobody has acted upon yet is taken back. */
void seed_view_changed(struct db *db)
{
    struct seed *s = db->seed;
    if (!s || s->step == STEP_NONE
        || (db->want.duty == REPLICATION_REPLICA && db->want.epoch == s->epoch))
        return;
    if (s->step == STEP_SWAP && has(s, "seed"))
        remove_named(s, "seed.ready");
    else if (s->step == STEP_SWAP)
        return; /* it was taken: swap() says so */
    if (!s->busy) {
        end(s, false, "the source is another one now");
        return;
    }
    s->gives_up = true;
    if (s->fetching)
        rpc_call_cancel(util_steal_ptr(&s->fetching));
    close_worker(s); /* ends what it unpacks */
}

void seed_close(struct db *db)
{
    struct seed *s = util_steal_ptr(&db->seed);
    if (!s)
        return;
    s->db = NULL;
    if (s->fetching)
        rpc_call_cancel(util_steal_ptr(&s->fetching));
    close_worker(s);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

json_t *seed_json(const struct db *db)
{
    const struct seed *s = db->seed;
    if (!s || !s->id)
        return NULL;
    uint64_t total = s->step == STEP_MAKE ? s->data_bytes : s->bytes;
    int percent = total ? (int)MIN(s->have * 100 / total, 100u) : 0;
    return json_pack("{s:I,s:s,s:s,s:I,s:I,s:i,s:s,s:s,s:s?,s:b}", "id", (json_int_t)s->id, "step",
        step_names[s->step], "from", s->from, "bytes", (json_int_t)s->have, "total",
        (json_int_t)total, "percent", percent, "gtid", s->gtid, "why", s->why, "outcome",
        s->outcome, "by_hand", (int)s->by_hand);
}
