/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log/log.h"

#include "base/clock/clock.h"
#include "base/str/str.h"

/* long enough to swallow a retry loop, short enough to see it go on */
#define SITE_WINDOW_MS 10000u
#define SITE_BURST 20u
#define LINE_MAX_BYTES 4096u

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *log_role = "mcp";
static enum log_level log_level = LOG_INFO;
static bool log_json;

void log_init(const char *role, enum log_level level)
{
    log_role = role;
    log_level = level;
}

void log_set_json(bool on)
{
    log_json = on;
}

bool log_enabled(enum log_level level)
{
    return level >= log_level;
}

/* Racy between threads on purpose: a lost count is cheaper than a lock. */
static bool site_admits(struct log_site *site, unsigned *swallowed)
{
    uint64_t now = clock_boot_ms();
    *swallowed = 0;
    if (now - site->window_ms >= SITE_WINDOW_MS) {
        *swallowed = site->swallowed;
        *site = (struct log_site){.window_ms = now};
    }
    if (++site->count <= SITE_BURST)
        return true;
    site->swallowed++;
    return false;
}

/* Fields may hold what a peer sent: bytes that are no UTF-8 would spoil the whole line's JSON. */
static void add_json_text(struct str *out, const char *s)
{
    size_t len = strlen(s);
    str_add_ch(out, '"');
    for (size_t at = 0; at < len;) {
        uint32_t c = '?';
        size_t n = str_utf8_next(s + at, len - at, &c);
        if (c == '"' || c == '\\')
            str_addf(out, "\\%c", (char)c);
        else if (c < 0x20)
            str_addf(out, "\\u%04x", c);
        else if (n)
            str_add_mem(out, s + at, n);
        else
            str_add_ch(out, '?');
        at += n ? n : 1;
    }
    str_add_ch(out, '"');
}

void log_write(struct log_site *site, enum log_level level, const char *area, const char *message,
    const char *fmt, ...)
{
    unsigned swallowed;
    if (!site_admits(site, &swallowed))
        return;
    char fields[LINE_MAX_BYTES / 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(fields, sizeof fields, fmt, ap);
    va_end(ap);
    for (char *p = fields; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) /* no line breaks, no terminal commands */
            *p = ' ';
    _cleanup_str_ struct str line = STR_INIT;
    char stamp[CLOCK_STAMP_SIZE];
    clock_format_rfc3339(clock_wall_ms(), stamp);
    if (log_json) {
        str_addf(&line,
            "{\"time\":\"%s\",\"level\":\"%s\",\"role\":\"%s\",\"area\":\"%s\",\"message\":", stamp,
            level_names[level], log_role, area);
        add_json_text(&line, message);
        str_add(&line, ",\"fields\":");
        add_json_text(&line, fields);
        if (swallowed)
            str_addf(&line, ",\"swallowed\":%u", swallowed);
        str_add(&line, "}\n");
    } else {
        str_addf(&line, "%s %s %s %s %s%s%s", stamp, level_names[level], log_role, area, message,
            *fields ? " " : "", fields);
        if (swallowed)
            str_addf(&line, " swallowed=%u", swallowed);
        str_add_ch(&line, '\n');
    }
    ssize_t ignored = write(STDERR_FILENO, line.buf, line.len);
    (void)ignored;
}
