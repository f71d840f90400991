/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Schema, draft 2020-12, for editors: as strict as patterns and ranges can say. */
#include "base/schema/priv.h"

#define LABEL_PATTERN "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
#define DURATION_PATTERN "^(0|([0-9]+(ms|s|m|h|d))+)$"
#define SIZE_PATTERN "^[0-9]+([KMGT]i?B|B)?$"
#define RATE_PATTERN "^[0-9]+[kMG]?bit$"
#define PERCENT_PATTERN "^[0-9]+(\\.[0-9]+)?%$"
#define PREFIX_PATTERN "^[0-9a-fA-F.:]+/[0-9]{1,3}$"

static json_t *schema_of(const struct schema_row *row);

static json_t *text_with(const char *pattern)
{
    return json_pack("{s:s,s:s}", "type", "string", "pattern", pattern);
}

static void set_bound(json_t *obj, const char *key, uint64_t v, bool decimal)
{
    json_object_set_new(
        obj, key, decimal ? json_real((double)v / 1000) : json_integer((json_int_t)v));
}

static json_t *number_of(const struct schema_row *row)
{
    bool decimal = row->type == SCHEMA_DECIMAL;
    json_t *obj = json_pack("{s:s}", "type", decimal ? "number" : "integer");
    set_bound(obj, "minimum", row->min, decimal);
    if (row->max)
        set_bound(obj, "maximum", row->max, decimal);
    return obj;
}

static json_t *string_of(const struct schema_row *row)
{
    json_t *obj =
        row->type == SCHEMA_NAME ? text_with(LABEL_PATTERN) : json_pack("{s:s}", "type", "string");
    if (row->min)
        set_bound(obj, "minLength", row->min, false);
    if (row->max)
        set_bound(obj, "maxLength", row->max, false);
    return obj;
}

static json_t *words_of(const struct schema_row *row)
{
    json_t *list = json_array();
    for (size_t i = 0; row->words[i]; i++)
        json_array_append_new(list, json_string(row->words[i]));
    return json_pack("{s:o}", "enum", list);
}

static json_t *struct_of(const struct schema_row *row)
{
    json_t *properties = json_object(), *required = json_array();
    for (const struct schema_row *r = row->rows; r->key; r++) {
        if (r->type == SCHEMA_LATER)
            continue;
        json_object_set_new(properties, r->key, schema_of(r));
        if (r->required)
            json_array_append_new(required, json_string(r->key));
    }
    json_t *obj = json_pack(
        "{s:s,s:o,s:b}", "type", "object", "properties", properties, "additionalProperties", 0);
    if (json_array_size(required))
        json_object_set(obj, "required", required);
    json_decref(required);
    if (!row->shorthand)
        return obj;
    return json_pack("{s:[o,o]}", "anyOf", schema_of(schema_find(row->rows, row->shorthand)), obj);
}

static json_t *list_of(const struct schema_row *row)
{
    json_t *obj = json_pack("{s:s,s:o}", "type", "array", "items", schema_of(row->item));
    if (row->min)
        set_bound(obj, "minItems", row->min, false);
    if (row->max)
        set_bound(obj, "maxItems", row->max, false);
    return row->one ? json_pack("{s:[o,o]}", "anyOf", schema_of(row->item), obj) : obj;
}

static json_t *map_of(const struct schema_row *row)
{
    json_t *obj = json_pack("{s:s,s:o,s:o}", "type", "object", "propertyNames",
        schema_of(row->name), "additionalProperties", schema_of(row->item));
    if (row->min)
        set_bound(obj, "minProperties", row->min, false);
    if (row->max)
        set_bound(obj, "maxProperties", row->max, false);
    return obj;
}

static json_t *type_of(const struct schema_row *row)
{
    switch (row->type) {
    case SCHEMA_STRING:
    case SCHEMA_NAME:
        return string_of(row);
    case SCHEMA_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case SCHEMA_INT:
    case SCHEMA_DECIMAL:
        return number_of(row);
    case SCHEMA_PERCENT:
        return text_with(PERCENT_PATTERN);
    case SCHEMA_DURATION: /* 0 needs no unit, and YAML makes a number of it */
        return json_pack("{s:[o,{s:i}]}", "anyOf", text_with(DURATION_PATTERN), "const", 0);
    case SCHEMA_SIZE:
        return json_pack("{s:[o,{s:s}]}", "anyOf", text_with(SIZE_PATTERN), "type", "integer");
    case SCHEMA_RATE:
        return text_with(RATE_PATTERN);
    case SCHEMA_ENUM:
        return words_of(row);
    case SCHEMA_ADDRESS:
        return json_pack(
            "{s:s,s:[{s:s},{s:s}]}", "type", "string", "anyOf", "format", "ipv4", "format", "ipv6");
    case SCHEMA_PREFIX:
        return text_with(PREFIX_PATTERN);
    case SCHEMA_STRUCT:
        return struct_of(row);
    case SCHEMA_LIST:
        return list_of(row);
    case SCHEMA_MAP:
        return map_of(row);
    case SCHEMA_LATER:
        break;
    }
    return json_false();
}

/* The default as canonical JSON, by the very code that will fill it in. */
static json_t *default_of(const struct schema_row *row)
{
    if (!strcmp(row->def, "{}"))
        return json_object();
    _cleanup_arena_ struct arena *a = arena_new(0);
    struct problems p;
    problems_init(&p, "");
    const struct yaml_node *node = yaml_tree_parse(a, row->def, strlen(row->def), SIZE_MAX, &p);
    _Alignas(16) char value[128] = {0}; /* the largest field of a scalar or a list is far smaller */
    if (node)
        schema_parse(row, node, value, a, &p);
    json_t *j = p.total ? NULL : schema_json(row, value);
    problems_done(&p);
    return j;
}

static json_t *schema_of(const struct schema_row *row)
{
    json_t *obj = type_of(row);
    if (row->prose)
        json_object_set_new(obj, "description", json_string(row->prose));
    json_t *def = row->def ? default_of(row) : NULL;
    if (def)
        json_object_set_new(obj, "default", def);
    return obj;
}

json_t *schema_json_schema(const struct schema_row *root, const char *title)
{
    json_t *obj = schema_of(root);
    json_object_set_new(
        obj, "$schema", json_string("https://json-schema.org/draft/2020-12/schema"));
    json_object_set_new(obj, "title", json_string(title));
    return obj;
}
