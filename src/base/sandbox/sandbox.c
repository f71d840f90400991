/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sandbox/sandbox.h"

#include "base/sandbox/priv.h"

#include "base/str/str.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* between systemd's ranges for dynamic users (61184 up) and ordinary ones */
#define FIRST_UID 61101u
#define UNKNOWN_UID 61100u
#define LAST_CAP_MAX 63
#define NOFILE_MAX 65536u

static const char *const role_names[] = {
    "control", "dns", "resolver", "edge", "mesh", "store", "runner", "wan", "forwarder", "data"};

/* Straight from /etc/passwd: system users live there, and the name service would load its
 * modules. */
static bool find_user(const char *name, struct sandbox_user *ret)
{
    FILE *f = fopen("/etc/passwd", "re");
    if (!f)
        return false;
    bool found = false;
    for (struct passwd *p; !found && (p = fgetpwent(f));)
        if (!strcmp(p->pw_name, name)) {
            *ret = (struct sandbox_user){p->pw_uid, p->pw_gid};
            found = true;
        }
    fclose(f);
    return found;
}

struct sandbox_user sandbox_user_of(const char *role)
{
    char name[64];
    struct sandbox_user user;
    if (!strcmp(role, "agent") || !strcmp(role, "host"))
        return (struct sandbox_user){0, 0};
    snprintf(name, sizeof name, "mcp-%s", role);
    if (find_user(strcmp(role, "data") == 0 ? "mysql" : name, &user))
        return user;
    for (unsigned i = 0; i < ARRAY_SIZE(role_names); i++)
        if (!strcmp(role, role_names[i]))
            return (struct sandbox_user){FIRST_UID + i, FIRST_UID + i};
    return (struct sandbox_user){UNKNOWN_UID, UNKNOWN_UID};
}

static int drop_bounding(struct err *e)
{
    for (int cap = 0; cap <= LAST_CAP_MAX; cap++)
        /* EPERM without CAP_SETPCAP: an unprivileged caller has nothing to lose; EINVAL: past the
         * last one. */
        if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0
            && errno != EPERM)
            return err_errno(e, errno, "drop capability %d", cap);
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return err_errno(e, errno, "clear ambient capabilities");
    return 0;
}

static int change_user(struct sandbox_user user, struct err *e)
{
    if (geteuid() == 0 && setgroups(0, NULL) < 0)
        return err_errno(e, errno, "setgroups");
    if (setresgid(user.gid, user.gid, user.gid) < 0)
        return err_errno(e, errno, "setresgid %u", (unsigned)user.gid);
    if (setresuid(user.uid, user.uid, user.uid) < 0)
        return err_errno(e, errno, "setresuid %u", (unsigned)user.uid);
    return 0;
}

/* All but `kept`; who never had that one goes without. */
static int clear_caps(uint32_t kept, struct err *e)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = kept, .permitted = kept}};
    if (kept && syscall(SYS_capset, &head, caps) == 0)
        return 0;
    caps[0].effective = caps[0].permitted = 0;
    if (syscall(SYS_capset, &head, caps) < 0)
        return err_errno(e, errno, "capset");
    return 0;
}

/* Lowering only: a hard limit can not be raised without CAP_SYS_RESOURCE, and need not be. */
static int set_limits(struct err *e)
{
    struct rlimit core = {0, 0}, files;
    if (setrlimit(RLIMIT_CORE, &core) < 0)
        return err_errno(e, errno, "setrlimit core");
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return err_errno(e, errno, "getrlimit nofile");
    files.rlim_max = MIN(files.rlim_max, NOFILE_MAX);
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        return err_errno(e, errno, "setrlimit nofile");
    return 0;
}

int sandbox_drop(enum sandbox_profile profile, struct sandbox_user user, struct err *e)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_errno(e, errno, "no_new_privs");
    int r = set_limits(e);
    if (r < 0)
        return r;
    /* Agent passes secrets on: no core file, no look into its memory by anybody less than root. */
    if (profile == SANDBOX_NONE)
        return prctl(PR_SET_DUMPABLE, SANDBOX_SANITIZED, 0, 0, 0) < 0
                   ? err_errno(e, errno, "not dumpable")
                   : 0;
    uint32_t kept = profile == SANDBOX_LISTENER ? 1u << CAP_NET_BIND_SERVICE : 0;
    r = drop_bounding(e);
    if (r >= 0 && kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        r = err_errno(e, errno, "keep capabilities");
    if (r >= 0)
        r = change_user(user, e);
    if (r >= 0)
        r = clear_caps(kept, e);
    if (r >= 0 && kept && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        r = err_errno(e, errno, "keep capabilities");
    if (r < 0)
        return r;
    umask(077);
    /* A change of user has cleared it already, except for leak detection, which attaches to its own
     * process. */
    if (prctl(PR_SET_DUMPABLE, SANDBOX_SANITIZED, 0, 0, 0) < 0)
        return err_errno(e, errno, "not dumpable");
    return 0;
}

int sandbox_enter(enum sandbox_profile profile, struct sandbox_user user, struct err *e)
{
    int r = sandbox_drop(profile, user, e);
    return r < 0 ? r : sandbox_seal(profile, e);
}
