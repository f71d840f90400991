/* SPDX-License-Identifier: Apache-2.0 */
/* The folders of a host and who may read them: each role has its own, control alone the keys. */
#include "role/host/priv.h"

#include "base/file/file.h"
#include "base/seal/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define SEAL_KEY_PATH ROLE_STATE_ROOT "/pki/seal.key"

static int own(const char *path, struct sandbox_user user, mode_t mode, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_errno(e, errno, "open %s", path);
    if (fchown(fd, user.uid, user.gid) < 0)
        return err_errno(e, errno, "chown %s", path);
    if (fchmod(fd, mode) < 0)
        return err_errno(e, errno, "chmod %s", path);
    return 0;
}

/* The databases' sockets lie below data's: mesh passes through, and sees no more. */
static int role_dir(const char *root, const char *role, struct err *e)
{
    mode_t mode = strcmp(role, "data") == 0 ? 0711 : 0700;
    _cleanup_free_ char *path = xasprintf("%s/%s", root, role);
    int r = file_mkdirs(path, mode, e);
    return r < 0 ? r : own(path, sandbox_user_of(role), mode, e);
}

/* Made here so that it is there before anybody asks for its public half. */
static int make_seal_key(struct err *e)
{
    _cleanup_seal_key_ struct seal_key *key = NULL;
    return seal_key_load_or_make(SEAL_KEY_PATH, &key, e);
}

int host_tree_prepare(const struct boot *boot, struct err *e)
{
    static const char *const keys[] = {ROLE_STATE_ROOT "/pki/host.key",
        ROLE_STATE_ROOT "/pki/edge.key", ROLE_STATE_ROOT "/pki/state.key",
        ROLE_STATE_ROOT "/pki/authority.json", SEAL_KEY_PATH};
    int r = file_mkdirs(ROLE_STATE_ROOT "/pki", 0755, e);
    if (r >= 0)
        r = make_seal_key(e);
    if (r >= 0)
        r = file_mkdirs(ROLE_RUN_ROOT, 0755, e);
    for (size_t i = 0; i < boot->n_roles && r >= 0; i++) {
        r = role_dir(ROLE_STATE_ROOT, boot->roles[i], e);
        if (r >= 0)
            r = role_dir(ROLE_RUN_ROOT, boot->roles[i], e);
    }
    if (r >= 0) /* control renews what lies there */
        r = own(ROLE_STATE_ROOT "/pki", sandbox_user_of("control"), 0755, e);
    /* Edge's key too is control's: it goes to edge with the routes. */
    for (size_t i = 0; i < ARRAY_SIZE(keys) && r >= 0; i++)
        r = own(keys[i], sandbox_user_of("control"), 0600, e);
    return r;
}

int host_lock(int *ret_fd, struct err *e)
{
    _cleanup_close_ int fd = open(HOST_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, errno, "open %s", HOST_LOCK);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_errno(e, errno, "lock %s", HOST_LOCK);
        char pid[16] = "";
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        err_set(e, ERR_REFUSED, "a host already runs here%s%s", n > 0 ? ", process " : "", pid);
        err_fix(e, "stop it first: `systemctl stop mcp`, or `mcp down` for a lab");
        return ERR_REFUSED;
    }
    _cleanup_free_ char *text = xasprintf("%d", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, strlen(text), 0) < 0)
        return err_errno(e, errno, "write %s", HOST_LOCK);
    *ret_fd = util_steal_fd(&fd);
    return 0;
}
