/* SPDX-License-Identifier: Apache-2.0 */
/* The end that a person or systemd asks for, as something to read. */
#include "cmd/cli/priv.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

int cmd_stop_open(int flags, struct err *e)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | flags);
    return fd < 0 ? err_errno(e, errno, "signals") : fd;
}
