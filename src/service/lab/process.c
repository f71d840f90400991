/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/process.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>

uint64_t process_start_time(pid_t pid)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid);
    _cleanup_str_ struct str text = STR_INIT;
    struct err ignored;
    if (pid <= 0 || file_read(path, 4096, &text, &ignored) < 0)
        return 0;
    /* The second field is the name in parentheses and may hold anything: count from its end. */
    char *p = strrchr(str_cstr(&text), ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoull(p + 1, NULL, 10) : 0;
}

int process_open(const struct process *p)
{
    if (p->pid <= 0)
        return -1;
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (fd < 0 || process_start_time(p->pid) != p->start_time || process_wait(fd, 0))
        return -1;
    return util_steal_fd(&fd);
}

bool process_alive(const struct process *p)
{
    _cleanup_close_ int fd = process_open(p);
    return fd >= 0;
}

bool process_wait(int pidfd, unsigned timeout_ms)
{
    uint64_t end = clock_boot_ms() + timeout_ms;
    for (;;) {
        uint64_t now = clock_boot_ms();
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        int r = poll(&p, 1, now < end ? (int)(end - now) : 0);
        if (r > 0)
            return true;
        if (r == 0 || errno != EINTR)
            return false;
    }
}
