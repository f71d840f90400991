/* SPDX-License-Identifier: Apache-2.0 */
/* What commands read from files and from control before anybody has checked it: the scan for the
 * platform's name, and a status answer, which may come from another version. */
#include "base/file/file.h"
#include "cmd/cli/priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scan(const struct str *text)
{
    char name[16];
    memset(name, 'x', sizeof name);
    cmd_scan_text(str_cstr(text), text->len, name, sizeof name);
    ASSERT(memchr(name, '\0', sizeof name));
    ASSERT(!strpbrk(name, "\n") || str_cstr(text)[strspn(str_cstr(text), " \t\r\n")] == '{');
}

static void show(const struct str *text)
{
    static const struct table_style styles[] = {{.width = 0}, {.colour = true, .width = 20}};
    _cleanup_json_ json_t *status = NULL;
    if (json_parse(str_cstr(text), text->len, &status, NULL) < 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(styles); i++) {
        _cleanup_str_ struct str out = STR_INIT;
        cmd_status_format(status, 1800000000000, &styles[i], &out);
        for (const char *p = out.buf; *p; p++) /* nothing but our own colours steers the terminal */
            ASSERT((unsigned char)*p >= ' ' || *p == '\n' || (styles[i].colour && *p == '\033'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_str_ struct str text = STR_INIT;
    str_add_mem(&text, data, size);
    scan(&text);
    show(&text);
    return 0;
}
