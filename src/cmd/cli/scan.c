/* SPDX-License-Identifier: Apache-2.0 */
/* Which platform a declaration is about, and which process a lab host's record means. */
#include "cmd/cli/priv.h"

#include "base/file/file.h"

#include <fcntl.h>

#define DECLARATION_MAX (4u * 1024 * 1024) /* what model_parse() takes */
#define STAT_MAX 4096
#define STAT_START_TIME 20 /* from the state (field 3) to the start time (field 22), plus one */

/* The value of a top-level key is on its line, or it is not a name. */
static void take_scalar(const char *p, const char *end, char *ret, size_t size)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    char quote = p < end && (*p == '"' || *p == '\'') ? *p++ : 0;
    const char *stop = p;
    while (stop < end && (quote ? *stop != quote : !strchr(" \t\r#,}", *stop)))
        stop++;
    _cleanup_free_ char *name = strndup(p, (size_t)(stop - p));
    if (!name || !str_copy(ret, size, name))
        *ret = '\0';
}

/* Block style: the key starts a line, and nothing below it does. */
static const char *find_block(const char *text)
{
    static const char key[] = "platform:";
    for (const char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
        if (str_starts(p, key))
            return p + sizeof key - 1;
    return NULL;
}

void cmd_scan_text(const char *text, size_t len, char *ret, size_t size)
{
    *ret = '\0';
    if (text[strspn(text, " \t\r\n")] == '{') {
        /* Perhaps flow-style YAML that is no JSON: whoever parses all of it says why. */
        _cleanup_json_ json_t *tree = NULL;
        struct err ignored;
        if (json_parse(text, len, &tree, &ignored) >= 0
            && !str_copy(ret, size, json_opt_str(tree, "platform", "")))
            *ret = '\0';
        return;
    }
    const char *value = find_block(text);
    if (value)
        take_scalar(value, value + strcspn(value, "\n"), ret, size);
}

int cmd_scan_platform(const char *path, char *ret, size_t size, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, DECLARATION_MAX, &text, e);
    if (r >= 0)
        cmd_scan_text(str_cstr(&text), text.len, ret, size);
    return r < 0 ? r : 0;
}

/* The command name in field 2 may hold blanks and parentheses: count behind the last one. */
static int read_start_time(int proc_fd, uint64_t *ret)
{
    char text[STAT_MAX];
    _cleanup_close_ int fd = openat(proc_fd, "stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    char *save, *p = strrchr(text, ')');
    if (!p)
        return -1;
    p = strtok_r(p + 1, " ", &save);
    if (!p || *p == 'Z' || *p == 'X')
        return -1; /* dead, only not yet buried */
    for (int i = 1; p && i < STAT_START_TIME; i++)
        p = strtok_r(NULL, " ", &save);
    return p && str_to_u64(p, UINT64_MAX, ret) ? 0 : -1;
}

int cmd_open_process(const struct cmd_lab_host *h, int *ret_fd, struct err *e)
{
    if (h->pid <= 0)
        return err_set(e, ERR_UNAVAILABLE, "%s is dead", h->name);
    char path[64];
    uint64_t start;
    snprintf(path, sizeof path, "/proc/%d", (int)h->pid);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || read_start_time(fd, &start) < 0 || start != h->start_time) {
        if (fd >= 0)
            close(fd);
        return err_set(e, ERR_UNAVAILABLE, "%s is dead", h->name);
    }
    *ret_fd = fd;
    return 0;
}
