/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/schema/schema.h"

struct schema_parser {
    struct arena *arena;
    struct problems *p;
    struct str path; /* of the value being read: "hosts.hk1.region" */
};

/* What a scalar type is, in one place. `parse` returns false when the text is no value of the type;
 * the range has then not been looked at, or `out_of_range` was set. */
struct schema_scalar {
    const char *noun;      /* "a duration such as \"5s\"" */
    const char *doc;       /* "duration" */
    const char *json_type; /* of the canonical form */
    bool number;           /* quotes make it a text, which it must not be */
    bool (*parse)(struct schema_parser *sp, const struct schema_row *row,
        const struct yaml_node *node, void *dst, bool *out_of_range);
    json_t *(*json)(const struct schema_row *row, const void *src); /* NULL: absent */
    void (*range)(uint64_t v, struct str *out);                     /* a bound as people write it */
};

const struct schema_scalar *schema_scalar(enum schema_type type); /* NULL for containers */
/* "between 1s and 1h", "at least 1", "" */
void schema_range(const struct schema_row *row, struct str *out);
const struct schema_row *schema_find(const struct schema_row *rows, const char *key);
