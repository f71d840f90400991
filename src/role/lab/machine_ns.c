/* SPDX-License-Identifier: Apache-2.0 */
/* What is private to a machine: mounts (/run, /var/lib/mcp, /etc/hosts, ...), network, host name.
 * What is not: the root file system with the binaries, pids (an operator's `kill -9` from outside
 * must mean the same process), cgroups. */
#include "role/lab/machine.h"

#include "base/file/file.h"
#include "base/ip/ip.h"
#include "driver/netns/netns.h"
#include "service/lab/disk.h"
#include "service/lab/lab.h"
#include "service/wan/wan.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define WIRE "wan0"
#define TRUST_BUNDLE "/etc/ssl/certs/ca-certificates.crt"
#define TRUST_MAX (4u * 1024 * 1024)
#define MACHINE_DIR "/run/machine" /* what is written over /etc and /var/lib */

static int do_mount(const char *source, const char *target, const char *type, unsigned long flags,
    const char *options, struct err *e)
{
    return mount(source, target, type, flags, options) < 0 ? err_errno(e, errno, "mount %s", target)
                                                           : 0;
}

/* /sys of the new network namespace, with the cgroups of the old one: containers need both, and the
 * remount that `ip netns exec` does loses the second. */
static int mount_sys(struct err *e)
{
    _cleanup_close_ int cgroups = (int)syscall(SYS_open_tree, AT_FDCWD, "/sys/fs/cgroup",
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (cgroups < 0)
        return err_errno(e, errno, "open /sys/fs/cgroup");
    if (umount2("/sys", MNT_DETACH)
        < 0) /* with all below it, or runtimes would find every cgroup twice */
        return err_errno(e, errno, "unmount /sys");
    int r = do_mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, e);
    if (r < 0)
        return r;
    if (syscall(SYS_move_mount, cgroups, "", AT_FDCWD, "/sys/fs/cgroup", MOVE_MOUNT_F_EMPTY_PATH)
        < 0)
        return err_errno(e, errno, "mount /sys/fs/cgroup");
    return 0;
}

/* A folder whose changes stay in the machine. Not a bind mount: a mount point that somebody removes
 * or replaces in another namespace (`mcp down` of another lab did that to /var/lib/mcp, a DHCP
 * client to /etc/resolv.conf) is silently unmounted in all of them, and these must hold. */
static int mount_private(const char *path, const char *name, struct err *e)
{
    _cleanup_free_ char *upper = xasprintf(MACHINE_DIR "/%s/upper", name);
    _cleanup_free_ char *work = xasprintf(MACHINE_DIR "/%s/work", name);
    _cleanup_free_ char *options =
        xasprintf("lowerdir=%s,upperdir=%s,workdir=%s", path, upper, work);
    int r = file_mkdirs(upper, 0755, e);
    if (r >= 0)
        r = file_mkdirs(work, 0755, e);
    return r < 0 ? r : do_mount("overlay", path, "overlay", MS_NOSUID | MS_NODEV, options, e);
}

static int write_etc(const json_t *files, struct err *e)
{
    const char *name;
    json_t *text;
    int r = 0;
    json_object_foreach ((json_t *)files, name, text) {
        _cleanup_free_ char *path = xasprintf("/etc/%s", name);
        if (r >= 0) /* replaces a link too */
            r = file_write(path, json_string_value(text), json_string_length(text), 0644, e);
    }
    return r;
}

/* Programs of this machine accept what the certificate signed, as if an administrator had installed
 * it. `pem` empty: nothing to trust. */
static int trust(const struct str *pem, struct err *e)
{
    _cleanup_str_ struct str bundle = STR_INIT;
    struct err ignored;
    if (!pem->len)
        return 0;
    if (file_read(TRUST_BUNDLE, TRUST_MAX, &bundle, &ignored) < 0)
        return 0; /* a system without one: --cacert it is */
    str_add_mem(&bundle, pem->buf, pem->len);
    return file_write(TRUST_BUNDLE, bundle.buf, bundle.len, 0644, e);
}

/* On the machine's disk, as if it had only one. */
static int mount_backups(struct err *e)
{
    int r = file_mkdirs(LAB_STATE_ROOT "/.backups", 0755, e);
    return r < 0 ? r : do_mount(LAB_STATE_ROOT "/.backups", "/var/backups", NULL, MS_BIND, NULL, e);
}

static int mount_all(const json_t *config, struct err *e)
{
    const char *ca = json_opt_str(config, "trust", NULL);
    _cleanup_str_ struct str pem = STR_INIT;
    const char *disk = json_opt_str(config, "disk", NULL);
    char device[DISK_DEVICE_SIZE];
    _cleanup_close_ int loop = -1;
    int r = ca ? file_read(ca, TRUST_MAX, &pem, e) : 0;
    if (r >= 0)
        r = do_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL, e);
    if (r >= 0 && disk) /* before /var/lib is an overlay: the image must not be copied up */
        r = loop = disk_attach(disk, device, e);
    if (r >= 0)
        r = mount_sys(e);
    if (r >= 0)
        r = do_mount("mcp-run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=256m", e);
    if (r >= 0)
        r = mount_private("/etc", "etc", e);
    if (r >= 0)
        r = mount_private("/var/lib", "lib", e);
    if (r >= 0 && disk)
        r = disk_mount(device, LAB_STATE_ROOT, e);
    if (r >= 0 && disk)
        r = mount_backups(e);
    /* The images of the other hosts and the CA's keys are nobody's business in here. */
    if (r >= 0)
        r = do_mount("mcp-none", LAB_DIR, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
            "mode=700,size=4k", e);
    if (r >= 0)
        r = write_etc(json_object_get(config, "etc"), e);
    return r < 0 ? r : trust(&pem, e);
}

/* In order: packets pass between the wire and the containers' bridge; roles bind :53 and :443 without
 * capabilities; the client answers from any of its addresses; bbr, where it is the default, models a
 * path of its own; and there are no routers to be heard or called on this wire. */
static const struct {
    const char *name, *value;
    bool required;
} knobs[] = {
    {"net/ipv4/ip_forward", "1", true},
    {"net/ipv4/ip_unprivileged_port_start", "0", true},
    {"net/ipv4/conf/all/rp_filter", "0", true},
    {"net/ipv4/conf/default/rp_filter", "0", true},
    {"net/ipv4/tcp_congestion_control", "cubic", false},
    {"net/ipv6/conf/all/forwarding", "1", false},
    {"net/ipv6/conf/default/accept_ra", "0", false},
    {"net/ipv6/conf/default/addr_gen_mode", "1", false},
    {"net/ipv6/conf/default/router_solicitations", "0", false},
};

static int set_knobs(struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
        struct err why;
        int r = netns_sysctl(knobs[i].name, knobs[i].value, &why);
        if (r < 0 && knobs[i].required) {
            *e = why;
            return r;
        }
    }
    return 0;
}

static int add_addresses(
    struct netns *n, const json_t *list, struct ip_addr first[2], struct err *e)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        struct ip_addr a;
        const char *text = json_string_value(item);
        if (!text || !ip_parse(text, &a))
            return err_set(e, ERR_INVALID, "'%s' is no address", text ? text : "?");
        int r = netns_addr_add(n, WIRE, &a, e);
        if (r < 0)
            return r;
        struct ip_addr *slot = &first[a.family == 6];
        if (!slot->family)
            *slot = a;
    }
    return 0;
}

static int add_local(struct netns *n, const json_t *list, struct err *e)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        struct ip_prefix p;
        const char *text = json_string_value(item);
        if (!text || !ip_prefix_parse(text, &p))
            return err_set(e, ERR_INVALID, "'%s' is no prefix", text ? text : "?");
        int r = netns_route_local(n, &p, e);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_network(const json_t *net, int *ret_tun, struct err *e)
{
    _cleanup_netns_ struct netns *n = NULL;
    _cleanup_close_ int tun = -1;
    struct ip_addr first[2] = {0}; /* of each family: the preferred source */
    int r = set_knobs(e);
    if (r >= 0)
        r = netns_open(&n, e);
    if (r >= 0)
        r = netns_tun_open(WIRE, &tun, e);
    if (r >= 0)
        r = netns_link_up(n, "lo", 0, e);
    if (r >= 0)
        r = netns_link_up(n, WIRE, WAN_MTU, e);
    if (r >= 0)
        r = add_addresses(n, json_object_get(net, "addresses"), first, e);
    if (r >= 0)
        r = add_addresses(n, json_object_get(net, "public"), first, e);
    if (r >= 0)
        r = add_local(n, json_object_get(net, "local"), e);
    for (int v6 = 0; v6 < 2 && r >= 0; v6++)
        if (first[v6].family)
            r = netns_route_default(n, WIRE, v6 ? 6 : 4, &first[v6], e);
    if (r >= 0)
        *ret_tun = util_steal_fd(&tun);
    return r;
}

int machine_enter_namespaces(const json_t *config, int *ret_tun, struct err *e)
{
    const char *name = json_opt_str(config, "name", "?");
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC) < 0)
        return err_errno(e, errno, "new namespaces");
    if (sethostname(name, strlen(name)) < 0)
        return err_errno(e, errno, "set the host name");
    int r = mount_all(config, e);
    int64_t no_offset = 0;
    if (r >= 0)
        r = file_write(LAB_CLOCK_FILE, &no_offset, sizeof no_offset, 0644, e);
    return r < 0 ? r : make_network(json_object_get(config, "net"), ret_tun, e);
}
