/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t clock_boot_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_boot_ms(void)
{
    return clock_boot_ns() / 1000000u;
}

static int64_t wall_offset_ms(void)
{
    const char *text = getenv("MCP_CLOCK_OFFSET_MS");
    return text ? strtoll(text, NULL, 10) : 0;
}

int64_t clock_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + wall_offset_ms();
}

void clock_format_rfc3339(int64_t wall_ms, char out[CLOCK_STAMP_SIZE])
{
    int64_t ms = wall_ms % 1000 < 0 ? wall_ms % 1000 + 1000 : wall_ms % 1000;
    time_t seconds = (time_t)((wall_ms - ms) / 1000);
    struct tm tm = {0}; /* stays so when the year does not fit an int */
    gmtime_r(&seconds, &tm);
    char date[24] = "";
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, CLOCK_STAMP_SIZE, "%s.%03dZ", date, (int)ms);
}
