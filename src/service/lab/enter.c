/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/priv.h"

#include "base/file/file.h"
#include "driver/netns/netns.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static int join_cgroup(const struct lab *l, const char *host, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/%s/cgroup.procs", l->cgroup, host);
    FILE *f = fopen(path, "we");
    if (!f)
        return err_errno(e, errno, "open %s", path);
    bool ok = fputs("0", f) >= 0;
    ok = fclose(f) == 0 && ok;
    return ok ? 0 : err_errno(e, errno, "join %s", path);
}

static int open_host(const struct lab *l, const char *host, int *ret_pidfd, struct err *e)
{
    json_t *entry = lab_host(l, host);
    _cleanup_json_ json_t *unused = NULL;
    if (!entry || lab_host_is(entry, "wan"))
        return lab_select(l, host, &unused, e) < 0
                   ? e->code
                   : err_set(e, ERR_USAGE, "%s is a region; name one of its hosts", host);
    struct process p = lab_host_process(entry);
    *ret_pidfd = process_open(&p);
    if (*ret_pidfd >= 0)
        return 0;
    err_set(e, ERR_UNAVAILABLE, "host %s is off", host);
    err_fix(e, "mcp lab heal %s", host);
    return ERR_UNAVAILABLE;
}

int lab_enter_network(const struct lab *l, const char *host, struct err *e)
{
    _cleanup_close_ int pidfd = -1;
    int r = open_host(l, host, &pidfd, e);
    return r < 0 ? r : netns_enter(pidfd, false, e);
}

int lab_enter(const struct lab *l, const char *host, struct err *e)
{
    _cleanup_close_ int pidfd = -1;
    int r = open_host(l, host, &pidfd, e);
    if (r < 0)
        return r;
    char cwd[PATH_MAX];
    if (!getcwd(cwd, sizeof cwd))
        memcpy(cwd, "/", 2);
    r = join_cgroup(l, host, e); /* what is run in a host dies with it */
    if (r >= 0)
        r = netns_enter(pidfd, true, e);
    if (r >= 0 && chdir(cwd) < 0 && chdir("/") < 0)
        return err_errno(e, errno, "chdir /");
    return r;
}
