/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units/units.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Longest suffix first where one is another's start. */
static const struct unit durations[] = {
    {"ms", 1},
    {"s", 1000},
    {"m", 60000},
    {"h", 3600000},
    {"d", 86400000},
};
static const struct unit sizes[] = {
    {"TiB", 1ull << 40},
    {"GiB", 1ull << 30},
    {"MiB", 1ull << 20},
    {"KiB", 1ull << 10},
    {"TB", 1000000000000ull},
    {"GB", 1000000000ull},
    {"MB", 1000000ull},
    {"KB", 1000ull},
    {"B", 1},
};

static const struct unit rates[] = {
    {"Gbit", 1000000000ull},
    {"Mbit", 1000000ull},
    {"kbit", 1000ull},
    {"bit", 1},
};

/* One "NUMBER UNIT" step; the bare number counts `bare` (0: a unit is required). */
static const char *parse_step(
    const char *s, const struct unit *units, size_t n, uint64_t bare, uint64_t *ret)
{
    uint64_t v = 0;
    const char *p = s;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10u, &v)
            || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return NULL;
    if (p == s)
        return NULL;
    uint64_t factor = bare;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(units[i].name);
        if (!strncmp(p, units[i].name, len)) {
            factor = units[i].factor;
            p += len;
            break;
        }
    }
    if (!factor || __builtin_mul_overflow(v, factor, ret))
        return NULL;
    return p;
}

bool units_parse_duration(const char *text, uint64_t *ret_ms)
{
    if (!strcmp(text, "0")) {
        *ret_ms = 0;
        return true;
    }
    uint64_t total = 0;
    const char *p = text;
    do {
        uint64_t part;
        p = parse_step(p, durations, ARRAY_SIZE(durations), 0, &part);
        if (!p || __builtin_add_overflow(total, part, &total))
            return false;
    } while (*p);
    *ret_ms = total;
    return true;
}

static void format_units(
    uint64_t v, const struct unit *u, const char *zero, char out[UNITS_TEXT_SIZE])
{
    if (v == 0)
        snprintf(out, UNITS_TEXT_SIZE, "%s", zero);
    else
        snprintf(out, UNITS_TEXT_SIZE, "%llu%s", (unsigned long long)(v / u->factor), u->name);
}

void units_format_duration(uint64_t ms, char out[UNITS_TEXT_SIZE])
{
    const struct unit *best = &durations[0];
    for (size_t i = 0; i < ARRAY_SIZE(durations); i++)
        if (ms % durations[i].factor == 0)
            best = &durations[i];
    format_units(ms, best, "0s", out);
}

bool units_parse_size(const char *text, uint64_t *ret_bytes)
{
    const char *end = parse_step(text, sizes, ARRAY_SIZE(sizes), 1, ret_bytes);
    return end && !*end;
}

void units_format_size(uint64_t bytes, char out[UNITS_TEXT_SIZE])
{
    const struct unit *best = &sizes[ARRAY_SIZE(sizes) - 1];
    for (size_t i = 4; i-- > 0;)
        if (bytes % sizes[i].factor == 0)
            best = &sizes[i];
    format_units(bytes, best, "0B", out);
}

bool units_parse_rate(const char *text, uint64_t *ret_bps)
{
    const char *end = parse_step(text, rates, ARRAY_SIZE(rates), 0, ret_bps);
    return end && !*end;
}

void units_format_rate(uint64_t bps, char out[UNITS_TEXT_SIZE])
{
    const struct unit *best = &rates[ARRAY_SIZE(rates) - 1];
    for (size_t i = ARRAY_SIZE(rates); i-- > 0;)
        if (bps % rates[i].factor == 0)
            best = &rates[i];
    format_units(bps, best, "0bit", out);
}
