/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/alarm/values.h"

#include <string.h>

#define BOOL ALARM_BOOL, ALARM_PLAIN
#define WORD ALARM_WORD, ALARM_PLAIN
#define NUMBER(unit) ALARM_NUMBER, ALARM_##unit

static const struct alarm_value table[] = {
    {ALARM_OF_DATA, "answering", BOOL,
        "its source's server answers, and the host that runs it is heard"},
    {ALARM_OF_DATA, "writable", BOOL, "its source accepts writes"},
    {ALARM_OF_DATA, "replicating", BOOL,
        "every replica follows the source; false also for one that is not heard"},
    {ALARM_OF_DATA, "lag_ms", NUMBER(MS),
        "how far the worst replica is behind; one that stays behind on purpose is counted from "
        "where it should be"},
    {ALARM_OF_DATA, "state", WORD, "of its source, as `mcp data status` says it"},
    {ALARM_OF_DATA, "disk_free", NUMBER(SHARE), "of the fullest disk that it stands on"},
    {ALARM_OF_DATA, "disk_full_in", NUMBER(MS),
        "until the first of its disks is full at the pace of the last day; not known while none "
        "grows"},
    {ALARM_OF_DATA, "findings", NUMBER(PLAIN), "errors that `mcp data status` lists"},
    {ALARM_OF_DATA, "failover_ready", BOOL,
        "a replica would be promoted by itself now; false: disarmed, paused or blocked"},
    {ALARM_OF_DATA, "drill_age", NUMBER(MS), "since the last drill of its failover that passed"},
    {ALARM_OF_ROUTE, "requests", NUMBER(PLAIN), "requests of the last 30 s, at all edges"},
    {ALARM_OF_ROUTE, "errors", NUMBER(PLAIN),
        "those of them that were answered with 5xx, or by nobody"},
    {ALARM_OF_ROUTE, "error_rate", NUMBER(SHARE), "errors of requests; 0 without requests"},
    {ALARM_OF_MODULE, "ready", NUMBER(PLAIN), "instances that are ready"},
    {ALARM_OF_MODULE, "instances", NUMBER(PLAIN), "instances that there are, ready or not"},
    {ALARM_OF_HOST, "heard", BOOL, "some control hears it"},
    {ALARM_OF_HOST, "disk_free", NUMBER(SHARE), "of the disk of /var/lib/mcp"},
    {ALARM_OF_HOST, "disk_full_in", NUMBER(MS),
        "until that disk is full at the pace of the last day; not known while it does not grow"},
    {ALARM_OF_HOST, "cert_late", BOOL, "one of its certificates should have been renewed by now"},
    {ALARM_OF_HOST, "cert_days", NUMBER(PLAIN),
        "until the first of its certificates ends; they live for hours and renew themselves"},
    {ALARM_OF_PLATFORM, "hosts_silent", NUMBER(PLAIN), "declared hosts that nobody hears"},
    {ALARM_OF_PLATFORM, "ca_days", NUMBER(PLAIN),
        "until the first root or intermediate in use ends"},
};

static const char *const families[] = {[ALARM_OF_DATA] = "data",
    [ALARM_OF_ROUTE] = "route",
    [ALARM_OF_MODULE] = "module",
    [ALARM_OF_HOST] = "host",
    [ALARM_OF_PLATFORM] = "platform"};
static const char *const placeholders[] = {[ALARM_OF_DATA] = "data.DATABASE.",
    [ALARM_OF_ROUTE] = "route.MODULE.",
    [ALARM_OF_MODULE] = "module.MODULE.",
    [ALARM_OF_HOST] = "host.HOST.",
    [ALARM_OF_PLATFORM] = "platform."};

const struct alarm_value *alarm_values(size_t *ret_n)
{
    *ret_n = ARRAY_SIZE(table);
    return table;
}

const char *alarm_family_name(enum alarm_family family)
{
    return families[family];
}

static int family_of(const char *path, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(families); i++)
        if (strlen(families[i]) == len && !memcmp(families[i], path, len))
            return (int)i;
    return -1;
}

static void say_keys(enum alarm_family family, const char *key, struct err *e)
{
    const char *keys[ARRAY_SIZE(table)];
    size_t n = 0;
    _cleanup_str_ struct str all = STR_INIT;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (table[i].family == family) {
            str_addf(&all, "%s%s", n ? ", " : "", table[i].key);
            keys[n++] = table[i].key;
        }
    const char *near = str_nearest(key, keys, n);
    err_set(e, ERR_INVALID, "there is no value %s%.*s", placeholders[family],
        (int)ALARM_WORD_MAX, key);
    if (near)
        err_fix(e, "did you mean \"%s\"?", near);
    else
        err_fix(e, "%s has %s", placeholders[family], str_cstr(&all));
}

const struct alarm_value *alarm_value_find(
    const char *path, char ret_name[ALARM_PATH_MAX + 1], struct err *e)
{
    size_t first = strcspn(path, ".");
    int family = family_of(path, first);
    const char *key = strrchr(path, '.');
    *ret_name = '\0';
    if (family < 0 || !key) {
        err_set(e, ERR_INVALID, "values are called data.…, route.…, module.…, host.… or platform.…");
        err_fix(e, "`mcp alarms values` lists them all");
        return NULL;
    }
    if (family != ALARM_OF_PLATFORM && key > path + first) {
        size_t n = (size_t)(key - path) - first - 1;
        memcpy(ret_name, path + first + 1, n);
        ret_name[n] = '\0';
    }
    bool well = family == ALARM_OF_PLATFORM ? key == path + first
                                            : *ret_name && !strchr(ret_name, '.');
    for (size_t i = 0; well && i < ARRAY_SIZE(table); i++)
        if ((int)table[i].family == family && !strcmp(table[i].key, key + 1))
            return &table[i];
    say_keys((enum alarm_family)family, key + 1, e);
    return NULL;
}

const char *alarm_value_fits(const struct alarm_value *v, const struct alarm_literal *written)
{
    if (v->kind == ALARM_BOOL)
        return written->kind == ALARM_BOOL ? NULL : "true or false";
    if (v->kind == ALARM_WORD)
        return written->kind == ALARM_WORD ? NULL : "a word, or a \"text\"";
    bool fits = written->kind == ALARM_NUMBER
                && (written->unit == ALARM_PLAIN || written->unit == v->unit);
    if (fits)
        return NULL;
    switch (v->unit) {
    case ALARM_MS:
        return "a duration, like 3s or 2d, or milliseconds";
    case ALARM_SHARE:
        return "a share, like 5% or 0.05";
    case ALARM_BYTES:
        return "a size, like 256MiB";
    default:
        return "a number";
    }
}

void alarm_value_set(
    json_t *values, enum alarm_family family, const char *name, const char *key, json_t *v)
{
    char path[ALARM_PATH_MAX + 1];
    snprintf(path, sizeof path, "%s%s%s.%s", families[family], *name ? "." : "", name, key);
    json_object_set_new(values, path, v);
}
