/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON these modules speak: one flat object in, text out.
 * Read strictly (RFC 8259): no nesting, no repeated key, no fraction, valid UTF-8, nothing after
 * the object. */
#pragma once

#include "text.h"

#define JSON_TEXT_MAX 160 /* bytes of one text value; the longest field of any module is 120 */
#define JSON_FIELDS_MAX 8

enum json_kind { JSON_TEXT, JSON_INTEGER, JSON_WORD };

struct json_field {
    enum json_kind kind;
    char key[32];
    char text[JSON_TEXT_MAX + 1];
    long long number;
};

struct json_object {
    size_t count;
    struct json_field fields[JSON_FIELDS_MAX];
};

/* 0, or -1 when the text is not one flat object within the limits above. */
int json_parse(struct span in, struct json_object *ret);

/* The text of a key of 1 to `max` bytes, or NULL when absent, empty, longer or not text. */
const char *json_text(const struct json_object *o, const char *key, size_t max);
/* The integer of a key within 1 to `max`, or -1. */
long long json_integer(const struct json_object *o, const char *key, long long max);

/* Appends `text` in quotes, escaped. */
void json_add(struct buf *b, const char *text);
