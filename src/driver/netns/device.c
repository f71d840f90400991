/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/netns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

int netns_tun_open(const char *ifname, int *ret_fd, struct err *e)
{
    ASSERT(strlen(ifname) <= NETNS_IFNAME_MAX);
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        err_errno(e, errno, "open /dev/net/tun");
        err_fix(e, "mkdir -p /dev/net && mknod /dev/net/tun c 10 200; the kernel needs CONFIG_TUN");
        return ERR_SYSTEM;
    }
    struct ifreq req = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    memcpy(req.ifr_name, ifname, strlen(ifname));
    if (ioctl(fd, TUNSETIFF, &req) < 0)
        return err_errno(e, errno, "make network device %s", ifname);
    *ret_fd = util_steal_fd(&fd);
    return 0;
}

int netns_sysctl(const char *name, const char *value, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("/proc/sys/%s", name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    if (write(fd, value, strlen(value)) < 0)
        return err_errno(e, errno, "write '%s' to %s", value, path);
    return 0;
}

int netns_enter(int pidfd, bool also_mount, struct err *e)
{
    int flags = CLONE_NEWNET | (also_mount ? CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC : 0);
    return setns(pidfd, flags) < 0 ? err_errno(e, errno, "enter the machine's namespaces") : 0;
}
