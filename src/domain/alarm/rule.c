/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/alarm/rule.h"

#include "base/units/units.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

static const char *const op_texts[] = {[ALARM_EQ] = "==",
    [ALARM_NE] = "!=",
    [ALARM_LT] = "<",
    [ALARM_LE] = "<=",
    [ALARM_GT] = ">",
    [ALARM_GE] = ">=",
    [ALARM_AND] = "and",
    [ALARM_OR] = "or",
    [ALARM_NOT] = "not"};

const char *alarm_op_text(enum alarm_op op)
{
    return op_texts[op];
}

bool alarm_op_compares(enum alarm_op op)
{
    return op <= ALARM_GE;
}

/* ---- reading */

struct reader {
    const char *text;
    size_t len, pos;
    unsigned depth;
    struct alarm_expr *x;
    unsigned *ret_at;
    struct err *e;
};

static unsigned column_of(const struct reader *r, size_t at)
{
    unsigned column = 1; /* characters: what continues one is not counted */
    for (size_t i = 0; i < at && i < r->len; i++)
        column += ((unsigned char)r->text[i] & 0xc0) != 0x80;
    return column;
}

static int wrong(struct reader *r, size_t at, const char *what)
{
    unsigned column = column_of(r, at);
    if (r->ret_at)
        *r->ret_at = column;
    return err_set(r->e, ERR_INVALID, "character %u: %s", column, what);
}

static void skip_blanks(struct reader *r)
{
    while (r->pos < r->len && strchr(" \t\r\n", r->text[r->pos]) && r->text[r->pos])
        r->pos++;
}

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("_.-%+", c));
}

/* The word that stands here, without passing it; 0: none does. */
static size_t peek_word(struct reader *r)
{
    size_t n = 0;
    skip_blanks(r);
    while (r->pos + n < r->len && in_word(r->text[r->pos + n]))
        n++;
    return n;
}

static bool take_word(struct reader *r, const char *word)
{
    size_t n = peek_word(r);
    if (n != strlen(word) || memcmp(r->text + r->pos, word, n) != 0)
        return false;
    r->pos += n;
    return true;
}

static bool take_char(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->pos >= r->len || r->text[r->pos] != c)
        return false;
    r->pos++;
    return true;
}

static bool is_path(const char *s, size_t n)
{
    char before = '.';
    if (!islower((unsigned char)*s) || !memchr(s, '.', n))
        return false;
    for (size_t i = 0; i < n; before = s[i++])
        if (!(islower((unsigned char)s[i]) || isdigit((unsigned char)s[i]) || s[i] == '_'
                || s[i] == '-' || (s[i] == '.' && before != '.')))
            return false;
    return before != '.';
}

static int add_node(struct reader *r, size_t at, unsigned *ret)
{
    if (r->x->n == ALARM_NODES_MAX)
        return wrong(r, at, "the expression has over 32 parts: make two alarms of it");
    *ret = r->x->n++;
    r->x->nodes[*ret] = (struct alarm_node){0};
    return 0;
}

/* Longest first: "<=" begins like "<". */
static int read_op(struct reader *r, enum alarm_op *ret)
{
    static const enum alarm_op order[] = {
        ALARM_EQ, ALARM_NE, ALARM_LE, ALARM_GE, ALARM_LT, ALARM_GT};
    skip_blanks(r);
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        size_t n = strlen(op_texts[order[i]]);
        if (r->len - r->pos >= n && !memcmp(r->text + r->pos, op_texts[order[i]], n)) {
            r->pos += n;
            *ret = order[i];
            return 0;
        }
    }
    return wrong(r, r->pos, "expected ==, !=, <, <=, > or >=");
}

static int read_quoted(struct reader *r, char quote, struct alarm_literal *ret)
{
    size_t from = r->pos;
    const char *end = memchr(r->text + from, quote, r->len - from);
    size_t n = end ? (size_t)(end - r->text) - from : 0;
    if (!end)
        return wrong(r, from - 1, "the text that begins here has no end");
    if (n > ALARM_WORD_MAX)
        return wrong(r, from - 1, "a text has at most 64 bytes");
    ret->kind = ALARM_WORD;
    memcpy(ret->word, r->text + from, n);
    r->pos = from + n + 1;
    return 0;
}

static bool read_decimal(const char *s, double *ret)
{
    size_t digits = strspn(s, "0123456789"), rest = 0;
    if (s[digits] == '.')
        rest = strspn(s + digits + 1, "0123456789");
    if (!digits || digits > 15 || rest > 15 || (s[digits] == '.' && !rest)
        || s[digits + (s[digits] == '.') + rest])
        return false;
    *ret = 0;
    for (size_t i = 0; i < digits; i++)
        *ret = *ret * 10 + (s[i] - '0');
    double unit = 1;
    for (size_t i = 0; i < rest; i++)
        *ret += (s[digits + 1 + i] - '0') * (unit /= 10);
    return true;
}

static bool read_number(const char *word, struct alarm_literal *ret)
{
    char text[ALARM_WORD_MAX + 1];
    size_t n = strlen(word);
    uint64_t whole;
    bool minus = *word == '-';
    memcpy(text, word + minus, n + 1 - minus);
    n -= minus;
    ret->kind = ALARM_NUMBER;
    if (read_decimal(text, &ret->n)) {
        ret->unit = ALARM_PLAIN;
    } else if (n > 1 && text[n - 1] == '%') {
        text[n - 1] = '\0';
        ret->unit = ALARM_SHARE;
        if (!read_decimal(text, &ret->n))
            return false;
        ret->n /= 100;
    } else if (units_parse_duration(text, &whole)) {
        ret->unit = ALARM_MS;
        ret->n = (double)whole;
    } else if (units_parse_size(text, &whole)) {
        ret->unit = ALARM_BYTES;
        ret->n = (double)whole;
    } else {
        return false;
    }
    ret->n = minus ? -ret->n : ret->n;
    return true;
}

static int read_value(struct reader *r, struct alarm_node *node)
{
    char word[ALARM_WORD_MAX + 1] = "";
    struct alarm_literal *v = &node->value;
    size_t n = peek_word(r), at = r->pos;
    if (take_char(r, '"'))
        return read_quoted(r, '"', v);
    if (take_char(r, '\''))
        return read_quoted(r, '\'', v);
    if (!n)
        return wrong(r, at, "expected a value: true, false, a number, a duration or a \"text\"");
    if (n > ALARM_WORD_MAX)
        return wrong(r, at, "a value has at most 64 bytes");
    memcpy(word, r->text + at, n);
    r->pos += n;
    if (!strcmp(word, "true") || !strcmp(word, "false")) {
        *v = (struct alarm_literal){.kind = ALARM_BOOL, .b = *word == 't'};
    } else if (isdigit((unsigned char)*word) || *word == '-') {
        if (!read_number(word, v))
            return wrong(r, at, "expected a number, like 12, 0.05, 5%, 3s or 256MiB");
    } else {
        v->kind = ALARM_WORD;
        memcpy(v->word, word, n);
    }
    return 0;
}

static int read_comparison(struct reader *r, unsigned *ret)
{
    size_t n = peek_word(r), at = r->pos;
    if (!n)
        return wrong(r, at, "expected a value's name, like data.trade.answering");
    if (n > ALARM_PATH_MAX)
        return wrong(r, at, "a value's name has at most 160 characters");
    if (!is_path(r->text + at, n))
        return wrong(r, at,
            "expected a value's name: words of small letters, digits, - and _ with dots between");
    int k = add_node(r, at, ret);
    if (k < 0)
        return k;
    struct alarm_node *node = &r->x->nodes[*ret];
    memcpy(node->path, r->text + at, n);
    node->path[n] = '\0';
    node->at = column_of(r, at);
    r->pos += n;
    k = read_op(r, &node->op);
    if (k < 0)
        return k;
    skip_blanks(r);
    size_t value_at = r->pos;
    node->value_at = column_of(r, value_at);
    k = read_value(r, node);
    if (k >= 0 && node->op > ALARM_NE && node->value.kind != ALARM_NUMBER)
        return wrong(r, value_at, "<, <=, > and >= compare with a number");
    return k;
}

static int read_either(struct reader *r, unsigned *ret);

static int read_one(struct reader *r, unsigned *ret)
{
    size_t at = r->pos;
    bool inverts = take_word(r, "not");
    if (!inverts && !take_char(r, '('))
        return read_comparison(r, ret);
    if (++r->depth > ALARM_DEPTH_MAX)
        return wrong(r, at, "parentheses and `not` are nested more than 8 deep");
    unsigned inner = 0;
    int k = inverts ? read_one(r, &inner) : read_either(r, &inner);
    if (k < 0)
        return k;
    r->depth--;
    if (!inverts) {
        *ret = inner;
        return take_char(r, ')') ? 0 : wrong(r, r->pos, "expected and, or, or \")\"");
    }
    k = add_node(r, at, ret);
    if (k >= 0)
        r->x->nodes[*ret] = (struct alarm_node){.op = ALARM_NOT, .left = inner};
    return k;
}

static int read_chain(struct reader *r, enum alarm_op op, unsigned *ret)
{
    unsigned right = 0, both = 0;
    int k = op == ALARM_OR ? read_chain(r, ALARM_AND, ret) : read_one(r, ret);
    while (k >= 0 && take_word(r, op_texts[op])) {
        k = op == ALARM_OR ? read_chain(r, ALARM_AND, &right) : read_one(r, &right);
        if (k < 0 || (k = add_node(r, r->pos, &both)) < 0)
            return k;
        r->x->nodes[both] = (struct alarm_node){.op = op, .left = *ret, .right = right};
        *ret = both;
    }
    return k;
}

static int read_either(struct reader *r, unsigned *ret)
{
    return read_chain(r, ALARM_OR, ret);
}

int alarm_expr_parse(
    const char *text, size_t len, struct alarm_expr *ret, unsigned *ret_at, struct err *e)
{
    struct reader r = {.text = text, .len = len, .x = ret, .ret_at = ret_at, .e = e};
    ret->n = ret->root = 0;
    if (len > ALARM_TEXT_MAX)
        return wrong(&r, ALARM_TEXT_MAX, "an expression has at most 512 bytes");
    int k = read_either(&r, &ret->root);
    if (k < 0)
        return k;
    skip_blanks(&r);
    return r.pos == len ? 0 : wrong(&r, r.pos, "expected and, or, or the end");
}

/* ---- what it says now */

static enum alarm_truth truth_of(bool b)
{
    return b ? ALARM_TRUE : ALARM_FALSE;
}

static bool holds(enum alarm_op op, double a, double b)
{
    switch (op) {
    case ALARM_LT:
        return a < b;
    case ALARM_LE:
        return a <= b;
    case ALARM_GT:
        return a > b;
    case ALARM_GE:
        return a >= b;
    default:
        return (fabs(a - b) <= fabs(b) * 1e-9) == (op == ALARM_EQ); /* 5% and 0.05 are one */
    }
}

static enum alarm_truth compare(const struct alarm_node *node, const json_t *values)
{
    const json_t *found = json_object_get(values, node->path);
    const struct alarm_literal *v = &node->value;
    if (v->kind == ALARM_BOOL && json_is_boolean(found))
        return truth_of((json_is_true(found) == v->b) == (node->op == ALARM_EQ));
    if (v->kind == ALARM_WORD && json_is_string(found))
        return truth_of(!strcmp(json_string_value(found), v->word) == (node->op == ALARM_EQ));
    if (v->kind == ALARM_NUMBER && json_is_number(found))
        return truth_of(holds(node->op, json_number_value(found), v->n));
    return ALARM_UNKNOWN;
}

static enum alarm_truth join(enum alarm_op op, enum alarm_truth a, enum alarm_truth b)
{
    enum alarm_truth decides = op == ALARM_AND ? ALARM_FALSE : ALARM_TRUE;
    if (a == decides || b == decides)
        return decides;
    return a == ALARM_UNKNOWN ? a : b;
}

/* Depth is bounded by ALARM_NODES_MAX: children stand before their parents. */
static enum alarm_truth eval(const struct alarm_expr *x, unsigned i, const json_t *values)
{
    const struct alarm_node *node = &x->nodes[i];
    if (alarm_op_compares(node->op))
        return compare(node, values);
    enum alarm_truth a = eval(x, node->left, values);
    if (node->op == ALARM_NOT)
        return a == ALARM_UNKNOWN ? a : truth_of(a == ALARM_FALSE);
    return join(node->op, a, eval(x, node->right, values));
}

enum alarm_truth alarm_expr_eval(const struct alarm_expr *x, const json_t *values)
{
    return eval(x, x->root, values);
}

static void say_value(const json_t *v, struct str *out)
{
    if (json_is_boolean(v))
        str_add(out, json_is_true(v) ? "is true" : "is false");
    else if (json_is_integer(v))
        str_addf(out, "is %lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        str_addf(out, "is %.4g", json_real_value(v));
    else if (json_is_string(v))
        str_addf(out, "is %.*s", (int)str_utf8_cut(json_string_value(v), ALARM_WORD_MAX),
            json_string_value(v));
    else
        str_add(out, "is not known");
}

void alarm_expr_why(const struct alarm_expr *x, const json_t *values, char out[ALARM_WHY_MAX + 1])
{
    _cleanup_str_ struct str text = STR_INIT;
    for (unsigned i = 0; i < x->n; i++) {
        const struct alarm_node *node = &x->nodes[i];
        if (!alarm_op_compares(node->op))
            continue;
        str_addf(&text, "%s%s ", text.len ? ", " : "", node->path);
        say_value(json_object_get(values, node->path), &text);
    }
    size_t n = str_utf8_cut(str_cstr(&text), ALARM_WHY_MAX);
    memcpy(out, str_cstr(&text), n);
    out[n] = '\0';
}
