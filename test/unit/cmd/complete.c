/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/file/file.h"
#include "cmd/cli/priv.h"

static int never(struct cmd_ctx *ctx, struct err *e)
{
    return 0;
}

static const struct cmd plan = {.name = "plan",
    .operands = "",
    .summary = "Show",
    .run = never,
    .opts = (const struct cmd_opt[]){
        CMD_OPT_FILE, {"from", 0, "REV", "a revision"}, CMD_OPT_JSON, {0}}};
static const struct cmd kill = {
    .name = "lab kill", .operands = "REGION|HOST", .summary = "Kill", .run = never};
static const struct cmd cut = {
    .name = "lab cut", .operands = "A B", .summary = "Cut", .run = never};
static const struct cmd logs = {.name = "logs",
    .operands = "[MODULE]",
    .summary = "Logs",
    .run = never,
    .opts = (const struct cmd_opt[]){{"region", 'r', "REGION", "one"}, {0}}};
static const struct cmd exec = {
    .name = "exec", .operands = "MODULE -- CMD...", .summary = "Run", .run = never};
static const struct cmd shells = {
    .name = "completion", .operands = "bash|zsh", .summary = "Script", .run = never};
static const struct cmd stop = {
    .name = "stop", .operands = "MODULE...", .summary = "Stop", .run = never};
static const struct cmd hidden = {
    .name = "role", .operands = "MODULE", .summary = "Role", .hidden = true, .run = never};
static const struct cmd *const table[] = {
    &plan, &kill, &cut, &logs, &exec, &shells, &stop, &hidden, NULL};

/* Words are separated by blanks; a blank at the end starts an empty one. Texts behind tabs are cut off. */
static char *complete(const char *line)
{
    char *words[16] = {0}, *copy = xstrdup(line);
    int n = 0;
    for (char *s = copy;; s++) {
        words[n++] = s;
        s += strcspn(s, " ");
        if (!*s)
            break;
        *s = '\0';
    }
    struct str out = STR_INIT, found = STR_INIT;
    cmd_complete(table, n, words, &out);
    for (const char *s = str_cstr(&out); *s; s += strcspn(s, "\n") + 1) {
        str_add(&found, found.len ? " " : "");
        str_add_mem(&found, s, strcspn(s, "\t\n"));
    }
    free(copy);
    str_done(&out);
    return str_steal(&found);
}

static void test_words(void **state)
{
    char path[] = "/tmp/mcp-test-complete-XXXXXX";
    static const char text[] =
        "regions: {hk: {}, kr: {}}\nhosts: {hk1: {}}\nmodules: {api: 1, web: 2, \"$(x)\": 3}\n"
        "unfinished: nonsense\n";
    static const struct {
        const char *line, *found;
    } rows[] = {
        {"", "plan lab logs exec completion stop"},
        {"l", "lab logs"},
        {"lab", "lab"},
        {"lab ", "kill cut"},
        {"lab k", "kill"},
        {"lab kill ", "hk kr hk1"},
        {"lab kill k", "kr"},
        {"lab kill hk1 ", ""},
        {"stop api ", "api web"},
        {"lab cut hk ", "hk kr hk1"},
        {"plan ", ""},
        {"plan -", "--file --from --json --help"},
        {"plan --fr", "--from"},
        {"plan --from ", ""},
        {"plan --file ", ":files"},
        {"plan -f ", ":files"},
        {"plan --file=", ":files"},
        {"logs ", "api web"},
        {"logs --region ", "hk kr"},
        {"logs -r k", "kr"},
        {"logs --region=k", "--region=kr"},
        {"logs --region kr w", "web"},
        {"exec a", "api"},
        {"exec api -- ", ""},
        {"exec api -- a", ""},
        {"completion ", "bash zsh"},
        {"completion z", "zsh"},
        {"role ", ""},
        {"nonsense ", ""},
        {"r", ""},
    };
    struct err e;
    int fd = mkstemp(path);
    assert_int_equal(file_write_fd(fd, text, sizeof text - 1, &e), 0);
    close(fd);
    setenv("MCP_FILE", path, 1);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char *found = complete(rows[i].line);
        if (strcmp(found, rows[i].found) != 0)
            fail_msg("\"%s\": \"%s\", expected \"%s\"", rows[i].line, found, rows[i].found);
        free(found);
    }
    setenv("MCP_FILE", "/nowhere", 1);
    char *line = xasprintf("logs -f %s ", path), *found = complete("logs ");
    assert_string_equal(found, "");
    free(found);
    free(line);
    line = xasprintf("logs --file=%s a", path); /* the line's own declaration comes first */
    found = complete(line);
    assert_string_equal(found, "api");
    free(found);
    free(line);
    unsetenv("MCP_FILE");
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
