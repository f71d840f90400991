/* SPDX-License-Identifier: Apache-2.0 */
/* The allow lists. What libuv, OpenSSL, liburcu, libcurl's threads, SQLite and malloc call, and
 * nothing else: what is not named kills the process. A few calls that libraries try and can do
 * without get an errno instead. Lists by need, so that a reader sees why a call is there. */
#include "base/sandbox/sandbox.h"

#include "base/sandbox/priv.h"

#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41 /* names of anonymous memory: newer C libraries */
#endif
#define CALL(name) SCMP_SYS(name)

static const int calls_io[] = {CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(pread64),
    CALL(pwrite64), CALL(preadv), CALL(pwritev), CALL(close), CALL(close_range), CALL(lseek),
    CALL(dup), CALL(dup2), CALL(dup3), CALL(fcntl), CALL(pipe2), CALL(sendfile), CALL(splice),
    CALL(eventfd2), CALL(timerfd_create), CALL(timerfd_settime), CALL(timerfd_gettime),
    CALL(memfd_create)};
static const int calls_poll[] = {CALL(poll), CALL(ppoll), CALL(select), CALL(pselect6),
    CALL(epoll_create1), CALL(epoll_create), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait),
    CALL(epoll_pwait2)};
static const int calls_net[] = {CALL(accept), CALL(accept4), CALL(connect), CALL(bind),
    CALL(listen), CALL(sendto), CALL(sendmsg), CALL(sendmmsg), CALL(recvfrom), CALL(recvmsg),
    CALL(recvmmsg), CALL(getsockname), CALL(getpeername), CALL(getsockopt), CALL(setsockopt),
    CALL(shutdown)};
/* Files of its own user; what else they may reach is a matter of the file system's permissions. */
static const int calls_files[] = {CALL(open), CALL(openat), CALL(stat), CALL(lstat), CALL(fstat),
    CALL(newfstatat), CALL(statx), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink),
    CALL(readlinkat), CALL(getcwd), CALL(getdents64), CALL(mkdir), CALL(mkdirat), CALL(rmdir),
    CALL(unlink), CALL(unlinkat), CALL(rename), CALL(renameat), CALL(renameat2), CALL(link),
    CALL(linkat), CALL(fsync), CALL(fdatasync), CALL(ftruncate), CALL(fallocate), CALL(flock),
    CALL(fchmod), CALL(chmod), CALL(fchmodat), CALL(umask), CALL(utimensat), CALL(statfs),
    CALL(fstatfs), CALL(fadvise64)};
static const int calls_memory[] = {
    CALL(munmap), CALL(mremap), CALL(brk), CALL(madvise), CALL(mincore), CALL(membarrier)};
static const int calls_threads[] = {CALL(futex), CALL(futex_waitv), CALL(set_robust_list),
    CALL(rseq), CALL(set_tid_address), CALL(sched_yield), CALL(sched_getaffinity),
    CALL(sched_setaffinity), CALL(sched_getparam), CALL(sched_getscheduler), CALL(getcpu),
    CALL(gettid), CALL(exit), CALL(exit_group), CALL(restart_syscall)};
static const int calls_signals[] = {CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn),
    CALL(rt_sigtimedwait), CALL(rt_sigpending), CALL(sigaltstack), CALL(tgkill), CALL(signalfd4)};
static const int calls_self[] = {CALL(getpid), CALL(getppid), CALL(getuid), CALL(geteuid),
    CALL(getgid), CALL(getegid), CALL(getrandom), CALL(getrusage), CALL(getrlimit), CALL(times),
    CALL(sysinfo), CALL(uname), CALL(clock_gettime), CALL(clock_getres), CALL(clock_nanosleep),
    CALL(nanosleep), CALL(gettimeofday), CALL(time), CALL(capget)};
/* Processes of its own, and what the tools of a database do: mariadb-backup's asynchronous reads, a
 * shell's groups. All without privileges, which no_new_privs keeps away. */
static const int calls_tools[] = {CALL(execve), CALL(execveat), CALL(fork), CALL(vfork),
    CALL(wait4), CALL(waitid), CALL(kill), CALL(pidfd_open), CALL(pidfd_send_signal), CALL(setsid),
    CALL(setpgid), CALL(getpgid), CALL(getpgrp), CALL(getsid), CALL(prctl), CALL(prlimit64),
    CALL(setrlimit), CALL(arch_prctl), CALL(ioctl), CALL(chdir), CALL(fchdir), CALL(truncate),
    CALL(symlink), CALL(copy_file_range), CALL(sync_file_range), CALL(syncfs),
    CALL(io_setup), CALL(io_submit),
    CALL(io_getevents), CALL(io_destroy), CALL(alarm), CALL(setitimer), CALL(getdents),
    CALL(getgroups), CALL(getresuid), CALL(getresgid), CALL(pause), CALL(rt_sigsuspend),
    CALL(pipe), CALL(creat), CALL(getxattr), CALL(lgetxattr), CALL(flistxattr)};
/* Leak detection stops the other threads with ptrace from a helper process; reports look up
 * symbols. */
static const int calls_sanitizer[] = {CALL(ptrace), CALL(wait4), CALL(kill), CALL(clone),
    CALL(prctl), CALL(mmap), CALL(mprotect), CALL(process_vm_readv), CALL(personality),
    CALL(arch_prctl), CALL(ioctl), CALL(prlimit64), CALL(setrlimit), CALL(sched_setscheduler),
    CALL(getdents)};

#define LIST(list) (list), ARRAY_SIZE(list)

static int allow(scmp_filter_ctx f, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int r = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
        if (r < 0 && r != -EDOM) /* EDOM: not a call of this architecture */
            return r;
    }
    return 0;
}

static int allow_lists(scmp_filter_ctx f)
{
    int r = allow(f, LIST(calls_io));
    if (r >= 0)
        r = allow(f, LIST(calls_poll));
    if (r >= 0)
        r = allow(f, LIST(calls_net));
    if (r >= 0)
        r = allow(f, LIST(calls_files));
    if (r >= 0)
        r = allow(f, LIST(calls_memory));
    if (r >= 0)
        r = allow(f, LIST(calls_threads));
    if (r >= 0)
        r = allow(f, LIST(calls_signals));
    if (r >= 0)
        r = allow(f, LIST(calls_self));
    return r;
}

/* What libraries can do without: they take the errno for an old kernel or an odd machine. */
static int refuse_politely(scmp_filter_ctx f, enum sandbox_profile profile)
{
    static const struct {
        int call, error;
    } rows[] = {
        {CALL(clone3), ENOSYS} /* its flags lie in memory, out of sight: glibc then uses clone */,
        {CALL(io_uring_setup), ENOSYS}, {CALL(io_uring_enter), ENOSYS},
        {CALL(io_uring_register), ENOSYS}, {CALL(fchown), EPERM}, {CALL(chown), EPERM},
        {CALL(lchown), EPERM}, {CALL(mlock), EPERM}, {CALL(mlockall), EPERM},
        {CALL(setpriority), EPERM}, {CALL(sched_setscheduler), EPERM}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (SANDBOX_SANITIZED && rows[i].call == CALL(sched_setscheduler))
            continue;
        if (profile == SANDBOX_TOOLS && rows[i].error == ENOSYS)
            continue; /* as everything that is not named */
        int r = seccomp_rule_add(f, SCMP_ACT_ERRNO((unsigned)rows[i].error), rows[i].call, 0);
        if (r < 0 && r != -EDOM)
            return r;
    }
    return 0;
}

static int allow_sockets(scmp_filter_ctx f, enum sandbox_profile profile)
{
    /* Netlink: getaddrinfo() asks for the machine's addresses and lives without. */
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(families) && r >= 0; i++) {
        struct scmp_arg_cmp family = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]);
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(socket), 1, family);
    }
    if (r >= 0)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(socketpair), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
    if (r >= 0 && (profile == SANDBOX_CONTROL || profile == SANDBOX_TOOLS))
        return seccomp_rule_add(
            f, SCMP_ACT_ALLOW, CALL(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK));
    if (r >= 0)
        r = seccomp_rule_add(
            f, SCMP_ACT_ERRNO(EAFNOSUPPORT), CALL(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK));
    return r;
}

/* Control's resolver library loads modules; the roles that face the network get no new executable
 * memory. */
static int allow_mappings(scmp_filter_ctx f, enum sandbox_profile profile)
{
    if (profile == SANDBOX_CONTROL || profile == SANDBOX_TOOLS) {
        int r = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(mmap), 0);
        return r < 0 ? r : seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(mprotect), 0);
    }
    struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    int r = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(mmap), 1, no_exec);
    return r < 0 ? r : seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(mprotect), 1, no_exec);
}

static int allow_some_forms(scmp_filter_ctx f)
{
    static const scmp_datum_t ioctls[] = {FIONBIO, FIONREAD, TCGETS, FIOCLEX};
    static const scmp_datum_t prctls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(ioctls) && r >= 0; i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
    for (size_t i = 0; i < ARRAY_SIZE(prctls) && r >= 0; i++)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(prctl), 1, SCMP_A0(SCMP_CMP_EQ, prctls[i]));
    /* Threads, no processes. */
    if (r >= 0)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(clone), 1,
            SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    /* Limits are read, not set. */
    if (r >= 0)
        r = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0));
    return r;
}

/* No namespaces: neither it nor a tool becomes root of something. */
static int allow_tools(scmp_filter_ctx f)
{
    static const scmp_datum_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS
                                           | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID
                                           | CLONE_NEWNET;
    int r = allow(f, LIST(calls_tools));
    if (r >= 0)
        r = seccomp_rule_add(
            f, SCMP_ACT_ALLOW, CALL(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces, 0));
    return r;
}

static int fill(scmp_filter_ctx f, enum sandbox_profile profile)
{
    int r = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    if (r >= 0)
        r = allow_lists(f);
    if (r >= 0)
        r = refuse_politely(f, profile);
    if (r >= 0)
        r = allow_sockets(f, profile);
    if (SANDBOX_SANITIZED && r >= 0)
        r = allow(f, LIST(calls_sanitizer));
    if (SANDBOX_SANITIZED)
        return r < 0 || profile != SANDBOX_TOOLS ? r : allow(f, LIST(calls_tools));
    if (r >= 0)
        r = allow_mappings(f, profile);
    if (r >= 0)
        r = profile == SANDBOX_TOOLS ? allow_tools(f) : allow_some_forms(f);
    return r;
}

int sandbox_seal(enum sandbox_profile profile, struct err *e)
{
    if (profile == SANDBOX_NONE)
        return 0;
    /* The C library loads this one when a thread is ended early; later it could not. Kept for
     * good. */
    void *unwinder = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL);
    (void)unwinder;
    scmp_filter_ctx f = seccomp_init(
        profile == SANDBOX_TOOLS ? SCMP_ACT_ERRNO((unsigned)ENOSYS) : SCMP_ACT_KILL_PROCESS);
    if (!f)
        return err_set(e, ERR_SYSTEM, "seccomp: out of memory");
    int r = fill(f, profile);
    if (r >= 0)
        r = seccomp_load(f);
    seccomp_release(f);
    if (r < 0)
        return err_errno(e, -r, "seccomp");
    return 0;
}

void sandbox_call_name(int number, char out[SANDBOX_CALL_SIZE])
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    if (name)
        snprintf(out, SANDBOX_CALL_SIZE, "%s", name);
    else
        snprintf(out, SANDBOX_CALL_SIZE, "call %d", number);
    free(name);
}
