/* SPDX-License-Identifier: Apache-2.0 */
/* Tables that say what a YAML file may hold. One row is one key: its type, default, range, prose;
 * from the same rows come parsing into plain C structs, defaults, validation, the canonical JSON,
 * the JSON Schema and the man page, so none of them can differ from another.
 *
 * What parsing fills is declared by the table's owner, one field per row (`offset`):
 *   STRING NAME          struct schema_text
 *   BOOL                 bool
 *   INT                  int64_t
 *   DECIMAL              int64_t, thousandths
 *   PERCENT              double, 0 .. 1
 *   DURATION SIZE RATE   uint64_t: ms, bytes, bits a second
 *   ENUM                 int, index in `words`; -1: none or wrong
 *   ADDRESS, PREFIX      struct schema_addr, struct schema_prefix
 *   STRUCT               its struct, starting with struct schema_head
 *   LIST                 struct schema_list of items
 *   MAP                  the same, each item starting with its key: a struct schema_text or _head
 * A key that is absent takes its default; without one the field stays zero and the canonical form
 * leaves it out. A value that is wrong leaves its field zero too, list items that are wrong are
 * left out: whoever checks further skips what is empty, so that one mistake is told once.
 * Everything lives in the caller's arena. */
#pragma once

#include "base/ip/ip.h"
#include "base/yaml/yaml.h"

enum schema_type {
    SCHEMA_STRING,
    SCHEMA_NAME, /* one DNS label, lower case */
    SCHEMA_BOOL,
    SCHEMA_INT,
    SCHEMA_DECIMAL, /* at most three digits behind the point */
    SCHEMA_PERCENT, /* "0.5%" */
    SCHEMA_DURATION,
    SCHEMA_SIZE,
    SCHEMA_RATE, /* "100Mbit" */
    SCHEMA_ENUM,
    SCHEMA_ADDRESS,
    SCHEMA_PREFIX,
    SCHEMA_STRUCT,
    SCHEMA_LIST,
    SCHEMA_MAP,
    SCHEMA_LATER, /* a word that this version knows and refuses */
};

struct schema_text {
    const char *s; /* NULL: absent or wrong */
    const struct yaml_node *at;
};

struct schema_head {
    struct schema_text key;     /* of a map's item; else empty */
    const struct yaml_node *at; /* the map in the file; NULL: absent */
};

struct schema_addr {
    struct ip_addr addr;
    const struct yaml_node *at;
};

struct schema_prefix {
    struct ip_prefix prefix; /* family 0: absent or wrong */
    const struct yaml_node *at;
};

struct schema_list {
    void *v;
    size_t n;
    const struct yaml_node *at; /* NULL: absent */
};

/* NULL when the text is fine, else what is expected instead, as in "expected ...". */
typedef const char *(*schema_check_fn)(const char *text);

struct schema_row {
    const char *key; /* in a struct; of an item: its placeholder in documentation ("REGION") */
    enum schema_type type;
    size_t offset;
    bool required;
    const char *def;   /* as one would write it; must be valid */
    uint64_t min, max; /* numbers in their unit, length of texts, count of items; 0, 0: no limit */
    const char *const *words;      /* ENUM, ends with NULL */
    const struct schema_row *rows; /* STRUCT, ends with a NULL key */
    const char *shorthand;         /* STRUCT: a scalar alone stands for this key */
    const struct schema_row *item; /* LIST, MAP */
    size_t item_size;
    bool one;                      /* LIST: one item may stand without the brackets */
    const struct schema_row *name; /* MAP: the row (STRING or NAME) that its keys obey */
    schema_check_fn check;         /* STRING, NAME */
    const char *prose;             /* one or more sentences */
    const char *example;           /* a value, for the documentation */
};

/* Fills *dst (zeroed by the caller) and adds what is wrong to p. */
void schema_parse(const struct schema_row *root, const struct yaml_node *node, void *dst,
    struct arena *a, struct problems *p);
/* Where a key's value stands, else where its struct does. */
const struct yaml_node *schema_at(const struct schema_head *head, const char *key);
struct problem *schema_problem(struct problems *p, const struct yaml_node *at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* The canonical form of a parsed struct: defaults filled in, shorthands written out. Parses back to
 * an equal one. */
json_t *schema_json(const struct schema_row *row, const void *src);

/* The JSON Schema (draft 2020-12) of what parsing accepts; words of later versions are left out. */
json_t *schema_json_schema(const struct schema_row *root, const char *title);
/* The type in words: "list of address (1 to 16)", "main | dr | serving", "duration (1s to 1h)". */
void schema_type_text(const struct schema_row *row, struct str *out);
/* Every key from the outside in, `path` like "hosts.HOST.region". Words of later versions too. */
typedef void (*schema_each_fn)(void *ctx, const char *path, const struct schema_row *row);
void schema_each(const struct schema_row *root, schema_each_fn fn, void *ctx);
/* Man page source: one section below `root` for each of its keys. */
void schema_man(const struct schema_row *root, struct str *out);

/* Checks that tables share. */
const char *schema_check_dns_name(
    const char *text); /* labels of letters, digits, hyphens; at least two */
const char *schema_check_host_port(const char *text);
bool schema_is_label(const char *text, size_t max);
