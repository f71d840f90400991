/* SPDX-License-Identifier: Apache-2.0 */
#include "service/steer/priv.h"

#include "base/file/file.h"
#include "base/log/log.h"

#include <errno.h>

struct journal_file {
    uv_loop_t *loop;
    char *path;
    json_t *next; /* waits for the one that is being written */
    bool busy, freed;
};

struct save {
    uv_work_t work;
    struct journal_file *file;
    char *path, *text;
    int result;
    struct err e;
};

struct journal_file *steer_journal_file_new(uv_loop_t *loop, const char *path)
{
    struct journal_file *f = xcalloc(1, sizeof *f);
    f->loop = loop;
    f->path = xstrdup(path);
    return f;
}

int steer_journal_file_read(const char *path, json_t **ret, struct err *e)
{
    struct err why = {0};
    *ret = NULL;
    if (!file_exists(path))
        return 0;
    if (json_read_file(path, STEER_JOURNAL_MAX, ret, &why) >= 0)
        return 0;
    /* Kept for whoever wants to know; a journal that stays would be refused at every start. */
    _cleanup_free_ char *bad = xasprintf("%s.bad", path);
    if (rename(path, bad) < 0)
        log_debug("steer", "cannot set the journal aside", "errno=%d", errno);
    return err_set(e, ERR_INVALID, "%s", why.message);
}

static void write_text(uv_work_t *work)
{
    struct save *s = CONTAINER_OF(work, struct save, work);
    s->result = file_write_durable(s->path, s->text, strlen(s->text), 0600, &s->e);
}

static void start(struct journal_file *f);

static void destroy(struct journal_file *f)
{
    free(f->path);
    free(f);
}

static void on_written(uv_work_t *work, int status)
{
    struct save *s = CONTAINER_OF(work, struct save, work);
    struct journal_file *f = s->file;
    if (s->result < 0)
        log_debug("steer", "cannot save the journal", "error=\"%s\"", s->e.message);
    free(s->path);
    free(s->text);
    free(s);
    f->busy = false;
    if (f->next)
        start(f);
    else if (f->freed)
        destroy(f);
}

static void start(struct journal_file *f)
{
    struct save *s = xcalloc(1, sizeof *s);
    s->file = f;
    s->path = xstrdup(f->path);
    s->text = json_text(f->next);
    json_decref(f->next);
    f->next = NULL;
    f->busy = true;
    ASSERT(uv_queue_work(f->loop, &s->work, write_text, on_written) == 0);
}

void steer_journal_file_save(struct journal_file *f, json_t *j)
{
    json_decref(f->next);
    f->next = j;
    if (!f->busy)
        start(f);
}

void steer_journal_file_free(struct journal_file *f)
{
    if (!f)
        return;
    f->freed = true; /* the loop runs until what waits is written */
    if (!f->busy && !f->next)
        destroy(f);
}
