/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "proto/oci/oci.h"

#include <signal.h>

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define ENTRY(digest, tag)                                                                         \
    "{\"mediaType\":\"" MANIFEST_TYPE "\",\"digest\":\"" digest "\",\"size\":3,\"annotations\":{"  \
    "\"org.opencontainers.image.ref.name\":\"" tag "\"}}"
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"

static void test_index(void **state)
{
    static const struct {
        const char *name, *text, *tag, *digest;
        int code;
    } rows[] = {
        {"by tag", INDEX(ENTRY(A, "one") "," ENTRY(B, "two")), "two", B, 0},
        {"the only one", INDEX(ENTRY(A, "odd")), NULL, A, 0},
        {"latest of several", INDEX(ENTRY(A, "one") "," ENTRY(B, "latest")), NULL, B, 0},
        {"no such tag", INDEX(ENTRY(A, "one")), "two", NULL, ERR_NOT_FOUND},
        {"empty", INDEX(""), NULL, NULL, ERR_NOT_FOUND},
        {"bad digest", INDEX(ENTRY("sha256:../../x", "one")), NULL, NULL, ERR_INVALID},
        {"version 1", "{\"schemaVersion\":1,\"manifests\":[]}", NULL, NULL, ERR_INVALID},
        {"no list", "{\"schemaVersion\":2}", NULL, NULL, ERR_INVALID},
        {"a layer",
            "{\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"" A
            "\",\"size\":1}]}",
            NULL, NULL, ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct oci_descriptor d;
        struct err e = {0};
        int r = oci_index_find(rows[i].text, strlen(rows[i].text), rows[i].tag, &d, &e);
        if (r != rows[i].code)
            fail_msg("%s: %d %s", rows[i].name, r, e.message);
        if (r == 0)
            assert_string_equal(d.digest, rows[i].digest);
    }
}

static void test_manifest_takes_docker_types(void **state)
{
    static const char text[] =
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":"
        "\"application/vnd.docker.container.image.v1+json\",\"digest\":\"" A
        "\",\"size\":10},\"layers\":[{\"mediaType\":"
        "\"application/vnd.docker.image.rootfs.diff.tar.gzip\",\"digest\":\"" B
        "\",\"size\":20},{\"mediaType\":"
        "\"application/vnd.oci.image.layer.v1.tar+zstd\",\"digest\":\"" A "\",\"size\":30}]}";
    struct arena *a = arena_new(0);
    struct oci_manifest m;
    struct err e = {0};
    assert_int_equal(oci_manifest_parse(a, text, sizeof text - 1, &m, &e), 0);
    assert_int_equal(m.n_layers, 2);
    assert_int_equal(m.layers[0].media, OCI_LAYER_GZIP);
    assert_int_equal(m.layers[1].media, OCI_LAYER_ZSTD);
    static const char none[] = "{\"schemaVersion\":2,\"config\":{\"mediaType\":"
                               "\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" A
                               "\",\"size\":10},\"layers\":[]}";
    assert_int_equal(oci_manifest_parse(a, none, sizeof none - 1, &m, &e), ERR_LIMIT);
    arena_free(a);
}

static void test_config(void **state)
{
    static const char text[] =
        "{\"architecture\":\"amd64\",\"config\":{\"User\":\"app\",\"Env\":[\"A=1\"],\"Entrypoint\":"
        "[\"/bin/x\"],\"Cmd\":null,\"WorkingDir\":\"\",\"StopSignal\":\"SIGQUIT\"},\"rootfs\":{\"diff_ids\":[\"" A
        "\"]}}";
    struct arena *a = arena_new(0);
    struct oci_image m;
    struct err e = {0};
#if defined(__x86_64__)
    assert_int_equal(oci_image_parse(a, text, sizeof text - 1, &m, &e), 0);
    assert_string_equal(m.user, "app");
    assert_string_equal(m.cwd, "/");
    assert_int_equal(m.stop_signal, SIGQUIT);
    assert_int_equal(m.n_layers, 1);
    assert_null(m.cmd);
    assert_string_equal(m.entrypoint[0], "/bin/x");
#endif
    static const char other[] =
        "{\"architecture\":\"s390x\",\"config\":{},\"rootfs\":{\"diff_ids\":[]}}";
    assert_int_equal(oci_image_parse(a, other, sizeof other - 1, &m, &e), ERR_INVALID);
    static const char relative[] =
        "{\"config\":{\"WorkingDir\":\"x\"},\"rootfs\":{\"diff_ids\":[]}}";
    assert_int_equal(oci_image_parse(a, relative, sizeof relative - 1, &m, &e), ERR_INVALID);
    arena_free(a);
}

static void test_users(void **state)
{
    struct str passwd = STR_INIT, group = STR_INIT;
    str_add(&passwd,
        "root:x:0:0::/root:/bin/sh\nbroken\n::::\napp:x:1000:100:App:/home/app:/bin/sh\nbig:x:70000:1::/:");
    str_add(&group, "root:x:0:\nstaff:x:50:app\n");
    static const struct {
        const char *user;
        int code;
        uint32_t uid, gid;
        const char *home;
    } rows[] = {
        {"", 0, 0, 0, "/root"},
        {"app", 0, 1000, 100, "/home/app"},
        {"1000", 0, 1000, 100, "/home/app"},
        {"4711", 0, 4711, 0, "/"},
        {"app:staff", 0, 1000, 50, "/home/app"},
        {"7:8", 0, 7, 8, "/"},
        {"nobody", ERR_NOT_FOUND, 0, 0, NULL},
        {"app:none", ERR_NOT_FOUND, 0, 0, NULL},
        {"70000", ERR_LIMIT, 0, 0, NULL},
        {"big", ERR_NOT_FOUND, 0, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct oci_user u;
        struct err e = {0};
        int r = oci_user_resolve(rows[i].user, &passwd, &group, &u, &e);
        if (r != rows[i].code)
            fail_msg("%s: %d %s", rows[i].user, r, e.message);
        if (r < 0)
            continue;
        assert_int_equal(u.uid, rows[i].uid);
        assert_int_equal(u.gid, rows[i].gid);
        assert_string_equal(u.home, rows[i].home);
    }
    struct oci_user u;
    struct err e = {0};
    assert_int_equal(oci_user_resolve("5", NULL, NULL, &u, &e), 0);
    assert_int_equal(oci_user_resolve("x", NULL, NULL, &u, &e), ERR_NOT_FOUND);
    str_done(&passwd);
    str_done(&group);
}

/* What keeps a module in: each of these missing would be a hole. */
static void test_runtime_config_holds_the_module(void **state)
{
    const char *const args[] = {"/bin/x", NULL}, *const env[] = {"A=1", NULL};
    struct oci_runtime r = {.rootfs = "/r",
        .args = args,
        .env = env,
        .cwd = "/",
        .hostname = "api-1",
        .uid = 1000,
        .gid = 100,
        .uid_base = 0x10000000,
        .cgroup = "/mcp/x/units/api-1",
        .memory_bytes = 64u << 20,
        .limit_swap = true,
        .cpu_milli = 500,
        .pids = 32,
        .sysfs = "/s"};
    json_t *j = oci_runtime_format(&r);
    json_t *p = json_object_get(j, "process"), *l = json_object_get(j, "linux");
    assert_true(json_is_true(json_object_get(json_object_get(j, "root"), "readonly")));
    assert_true(json_is_true(json_object_get(p, "noNewPrivileges")));
    const char *set;
    json_t *caps;
    json_object_foreach (json_object_get(p, "capabilities"), set, caps)
        assert_int_equal(json_array_size(caps), 0);
    assert_int_equal(json_object_size(json_object_get(p, "capabilities")), 5);
    assert_null(json_object_get(p, "oomScoreAdj"));
    assert_null(json_object_get(p, "rlimits"));
    json_t *map = json_array_get(json_object_get(l, "uidMappings"), 0);
    assert_int_equal(json_integer_value(json_object_get(map, "hostID")), 0x10000000);
    json_t *memory = json_object_get(json_object_get(l, "resources"), "memory");
    assert_int_equal(json_integer_value(json_object_get(memory, "swap")), 64 << 20);
    assert_int_equal(json_integer_value(json_object_get(
                         json_object_get(json_object_get(l, "resources"), "cpu"), "quota")),
        50000);
    json_t *seccomp = json_object_get(l, "seccomp");
    assert_string_equal(
        json_string_value(json_object_get(seccomp, "defaultAction")), "SCMP_ACT_ERRNO");
    json_t *allowed =
        json_object_get(json_array_get(json_object_get(seccomp, "syscalls"), 0), "names");
    for (size_t i = 0; i < json_array_size(allowed); i++) {
        const char *name = json_string_value(json_array_get(allowed, i));
        static const char *const never[] = {"mount", "unshare", "setns", "clone3", "clone", "bpf",
            "keyctl", "ptrace_", "init_module", "io_uring_setup", "open_by_handle_at", "pivot_root",
            "kexec_load"};
        for (size_t k = 0; k < ARRAY_SIZE(never); k++)
            assert_string_not_equal(name, never[k]);
    }
    json_decref(j);
}

static void test_signals(void **state)
{
    assert_int_equal(oci_signal_parse("SIGTERM"), SIGTERM);
    assert_int_equal(oci_signal_parse("QUIT"), SIGQUIT);
    assert_int_equal(oci_signal_parse("9"), 9);
    assert_int_equal(oci_signal_parse("65"), 0);
    assert_int_equal(oci_signal_parse("NOPE"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_manifest_takes_docker_types),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_runtime_config_holds_the_module),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
