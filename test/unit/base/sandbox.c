/* SPDX-License-Identifier: Apache-2.0 */
/* Each case runs in a child of its own: the sandbox has no way back. */
#include "test.h"

#include "base/file/file.h"
#include "base/sandbox/sandbox.h"
#include "base/sandbox/priv.h"
#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <uv.h>

enum { FINE = 0, WRONG = 1, NO_SANDBOX = 2 };

/* Runs `body` sealed in a child; returns the wait status. */
static int in_child(enum sandbox_profile profile, int (*body)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        if (sandbox_enter(profile, sandbox_user_of("dns"), &e) < 0) {
            fprintf(stderr, "%s\n", e.message);
            _exit(NO_SANDBOX);
        }
        _exit(body());
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static bool ends_fine(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == FINE;
}

static bool killed_by_seccomp(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static int do_exec(void)
{
    execl("/bin/true", "true", NULL);
    return WRONG;
}
static int do_fork(void)
{
    return fork() < 0 ? FINE : WRONG;
}
static int do_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 ? FINE : WRONG;
}
static int do_packet_socket(void)
{
    return socket(17 /* AF_PACKET */, SOCK_RAW, 0) < 0 ? FINE : WRONG;
}
static int do_unshare(void)
{
    return syscall(SYS_unshare, 0x10000000) < 0 ? FINE : WRONG;
}
static int do_mount(void)
{
    return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL) < 0 ? FINE : WRONG;
}
static int do_executable_memory(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? FINE
               : WRONG;
}
static int do_kill_parent(void)
{
    return kill(getppid(), 0) < 0 ? FINE : WRONG;
}
static int do_raise_limit(void)
{
    struct rlimit lim = {10, 10};
    return setrlimit(RLIMIT_NOFILE, &lim) < 0 ? FINE : WRONG;
}

static void test_forbidden_calls_kill(void **state)
{
    static const struct {
        const char *name;
        int (*body)(void);
    } rows[] = {{"execve", do_exec}, {"fork", do_fork}, {"ptrace", do_ptrace},
        {"packet socket", do_packet_socket}, {"unshare", do_unshare}, {"mount", do_mount},
        {"kill", do_kill_parent}, {"setrlimit", do_raise_limit}};
    if (SANDBOX_SANITIZED)
        skip(); /* the sanitizers need some of these themselves */
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (int profile = SANDBOX_CONTROL; profile <= SANDBOX_LISTENER; profile++) {
            int status = in_child((enum sandbox_profile)profile, rows[i].body);
            if (!killed_by_seccomp(status))
                fail_msg("%s, profile %d: status %x", rows[i].name, profile, status);
        }
    assert_true(killed_by_seccomp(in_child(SANDBOX_NETWORK, do_executable_memory)));
    assert_true(WIFEXITED(in_child(SANDBOX_CONTROL, do_executable_memory)));
}

static bool status_says(const char *key, const char *value)
{
    struct err e;
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *want = xasprintf("%s:\t%s\n", key, value);
    return file_read("/proc/self/status", 65536, &text, &e) >= 0 && strstr(text.buf, want);
}

static int look_at_self(void)
{
    static const char *const caps[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    struct rlimit core;
    for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
        if (!status_says(caps[i], "0000000000000000"))
            return WRONG;
    if (!status_says("NoNewPrivs", "1") || !status_says("Seccomp", "2") || geteuid() == 0
        || getegid() == 0)
        return WRONG;
    if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0)
        return WRONG;
    if (setuid(0) == 0)
        return WRONG;
    return FINE;
}

/* Low ports and nothing else; lo need not be up for that. */
static int listen_below_1024(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(81)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return status_says("CapEff", "0000000000000400") && status_says("CapPrm", "0000000000000400")
                   && status_says("CapInh", "0000000000000000")
                   && status_says("CapBnd", "0000000000000000")
                   && status_says("CapAmb", "0000000000000000")
                   && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0
               ? FINE
               : WRONG;
}

static void test_a_listener_keeps_low_ports(void **state)
{
    if (geteuid() != 0 || SANDBOX_SANITIZED)
        skip();
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    int status = in_child(SANDBOX_LISTENER, listen_below_1024);
    if (!ends_fine(status))
        fail_msg("status %x", status);
}

static void test_nothing_is_left(void **state)
{
    if (geteuid() != 0 || SANDBOX_SANITIZED)
        skip();
    /* setuid() itself is forbidden: so the last look ends by the filter, after all others
     * passed. */
    int status = in_child(SANDBOX_NETWORK, look_at_self);
    if (!killed_by_seccomp(status))
        fail_msg("status %x", status);
}

static void *in_thread(void *arg)
{
    prctl(PR_SET_NAME, "worker");
    free(malloc(1 << 20));
    return arg;
}

static void on_timer(uv_timer_t *t)
{
    uv_close((uv_handle_t *)t, NULL);
}

static void on_work(uv_work_t *w)
{
    unsigned char digest[32];
    EVP_Digest("x", 1, digest, NULL, EVP_sha256(), NULL);
}

/* What the libraries of the roles do: loops, thread pools, cryptography, files, sockets. */
static int do_daily_work(void)
{
    uv_loop_t loop;
    uv_timer_t timer;
    uv_work_t work;
    pthread_t thread;
    unsigned char key[32];
    int pair[2];
    if (uv_loop_init(&loop) < 0 || uv_timer_init(&loop, &timer) < 0
        || uv_timer_start(&timer, on_timer, 1, 0) < 0)
        return WRONG;
    if (uv_queue_work(&loop, &work, on_work, NULL) < 0 || uv_run(&loop, UV_RUN_DEFAULT) < 0)
        return WRONG;
    if (pthread_create(&thread, NULL, in_thread, NULL) || pthread_join(thread, NULL))
        return WRONG;
    if (RAND_bytes(key, sizeof key) != 1 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return WRONG;
    int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET6, SOCK_STREAM, 0);
    if (udp < 0 || (tcp < 0 && errno != EAFNOSUPPORT))
        return WRONG;
    char name[] = "/tmp/mcp-sandbox-XXXXXX";
    int fd = mkstemp(name);
    if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0 || unlink(name) < 0)
        return WRONG;
    return FINE;
}

static int do_netlink(void)
{
    return socket(AF_NETLINK, SOCK_RAW, 0) < 0 && errno == EAFNOSUPPORT ? FINE : WRONG;
}

static void *early_end(void *arg)
{
    pthread_exit(arg); /* loads the unwinder, if it is not there already */
}

static int do_thread_exit(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, early_end, NULL) || pthread_join(thread, NULL) ? WRONG
                                                                                        : FINE;
}

static int do_abort(void)
{
    abort();
}

static void test_daily_work_is_allowed(void **state)
{
    int status = in_child(SANDBOX_NETWORK, do_daily_work);
    if (!ends_fine(status))
        fail_msg("status %x", status);
    assert_true(ends_fine(in_child(SANDBOX_NETWORK, do_netlink)));
    assert_true(ends_fine(in_child(SANDBOX_NETWORK, do_thread_exit)));
}

/* A failed assertion is reported as what it is. */
static void test_abort_is_not_taken_for_a_forbidden_call(void **state)
{
    int status = in_child(SANDBOX_NETWORK, do_abort);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static int run_a_tool(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "set -e; for i in 1 2 3; do echo $i; done | sort | wc -l >&2",
            (char *)NULL);
        _exit(WRONG);
    }
    int status = 1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        return WRONG;
    if (syscall(SYS_unshare, CLONE_NEWNET) >= 0
        || syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL) >= 0)
        return WRONG;
    return kill(getpid(), 0) == 0 && geteuid() != 0 ? FINE : WRONG;
}

/* Tools run; namespaces, mounts and privileges remain out of reach, for them too. */
static void test_tools_run(void **state)
{
    assert_true(ends_fine(in_child(SANDBOX_TOOLS, run_a_tool)));
    int status = in_child(SANDBOX_TOOLS, do_daily_work);
    if (!ends_fine(status))
        fail_msg("status %x", status);
}

static char inside[] = "/tmp/mcp-inside-XXXXXX", outside[] = "/tmp/mcp-outside-XXXXXX";

static bool can_write(const char *dir)
{
    _cleanup_free_ char *path = xasprintf("%s/file", dir);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd >= 0 && write(fd, "x", 1) == 1;
}

static int look_around(void)
{
    _cleanup_free_ char *path = xasprintf("%s/before", outside);
    if (!can_write(inside) || can_write(outside) || can_write("/tmp"))
        return WRONG;
    if (access("/etc/passwd", R_OK) < 0 || open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0)
        return WRONG;
    if (open("/etc/passwd", O_WRONLY | O_CLOEXEC) >= 0 || errno != EACCES)
        return WRONG;
    if (open(path, O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES)
        return WRONG;
    return FINE;
}

/* As root, whom permissions do not hold. */
static void test_confined_to_folders(void **state)
{
    struct err e = {0};
    assert_non_null(mkdtemp(inside));
    assert_non_null(mkdtemp(outside));
    _cleanup_free_ char *before = xasprintf("%s/before", outside);
    assert_int_equal(file_write(before, "x", 1, 0644, &e), 0);
    pid_t pid = fork();
    if (pid == 0) {
        const char *readable[] = {"/etc", NULL, "/nonexistent"}, *writable[] = {inside};
        if (sandbox_drop(SANDBOX_NONE, (struct sandbox_user){0, 0}, &e) < 0)
            _exit(NO_SANDBOX);
        int r = sandbox_confine(readable, 3, writable, 1, &e);
        _exit(r < 0 ? NO_SANDBOX : r == 0 ? FINE /* an old kernel */ : look_around());
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(file_remove_tree(inside, &e), 0);
    assert_int_equal(file_remove_tree(outside, &e), 0);
    if (!ends_fine(status))
        fail_msg("status %x", status);
}

static pthread_barrier_t sealed;

static void *forbidden_thread(void *arg)
{
    pthread_barrier_wait(&sealed);
    syscall(SYS_unshare, 0x10000000);
    return NULL;
}

/* Threads that were there before are sealed too. */
static void test_all_threads(void **state)
{
    if (SANDBOX_SANITIZED)
        skip();
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        pthread_t t;
        pthread_barrier_init(&sealed, NULL, 2);
        if (pthread_create(&t, NULL, forbidden_thread, NULL)
            || sandbox_enter(SANDBOX_NETWORK, sandbox_user_of("dns"), &e) < 0)
            _exit(NO_SANDBOX);
        pthread_barrier_wait(&sealed);
        pthread_join(t, NULL);
        _exit(WRONG);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(killed_by_seccomp(status));
}

static void test_users(void **state)
{
    assert_int_equal(sandbox_user_of("agent").uid, 0);
    assert_int_equal(sandbox_user_of("host").uid, 0);
    uid_t control = sandbox_user_of("control").uid, dns = sandbox_user_of("dns").uid;
    assert_true(control != 0 && dns != 0 && control != dns);
    assert_true(sandbox_user_of("nobody-knows").uid != 0);
    struct passwd *mysql = getpwnam("mysql");
    uid_t data = sandbox_user_of("data").uid;
    assert_true(mysql ? data == mysql->pw_uid : data != 0 && data != control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forbidden_calls_kill),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_a_listener_keeps_low_ports),
        cmocka_unit_test(test_daily_work_is_allowed),
        cmocka_unit_test(test_abort_is_not_taken_for_a_forbidden_call),
        cmocka_unit_test(test_tools_run),
        cmocka_unit_test(test_confined_to_folders),
        cmocka_unit_test(test_all_threads),
        cmocka_unit_test(test_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
