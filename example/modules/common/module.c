/* SPDX-License-Identifier: Apache-2.0 */
#include "module.h"
#include "priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct identity me;
static volatile sig_atomic_t stop;

static void on_stop(int signal_number)
{
    (void)signal_number;
    stop = 1;
}

/* Handlers, not defaults: as PID 1 of a container a default SIGTERM would be ignored. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_stop};
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static const char *env_or(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value && *value ? value : fallback;
}

static int read_port(const struct module *module, uint16_t *ret_port)
{
    const char *text = env_or("PORT", module->listen_by_default ? "8080" : NULL);
    char *end;
    if (!text)
        return 0;
    errno = 0;
    unsigned long port = strtoul(text, &end, 10);
    if (errno != 0 || *end != 0 || port > UINT16_MAX || text[0] == '-')
        return -1;
    *ret_port = (uint16_t)port;
    return 1;
}

static int open_listener(const struct module *module, int *ret_fd)
{
    uint16_t port = 0;
    int wanted = read_port(module, &port);
    *ret_fd = -1;
    if (wanted < 0) {
        log_line("error", "server", "PORT is not 0 to 65535");
        return -1;
    }
    if (wanted == 0)
        return 0;
    *ret_fd = listen_open(port, &port);
    if (*ret_fd < 0) {
        log_line("error", "server", "cannot listen port=%u error=%s", port, strerror(errno));
        return -1;
    }
    log_line(
        "info", "server", "listening port=%u region=%s instance=%s", port, me.region, me.instance);
    return 0;
}

const struct identity *module_identity(void)
{
    return &me;
}

void log_line(const char *level, const char *area, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s %s %s ", level, me.module, area);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

int module_run(const struct module *module)
{
    int listen_fd;
    me = (struct identity){
        .module = env_or("MCP_MODULE", module->name),
        .region = env_or("MCP_REGION", ""),
        .instance = env_or("MCP_INSTANCE", ""),
        .host = env_or("MCP_HOST", ""),
        .started_ms = now_ms(),
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    catch_signals();
    if (module->start && module->start() < 0)
        return 1;
    if (open_listener(module, &listen_fd) < 0)
        return 1;
    server_run(module, listen_fd, &stop);
    log_line("info", "server", "stopped");
    return 0;
}
