/* SPDX-License-Identifier: Apache-2.0 */
/* The thread: asks the source for its logs from where the newest one ends, writes what comes. The
 * words between them: MariaDB knowledge base, "Replication Protocol" (events; ROTATE, HEARTBEAT). */
#include "service/vault/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/log/log.h"
#include "base/str/str.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define HEARTBEAT_MS 1000u
#define SILENCE_MS 10000u /* ten heartbeats that did not come: a connection that is open at one end */
#define CONNECT_MS 5000u
#define SYNC_MS 1000u
#define PACKET_MAX (1024ull * 1024 * 1024) /* the server's own limit of an event */
#define NOT_THERE 1236
#define HEADER 19u
#define ARTIFICIAL 0x20
#define FIRST 4u /* the first byte of a log that is asked for */

enum { ROTATE = 4, FORMAT = 15, HEARTBEAT = 27 };

struct follow {
    struct vault *v;
    const struct order *o;
    struct sql_stop *stop;
    struct open_log log;
    char folder[224];
    char next[128];   /* the log that the next format description begins */
    bool skips;       /* that one is here already */
    bool from_oldest;
    uint64_t synced_ms;
    struct gtid_set end; /* of the log before this one */
    bool has_end;
};

static uint32_t get32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- what the loop is told ---- */

static void tell(struct follow *f)
{
    _cleanup_str_ struct str gtid = STR_INIT;
    const struct open_log *l = &f->log;
    gtid_set_format(l->fd >= 0 ? &l->reader->to : &f->end, &gtid);
    pthread_mutex_lock(&f->v->lock);
    struct told *t = &f->v->told;
    if (!t->following)
        t->since_ms = clock_boot_ms();
    t->following = true;
    str_copy(t->log, sizeof t->log, l->fd >= 0 ? l->name : f->next);
    str_copy(t->gtid, sizeof t->gtid, str_cstr(&gtid));
    if (l->fd >= 0 && l->reader->last_s)
        t->last_s = l->reader->last_s;
    t->open_bytes = l->fd >= 0 ? l->size : 0;
    pthread_mutex_unlock(&f->v->lock);
}

/* ---- what is over ---- */

static void remove_log(const struct copies_log *log)
{
    _cleanup_free_ char *manifest = xasprintf("%s.json", log->path);
    unlink(log->path);
    unlink(manifest);
}

/* Older than the retention goes; of the rest the oldest, while all take too much. Never a raw one:
 * it is being written, or could not be packed. */
static void prune(struct follow *f)
{
    const struct vault_limits *m = &f->o->limits;
    struct err ignored;
    struct copies_log *v = NULL;
    size_t n = 0, left = 0;
    if (copies_vault_list(f->o->dir, &v, &n, &ignored) < 0)
        return;
    uint64_t stored = 0, bytes = 0;
    bool is_short = false;
    int64_t oldest_s = (clock_wall_ms() - m->retention_ms) / 1000;
    for (size_t i = 0; i < n; i++)
        stored += v[i].stored;
    for (size_t i = 0; i < n; i++) {
        bool old = v[i].packed && v[i].last_s && v[i].last_s < oldest_s;
        bool over = v[i].packed && m->max_bytes && stored > m->max_bytes;
        if (old || over) {
            remove_log(&v[i]);
            stored -= v[i].stored;
            is_short |= !old;
        } else if (v[i].packed) {
            left++;
            bytes += v[i].bytes;
        } else
            stored -= v[i].stored;
    }
    free(v);
    pthread_mutex_lock(&f->v->lock);
    f->v->told.files = left;
    f->v->told.bytes = bytes;
    f->v->told.stored = stored;
    f->v->told.is_short |= is_short;
    pthread_mutex_unlock(&f->v->lock);
}

/* Packs every raw log of a folder but the newest (of the one that is followed). */
static int pack_rest(const char *folder, bool all, struct sql_stop *stop, struct err *e)
{
    struct copies_log *v = xcalloc(COPIES_LOGS_MAX, sizeof *v);
    size_t n = 0, newest = 0;
    int r = copies_logs_add(folder, 0, v, &n, e);
    for (size_t i = 0; i < n; i++)
        if (!v[i].packed && (v[newest].packed || strcmp(v[i].path, v[newest].path) > 0))
            newest = i;
    for (size_t i = 0; r >= 0 && i < n; i++)
        if (!v[i].packed && (all || i != newest))
            r = copies_log_pack(v[i].path, stop, e);
    free(v);
    return r;
}

/* Of sources that are followed no more: their last log is over, too. */
static int pack_others(struct follow *f, struct err *e)
{
    DIR *d = opendir(f->o->dir);
    struct dirent *entry;
    int r = 0;
    while (d && r >= 0 && (entry = readdir(d))) {
        uint64_t id;
        _cleanup_free_ char *folder = xasprintf("%s/%s", f->o->dir, entry->d_name);
        if (str_to_u64(entry->d_name, UINT32_MAX, &id))
            r = pack_rest(folder, id != f->o->source, f->stop, e);
    }
    if (d)
        closedir(d);
    return r;
}

/* Its end is kept to see that the next one begins there. */
static int end_log(struct follow *f, struct err *e)
{
    if (f->log.fd < 0)
        return 0;
    gtid_set_done(&f->end);
    gtid_set_copy(&f->log.reader->to, &f->end);
    f->has_end = true;
    int r = open_log_end(&f->log, e);
    if (r >= 0)
        r = copies_log_pack(f->log.path, f->stop, e);
    prune(f);
    return r;
}

/* ---- what comes ---- */

/* {position, name}, with a checksum behind or not. */
static int take_rotate(struct follow *f, const uint8_t *p, size_t len, struct err *e)
{
    char name[128];
    if (len > HEADER + 12 && (uint32_t)crc32(0, p, (unsigned)(len - 4)) == get32(p + len - 4))
        len -= 4;
    if (len <= HEADER + 8 || len - HEADER - 8 >= sizeof name || memchr(p + HEADER + 8, '/', len - HEADER - 8))
        return err_set(e, ERR_PROTOCOL, "a name of a log of %zu bytes", len);
    snprintf(name, sizeof name, "%.*s", (int)(len - HEADER - 8), (const char *)p + HEADER + 8);
    f->skips = false;
    str_copy(f->next, sizeof f->next, name);
    if (f->log.fd >= 0 && str_eq(f->log.name, name))
        return 0; /* that is where it goes on */
    return end_log(f, e);
}

static int take_format(struct follow *f, const uint8_t *p, size_t len, struct err *e)
{
    uint32_t created_s = get32(p);
    if (f->log.fd >= 0 && created_s == f->log.created_s)
        return f->log.size > FIRST ? 0 : open_log_add(&f->log, p, len, e);
    if (f->log.fd >= 0) {
        /* The server began anew, and names its logs as before. */
        if (end_log(f, e) < 0)
            return e->code;
        f->from_oldest = true;
        return err_set(e, ERR_UNAVAILABLE, "the source has begun its logs anew");
    }
    f->skips = open_log_is_packed(f->folder, f->next, created_s);
    if (f->skips)
        return 0;
    int r = open_log_begin(&f->log, f->folder, f->next, created_s, e);
    return r < 0 ? r : open_log_add(&f->log, p, len, e);
}

/* Something between two logs is missing here that the source may still have. */
static int check_gap(struct follow *f, struct err *e)
{
    bool gap = f->has_end && f->log.reader->has_from
               && !gtid_set_contains(&f->end, &f->log.reader->from);
    f->has_end = f->has_end && !f->log.reader->has_from;
    if (!gap || f->from_oldest)
        return 0;
    f->from_oldest = true;
    unlink(f->log.path);
    if (open_log_end(&f->log, e) < 0)
        return e->code;
    return err_set(e, ERR_UNAVAILABLE, "logs are missing between two; the source is asked for all");
}

static int take_other(struct follow *f, const uint8_t *p, size_t len, struct err *e)
{
    uint32_t end = get32(p + 13);
    bool artificial = (p[17] & ARTIFICIAL) || !end;
    if (artificial || f->skips)
        return 0;
    if (f->log.fd < 0)
        return err_set(e, ERR_PROTOCOL, "an event before any log's beginning");
    if (end != (uint32_t)(f->log.size + len))
        return err_set(e, ERR_PROTOCOL, "%s: an event that ends at %u came at byte %llu", f->log.name,
            end, (unsigned long long)f->log.size);
    int r = open_log_add(&f->log, p, len, e);
    return r < 0 ? r : check_gap(f, e);
}

static int take_event(struct follow *f, const uint8_t *p, size_t len, struct err *e)
{
    if (len < HEADER || get32(p + 9) != len)
        return err_set(e, ERR_PROTOCOL, "an event of %zu bytes that says another length", len);
    switch (p[4]) {
    case HEARTBEAT:
        return 0;
    case ROTATE:
        return (p[17] & ARTIFICIAL) || !get32(p) ? take_rotate(f, p, len, e)
                                                : take_other(f, p, len, e);
    case FORMAT:
        return take_format(f, p, len, e);
    default:
        return take_other(f, p, len, e);
    }
}

static int sync_sometimes(struct follow *f, struct err *e)
{
    uint64_t now = clock_boot_ms();
    if (now - f->synced_ms < SYNC_MS)
        return 0;
    f->synced_ms = now;
    if (open_log_sync(&f->log, e) < 0)
        return e->code;
    tell(f);
    return 0;
}

static int stream(struct follow *f, struct sql_conn *c, struct err *e)
{
    for (;;) {
        const uint8_t *p;
        size_t len;
        if (sql_feed_next(c, &p, &len, e) < 0 || take_event(f, p, len, e) < 0
            || sync_sometimes(f, e) < 0)
            return e->code;
    }
}

/* ---- from where ---- */

/* "binlog.000007" after "binlog.000006". */
static void name_after(const char *name, char ret[128])
{
    const char *dot = strrchr(name, '.');
    uint64_t n;
    ret[0] = '\0';
    if (dot && str_to_u64(dot + 1, UINT32_MAX, &n))
        snprintf(ret, 128, "%.*s.%0*llu", (int)MIN(dot - name, 100), name, (int)strlen(dot + 1),
            (unsigned long long)n + 1);
}

static int open_source(const struct order *o, struct sql_stop *stop, struct sql_conn **ret, struct err *e)
{
    char ca[224], cert[224], key[224];
    snprintf(ca, sizeof ca, "%s/ca.pem", o->tls);
    snprintf(cert, sizeof cert, "%s/cert.pem", o->tls);
    snprintf(key, sizeof key, "%s/key.pem", o->tls);
    struct sql_target t = {.host = o->address,
        .port = o->port,
        .user = o->user,
        .tls = {SQL_TLS_FULL, ca, cert, key},
        .connect_timeout_ms = CONNECT_MS,
        .read_timeout_ms = SILENCE_MS,
        .max_packet_bytes = PACKET_MAX,
        .compress = true,
        .program = "mcp-vault"};
    if (!*o->tls)
        t.tls = (struct sql_tls){0};
    return sql_open(&t, stop, ret, e);
}

static int ask(struct follow *f, struct err *e)
{
    _cleanup_sql_ struct sql_conn *c = NULL;
    struct sql_feed feed = {
        .log = "", .position = FIRST, .server_id = f->o->server_id, .heartbeat_ms = HEARTBEAT_MS};
    char next[128];
    if (open_source(f->o, f->stop, &c, e) < 0)
        return e->code;
    name_after(f->log.name, next);
    if (!f->from_oldest && f->log.fd >= 0) {
        feed.log = f->log.name;
        feed.position = (uint32_t)f->log.size;
    } else if (!f->from_oldest)
        feed.log = next;
    str_copy(f->next, sizeof f->next, feed.log);
    if (sql_feed_begin(c, &feed, e) < 0 || stream(f, c, e) < 0) {
        struct err late;
        bool gone = sql_errno(c) == NOT_THERE && !f->from_oldest;
        if (open_log_sync(&f->log, &late) < 0)
            log_debug("vault", late.message, "source=%u", f->o->source);
        f->from_oldest |= gone;
        return gone ? ERR_UNAVAILABLE : e->code;
    }
    return 0;
}

/* Once more from the oldest log, if that is what has to be. */
static int ask_twice(struct follow *f, struct err *e)
{
    int r = ask(f, e);
    if (r != ERR_UNAVAILABLE || !f->from_oldest || sql_stop_raised(f->stop))
        return r;
    if (f->log.fd >= 0 && end_log(f, e) < 0)
        return e->code;
    f->log.name[0] = '\0';
    return ask(f, e);
}

int vault_run(struct vault *v, const struct order *o, struct sql_stop *stop, struct err *e)
{
    struct follow f = {.v = v, .o = o, .stop = stop};
    open_log_init(&f.log);
    gtid_set_init(&f.end, GTID_MARIADB);
    snprintf(f.folder, sizeof f.folder, "%s/%u", o->dir, o->source);
    int r = file_mkdirs(f.folder, 0700, e);
    if (r >= 0)
        r = pack_others(&f, e);
    if (r >= 0)
        r = open_log_resume(&f.log, f.folder, e);
    if (r >= 0) {
        prune(&f);
        r = ask_twice(&f, e);
    }
    open_log_done(&f.log);
    gtid_set_done(&f.end);
    return r;
}
