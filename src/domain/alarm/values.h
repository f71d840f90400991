/* SPDX-License-Identifier: Apache-2.0 */
/* The values that alarms look at: FAMILY.NAME.KEY, as "data.trade.lag_ms", and platform.KEY. One
 * table says which there are, of which kind, and what they mean; the leading control fills them in
 * from what hosts report (role/control/values.c). */
#pragma once

#include "domain/alarm/rule.h"

enum alarm_family {
    ALARM_OF_DATA,   /* a database */
    ALARM_OF_ROUTE,  /* a module that has routes, at all edges together */
    ALARM_OF_MODULE, /* its instances */
    ALARM_OF_HOST,
    ALARM_OF_PLATFORM, /* has no name */
};

struct alarm_value {
    enum alarm_family family;
    const char *key;
    enum alarm_kind kind;
    enum alarm_unit unit; /* of a number */
    const char *prose;
};

const struct alarm_value *alarm_values(size_t *ret_n);
const char *alarm_family_name(enum alarm_family family);
/* The value of that path, with the name in it ("" for the platform's); NULL: there is none, and *e
 * (may be NULL) says what there is. Whether the name is declared is for the caller to see. */
const struct alarm_value *alarm_value_find(
    const char *path, char ret_name[ALARM_PATH_MAX + 1], struct err *e);
/* What is written fits the value: NULL, else what is expected instead. */
const char *alarm_value_fits(const struct alarm_value *v, const struct alarm_literal *written);
/* Sets "family.name.key" in values; takes v. */
void alarm_value_set(
    json_t *values, enum alarm_family family, const char *name, const char *key, json_t *v);
