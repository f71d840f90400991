/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/join.h"

#include "base/file/file.h"
#include "base/str/str.h"
#include "domain/spec/boot.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/mount.h>
#include <sys/utsname.h>

/* Of the host on its private addresses: peers, mesh, metrics, enrolment; of the state store. */
static const uint16_t host_ports[] = {7400, 7401, 7402, 7403}, etcd_ports[] = {2379, 2380};

static int check_tool(const char *tool, const char *package, struct err *e)
{
    static const char *const dirs[] = {"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", dirs[i], tool);
        if (access(path, X_OK) == 0)
            return 0;
    }
    err_set(e, ERR_NOT_FOUND, "%s is not installed", tool);
    err_fix(e, "apt-get install -y %s", package);
    return ERR_NOT_FOUND;
}

/* 5.12: idmapped mounts, without which every container would need its own copy of its image. */
static int check_kernel(struct err *e)
{
    struct utsname u;
    unsigned major = 0, minor = 0;
    if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
        return err_set(e, ERR_SYSTEM, "the kernel does not tell its version");
    if (major < 5 || (major == 5 && minor < 12)) {
        err_set(e, ERR_REFUSED, "the kernel is %s, at least 5.12 is needed", u.release);
        err_fix(e, "Debian 12 brings 6.1");
        return ERR_REFUSED;
    }
    /* Asking for it loads its module, as mounting it later would. */
    _cleanup_close_ int fd = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fd >= 0 || errno == EPERM)
        return 0;
    err_set(e, ERR_REFUSED, "this kernel has no overlay file system");
    err_fix(e, "modprobe overlay");
    return ERR_REFUSED;
}

static int check_port(const struct ip_addr *a, uint16_t port, struct err *e)
{
    struct sockaddr_storage sa;
    socklen_t len;
    int on = 1;
    ip_to_sockaddr(a, port, &sa, &len);
    _cleanup_close_ int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&sa, len) == 0)
        return 0;
    char text[IP_TEXT_SIZE];
    int why = errno;
    ip_format(a, text);
    if (why == EADDRINUSE) {
        err_set(e, ERR_REFUSED, "%s port %u is taken by another program", text, port);
        err_fix(e, "%s", port == 2379 || port == 2380
                ? "Debian starts an etcd of its own: `systemctl disable --now etcd`"
                : "`ss -ltnp` shows which; stop it");
        return ERR_REFUSED;
    }
    err_errno(e, why, "%s port %u", text, port);
    if (why == EADDRNOTAVAIL)
        err_fix(e, "this machine does not have the address that `hosts:` declares for it");
    return e->code;
}

int enrol_check_machine(const struct ip_addr *addresses, size_t n, bool etcd, struct err *e)
{
    if (geteuid() != 0) {
        err_set(e, ERR_DENIED, "a host is made by root");
        err_fix(e, "run it as root");
        return ERR_DENIED;
    }
    int r = check_kernel(e);
    if (r >= 0)
        r = check_tool("runc", "runc", e);
    if (r >= 0 && etcd)
        r = check_tool("etcd", "etcd-server", e);
    for (size_t i = 0; i < n && r >= 0; i++) {
        for (size_t k = 0; k < ARRAY_SIZE(host_ports) && r >= 0; k++)
            r = check_port(&addresses[i], host_ports[k], e);
        for (size_t k = 0; k < ARRAY_SIZE(etcd_ports) && r >= 0 && etcd; k++)
            r = check_port(&addresses[i], etcd_ports[k], e);
    }
    return r;
}

int enrol_check_unclaimed(const char *root, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s" BOOT_PATH, root);
    _cleanup_json_ json_t *boot = NULL;
    struct err why = {0};
    int r = json_read_file(path, BOOT_BYTES_MAX, &boot, &why);
    if (r == ERR_NOT_FOUND)
        return 0;
    if (r < 0) {
        *e = why;
        return r;
    }
    err_set(e, ERR_REFUSED, "this machine is already the host %s of the platform %s",
        json_opt_str(boot, "host", "?"), json_opt_str(boot, "platform", "?"));
    err_fix(e, "`systemctl start mcp` starts it; to make a new host of it, remove /var/lib/mcp");
    return ERR_REFUSED;
}
