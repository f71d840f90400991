/* SPDX-License-Identifier: Apache-2.0 */
/* The scalar types: text to value, value to canonical JSON, how a bound reads. */
#include "base/schema/priv.h"

#include "base/units/units.h"

#define LABEL_MAX 63u

bool schema_is_label(const char *text, size_t max)
{
    size_t n = strlen(text);
    if (n == 0 || n > max || text[0] == '-' || text[n - 1] == '-')
        return false;
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static bool in_range(const struct schema_row *row, uint64_t v, bool *out_of_range)
{
    bool ok = (!row->min && !row->max) || (v >= row->min && (!row->max || v <= row->max));
    *out_of_range = !ok;
    return ok;
}

/* Text that JSON and a terminal can hold; line breaks and tabs are fine in it. */
static bool is_clean(const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || (c == 0xc2 && next < 0xa0))
            return false;
        if (c == 0xef
            && (!strncmp(s, "\xef\xbb\xbf", 3) || !strncmp(s, "\xef\xbf\xbe", 3)
                || !strncmp(s, "\xef\xbf\xbf", 3)))
            return false;
    }
    return true;
}

static bool parse_string(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    if (!is_clean(node->text) || !in_range(row, node->n, out_of_range))
        return false;
    if (row->check && row->check(node->text))
        return false;
    *(struct schema_text *)dst = (struct schema_text){node->text, node};
    return true;
}

static bool parse_name(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    if (!schema_is_label(node->text, row->max ? row->max : LABEL_MAX))
        return false;
    if (row->check && row->check(node->text))
        return false;
    *(struct schema_text *)dst = (struct schema_text){node->text, node};
    return true;
}

static json_t *json_of_text(const struct schema_row *row, const void *src)
{
    const struct schema_text *t = src;
    return t->s ? json_string(t->s) : NULL;
}

static bool parse_bool(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    bool yes = !strcmp(node->text, "true");
    if (!yes && strcmp(node->text, "false") != 0)
        return false;
    *(bool *)dst = yes;
    return true;
}

static json_t *json_of_bool(const struct schema_row *row, const void *src)
{
    return json_boolean(*(const bool *)src);
}

static bool parse_int(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    uint64_t v;
    if (!str_to_u64(node->text, INT64_MAX, &v) || !in_range(row, v, out_of_range))
        return false;
    *(int64_t *)dst = (int64_t)v;
    return true;
}

static json_t *json_of_int(const struct schema_row *row, const void *src)
{
    int64_t v = *(const int64_t *)src;
    return v || row->def ? json_integer(v) : NULL;
}

static void range_int(uint64_t v, struct str *out)
{
    str_addf(out, "%llu", (unsigned long long)v);
}

/* Digits with at most one point: what strtod takes beyond that (hex, nan, blanks) is refused. */
static bool parse_digits(const char *text, double *ret)
{
    size_t n = strlen(text);
    if (n == 0 || n > 24 || strspn(text, "0123456789.") != n || strspn(text, ".") == n)
        return false;
    const char *point = strchr(text, '.');
    if (point && strchr(point + 1, '.'))
        return false;
    *ret = strtod(text, NULL);
    return true;
}

static double nearest(double v) /* of numbers that are not negative and far below 2^53 */
{
    return (double)(uint64_t)(v + 0.5);
}

static bool parse_decimal(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    double v;
    if (!parse_digits(node->text, &v) || v > 1e12)
        return false;
    double thousandths = nearest(v * 1000), rest = v * 1000 - thousandths;
    if (rest > 1e-6 || rest < -1e-6 || !in_range(row, (uint64_t)thousandths, out_of_range))
        return false;
    *(int64_t *)dst = (int64_t)thousandths;
    return true;
}

static json_t *json_of_decimal(const struct schema_row *row, const void *src)
{
    int64_t v = *(const int64_t *)src;
    if (!v && !row->def)
        return NULL;
    return v % 1000 ? json_real((double)v / 1000) : json_integer(v / 1000);
}

static void range_decimal(uint64_t v, struct str *out)
{
    str_addf(out, "%g", (double)v / 1000);
}

static bool parse_percent(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    char digits[32];
    if (!str_ends(node->text, "%") || !str_copy(digits, sizeof digits, node->text))
        return false;
    digits[strlen(digits) - 1] = '\0';
    double v;
    if (!parse_digits(digits, &v))
        return false;
    /* Ten-thousandths of a percent: what "%g" prints below reads back as the same double. */
    *out_of_range = v > 100;
    if (*out_of_range)
        return false;
    double steps = nearest(v * 10000);
    *(double *)dst = steps / 1000000;
    return true;
}

static json_t *json_of_percent(const struct schema_row *row, const void *src)
{
    return json_sprintf("%.7g%%", nearest(*(const double *)src * 1000000) / 10000);
}

static bool parse_duration(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    uint64_t v;
    if (!units_parse_duration(node->text, &v) || !in_range(row, v, out_of_range))
        return false;
    *(uint64_t *)dst = v;
    return true;
}

static void range_duration(uint64_t v, struct str *out)
{
    char text[UNITS_TEXT_SIZE];
    units_format_duration(v, text);
    str_add(out, text);
}

static bool parse_size(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    uint64_t v;
    if (!units_parse_size(node->text, &v) || !in_range(row, v, out_of_range))
        return false;
    *(uint64_t *)dst = v;
    return true;
}

static void range_size(uint64_t v, struct str *out)
{
    char text[UNITS_TEXT_SIZE];
    units_format_size(v, text);
    str_add(out, text);
}

static bool parse_rate(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    uint64_t v;
    if (!units_parse_rate(node->text, &v) || !in_range(row, v, out_of_range))
        return false;
    *(uint64_t *)dst = v;
    return true;
}

static void range_rate(uint64_t v, struct str *out)
{
    char text[UNITS_TEXT_SIZE];
    units_format_rate(v, text);
    str_add(out, text);
}

/* Durations, sizes and rates: the text that range() makes. */
static json_t *json_of_quantity(const struct schema_row *row, const void *src)
{
    uint64_t v = *(const uint64_t *)src;
    if (!v && !row->def)
        return NULL;
    _cleanup_str_ struct str text = STR_INIT;
    schema_scalar(row->type)->range(v, &text);
    return json_string(str_cstr(&text));
}

static bool parse_enum(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    for (int i = 0; row->words[i]; i++)
        if (!strcmp(row->words[i], node->text)) {
            *(int *)dst = i;
            return true;
        }
    return false;
}

static json_t *json_of_enum(const struct schema_row *row, const void *src)
{
    int i = *(const int *)src;
    return i < 0 ? NULL : json_string(row->words[i]);
}

static bool parse_address(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    struct schema_addr *a = dst;
    a->at = node;
    return ip_parse(node->text, &a->addr);
}

static json_t *json_of_address(const struct schema_row *row, const void *src)
{
    const struct schema_addr *a = src;
    char text[IP_TEXT_SIZE];
    ip_format(&a->addr, text);
    return a->addr.family ? json_string(text) : NULL;
}

static bool parse_prefix(struct schema_parser *sp, const struct schema_row *row,
    const struct yaml_node *node, void *dst, bool *out_of_range)
{
    struct schema_prefix *p = dst;
    p->at = node;
    return ip_prefix_parse(node->text, &p->prefix);
}

static json_t *json_of_prefix(const struct schema_row *row, const void *src)
{
    const struct schema_prefix *p = src;
    char text[IP_TEXT_SIZE];
    ip_prefix_format(&p->prefix, text);
    return p->prefix.addr.family ? json_string(text) : NULL;
}

static const struct schema_scalar scalars[] = {
    [SCHEMA_STRING] = {"a text", "text", "string", false, parse_string, json_of_text, range_int},
    [SCHEMA_NAME] = {"a name of lower-case letters, digits and hyphens", "name", "string", false,
        parse_name, json_of_text, range_int},
    [SCHEMA_BOOL] = {"true or false", "true or false", "boolean", true, parse_bool, json_of_bool,
        NULL},
    [SCHEMA_INT] = {"a whole number", "number", "integer", true, parse_int, json_of_int, range_int},
    [SCHEMA_DECIMAL] = {"a number with at most three decimals", "number", "number", true,
        parse_decimal, json_of_decimal, range_decimal},
    [SCHEMA_PERCENT] = {"a percentage such as \"0.5%\", up to 100%", "percentage", "string", false,
        parse_percent, json_of_percent, NULL},
    [SCHEMA_DURATION] = {"a duration such as \"5s\", \"200ms\" or \"1h30m\"", "duration", "string",
        false, parse_duration, json_of_quantity, range_duration},
    [SCHEMA_SIZE] = {"a size such as \"256MiB\"", "size", "string", false, parse_size,
        json_of_quantity, range_size},
    [SCHEMA_RATE] = {"a rate such as \"100Mbit\"", "rate", "string", false, parse_rate,
        json_of_quantity, range_rate},
    [SCHEMA_ENUM] = {"one of", "word", "string", false, parse_enum, json_of_enum, NULL},
    [SCHEMA_ADDRESS] = {"an IPv4 or IPv6 address", "address", "string", false, parse_address,
        json_of_address, NULL},
    [SCHEMA_PREFIX] = {"a prefix such as \"10.20.0.0/16\" or \"2001:db8::/48\" without host bits",
        "prefix", "string", false, parse_prefix, json_of_prefix, NULL},
};

const struct schema_scalar *schema_scalar(enum schema_type type)
{
    return (size_t)type < ARRAY_SIZE(scalars) ? &scalars[type] : NULL;
}

void schema_range(const struct schema_row *row, struct str *out)
{
    const struct schema_scalar *s = schema_scalar(row->type);
    void (*bound)(uint64_t, struct str *) = s ? s->range : range_int;
    if (!bound || (!row->min && !row->max))
        return;
    if (!row->max) {
        str_add(out, "at least ");
        bound(row->min, out);
    } else if (!row->min) {
        str_add(out, "at most ");
        bound(row->max, out);
    } else if (row->min == row->max) {
        str_add(out, "exactly ");
        bound(row->min, out);
    } else {
        bound(row->min, out);
        str_add(out, " to ");
        bound(row->max, out);
    }
}
