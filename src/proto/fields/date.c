/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP-date (RFC 9110 section 5.6.7). HOT PATH. The weekday is read and not compared with the date:
 * section 5.6.7 asks recipients for nothing of that kind, and the date is what was meant. */
#include "proto/fields/fields.h"

#include <stdio.h>
#include <string.h>

static const char days[7][10] = {
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char months[12][4] = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct date {
    int year, month, day, hour, minute, second;
};

/* Days since 1970-01-01 of a day of the Gregorian calendar: years begin in March here, so that the
 * leap day is the last one. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month < 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * ((month + 10) % 12) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool take(struct http_text *t, const char *s)
{
    size_t len = strlen(s);
    if (t->len < len || memcmp(t->p, s, len) != 0)
        return false;
    t->p += len;
    t->len -= len;
    return true;
}

static bool take_digits(struct http_text *t, size_t n, int *ret)
{
    if (t->len < n)
        return false;
    *ret = 0;
    for (size_t i = 0; i < n; i++) {
        if (t->p[i] < '0' || t->p[i] > '9')
            return false;
        *ret = *ret * 10 + (t->p[i] - '0');
    }
    t->p += n;
    t->len -= n;
    return true;
}

static bool take_month(struct http_text *t, int *ret)
{
    for (*ret = 0; *ret < 12; ++*ret)
        if (take(t, months[*ret]))
            return true;
    return false;
}

static bool take_time(struct http_text *t, struct date *d)
{
    return take_digits(t, 2, &d->hour) && take(t, ":") && take_digits(t, 2, &d->minute)
           && take(t, ":") && take_digits(t, 2, &d->second);
}

/* "Sun", or the whole name with whole = true. */
static bool take_day_name(struct http_text *t, bool whole)
{
    for (size_t i = 0; i < ARRAY_SIZE(days); i++) {
        char name[10];
        memcpy(name, days[i], sizeof name);
        if (!whole)
            name[3] = 0;
        if (take(t, name))
            return true;
    }
    return false;
}

static bool parse_imf(struct http_text t, struct date *d)
{
    return take_day_name(&t, false) && take(&t, ", ") && take_digits(&t, 2, &d->day)
           && take(&t, " ") && take_month(&t, &d->month) && take(&t, " ")
           && take_digits(&t, 4, &d->year) && take(&t, " ") && take_time(&t, d) && take(&t, " GMT")
           && !t.len;
}

/* "A timestamp that appears to be more than 50 years in the future" is of the century before. */
static bool parse_rfc850(struct http_text t, int64_t now_s, struct date *d)
{
    if (!(take_day_name(&t, true) && take(&t, ", ") && take_digits(&t, 2, &d->day) && take(&t, "-")
            && take_month(&t, &d->month) && take(&t, "-") && take_digits(&t, 2, &d->year)
            && take(&t, " ") && take_time(&t, d) && take(&t, " GMT") && !t.len))
        return false;
    int now_year = 1970 + (int)(now_s / 31556952); /* seconds of a Gregorian year, on average */
    d->year += now_year / 100 * 100;
    while (d->year > now_year + 50)
        d->year -= 100;
    while (d->year <= now_year - 50)
        d->year += 100;
    return true;
}

static bool parse_asctime(struct http_text t, struct date *d)
{
    if (!(take_day_name(&t, false) && take(&t, " ") && take_month(&t, &d->month) && take(&t, " ")))
        return false;
    if (take(&t, " ") ? !take_digits(&t, 1, &d->day) : !take_digits(&t, 2, &d->day))
        return false;
    return take(&t, " ") && take_time(&t, d) && take(&t, " ") && take_digits(&t, 4, &d->year)
           && !t.len;
}

bool fields_date_parse(struct http_text t, int64_t now_s, int64_t *ret_s)
{
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct date d;
    if (!parse_imf(t, &d) && !parse_rfc850(t, now_s, &d) && !parse_asctime(t, &d))
        return false;
    bool leap = (d.year % 4 == 0 && d.year % 100 != 0) || d.year % 400 == 0;
    if (d.day < 1 || d.day > lengths[d.month] + (leap && d.month == 1))
        return false;
    if (d.hour > 23 || d.minute > 59 || d.second > 60) /* 60: a leap second */
        return false;
    *ret_s = days_of(d.year, d.month, d.day) * 86400 + d.hour * 3600 + d.minute * 60 + d.second;
    return true;
}

void fields_date_format(int64_t s, char out[FIELDS_DATE_SIZE])
{
    const int64_t lo = -62167219200, hi = 253402300799; /* of the years 0 and 9999 */
    s = s < lo ? lo : s > hi ? hi : s;
    int64_t day = s >= 0 ? s / 86400 : (s - 86399) / 86400;
    unsigned second = (unsigned)(s - day * 86400);
    int64_t z = day + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned of_era = (unsigned)(z - era * 146097);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month = (of_year * 5 + 2) / 153;
    unsigned of_month = of_year - (153 * month + 2) / 5 + 1;
    month = (month + 2) % 12;
    int year = (int)(year_of_era + (unsigned)(era * 400)) + (month < 2);
    unsigned name = (unsigned)(((day % 7) + 11) % 7); /* 1970 began on a Thursday */
    snprintf(out, FIELDS_DATE_SIZE, "%.3s, %02u %s %04d %02u:%02u:%02u GMT", days[name], of_month,
        months[month], year, second / 3600, second / 60 % 60, second % 60);
}
