/* SPDX-License-Identifier: Apache-2.0 */
/* A unit's log files (driver/runtime/unitlog.h) to whoever asks: the last lines of one or several units in the order
 * of their times, then, with "follow", every line that is added, across rotations, until the caller goes. */
#include "service/agent/priv.h"

#include "base/file/file.h"
#include "driver/runtime/unitlog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define LINES_DEFAULT 100
#define LINES_MAX 10000
#define UNITS_MAX 64
#define TAIL_BYTES_MAX (16u * 1024 * 1024) /* read back of one file */
#define READ_BYTES (64u * 1024)
#define BACKLOG_MAX (1024u * 1024)
#define RETRY_MS 50
#define STAMP_LEN 24 /* "2026-11-23T05:30:12.345Z" */

struct line {
    const char *unit;
    const char *text;
    size_t len, order;
};

struct lines {
    struct arena *arena;
    struct line *v;
    size_t n, cap;
};

/* A log file as it was when it was opened: what comes later is for following. */
struct tail_file {
    int fd; /* -1: there is none */
    struct stat st;
};

struct follow;
struct followed {
    struct follow *all;
    char *unit, *dir;
    struct tail_file file;
    struct str partial;
    uv_fs_event_t watch;
};

struct follow {
    struct rpc_req *req;
    unsigned open;
    uv_timer_t timer;
    struct followed units[UNITS_MAX];
    size_t n;
    char buf[READ_BYTES];
};

/* --- the last lines --- */

static size_t count_newlines(const char *p, size_t len)
{
    size_t n = 0;
    for (const char *end = p + len; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        n++;
    return n;
}

/* The end of the file's first `size` bytes with at least `want` whole lines, if it has them. */
static char *read_tail(int fd, uint64_t size, size_t want, size_t *ret_len)
{
    for (uint64_t chunk = READ_BYTES;; chunk *= 4) {
        size_t len = (size_t)MIN(MIN(chunk, size), TAIL_BYTES_MAX);
        char *buf = xmalloc(len + 1);
        ssize_t n = pread(fd, buf, len, (off_t)(size - len));
        if (n < 0) {
            free(buf);
            return NULL;
        }
        *ret_len = (size_t)n;
        if (len == size || len == TAIL_BYTES_MAX || count_newlines(buf, (size_t)n) > want)
            return buf;
        free(buf);
    }
}

/* Adds the file's last lines, at most `want`. Returns how many. */
static size_t take_tail(
    struct lines *l, const struct tail_file *f, const char *unit, size_t want, size_t order)
{
    size_t len = 0, n = 0;
    _cleanup_free_ char *buf = read_tail(f->fd, (uint64_t)f->st.st_size, want, &len);
    while (buf && len && buf[len - 1] != '\n') /* a line that is being written */
        len--;
    while (n < want && len) {
        const char *end = buf + len - 1; /* its newline */
        const char *start = end;
        while (start > buf && start[-1] != '\n')
            start--;
        struct line *line = GROW(l->v, l->n, l->cap);
        line->unit = unit;
        line->len = (size_t)(end - start);
        line->text = arena_strndup(l->arena, start, line->len);
        line->order = order - n;
        n++;
        len = (size_t)(start - buf);
    }
    return n;
}

static struct tail_file open_log(const char *dir, unsigned number)
{
    _cleanup_free_ char *path =
        number ? xasprintf("%s/%u", dir, number) : xasprintf("%s/current", dir);
    struct tail_file f = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (f.fd >= 0 && fstat(f.fd, &f.st) < 0) {
        close(f.fd);
        f.fd = -1;
    }
    return f;
}

static void close_log(struct tail_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static void take_unit(struct lines *l, const struct agent *a, const struct agent_unit *u,
    const struct tail_file *current, size_t want)
{
    size_t order = SIZE_MAX / 2;
    for (unsigned i = 0; i < a->cfg.log_files && want; i++) {
        struct tail_file f = i ? open_log(u->log_dir, i) : *current;
        if (f.fd < 0)
            continue;
        size_t n = take_tail(l, &f, u->spec->name, want, order);
        want -= n;
        order -= n;
        if (i)
            close_log(&f);
    }
}

static int compare(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int r = strncmp(x->text, y->text, STAMP_LEN);
    if (r == 0 && !strcmp(x->unit, y->unit))
        r = x->order < y->order ? -1 : x->order > y->order;
    return r ? r : strcmp(x->unit, y->unit);
}

/* What is not UTF-8 would not pass as JSON: such bytes become U+FFFD. */
static json_t *text_json(const char *text, size_t len)
{
    json_t *j = json_stringn(text, len);
    if (j)
        return j;
    _cleanup_str_ struct str clean = STR_INIT;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x80 && c)
            str_add_ch(&clean, (char)c);
        else
            str_add(&clean, "\xef\xbf\xbd");
    }
    return json_string(str_cstr(&clean));
}

/* "TIME STREAM TAG text"; anything else is left out: it is not ours. */
static void send_line(struct rpc_req *req, const char *unit, const char *text, size_t len)
{
    const char *stream = memchr(text, ' ', len);
    const char *tag = stream ? memchr(stream + 1, ' ', (size_t)(text + len - stream - 1)) : NULL;
    if (!tag || stream - text != STAMP_LEN || text + len - tag < 3 || tag[2] != ' ')
        return;
    json_t *line = text_json(tag + 3, (size_t)(text + len - tag - 3));
    json_t *time = text_json(text, STAMP_LEN);
    json_t *name = text_json(stream + 1, (size_t)(tag - stream - 1));
    json_t *j =
        json_pack("{s:s,s:o,s:o,s:o}", "unit", unit, "line", line, "stream", name, "time", time);
    if (j && tag[1] == 'P')
        json_object_set_new(j, "partial", json_true());
    if (j)
        rpc_reply_more(req, j);
}

static void send_tail(struct agent *a, struct rpc_req *req, struct agent_unit **units,
    const struct tail_file *current, size_t n, size_t want)
{
    struct lines l = {.arena = arena_new(64 * 1024)};
    for (size_t i = 0; i < n; i++)
        take_unit(&l, a, units[i], &current[i], want);
    qsort(l.v, l.n, sizeof *l.v, compare);
    for (size_t i = l.n > want ? l.n - want : 0; i < l.n; i++)
        send_line(req, l.v[i].unit, l.v[i].text, l.v[i].len);
    free(l.v);
    arena_free(l.arena);
}

/* --- following --- */

static void on_closed(uv_handle_t *h)
{
    struct follow *f = h->data;
    if (--f->open)
        return;
    for (size_t i = 0; i < f->n; i++) {
        close_log(&f->units[i].file);
        str_done(&f->units[i].partial);
        free(f->units[i].unit);
        free(f->units[i].dir);
    }
    free(f);
}

static void on_watch_closed(uv_handle_t *h)
{
    struct followed *d = h->data;
    h->data = d->all;
    on_closed(h);
}

static void send_lines(struct followed *d, const char *p, size_t len)
{
    while (len) {
        const char *nl = memchr(p, '\n', len);
        size_t n = nl ? (size_t)(nl - p) : len;
        str_add_mem(&d->partial, p, n);
        if (!nl)
            return;
        send_line(d->all->req, d->unit, str_cstr(&d->partial), d->partial.len);
        str_clear(&d->partial);
        p = nl + 1;
        len -= n + 1;
    }
}

/* To the end of the file that is open. False: paused. */
static bool read_file(struct followed *d)
{
    struct follow *f = d->all;
    while (d->file.fd >= 0) {
        if (rpc_conn_backlog(rpc_req_conn(f->req)) > BACKLOG_MAX)
            return false;
        ssize_t n = read(d->file.fd, f->buf, sizeof f->buf);
        if (n <= 0)
            break;
        send_lines(d, f->buf, (size_t)n);
    }
    return true;
}

/* `current` is another file now: the old one has been read to its end, all its lines are whole. */
static bool next_file(struct followed *d)
{
    struct tail_file f = open_log(d->dir, 0);
    bool same =
        d->file.fd >= 0 && f.st.st_ino == d->file.st.st_ino && f.st.st_dev == d->file.st.st_dev;
    if (f.fd < 0 || same) {
        close_log(&f);
        return false;
    }
    close_log(&d->file);
    d->file = f;
    return true;
}

static void on_resume(uv_timer_t *t);

static void read_unit(struct followed *d)
{
    /* Rotations come at most as fast as they are written; 8 in one turn is a unit gone wild. */
    for (int i = 0; i < 8; i++) {
        if (!read_file(d)) {
            uv_timer_start(&d->all->timer, on_resume, RETRY_MS, 0);
            return;
        }
        if (!next_file(d))
            return;
    }
    uv_timer_start(&d->all->timer, on_resume, RETRY_MS, 0);
}

static void on_resume(uv_timer_t *t)
{
    struct follow *f = t->data;
    for (size_t i = 0; i < f->n; i++)
        read_unit(&f->units[i]);
}

static void on_change(uv_fs_event_t *h, const char *file, int events, int status)
{
    struct followed *d = h->data;
    if (d->all->req && !uv_is_active((uv_handle_t *)&d->all->timer))
        read_unit(d);
}

static void on_canceled(void *ctx)
{
    struct follow *f = ctx;
    rpc_reply(f->req, NULL);
    f->req = NULL;
    for (size_t i = 0; i < f->n; i++)
        uv_close((uv_handle_t *)&f->units[i].watch, on_watch_closed);
    uv_close((uv_handle_t *)&f->timer, on_closed);
}

static void follow_unit(
    struct follow *f, uv_loop_t *loop, const struct agent_unit *u, struct tail_file *current)
{
    struct followed *d = &f->units[f->n++];
    struct err ignored;
    d->all = f;
    d->unit = xstrdup(u->spec->name);
    d->dir = xstrdup(u->log_dir);
    d->file = *current;
    current->fd = -1;
    if (d->file.fd >= 0 && lseek(d->file.fd, d->file.st.st_size, SEEK_SET) < 0)
        close_log(&d->file);
    uv_fs_event_init(loop, &d->watch);
    d->watch.data = d;
    f->open++;
    /* A unit that has never run has no folder yet. */
    if (file_mkdirs(d->dir, 0755, &ignored) >= 0)
        uv_fs_event_start(&d->watch, on_change, d->dir, 0);
}

static void follow(struct agent *a, struct rpc_req *req, struct agent_unit **units,
    struct tail_file *current, size_t n)
{
    struct follow *f = xcalloc(1, sizeof *f);
    f->req = req;
    uv_timer_init(a->cfg.loop, &f->timer);
    f->timer.data = f;
    f->open = 1;
    for (size_t i = 0; i < n; i++)
        follow_unit(f, a->cfg.loop, units[i], &current[i]);
    rpc_req_watch(req, NULL, on_canceled, f);
    uv_timer_start(&f->timer, on_resume, 0, 0); /* what came since the files were opened */
}

void agent_logs(struct agent *a, struct rpc_req *req, const json_t *params)
{
    struct err e = {0};
    struct agent_unit *units[UNITS_MAX];
    size_t n = agent_select(a, params, units, ARRAY_SIZE(units), &e);
    int64_t want = json_opt_int(params, "lines", LINES_DEFAULT);
    if (n && (want < 0 || want > LINES_MAX))
        err_set(&e, ERR_USAGE, "\"lines\" is 0 to %d", LINES_MAX);
    if (e.code) {
        rpc_reply_error(req, &e);
        return;
    }
    struct tail_file current[UNITS_MAX];
    for (size_t i = 0; i < n; i++)
        current[i] = open_log(units[i]->log_dir, 0);
    send_tail(a, req, units, current, n, (size_t)want);
    if (json_opt_bool(params, "follow", false))
        follow(a, req, units, current, n);
    else
        rpc_reply(req, NULL);
    for (size_t i = 0; i < n; i++)
        close_log(&current[i]);
}
