/* SPDX-License-Identifier: Apache-2.0 */
#include "service/audit/priv.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define JOURNAL_MAX (4u * 1024 * 1024)

/* Whole lines that parse; what a crash tore off at the end was never promised to anybody. */
static void take_lines(struct audit *a, char *text)
{
    for (char *line; (line = strsep(&text, "\n"));) {
        _cleanup_json_ json_t *entry = NULL;
        struct err ignored;
        if (*line && text && json_parse(line, strlen(line), &entry, &ignored) >= 0
            && *json_opt_str(entry, "id", "") && json_array_size(a->pending) < AUDIT_PENDING_MAX)
            json_array_append(a->pending, entry);
    }
}

int audit_journal_open(struct audit *a, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct err why;
    int r = file_read(a->journal, JOURNAL_MAX, &text, &why);
    if (r < 0 && r != ERR_NOT_FOUND) {
        *e = why;
        return r;
    }
    if (text.len)
        take_lines(a, text.buf);
    a->journal_fd = open(a->journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (a->journal_fd < 0)
        return err_errno(e, errno, "open %s", a->journal);
    audit_journal_rewrite(a);
    return 0;
}

int audit_journal_add(struct audit *a, const json_t *entry, struct err *e)
{
    _cleanup_free_ char *text = json_text(entry), *line = xasprintf("%s\n", text);
    off_t before = lseek(a->journal_fd, 0, SEEK_END);
    int r = file_write_fd(a->journal_fd, line, strlen(line), e);
    if (r >= 0 && fdatasync(a->journal_fd) < 0)
        r = err_errno(e, errno, "sync");
    if (r >= 0)
        return 0;
    /* Half a line would swallow the next one. */
    if (before >= 0 && ftruncate(a->journal_fd, before) < 0)
        audit_journal_rewrite(a);
    return err_wrap(e, "%s", a->journal);
}

void audit_journal_rewrite(struct audit *a)
{
    struct err ignored;
    size_t i;
    json_t *entry;
    if (json_array_size(a->pending) == 0) {
        int r = ftruncate(a->journal_fd, 0);
        (void)r;
        return;
    }
    _cleanup_str_ struct str all = STR_INIT;
    json_array_foreach (a->pending, i, entry) {
        _cleanup_free_ char *text = json_text(entry);
        str_addf(&all, "%s\n", text);
    }
    if (file_write_durable(a->journal, all.buf, all.len, 0600, &ignored) < 0)
        return;
    int fd = open(a->journal, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return;
    close(a->journal_fd);
    a->journal_fd = fd;
}
