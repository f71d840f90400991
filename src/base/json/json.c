/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json/json.h"

#include "base/file/file.h"

int json_parse(const char *text, size_t len, json_t **ret, struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!j) {
        err_set(e, ERR_INVALID, "not JSON: %s", je.text);
        err_where(e, "line %d, column %d", je.line, je.column);
        return ERR_INVALID;
    }
    *ret = j;
    return 0;
}

int json_read_file(const char *path, size_t max_bytes, json_t **ret, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, max_bytes, &text, e);
    if (r < 0)
        return r;
    r = json_parse(str_cstr(&text), text.len, ret, e);
    return r < 0 ? err_wrap(e, "%s", path) : 0;
}

char *json_text(const json_t *j)
{
    char *s = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    ASSERT(s);
    return s;
}

char *json_text_pretty(const json_t *j)
{
    char *s = json_dumps(j, JSON_INDENT(2) | JSON_ENCODE_ANY);
    ASSERT(s);
    return s;
}

static int wrong(struct err *e, const json_t *found, const char *key, const char *wanted)
{
    return err_set(
        e, ERR_INVALID, found ? "\"%s\" must be %s" : "\"%s\" is missing (%s)", key, wanted);
}

int json_get_str(const json_t *obj, const char *key, const char **ret, struct err *e)
{
    json_t *v = json_object_get(obj, key);
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return wrong(e, v, key, "a string");
    *ret = json_string_value(v);
    return 0;
}

int json_get_int(
    const json_t *obj, const char *key, int64_t min, int64_t max, int64_t *ret, struct err *e)
{
    json_t *v = json_object_get(obj, key);
    if (!json_is_integer(v))
        return wrong(e, v, key, "a whole number");
    int64_t n = json_integer_value(v);
    if (n < min || n > max)
        return err_set(e, ERR_INVALID, "\"%s\" is %lld, allowed are %lld to %lld", key,
            (long long)n, (long long)min, (long long)max);
    *ret = n;
    return 0;
}

int json_get_bool(const json_t *obj, const char *key, bool *ret, struct err *e)
{
    json_t *v = json_object_get(obj, key);
    if (!json_is_boolean(v))
        return wrong(e, v, key, "true or false");
    *ret = json_is_true(v);
    return 0;
}

int json_get_obj(const json_t *obj, const char *key, json_t **ret, struct err *e)
{
    json_t *v = json_object_get(obj, key);
    if (!json_is_object(v))
        return wrong(e, v, key, "an object");
    *ret = v;
    return 0;
}

int json_get_array(const json_t *obj, const char *key, json_t **ret, struct err *e)
{
    json_t *v = json_object_get(obj, key);
    if (!json_is_array(v))
        return wrong(e, v, key, "an array");
    *ret = v;
    return 0;
}

const char *json_opt_str(const json_t *obj, const char *key, const char *def)
{
    const char *s = json_string_value(json_object_get(obj, key));
    return s ? s : def;
}

int64_t json_opt_int(const json_t *obj, const char *key, int64_t def)
{
    json_t *v = json_object_get(obj, key);
    return json_is_integer(v) ? json_integer_value(v) : def;
}

bool json_opt_bool(const json_t *obj, const char *key, bool def)
{
    json_t *v = json_object_get(obj, key);
    return json_is_boolean(v) ? json_is_true(v) : def;
}

json_t *json_from_err(const struct err *e)
{
    json_t *j = json_pack("{s:s,s:s,s:s,s:s}", "code", err_code_name(e->code), "message",
        e->message, "where", e->where, "fix", e->fix);
    if (!j) /* a text cut inside a UTF-8 sequence does not pack */
        j = json_pack("{s:s,s:s,s:s,s:s}", "code", err_code_name(e->code), "message",
            "unprintable error text", "where", "", "fix", "");
    return j;
}

void json_to_err(const json_t *j, struct err *e)
{
    err_set(e, err_code_parse(json_opt_str(j, "code", "failed")), "%s",
        json_opt_str(j, "message", "unknown error"));
    err_where(e, "%s", json_opt_str(j, "where", ""));
    err_fix(e, "%s", json_opt_str(j, "fix", ""));
}
