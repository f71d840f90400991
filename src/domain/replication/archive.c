/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/archive.h"

#include "base/str/str.h"

#include <ctype.h>
#include <time.h>

#define MINUTE_MS 60000ll
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
#define STAMP "%Y%m%dT%H%M%SZ"
#define STAMP_LEN 16

void archive_id_format(
    const char *database, const char *host, int64_t begun_ms, char out[ARCHIVE_ID_SIZE])
{
    char stamp[STAMP_LEN + 1];
    time_t t = (time_t)(begun_ms / 1000);
    struct tm tm;
    strftime(stamp, sizeof stamp, STAMP, gmtime_r(&t, &tm));
    snprintf(out, ARCHIVE_ID_SIZE, "%.60s-%s-%.63s", database, stamp, host);
}

static bool is_name(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '-')
            return false;
    return isalnum((unsigned char)*s);
}

static bool parse_stamp(const char *s, int64_t *ret_ms)
{
    struct tm tm = {0};
    for (int i = 0; i < STAMP_LEN; i++)
        if (i == 8 ? s[i] != 'T' : i == 15 ? s[i] != 'Z' : !isdigit((unsigned char)s[i]))
            return false;
    if (sscanf(s, "%4d%2d%2dT%2d%2d%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
            &tm.tm_min, &tm.tm_sec) != 6)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *ret_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

bool archive_id_parse(const char *text, struct archive_id *ret)
{
    const char *stamp = strchr(text, '-');
    if (!stamp || stamp == text || stamp - text >= (ptrdiff_t)sizeof ret->database)
        return false;
    snprintf(ret->database, sizeof ret->database, "%.*s", (int)(stamp - text), text);
    stamp++;
    if (strlen(stamp) < STAMP_LEN + 2 || stamp[STAMP_LEN] != '-')
        return false;
    return is_name(ret->database) && parse_stamp(stamp, &ret->begun_ms)
           && str_copy(ret->host, sizeof ret->host, stamp + STAMP_LEN + 1) && is_name(ret->host);
}

static bool parse_time(const char *s, int64_t *ret_ms)
{
    unsigned h, m;
    if (sscanf(s, "%2u:%2u", &h, &m) != 2 || h > 23 || m > 59)
        return false;
    *ret_ms = h * HOUR_MS + m * MINUTE_MS;
    return true;
}

/* The last moment `at` within a period that began at `start`. */
static int64_t last_of(int64_t start, int64_t period, int64_t at, int64_t now_ms)
{
    int64_t t = start + at;
    return t <= now_ms ? t : t - period;
}

int64_t archive_due(const char *schedule, int64_t now_ms)
{
    static const char *const days[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    int64_t at, day = now_ms / DAY_MS;
    if (!schedule)
        return 0;
    if (str_eq(schedule, "hourly"))
        return now_ms - now_ms % HOUR_MS;
    if (str_starts(schedule, "daily ") && parse_time(schedule + strlen("daily "), &at))
        return last_of(day * DAY_MS, DAY_MS, at, now_ms);
    if (!str_starts(schedule, "weekly "))
        return 0;
    schedule += strlen("weekly ");
    for (int64_t i = 0; i < 7; i++) /* 1970-01-01 was a Thursday */
        if (str_starts(schedule, days[i]) && parse_time(schedule + 3 + (schedule[3] == ' '), &at))
            return last_of((day - day % 7 + i) * DAY_MS, 7 * DAY_MS, at, now_ms);
    return 0;
}

bool archive_turn(int64_t due_ms, int64_t newest_ms, unsigned rank, int64_t now_ms)
{
    return due_ms && newest_ms < due_ms && now_ms >= due_ms + rank * ARCHIVE_TURN_MS;
}

void archive_keep(struct archive_item *v, size_t n, int64_t keep_ms, int64_t now_ms)
{
    struct archive_item *newest = NULL;
    for (size_t i = 0; i < n; i++) {
        v[i].keep = v[i].begun_ms >= now_ms - keep_ms;
        if (v[i].whole && (!newest || v[i].begun_ms > newest->begun_ms))
            newest = &v[i];
    }
    if (newest)
        newest->keep = true;
}
