/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to break this process on purpose, so that the platform's healing can be tried. */
#include "priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OOM_STEP ((size_t)1 << 20)
/* 4 GiB: where nobody set a limit, the machine survives and we abort. */
#define OOM_STEPS_MAX 4096
#define LOG_LINES_MAX 1000000

static void crash(const struct http_request *request, struct reply *reply)
{
    (void)request, (void)reply;
    abort();
}

/* Deaf to SIGTERM too, as a hung process is: only SIGKILL ends it. */
static void hang(const struct http_request *request, struct reply *reply)
{
    (void)request, (void)reply;
    for (;;)
        pause();
}

static void oom(const struct http_request *request, struct reply *reply)
{
    (void)request, (void)reply;
    for (int i = 0; i < OOM_STEPS_MAX; i++) {
        volatile char *p = malloc(OOM_STEP);
        if (!p)
            break;
        for (size_t at = 0; at < OOM_STEP; at += 4096)
            p[at] = 1;
    }
    abort();
}

static void exit_with_code(const struct http_request *request, struct reply *reply)
{
    long long code = query_int(request->query, "code", 255, 1);
    if (code < 0) {
        reply_error(reply, 400, "code must be 0 to 255");
        return;
    }
    exit((int)code);
}

static void print_lines(const struct http_request *request, struct reply *reply)
{
    long long lines = query_int(request->query, "lines", LOG_LINES_MAX, 1);
    if (lines < 0) {
        reply_error(reply, 400, "lines must be 0 to 1000000");
        return;
    }
    for (long long i = 1; i <= lines; i++)
        log_line("info", "fault", "line n=%lld of=%lld", i, lines);
    buf_printf(&reply->body, "{\"lines\":%lld}\n", lines);
}

size_t fault_routes(const struct route **ret_routes)
{
    static const struct route routes[] = {
        {"POST", "/fault/crash", crash},
        {"POST", "/fault/hang", hang},
        {"POST", "/fault/oom", oom},
        {"POST", "/fault/exit", exit_with_code},
        {"POST", "/fault/log", print_lines},
    };
    const char *on = getenv("MODULE_FAULTS");
    *ret_routes = routes;
    return on && strcmp(on, "1") == 0 ? sizeof(routes) / sizeof(routes[0]) : 0;
}
