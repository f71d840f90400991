/* SPDX-License-Identifier: Apache-2.0 */
/* Reads Prometheus text that another process of this host wrote and puts several such texts
 * together: samples of one family must stand together, with HELP and TYPE once, or a scraper
 * refuses the whole page. Nothing is copied that was not checked. */
#include "base/metrics/metrics.h"

#include "base/metrics/priv.h"

#include <ctype.h>

#define NAME_MAX_LEN 200
#define SAMPLES_MAX 100000u /* over all texts */

bool metrics_label_name_ok(const char *name, size_t len)
{
    if (len == 0 || len > NAME_MAX_LEN || isdigit((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return false;
    return true;
}

bool metrics_name_ok(const char *name, size_t len)
{
    if (len == 0 || len > NAME_MAX_LEN || isdigit((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != ':')
            return false;
    return true;
}

void metrics_escape(struct str *out, const char *text, bool quote)
{
    for (; *text; text++) {
        if (*text == '\n')
            str_add(out, "\\n");
        else if (*text == '\\' || (quote && *text == '"'))
            str_addf(out, "\\%c", *text);
        else
            str_add_ch(out, *text);
    }
}

struct span {
    const char *p;
    size_t len;
};

struct sample {
    struct span family; /* the name without _bucket, _sum, _count where the family is a histogram */
    struct span name, labels, value;
    size_t text, order;
};

struct family {
    struct span name, help, type;
    size_t order; /* of appearance, to keep the first of several equal ones */
};

struct merge {
    struct sample *samples;
    size_t n_samples, cap_samples;
    struct family *families;
    size_t n_families, cap_families;
};

static int span_compare(struct span a, struct span b)
{
    int r = memcmp(a.p ? a.p : "", b.p ? b.p : "", MIN(a.len, b.len));
    return r ? r : (a.len > b.len) - (a.len < b.len);
}

static bool span_is(struct span a, const char *text)
{
    return a.len == strlen(text) && memcmp(a.p, text, a.len) == 0;
}

/* Takes what stands before any of `stops`. */
static struct span take(struct span *rest, const char *stops)
{
    size_t n = 0;
    while (n < rest->len && (!rest->p[n] || !strchr(stops, rest->p[n])))
        n++;
    struct span r = {rest->p, n};
    rest->p += n;
    rest->len -= n;
    return r;
}

static bool take_ch(struct span *rest, char c)
{
    if (!rest->len || rest->p[0] != c)
        return false;
    rest->p++;
    rest->len--;
    return true;
}

/* From behind the opening quote to behind the closing one. */
static bool take_quoted(struct span *rest)
{
    while (rest->len) {
        char c = rest->p[0];
        if (c == '"')
            return take_ch(rest, '"');
        if (c == '\0' || (c == '\\' && (rest->len < 2 || !strchr("\\\"n", rest->p[1]))))
            return false;
        size_t step = c == '\\' ? 2 : 1;
        rest->p += step;
        rest->len -= step;
    }
    return false;
}

/* From behind the brace to behind the closing one. */
static bool take_labels(struct span *rest, struct span *ret)
{
    const char *start = rest->p;
    while (rest->len && rest->p[0] != '}') {
        struct span name = take(rest, "=");
        if (!metrics_label_name_ok(name.p, name.len) || span_is(name, "role") || !take_ch(rest, '=')
            || !take_ch(rest, '"') || !take_quoted(rest))
            return false;
        if (!take_ch(rest, ','))
            break;
    }
    *ret = (struct span){start, (size_t)(rest->p - start)};
    if (ret->len && ret->p[ret->len - 1] == ',')
        ret->len--;
    return take_ch(rest, '}');
}

static bool number_ok(struct span v)
{
    char text[64], *end;
    if (v.len == 0 || v.len >= sizeof text || isspace((unsigned char)v.p[0]))
        return false;
    memcpy(text, v.p, v.len);
    text[v.len] = '\0';
    strtod(text, &end);
    return end == text + v.len;
}

static bool parse_sample(struct span line, struct sample *ret)
{
    *ret = (struct sample){.name = take(&line, "{ ")};
    if (!metrics_name_ok(ret->name.p, ret->name.len))
        return false;
    if (take_ch(&line, '{') && !take_labels(&line, &ret->labels))
        return false;
    if (!take_ch(&line, ' '))
        return false;
    ret->value = line;
    ret->family = ret->name;
    return number_ok(ret->value);
}

/* "# HELP name text" and "# TYPE name kind"; other comments are dropped. */
static void parse_comment(struct merge *m, struct span line)
{
    struct span rest = line;
    take_ch(&rest, '#');
    take_ch(&rest, ' ');
    struct span word = take(&rest, " ");
    bool is_type = span_is(word, "TYPE");
    if ((!is_type && !span_is(word, "HELP")) || !take_ch(&rest, ' '))
        return;
    struct span name = take(&rest, " ");
    if (!metrics_name_ok(name.p, name.len) || !take_ch(&rest, ' ')
        || memchr(rest.p, '\0', rest.len))
        return;
    if (is_type && !span_is(rest, "counter") && !span_is(rest, "gauge")
        && !span_is(rest, "histogram"))
        return;
    struct family *f = m->n_families ? &m->families[m->n_families - 1] : NULL;
    if (!f || span_compare(f->name, name) != 0) {
        if (m->n_families >= SAMPLES_MAX)
            return;
        f = GROW(m->families, m->n_families, m->cap_families);
        *f = (struct family){.name = name, .order = m->n_families};
    }
    *(is_type ? &f->type : &f->help) = rest;
}

/* A histogram's samples belong to the family named last, with a suffix. */
static void find_family(const struct merge *m, struct sample *s)
{
    if (!m->n_families)
        return;
    const struct family *f = &m->families[m->n_families - 1];
    if (!span_is(f->type, "histogram") || s->name.len <= f->name.len
        || memcmp(s->name.p, f->name.p, f->name.len) != 0)
        return;
    struct span suffix = {s->name.p + f->name.len, s->name.len - f->name.len};
    if (span_is(suffix, "_bucket") || span_is(suffix, "_sum") || span_is(suffix, "_count"))
        s->family = f->name;
}

static void read_text(struct merge *m, const struct metrics_text *t, size_t index)
{
    struct span rest = {t->text, MIN(t->len, METRICS_TEXT_MAX)};
    while (rest.len) {
        struct span line = take(&rest, "\n");
        if (!take_ch(&rest, '\n')) /* a cut last line */
            return;
        struct sample s;
        if (line.len && line.p[0] == '#') {
            parse_comment(m, line);
        } else if (m->n_samples < SAMPLES_MAX && parse_sample(line, &s)) {
            find_family(m, &s);
            s.text = index;
            s.order = m->n_samples;
            *GROW(m->samples, m->n_samples, m->cap_samples) = s;
        }
    }
}

static int compare_samples(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    int r = span_compare(x->family, y->family);
    return r ? r : (x->order > y->order) - (x->order < y->order);
}

static int compare_families(const void *a, const void *b)
{
    const struct family *x = a, *y = b;
    int r = span_compare(x->name, y->name);
    return r ? r : (x->order > y->order) - (x->order < y->order);
}

static void add_span(struct str *out, struct span s)
{
    str_add_mem(out, s.p, s.len);
}

static void add_head(struct str *out, const struct merge *m, size_t *at, struct span name)
{
    while (*at < m->n_families && span_compare(m->families[*at].name, name) < 0)
        (*at)++;
    if (*at >= m->n_families || span_compare(m->families[*at].name, name) != 0)
        return;
    const struct family *f = &m->families[*at];
    const struct span head[][2] = {{{"# HELP ", 7}, f->help}, {{"# TYPE ", 7}, f->type}};
    for (size_t i = 0; i < ARRAY_SIZE(head); i++) {
        if (!head[i][1].p)
            continue;
        add_span(out, head[i][0]);
        add_span(out, f->name);
        str_add_ch(out, ' ');
        add_span(out, head[i][1]);
        str_add_ch(out, '\n');
    }
}

static void print(struct merge *m, const struct metrics_text *texts, struct str *out)
{
    if (m->n_samples)
        qsort(m->samples, m->n_samples, sizeof *m->samples, compare_samples);
    if (m->n_families)
        qsort(m->families, m->n_families, sizeof *m->families, compare_families);
    size_t at = 0;
    for (size_t i = 0; i < m->n_samples; i++) {
        const struct sample *s = &m->samples[i];
        if (i == 0 || span_compare(s->family, m->samples[i - 1].family) != 0)
            add_head(out, m, &at, s->family);
        add_span(out, s->name);
        str_add(out, "{role=\"");
        metrics_escape(out, texts[s->text].role, true);
        str_add(out, s->labels.len ? "\"," : "\"");
        add_span(out, s->labels);
        str_add(out, "} ");
        add_span(out, s->value);
        str_add_ch(out, '\n');
    }
}

void metrics_merge(const struct metrics_text *texts, size_t n, struct str *out)
{
    struct merge m = {0};
    for (size_t i = 0; i < n; i++)
        read_text(&m, &texts[i], i);
    print(&m, texts, out);
    free(m.samples);
    free(m.families);
}
