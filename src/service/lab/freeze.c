/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts that stand still and come back as if nothing had been: the freezer of the unified
 * hierarchy, on the host's own group and on its containers'. */
#include "service/lab/priv.h"

#include "base/file/file.h"
#include "base/str/str.h"

#include <errno.h>
#include <string.h>

#define UNITS_PARENT "/mcp" /* of every host's containers: enrol_boot() */
#define EVENTS_MAX 4096

enum { GROUPS = 2 };

static int groups_of(const struct lab *l, const char *host, char *ret[GROUPS], struct err *e)
{
    const char *root;
    int r = cgroup_root(&root, e);
    if (r < 0)
        return r;
    ret[0] = xasprintf("%s/%s", l->cgroup, host);
    ret[1] = xasprintf("%s" UNITS_PARENT "/%s.%s", root, l->platform, host);
    return 0;
}

static int write_freeze(const char *group, bool freeze, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/cgroup.freeze", group);
    FILE *f = fopen(path, "we");
    if (!f)
        return errno == ENOENT ? 0 : err_errno(e, errno, "open %s", path); /* no containers */
    bool ok = fputs(freeze ? "1" : "0", f) >= 0;
    ok = fclose(f) == 0 && ok;
    return ok || errno == ENODEV ? 0 : err_errno(e, errno, "write %s", path);
}

static int freeze_one(const struct lab *l, const json_t *host, bool freeze, struct err *e)
{
    const char *name = json_opt_str(host, "name", "?");
    char *groups[GROUPS];
    if (freeze && !lab_host_alive(host))
        return err_set(e, ERR_UNAVAILABLE, "host %s is off", name);
    int r = groups_of(l, name, groups, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < GROUPS; i++) {
        if (r >= 0)
            r = write_freeze(groups[i], freeze, e);
        free(groups[i]);
    }
    return r;
}

int lab_freeze(struct lab *l, const json_t *hosts, bool freeze, struct err *e)
{
    size_t i;
    json_t *host;
    int r = 0;
    json_array_foreach (hosts, i, host)
        if (r >= 0)
            r = freeze_one(l, host, freeze, e);
    return r;
}

int lab_frozen(const struct lab *l, const char *host, bool *ret, struct err *e)
{
    char *groups[GROUPS];
    int r = groups_of(l, host, groups, e);
    if (r < 0)
        return r;
    *ret = true;
    for (size_t i = 0; i < GROUPS; i++) {
        _cleanup_free_ char *path = xasprintf("%s/cgroup.events", groups[i]);
        _cleanup_str_ struct str text = STR_INIT;
        if (r >= 0 && (i == 0 || file_exists(path)))
            r = file_read(path, EVENTS_MAX, &text, e);
        if (r >= 0 && text.len)
            *ret &= strstr(text.buf, "frozen 1") != NULL;
        free(groups[i]);
    }
    return r;
}
