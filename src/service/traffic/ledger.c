/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/ledger.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct ledger {
    int fd;
    struct str pending; /* noted, not yet with the kernel */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    _Atomic bool dirty;
    _Atomic int sync_errno;
};

uint32_t ledger_check(const char *text, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)text[i]) * 16777619u;
    return h;
}

static void add_check(struct str *s, size_t start)
{
    str_addf(s, " %08" PRIx32 "\n", ledger_check(s->buf + start, s->len - start));
}

static void *sync_main(void *arg)
{
    struct ledger *l = arg;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LEDGER_SYNC_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&l->wake, &l->lock, &until);
        if (!atomic_exchange(&l->dirty, false))
            continue;
        pthread_mutex_unlock(&l->lock);
        if (fdatasync(l->fd) < 0)
            atomic_store(&l->sync_errno, errno);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static int start_thread(struct ledger *l, struct err *e)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&l->lock, NULL);
    int r = pthread_create(&l->thread, NULL, sync_main, l);
    return r ? err_errno(e, r, "start the ledger's thread") : 0;
}

static int sync_folder(const char *path, struct err *e)
{
    _cleanup_free_ char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    return file_fsync_dir(slash ? folder : ".", e);
}

int ledger_create(const char *path, const char *run, const char *name, const char *started,
    struct ledger **ret, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        int r = err_errno(e, errno, "create the ledger %s", path);
        if (r == ERR_EXISTS)
            err_fix(e,
                "a run has its own ledger: name another file, or compare this one with "
                "`mcp traffic compare --ledger %s`",
                path);
        return r;
    }
    struct ledger *l = xcalloc(1, sizeof *l);
    l->fd = fd;
    str_addf(&l->pending, "mcp-traffic 1 %s %s %s", run, name, started);
    add_check(&l->pending, 0);
    int r = ledger_write(l, e);
    if (r >= 0 && fsync(fd) < 0)
        r = err_errno(e, errno, "sync the ledger %s", path);
    if (r >= 0)
        r = sync_folder(path, e);
    if (r >= 0)
        r = start_thread(l, e);
    if (r < 0) {
        close(fd);
        str_done(&l->pending);
        free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void ledger_intent(struct ledger *l, uint32_t seq, const char *country)
{
    size_t start = l->pending.len;
    str_addf(&l->pending, "i %" PRIu32 " %s", seq, *country ? country : "-");
    add_check(&l->pending, start);
}

void ledger_ack(struct ledger *l, uint32_t seq, const char *id)
{
    size_t start = l->pending.len;
    str_addf(&l->pending, "a %" PRIu32 " %s", seq, id);
    add_check(&l->pending, start);
}

int ledger_write(struct ledger *l, struct err *e)
{
    int failed = atomic_load(&l->sync_errno);
    if (failed)
        return err_errno(e, failed, "sync the ledger");
    if (!l->pending.len)
        return 0;
    int r = file_write_fd(l->fd, l->pending.buf, l->pending.len, e);
    if (r < 0)
        return err_wrap(e, "write the ledger");
    str_clear(&l->pending);
    atomic_store(&l->dirty, true);
    return 0;
}

int ledger_close(struct ledger *l, const char *reason, struct err *e)
{
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    size_t start = l->pending.len;
    str_addf(&l->pending, "e %s", reason);
    add_check(&l->pending, start);
    int r = ledger_write(l, e);
    if (r >= 0 && fsync(l->fd) < 0)
        r = err_errno(e, errno, "sync the ledger");
    close(l->fd);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    str_done(&l->pending);
    free(l);
    return r;
}

bool ledger_id_ok(const char *id)
{
    size_t n = strlen(id);
    if (!n || n > LEDGER_ID_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (id[i] <= ' ' || id[i] >= 0x7f)
            return false;
    return true;
}

void ledger_key(const char *run, uint32_t seq, char out[LEDGER_KEY_SIZE])
{
    snprintf(out, LEDGER_KEY_SIZE, "%s-%08" PRIu32, run, seq);
}
