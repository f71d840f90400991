/* SPDX-License-Identifier: Apache-2.0 */
/* jansson, read strictly: typed getters that fill a struct err naming the key, and helpers to build
 * and print. Texts from peers go through json_parse() with a size limit (depth is limited by
 * jansson). */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"

#include <jansson.h>

static inline void json_decref_p(json_t **j)
{
    json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_decref_p)

MUST_CHECK int json_parse(const char *text, size_t len, json_t **ret, struct err *e);
MUST_CHECK int json_read_file(const char *path, size_t max_bytes, json_t **ret, struct err *e);
/* Compact, keys sorted: the canonical form that digests and comparisons use. */
char *json_text(const json_t *j);
char *json_text_pretty(const json_t *j);

/* Required members: ERR_INVALID names the key when it is missing or of another type. */
MUST_CHECK int json_get_str(const json_t *obj, const char *key, const char **ret, struct err *e);
MUST_CHECK int json_get_int(
    const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *ret, struct err *e);
MUST_CHECK int json_get_bool(const json_t *obj, const char *key, bool *ret, struct err *e);
MUST_CHECK int json_get_obj(
    const json_t *obj, const char *key, json_t **ret, struct err *e); /* borrowed */
MUST_CHECK int json_get_array(
    const json_t *obj, const char *key, json_t **ret, struct err *e); /* borrowed */
/* Optional members: the default when missing or of another type. */
const char *json_opt_str(const json_t *obj, const char *key, const char *def);
int64_t json_opt_int(const json_t *obj, const char *key, int64_t def);
bool json_opt_bool(const json_t *obj, const char *key, bool def);

/* {"code", "message", "where", "fix"}; and back. */
json_t *json_from_err(const struct err *e);
void json_to_err(const json_t *j, struct err *e);
