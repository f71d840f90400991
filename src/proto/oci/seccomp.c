/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls of an unprivileged program, as Docker's and Podman's defaults have grown them, less what makes or
 * enters namespaces, mounts, loads keys or sets clocks, and less io_uring (its operations pass seccomp by). The
 * default answer is ENOSYS, so that a C library falls back on what it knows; a list of one machine only, since a
 * 32-bit program would meet numbers that nobody has looked at. */
#include "proto/oci/oci.h"

#include <errno.h>
#include <sched.h>
#include <sys/socket.h>

static const char *const allowed[] = {
    "accept", "accept4", "access", "alarm", "arch_prctl", "bind", "brk", "capget", "capset",
    "chdir", "chmod", "chown", "clock_getres", "clock_gettime", "clock_nanosleep", "close",
    "close_range", "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
    "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group",
    "faccessat", "faccessat2", "fadvise64", "fallocate", "fanotify_mark", "fchdir", "fchmod",
    "fchmodat", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock",
    "fork", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate", "futex",
    "futimesat", "get_mempolicy", "get_robust_list", "get_thread_area", "getcpu", "getcwd",
    "getdents", "getdents64", "getegid", "geteuid", "getgid", "getgroups", "getitimer",
    "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom",
    "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "getsockname", "getsockopt",
    "gettid", "gettimeofday", "getuid", "getxattr", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents",
    "io_pgetevents", "io_setup", "io_submit", "ioctl", "ioprio_get", "ioprio_set", "kill",
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
    "lgetxattr", "link", "linkat", "listen", "listxattr", "llistxattr", "lremovexattr", "lseek",
    "lsetxattr", "lstat", "madvise", "mbind", "membarrier", "memfd_create", "memfd_secret",
    "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall", "mmap",
    "modify_ldt", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
    "mq_timedsend", "mq_unlink", "mremap", "msgctl", "msgget", "msgrcv", "msgsnd", "msync",
    "munlock", "munlockall", "munmap", "nanosleep", "newfstatat", "open", "openat", "openat2",
    "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free",
    "pkey_mprotect", "poll", "ppoll", "prctl", "pread64", "preadv", "preadv2", "prlimit64",
    "process_mrelease", "process_vm_readv", "process_vm_writev", "pselect6", "ptrace",
    "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv",
    "recvfrom", "recvmmsg", "recvmsg", "remap_file_pages", "removexattr", "rename", "renameat",
    "renameat2", "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
    "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
    "seccomp", "select", "semctl", "semget", "semop", "semtimedop", "sendfile", "sendmmsg",
    "sendmsg", "sendto", "set_mempolicy", "set_robust_list", "set_thread_area",
    "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setitimer", "setpgid",
    "setpriority", "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid",
    "setsockopt", "setuid", "setxattr", "shmat", "shmctl", "shmdt", "shmget", "shutdown",
    "sigaltstack", "signalfd", "signalfd4", "socketpair", "splice", "stat", "statfs", "statx",
    "symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill",
    "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime",
    "timerfd_create", "timerfd_gettime", "timerfd_settime", "times", "tkill", "truncate",
    "umask", "uname", "unlink", "unlinkat", "utime", "utimensat", "utimes", "vfork", "vmsplice",
    "wait4", "waitid", "write", "writev",
};

/* Known, wanted by some program that asks politely, and refused: EPERM says so where ENOSYS would mislead. */
static const char *const refused[] = {
    "add_key", "bpf", "chroot", "clock_adjtime", "clock_settime", "delete_module", "finit_module", "fsconfig",
    "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm",
    "iopl", "kexec_file_load", "kexec_load", "keyctl", "mount", "mount_setattr", "move_mount", "open_by_handle_at",
    "open_tree", "perf_event_open", "pivot_root", "quotactl", "reboot", "request_key", "setdomainname",
    "sethostname", "setns", "settimeofday", "swapoff", "swapon", "syslog", "umount2", "unshare", "userfaultfd",
};

/* personality(2): Linux, Linux 32, with and without UNAME26, and "what is it?" */
static const json_int_t personalities[] = {0, 8, 0x20000, 0x20008, 0xffffffff};

#define NEW_NAMESPACES                                                                             \
    (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP)

static json_t *names_of(const char *const *names, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(names[i]));
    return list;
}

static json_t *rule(const char *name, const char *action, json_t *args)
{
    return json_pack("{s:[s],s:s,s:o}", "names", name, "action", action, "args", args);
}

static json_t *arg(int index, json_int_t value, const char *op)
{
    return json_pack("{s:i,s:I,s:s}", "index", index, "value", value, "op", op);
}

/* A socket of every family but AF_VSOCK and AF_ALG, which reach the hypervisor and the kernel's crypto. */
static void add_socket(json_t *rules)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};
    for (size_t i = 0; i < ARRAY_SIZE(families); i++)
        json_array_append_new(rules,
            rule("socket", "SCMP_ACT_ALLOW", json_pack("[o]", arg(0, families[i], "SCMP_CMP_EQ"))));
}

json_t *oci_seccomp_format(void)
{
    json_t *rules = json_array();
    json_array_append_new(rules, json_pack("{s:o,s:s}", "names", names_of(allowed, ARRAY_SIZE(allowed)), "action",
                                     "SCMP_ACT_ALLOW"));
    json_array_append_new(rules, json_pack("{s:o,s:s,s:i}", "names", names_of(refused, ARRAY_SIZE(refused)), "action",
                                     "SCMP_ACT_ERRNO", "errnoRet", EPERM));
    /* Threads and processes, but no namespaces. clone3's flags are in memory, out of seccomp's sight: its default,
     * ENOSYS, makes libc fall back on clone. */
    json_t *masked = json_pack("{s:i,s:I,s:i,s:s}", "index", 0, "value", (json_int_t)NEW_NAMESPACES, "valueTwo", 0,
        "op", "SCMP_CMP_MASKED_EQ");
    json_array_append_new(rules, rule("clone", "SCMP_ACT_ALLOW", json_pack("[o]", masked)));
    for (size_t i = 0; i < ARRAY_SIZE(personalities); i++)
        json_array_append_new(rules,
            rule("personality", "SCMP_ACT_ALLOW", json_pack("[o]", arg(0, personalities[i], "SCMP_CMP_EQ"))));
    add_socket(rules);
#if defined(__x86_64__)
    const char *arch = "SCMP_ARCH_X86_64";
#else
    const char *arch = "SCMP_ARCH_AARCH64";
#endif
    json_t *j = json_pack("{s:s,s:i,s:[s],s:o}", "defaultAction", "SCMP_ACT_ERRNO", "defaultErrnoRet", ENOSYS,
        "architectures", arch, "syscalls", rules);
    ASSERT(j);
    return j;
}
