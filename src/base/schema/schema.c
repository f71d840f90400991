/* SPDX-License-Identifier: Apache-2.0 */
/* Rows, places, and the way back: a parsed struct as canonical JSON. */
#include "base/schema/priv.h"

const struct schema_row *schema_find(const struct schema_row *rows, const char *key)
{
    for (const struct schema_row *r = rows; r->key; r++)
        if (!strcmp(r->key, key))
            return r;
    return NULL;
}

const struct yaml_node *schema_at(const struct schema_head *head, const char *key)
{
    const struct yaml_node *value = yaml_map_get(head->at, key);
    return value ? value : head->at;
}

struct problem *schema_problem(struct problems *p, const struct yaml_node *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    _cleanup_str_ struct str text = STR_INIT;
    str_addv(&text, fmt, ap);
    va_end(ap);
    return problems_add(p, at ? at->line : 1, at ? at->column : 1, "%s", str_cstr(&text));
}

static json_t *json_of_struct(const struct schema_row *row, const char *src)
{
    const struct schema_head *head = (const void *)src;
    if (!head->at)
        return NULL;
    json_t *obj = json_object();
    for (const struct schema_row *r = row->rows; r->key; r++) {
        json_t *v = schema_json(r, src + r->offset);
        if (v)
            json_object_set_new(obj, r->key, v);
    }
    return obj;
}

/* An empty list and an absent one are the same, unless a default would fill the absent one. */
static json_t *json_of_list(const struct schema_row *row, const struct schema_list *list)
{
    if (list->n == 0 && !row->def)
        return NULL;
    json_t *array = row->type == SCHEMA_LIST ? json_array() : json_object();
    for (size_t i = 0; i < list->n; i++) {
        const char *item = (const char *)list->v + i * row->item_size;
        json_t *v = schema_json(row->item, item + row->item->offset);
        if (!v)
            continue;
        if (row->type == SCHEMA_LIST)
            json_array_append_new(array, v);
        else
            json_object_set_new(array, ((const struct schema_text *)(const void *)item)->s, v);
    }
    return array;
}

json_t *schema_json(const struct schema_row *row, const void *src)
{
    const struct schema_scalar *scalar = schema_scalar(row->type);
    if (scalar)
        return scalar->json(row, src);
    if (row->type == SCHEMA_STRUCT)
        return json_of_struct(row, src);
    if (row->type == SCHEMA_LATER)
        return NULL;
    return json_of_list(row, src);
}

const char *schema_check_dns_name(const char *text)
{
    static const char expected[] = "a DNS name such as \"example.com\"";
    size_t total = strlen(text), labels = 0;
    if (total > 253)
        return expected;
    for (const char *s = text;; s++) {
        size_t n = strcspn(s, ".");
        if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
            return expected;
        for (size_t i = 0; i < n; i++)
            if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", s[i]))
                return expected;
        labels++;
        s += n;
        if (!*s || !strcmp(s, ".")) /* a full name may end with a dot */
            break;
    }
    return labels < 2 ? expected : NULL;
}

const char *schema_check_host_port(const char *text)
{
    static const char expected[] = "HOST:PORT";
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || colon == text || !str_to_u64(colon + 1, 65535, &port) || port == 0)
        return expected;
    size_t n = (size_t)(colon - text);
    if (n > 253 || strcspn(text, " \t\n/@") < strlen(text))
        return expected;
    bool bracketed = text[0] == '[' && text[n - 1] == ']';
    return !bracketed && memchr(text, ':', n) ? "[ADDRESS]:PORT for an IPv6 address" : NULL;
}
