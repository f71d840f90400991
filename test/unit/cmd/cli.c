/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "cmd/cli/priv.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

/* 74 columns, 15 words. */
#define KOREAN_74 "홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩 홍콩"

static int never(struct cmd_ctx *ctx, struct err *e)
{
    return 0;
}

static const struct cmd_opt opts[] = {{"file", 'f', "FILE", "a file"},
    {"timeout", 't', "D", "a time"}, {"watch", 'w', NULL, "go on"}, CMD_OPT_JSON, {0}};
static const struct cmd apply = {.name = "apply",
    .operands = "[N]",
    .summary = "Do",
    .opts = opts,
    .max_operands = 1,
    .run = never};
static const struct cmd kill_cmd = {.name = "lab kill",
    .operands = "HOST",
    .summary = "Kill",
    .min_operands = 1,
    .max_operands = 1,
    .run = never};
static const struct cmd heal = {
    .name = "lab heal", .operands = "HOST", .summary = "Heal", .max_operands = -1, .run = never};
static const struct cmd role = {.name = "role",
    .operands = "NAME",
    .summary = "Internal",
    .text = "One short\nline, broken.\n\n" KOREAN_74 " 홍콩 b",
    .hidden = true,
    .raw = true,
    .run = never};
static const struct cmd *const table[] = {&apply, &kill_cmd, &heal, &role, NULL};

static int parse(
    const struct cmd *cmd, const char **values, struct cmd_ctx *ctx, char **words, struct err *e)
{
    static char *operands[16];
    int n = 0;
    bool help = false;
    while (words[n])
        n++;
    *ctx = (struct cmd_ctx){.cmd = cmd, .values = values, .operands = operands};
    int r = cmd_parse(ctx, n, words, &help, e);
    return r < 0 ? r : help;
}
#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})

static void test_options(void **state)
{
    const struct {
        const char *name;
        char **words;
        int result; /* 1: help; negative: code */
        const char *file, *first, *message;
        bool json;
    } rows[] = {
        {"none", (char *[]){NULL}, 0, NULL, NULL, NULL, false},
        {"long, next word", WORDS("--file", "a"), 0, "a", NULL, NULL, false},
        {"long, same word", WORDS("--file=a=b"), 0, "a=b", NULL, NULL, false},
        {"long, empty", WORDS("--file="), 0, "", NULL, NULL, false},
        {"short, next word", WORDS("-f", "a"), 0, "a", NULL, NULL, false},
        {"short, same word", WORDS("-fa"), 0, "a", NULL, NULL, false},
        {"the last one counts", WORDS("-fa", "--file", "b"), 0, "b", NULL, NULL, false},
        {"value that looks like an option", WORDS("--file", "--json"), 0, "--json", NULL, NULL,
            false},
        {"behind an operand", WORDS("7", "--json"), 0, NULL, "7", NULL, true},
        {"a lone dash is an operand", WORDS("-"), 0, NULL, "-", NULL, false},
        {"behind --", WORDS("--", "--json"), 0, NULL, "--json", NULL, false},
        {"help", WORDS("--nope", "--help"), ERR_USAGE, NULL, NULL, "unknown option --nope", false},
        {"help first", WORDS("-h", "--nope"), 1, NULL, NULL, NULL, false},
        {"unknown short", WORDS("-x"), ERR_USAGE, NULL, NULL, "unknown option -x", false},
        {"a prefix is not the option", WORDS("--fil", "a"), ERR_USAGE, NULL, NULL,
            "unknown option --fil", false},
        {"unknown with a value", WORDS("--nope=1"), ERR_USAGE, NULL, NULL, "unknown option --nope",
            false},
        {"value missing", WORDS("--file"), ERR_USAGE, NULL, NULL, "--file needs a value: FILE",
            false},
        {"value unwanted", WORDS("--watch=1"), ERR_USAGE, NULL, NULL, "--watch takes no value",
            false},
        {"short value unwanted", WORDS("-w1"), ERR_USAGE, NULL, NULL, "--watch takes no value",
            false},
        {"too many operands", WORDS("1", "2"), ERR_USAGE, NULL, NULL, "one word too many: '2'",
            false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *values[ARRAY_SIZE(opts)] = {0};
        struct cmd_ctx ctx;
        struct err e = {0};
        int r = parse(&apply, values, &ctx, rows[i].words, &e);
        if (r != rows[i].result || (r < 0 && strcmp(e.message, rows[i].message) != 0))
            fail_msg("%s: %d %s", rows[i].name, r, e.message);
        if (r != 0)
            continue;
        const char *first = ctx.n_operands ? ctx.operands[0] : NULL;
        if (!str_eq(cmd_opt(&ctx, "file"), rows[i].file) || !str_eq(first, rows[i].first)
            || ctx.json != rows[i].json)
            fail_msg("%s: parsed wrongly", rows[i].name);
    }
}

static void test_operands(void **state)
{
    const char *values[4] = {0};
    struct cmd_ctx ctx;
    struct err e = {0};
    assert_int_equal(parse(&kill_cmd, values, &ctx, (char *[]){NULL}, &e), ERR_USAGE);
    assert_string_equal(e.message, "`mcp lab kill` needs HOST");
    assert_int_equal(parse(&heal, values, &ctx, WORDS("a", "b", "c"), &e), 0);
    assert_int_equal(ctx.n_operands, 3);
    assert_int_equal(parse(&role, values, &ctx, WORDS("dns", "--help", "--", "-x"), &e), 0);
    assert_int_equal(ctx.n_operands, 4);
}

static void test_values(void **state)
{
    const char *values[ARRAY_SIZE(opts)] = {0};
    struct cmd_ctx ctx;
    struct err e = {0};
    uint64_t ms = 7;
    int64_t n = 7;
    assert_int_equal(parse(&apply, values, &ctx, (char *[]){NULL}, &e), 0);
    assert_int_equal(cmd_opt_duration(&ctx, "timeout", &ms, &e), 0);
    assert_int_equal(ms, 7);
    assert_int_equal(cmd_opt_number(&ctx, "timeout", &n, &e), 0);
    assert_int_equal(n, 7);
    assert_int_equal(parse(&apply, values, &ctx, WORDS("-t", "1m30s"), &e), 0);
    assert_int_equal(cmd_opt_duration(&ctx, "timeout", &ms, &e), 0);
    assert_int_equal(ms, 90000);
    assert_int_equal(cmd_opt_number(&ctx, "timeout", &n, &e), ERR_USAGE);
    assert_string_equal(e.message, "--timeout: '1m30s' is no whole number");
    assert_int_equal(parse(&apply, values, &ctx, WORDS("-tsoon"), &e), 0);
    assert_int_equal(cmd_opt_duration(&ctx, "timeout", &ms, &e), ERR_USAGE);
    assert_string_equal(e.message, "--timeout: 'soon' is no duration");
    assert_int_equal(cmd_number("9223372036854775807", "N", &n, &e), 0);
    assert_true(n == INT64_MAX);
    assert_int_equal(cmd_number("9223372036854775808", "N", &n, &e), ERR_USAGE);
    assert_int_equal(cmd_number("-1", "N", &n, &e), ERR_USAGE);
}

static void test_find(void **state)
{
    int words;
    assert_ptr_equal(cmd_find(table, 1, WORDS("apply"), &words), &apply);
    assert_int_equal(words, 1);
    assert_ptr_equal(cmd_find(table, 3, WORDS("lab", "kill", "hk1"), &words), &kill_cmd);
    assert_int_equal(words, 2);
    assert_null(cmd_find(table, 1, WORDS("lab"), &words));
    assert_null(cmd_find(table, 0, (char *[]){NULL}, &words));
    assert_true(cmd_is_group(table, "lab"));
    assert_false(cmd_is_group(table, "la"));
    assert_false(cmd_is_group(table, "apply"));
}

static void test_unknown(void **state)
{
    static const struct {
        const char *first, *second, *message, *fix;
    } rows[] = {
        {"aply", NULL, "unknown command 'aply'", "did you mean `mcp apply`?"},
        {"xyzzy", "kill", "unknown command 'xyzzy'", "`mcp help` lists the commands"},
        {"lab", NULL, "'lab' needs another word", "`mcp help lab` lists them"},
        {"lab", "kil", "unknown command 'lab kil'", "did you mean `mcp lab kill`?"},
        {"lab", "wobble", "unknown command 'lab wobble'", "`mcp help lab` lists the commands"},
        {"rol", NULL, "unknown command 'rol'",
            "`mcp help` lists the commands"}, /* hidden ones are not offered */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = {0};
        char *words[] = {(char *)rows[i].first, (char *)rows[i].second, NULL};
        assert_int_equal(cmd_unknown(table, rows[i].second ? 2 : 1, words, &e), ERR_USAGE);
        assert_string_equal(e.message, rows[i].message);
        assert_string_equal(e.fix, rows[i].fix);
    }
}

static void test_help_texts(void **state)
{
    _cleanup_str_ struct str out = STR_INIT;
    cmd_usage(&apply, &out);
    assert_string_equal(out.buf, "usage: mcp apply [OPTION]... [N]\n\nDo.\n\nOptions:\n"
                                 "  -f, --file FILE             a file\n"
                                 "  -t, --timeout D             a time\n"
                                 "  -w, --watch                 go on\n"
                                 "      --json                  print JSON\n"
                                 "  -h, --help                  explain this command\n");
    str_clear(&out);
    cmd_usage(&role, &out);
    assert_non_null(
        strstr(out.buf, "\n\nOne short line, broken.\n\n" KOREAN_74 "\n홍콩 b\n\nOptions:"));
    str_clear(&out);
    cmd_overview(table, "lab", &out);
    assert_non_null(strstr(out.buf, "\n  lab kill"));
    assert_null(strstr(out.buf, "apply"));
    str_clear(&out);
    cmd_overview(table, NULL, &out);
    assert_non_null(strstr(out.buf, "\n  apply"));
    assert_null(strstr(out.buf, "\n  role"));
}

/* What completion, the manual and the usage are made of is there for every command of the real table. */
static void test_table_is_whole(void **state)
{
    for (const struct cmd *const *c = cmd_table; *c; c++) {
        const struct cmd *cmd = *c;
        assert_non_null(cmd->run);
        assert_non_null(cmd->operands);
        size_t len = cmd->summary ? strlen(cmd->summary) : 0;
        if (len < 5 || cmd->summary[len - 1] == '.' || cmd->summary[0] < 'A'
            || cmd->summary[0] > 'Z')
            fail_msg("mcp %s: summary must be a sentence without its stop", cmd->name);
        if (!cmd->hidden && (!cmd->text || strlen(cmd->text) < 20))
            fail_msg("mcp %s: no text for the manual", cmd->name);
        if (cmd->max_operands >= 0 && !cmd->raw)
            assert_true(cmd->min_operands <= cmd->max_operands);
        if (cmd->max_operands != 0 && !*cmd->operands)
            fail_msg("mcp %s: takes operands that its usage does not name", cmd->name);
        for (const struct cmd *const *d = cmd_table; *d != cmd; d++)
            assert_string_not_equal((*d)->name, cmd->name);
        size_t n = 0;
        for (const struct cmd_opt *o = cmd->opts; o && o->name; o++, n++) {
            assert_non_null(o->help);
            for (const struct cmd_opt *p = cmd->opts; p != o; p++)
                assert_false(!strcmp(p->name, o->name) || (o->letter && p->letter == o->letter));
        }
        assert_true(n < CMD_OPTS_MAX);
    }
}

static void test_error_objects(void **state)
{
    struct err e = {0};
    err_set(&e, ERR_INVALID, "2 errors");
    err_where(&e, "platform.yaml");
    json_t *details = json_pack("[{s:s,s:s,s:s}]", "where", "a:1:1", "message", "둘", "fix", "x");
    json_t *j = cmd_error_json(&e, details);
    json_decref(details);
    char *text = json_text(j);
    assert_string_equal(text, "{\"error\":{\"code\":\"invalid\",\"details\":[{\"fix\":\"x\","
                              "\"message\":\"둘\",\"where\":\"a:1:1\"}],\"fix\":\"\","
                              "\"message\":\"2 errors\",\"where\":\"platform.yaml\"}}");
    free(text);
    json_decref(j);
    j = cmd_error_json(&e, NULL);
    assert_null(json_object_get(json_object_get(j, "error"), "details"));
    json_decref(j);
    assert_true(cmd_wants_json(2, WORDS("x", "--json")));
    assert_false(cmd_wants_json(3, WORDS("x", "--", "--json")));
}

static void test_scan_platform(void **state)
{
    static const struct {
        const char *name, *text, *want;
    } rows[] = {
        {"plain", "# c\nplatform: reindeers # REINDEERS\ndomain: x\n", "reindeers"},
        {"quoted", "platform: \"rein\"\n", "rein"},
        {"single quotes", "platform: 'rein'", "rein"},
        {"no blank line ends", "platform:\trein\r\n", "rein"},
        {"deeper key", "x:\n  platform: no\nplatform: yes1\n", "yes1"},
        {"only a deeper key", "x:\n  platform: no\n", ""},
        {"longer key", "platforms: no\n", ""},
        {"empty", "", ""},
        {"no value", "platform:\n  x: 1\n", ""},
        {"json", "{\n \"domain\": \"platform:\", \"platform\": \"rein\"}", "rein"},
        {"broken json", "{\"platform\": ", ""},
        {"json, other type", "{\"platform\": 7}", ""},
        {"too long",
            "platform: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
            ""},
    };
    char dir[] = "/tmp/mcp-cli.XXXXXX", path[64], name[64];
    struct err e = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/platform.yaml", dir);
    assert_int_equal(cmd_scan_platform(path, name, sizeof name, &e), ERR_NOT_FOUND);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_true(file_write(path, rows[i].text, strlen(rows[i].text), 0600, &e) >= 0);
        assert_int_equal(cmd_scan_platform(path, name, sizeof name, &e), 0);
        if (strcmp(name, rows[i].want) != 0)
            fail_msg("%s: '%s'", rows[i].name, name);
    }
    assert_true(file_remove_tree(dir, &e) >= 0);
}

static uint64_t start_time_of(pid_t pid)
{
    char path[64];
    _cleanup_str_ struct str text = STR_INIT;
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    assert_true(file_read(path, 4096, &text, NULL) >= 0);
    static const char fields[] =
        "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu";
    assert_int_equal(sscanf(strrchr(text.buf, ')') + 2, fields, &start), 1);
    return start;
}

/* A process that died and is not yet buried, a pid that another process has now: neither is the host. */
static void test_only_the_same_process_is_reached(void **state)
{
    struct err e = {0};
    int fd = -1, hold[2];
    assert_int_equal(pipe(hold), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        close(hold[1]);
        _exit(read(hold[0], &c, 1) < 0);
    }
    close(hold[0]);
    struct cmd_lab_host h = {"hk1", pid, start_time_of(pid)};
    assert_int_equal(cmd_open_process(&h, &fd, &e), 0);
    struct cmd_lab_host other = {"hk1", pid, h.start_time - 1};
    assert_int_equal(cmd_open_process(&other, &fd, &e), ERR_UNAVAILABLE);
    struct cmd_lab_host none = {"hk1", 0, 0};
    assert_int_equal(cmd_open_process(&none, &fd, &e), ERR_UNAVAILABLE);
    close(hold[1]);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    int zombie_fd = -1;
    assert_int_equal(cmd_open_process(&h, &zombie_fd, &e), ERR_UNAVAILABLE);
    assert_string_equal(e.message, "hk1 is dead");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(openat(fd, "root", 0), -1); /* the folder held open leads nowhere else */
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_operands),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_help_texts),
        cmocka_unit_test(test_table_is_whole),
        cmocka_unit_test(test_error_objects),
        cmocka_unit_test(test_scan_platform),
        cmocka_unit_test(test_only_the_same_process_is_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
