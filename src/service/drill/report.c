/* SPDX-License-Identifier: Apache-2.0 */
#include "service/drill/priv.h"

#include "base/file/file.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#define REPORT_MAX (64u * 1024 * 1024)

int report_write(const char *folder, const char *base, json_t *report, struct err *e)
{
    _cleanup_free_ char *evidence = xasprintf("%s/%s.json", folder, base);
    _cleanup_free_ char *page = xasprintf("%s/%s.html", folder, base);
    _cleanup_str_ struct str html = STR_INIT;
    json_object_set_new(report, "evidence", json_string(evidence));
    json_object_set_new(report, "page", json_string(page));
    _cleanup_free_ char *text = json_text_pretty(report);
    drill_page(report, &html);
    int r = file_write_durable(evidence, text, strlen(text), 0644, e);
    return r < 0 ? r : file_write_durable(page, str_cstr(&html), html.len, 0644, e);
}

/* drill-NAME-STAMP.json: the stamps are of one width, so the newest name of a drill is its last. */
static bool is_report(const char *name, const char *drill, const char **ret_stamp)
{
    if (!str_starts(name, "drill-") || !str_ends(name, ".json"))
        return false;
    const char *stamp = strrchr(name, '-');
    size_t len = (size_t)(stamp - name);
    *ret_stamp = stamp;
    return !drill
           || (len == strlen("drill-") + strlen(drill)
               && !strncmp(name + strlen("drill-"), drill, strlen(drill)));
}

int drill_report_load(const char *folder, const char *drill, json_t **ret, struct err *e)
{
    char best[256] = "", best_stamp[256] = "";
    DIR *dir = opendir(folder);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        const char *stamp;
        if (is_report(d->d_name, drill, &stamp) && strcmp(stamp, best_stamp) > 0
            && str_copy(best, sizeof best, d->d_name))
            (void)str_copy(best_stamp, sizeof best_stamp, stamp);
    }
    if (dir)
        closedir(dir);
    if (!*best) {
        err_set(e, ERR_NOT_FOUND, "no report of %s in %s", drill ? drill : "a drill", folder);
        err_fix(e, "`mcp drill run` writes one; --out names another folder");
        return ERR_NOT_FOUND;
    }
    _cleanup_free_ char *path = xasprintf("%s/%s", folder, best);
    return json_read_file(path, REPORT_MAX, ret, e);
}
