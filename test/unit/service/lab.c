/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"
#include "domain/model/model.h"
#include "domain/spec/boot.h"
#include "domain/spec/spec.h"
#include "service/lab/msg.h"
#include "service/wan/wan.h"

#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static const char declaration[] =
    "platform: labx\n"
    "domain: labx.example\n"
    "regions:\n"
    "  ra: {duty: main, address: [203.0.113.20, 2001:db8::20], network: [10.20.0.0/16, fd00:20::/64]}\n"
    "  rb: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
    "hosts:\n"
    "  a1: {region: ra, address: [10.20.0.11, fd00:20::11], public: true}\n"
    "  a2: {region: ra, address: 10.20.0.12}\n"
    "  b1: {region: rb, address: 10.40.0.11, public: true}\n"
    "state: {members: [a1, a2, b1]}\n"
    "lab:\n"
    "  wan: [{between: [ra, rb], delay: 19ms}]\n"
    "  clients: {KR: 198.51.100.0/28, TH: 198.51.100.16/28}\n"
    "routing:\n"
    "  nameservers: {ns1: ra, ns2: rb}\n"
    "  countries: {KR: [rb], TH: [ra]}\n"
    "  default: [ra]\n"
    "modules:\n"
    "  web: {image: oci:web, port: 80, route: {names: [labx.example, a.b.labx.example], path: /, "
    "auth: none}, regions: {each: 1}}\n";

static struct model *load(const char *text)
{
    struct err e = {0};
    struct model *m = NULL;
    if (model_parse(text, strlen(text), "test", &m, NULL, &e) < 0)
        fail_msg("%s", e.message);
    return m;
}

static void ignore_packet(void *ctx, unsigned endpoint, const void *packet, size_t len)
{
}

static void test_plan_wan(void **state)
{
    struct err e = {0};
    struct model *m = load(declaration);
    json_t *config = plan_wan(m);
    struct wan *w = wan_new(ignore_packet, NULL);
    assert_int_equal(
        wan_configure(w, config, &e), 0); /* what is planned is what the switch takes */
    assert_int_equal(json_array_size(json_object_get(config, "endpoints")), 4);
    assert_int_equal(json_array_size(json_object_get(config, "links")), 2); /* both ways */
    assert_true(wan_endpoint(w, "client") >= 0);
    wan_free(w);
    json_decref(config);
    model_free(m);
}

static void test_plan_hosts(void **state)
{
    struct model *m = load(declaration);
    struct lab l = {.platform = "labx", .dir = "/d", .run_dir = "/r", .cgroup = "/c"};
    json_t *hosts = plan_hosts(m), *client = plan_client(m), *wan = plan_wan_machine();
    assert_int_equal(json_array_size(hosts), 3);
    json_t *a1 = plan_machine(&l, m, json_array_get(hosts, 0));
    json_t *a2 = plan_machine(&l, m, json_array_get(hosts, 1));
    json_t *net = json_object_get(a1, "net"), *etc = json_object_get(a1, "etc");
    assert_string_equal(json_opt_str(a1, "disk", ""), "/d/a1.img");
    assert_int_equal(json_array_size(json_object_get(net, "addresses")), 2);
    assert_int_equal(json_array_size(json_object_get(net, "public")), 2);
    assert_int_equal(json_array_size(json_object_get(json_object_get(a2, "net"), "public")), 0);
    assert_non_null(strstr(json_opt_str(etc, "hosts", ""), "10.40.0.11 b1\n"));
    assert_non_null(strstr(json_opt_str(etc, "resolv.conf", ""), "nameserver 203.0.113.40\n"));
    json_t *c = plan_machine(&l, m, client), *keeper = plan_machine(&l, m, wan);
    assert_int_equal(json_array_size(json_object_get(json_object_get(c, "net"), "local")), 2);
    assert_null(strstr(json_opt_str(json_object_get(c, "etc"), "hosts", ""), "b1"));
    assert_null(json_opt_str(c, "disk", NULL)); /* a buyer keeps nothing */
    assert_string_equal(json_opt_str(c, "trust", ""), "/d/ca/root.pem");
    assert_null(json_object_get(keeper, "net"));
    assert_string_equal(json_opt_str(json_object_get(client, "buyers"), "TH", ""), "198.51.100.17");
    json_t *all[] = {hosts, client, wan, a1, a2, c, keeper};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        json_decref(all[i]);
    model_free(m);
}

static void test_plan_refuses(void **state)
{
    struct err e = {0};
    _cleanup_str_ struct str text = STR_INIT;
    for (const char *p = declaration; *p; p += strncmp(p, "a2", 2) ? 1 : 2) /* a2 is called wan */
        str_add_mem(&text, strncmp(p, "a2", 2) ? p : "wan", strncmp(p, "a2", 2) ? 1 : 3);
    struct model *m = load(text.buf);
    assert_int_equal(plan_check(m, &e), ERR_INVALID);
    assert_non_null(strstr(e.message, "wan"));
    model_free(m);
}

/* ---- messages ---- */

static void *echo(void *arg)
{
    struct err e;
    int listen_fd = *(int *)arg, passed = -1;
    _cleanup_close_ int fd = accept(listen_fd, NULL, NULL);
    json_t *j = NULL;
    if (msg_recv(fd, &j, &passed, &e) > 0) {
        int r = !strcmp(json_opt_str(j, "op", ""), "fail") ? err_set(&e, ERR_REFUSED, "no") : 0;
        if (passed >= 0 && write(passed, "x", 1) == 1)
            close(passed);
        msg_reply(fd, r, &e);
    }
    json_decref(j);
    return NULL;
}

static int call(const char *path, int listen_fd, const char *op, int pass_fd, struct err *e)
{
    pthread_t thread;
    json_t *request = json_pack("{s:s}", "op", op);
    pthread_create(&thread, NULL, echo, &listen_fd);
    int r = msg_call(path, request, pass_fd, 2000, NULL, e);
    pthread_join(thread, NULL);
    json_decref(request);
    return r;
}

static void test_messages(void **state)
{
    struct err e = {0};
    char dir[] = "/tmp/mcp-msg-XXXXXX", byte;
    int listen_fd, pipe_fd[2];
    assert_non_null(mkdtemp(dir));
    /* Longer than a socket address may be. */
    _cleanup_free_ char *folder = xasprintf("%s/%0100d", dir, 0);
    _cleanup_free_ char *path = xasprintf("%s/x.sock", folder);
    assert_int_equal(file_mkdirs(folder, 0700, &e), 0);
    assert_int_equal(msg_listen(path, &listen_fd, &e), 0);
    assert_int_equal(pipe(pipe_fd), 0);
    assert_int_equal(call(path, listen_fd, "ok", pipe_fd[1], &e), 0);
    assert_int_equal(read(pipe_fd[0], &byte, 1), 1);
    assert_int_equal(call(path, listen_fd, "fail", -1, &e), ERR_REFUSED);
    assert_string_equal(e.message, "no");
    close(listen_fd);
    assert_true(msg_call(path, NULL, -1, 100, NULL, &e) < 0);
    assert_int_equal(file_remove_tree(dir, &e), 0);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

static void test_message_timeout(void **state)
{
    struct err e = {0};
    char dir[] = "/tmp/mcp-msg-XXXXXX";
    int listen_fd;
    assert_non_null(mkdtemp(dir));
    _cleanup_free_ char *path = xasprintf("%s/x.sock", dir);
    json_t *request = json_object();
    assert_int_equal(msg_listen(path, &listen_fd, &e), 0);
    assert_int_equal(
        msg_call(path, request, -1, 50, NULL, &e), ERR_UNAVAILABLE); /* nobody accepts */
    assert_int_equal(file_remove_tree(dir, &e), 0);
    json_decref(request);
    close(listen_fd);
}

/* ---- processes and their groups ---- */

static pid_t start_sleeper(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    return pid;
}

static void test_process(void **state)
{
    pid_t pid = start_sleeper();
    struct process p = {pid, process_start_time(pid)}, other = {pid, p.start_time + 1};
    assert_true(p.start_time > 0);
    assert_true(process_alive(&p));
    assert_false(process_alive(&other)); /* the pid was used again */
    assert_false(process_alive(&(struct process){0, 0}));
    int fd = process_open(&p);
    assert_false(process_wait(fd, 10));
    kill(pid, SIGKILL);
    assert_true(process_wait(fd, 5000));
    assert_false(process_alive(&p)); /* a zombie is dead */
    close(fd);
    waitpid(pid, NULL, 0);
}

static void test_cgroup(void **state)
{
    struct err e = {0};
    const char *root;
    assert_int_equal(cgroup_root(&root, &e), 0);
    _cleanup_free_ char *top = xasprintf("%s/mcp-test-%d", root, (int)getpid());
    _cleanup_free_ char *inner = xasprintf("%s/a/b", top);
    _cleanup_free_ char *procs = xasprintf("%s/cgroup.procs", inner);
    assert_int_equal(cgroup_kill(top, &e), 0); /* nothing there is fine */
    assert_int_equal(cgroup_remove(top, 0, &e), 0);
    assert_int_equal(cgroup_make(inner, &e), 0);
    pid_t pid = start_sleeper();
    FILE *f = fopen(procs, "we");
    fprintf(f, "%d", (int)pid);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(cgroup_remove(top, 10, &e), ERR_TIMEOUT); /* lived in */
    assert_int_equal(cgroup_kill(top, &e), 0);
    assert_int_equal(cgroup_remove(top, 5000, &e), 0);
    assert_false(file_exists(top));
    waitpid(pid, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_wan),
        cmocka_unit_test(test_plan_hosts),
        cmocka_unit_test(test_plan_refuses),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_message_timeout),
        cmocka_unit_test(test_process),
        cmocka_unit_test(test_cgroup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
