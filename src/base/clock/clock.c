/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

uint64_t clock_slept_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    uint64_t awake_ms = (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
    uint64_t boot_ms = clock_boot_ms();
    return boot_ms > awake_ms ? boot_ms - awake_ms : 0;
}

static pthread_once_t offset_once = PTHREAD_ONCE_INIT;
static const volatile int64_t *offset_file; /* NULL: none; mapped for good */

static void open_offset(void)
{
    const char *path = getenv("MCP_CLOCK_OFFSET_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat st;
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof *offset_file) {
        void *p = mmap(NULL, sizeof *offset_file, PROT_READ, MAP_SHARED, fd, 0);
        offset_file = p == MAP_FAILED ? NULL : p;
    }
    close(fd);
}

static int64_t wall_offset_ms(void)
{
    const char *text = getenv("MCP_CLOCK_OFFSET_MS");
    pthread_once(&offset_once, open_offset);
    return (text ? strtoll(text, NULL, 10) : 0) + (offset_file ? *offset_file : 0);
}

int64_t clock_wall_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 + wall_offset_ms() * 1000;
}

int64_t clock_wall_ms(void)
{
    return clock_wall_us() / 1000;
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
