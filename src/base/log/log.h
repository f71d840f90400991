/* SPDX-License-Identifier: Apache-2.0 */
/* One event a line: `level role area message key=value ...`, or JSON with log_set_json(true).
 * Written to stderr in one write(2), so lines of several threads never mix. Levels above debug
 * belong to roles and commands; base ... service log at debug only. A call site that repeats more
 * than 20 times in 10 s is silenced until the window ends, then says how many it swallowed. Secrets
 * are never passed here. */
#pragma once

#include "base/util/util.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_site { /* one per call site, static, zeroed */
    uint64_t window_ms;
    unsigned count;
    unsigned swallowed;
};

void log_init(const char *role, enum log_level level); /* role: static or long-lived string */
void log_set_json(bool on);
bool log_enabled(enum log_level level);
/* `message` is prose; `fmt` (may be "") holds key=value pairs, values without blanks or quoted by
 * LOG_Q. */
void log_write(struct log_site *site, enum log_level level, const char *area, const char *message,
    const char *fmt, ...) PRINTF_LIKE(5, 6);

#define LOG_AT(level, area, message, ...)                                                          \
    do {                                                                                           \
        static struct log_site log_site_;                                                          \
        if (log_enabled(level))                                                                    \
            log_write(&log_site_, (level), (area), (message), __VA_ARGS__);                        \
    } while (0)
#define log_debug(area, message, ...) LOG_AT(LOG_DEBUG, area, message, __VA_ARGS__)
#define log_info(area, message, ...) LOG_AT(LOG_INFO, area, message, __VA_ARGS__)
#define log_warn(area, message, ...) LOG_AT(LOG_WARN, area, message, __VA_ARGS__)
#define log_error(area, message, ...) LOG_AT(LOG_ERROR, area, message, __VA_ARGS__)
