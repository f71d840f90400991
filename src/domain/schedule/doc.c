/* SPDX-License-Identifier: Apache-2.0 */
/* placement/<region>: document to structs and back. Members that this version does not know stay. */
#include "domain/schedule/priv.h"

#define FORMAT 1

void instance_done(struct instance *i)
{
    json_decref(i->json);
}

void placement_done(struct placement *p)
{
    for (size_t i = 0; i < p->n; i++)
        instance_done(&p->v[i]);
    free(p->v);
    json_decref(p->json);
    json_decref(p->specs);
    json_decref(p->lacks);
}

struct placement *placement_find(struct schedule *s, const char *region)
{
    for (size_t i = 0; i < s->n_places; i++)
        if (!strcmp(s->places[i].region, region))
            return &s->places[i];
    return NULL;
}

struct placement *placement_get(struct schedule *s, const char *region)
{
    struct placement *p = placement_find(s, region);
    if (p)
        return p;
    p = GROW(s->places, s->n_places, s->cap_places);
    str_copy(p->region, sizeof p->region, region);
    p->specs = json_object();
    p->lacks = json_array();
    return p;
}

int doc_text(const json_t *j, const char *key, char *out, size_t size, struct err *e)
{
    const char *text;
    int r = json_get_str(j, key, &text, e);
    if (r >= 0 && !str_copy(out, size, text))
        r = err_set(e, ERR_INVALID, "\"%s\" is too long", key);
    return r;
}

static int parse_instance(struct instance *i, json_t *j, struct err *e)
{
    int r;
    if ((r = doc_text(j, "name", i->name, sizeof i->name, e)) < 0
        || (r = doc_text(j, "module", i->module, sizeof i->module, e)) < 0
        || (r = doc_text(j, "host", i->host, sizeof i->host, e)) < 0
        || (r = doc_text(j, "spec", i->spec, sizeof i->spec, e)) < 0)
        return r;
    i->json = json_incref(j);
    i->drain = str_eq(json_opt_str(j, "state", "run"), "drain");
    i->standby = json_opt_bool(j, "standby", false);
    i->weight = (int)MIN(MAX(json_opt_int(j, "weight", WEIGHT_FULL), 0), 1000000);
    i->since_ms = json_opt_int(j, "since_ms", 0);
    i->drain_seq = json_opt_int(j, "drain_seq", 0);
    str_copy(i->reason, sizeof i->reason, json_opt_str(j, "reason", ""));
    return 0;
}

uint64_t doc_print(uint64_t print, const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t h = print ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t doc_print_text(uint64_t print, const char *text)
{
    return doc_print(print, text, strlen(text) + 1);
}

uint64_t doc_print_number(uint64_t print, int64_t n)
{
    return doc_print(print, &n, sizeof n);
}

int doc_check_format(const json_t *doc, struct err *e)
{
    int64_t format;
    int r = json_get_int(doc, "format", 1, INT64_MAX, &format, e);
    if (r < 0 || format == FORMAT)
        return r;
    err_set(e, ERR_INVALID, "it has format %lld, this version knows %d", (long long)format, FORMAT);
    err_fix(e, "install the version of mcp that wrote it");
    return ERR_INVALID;
}

static uint64_t print_of(const struct placement *p, int64_t revision)
{
    uint64_t h = doc_print_number(0, revision);
    for (size_t k = 0; k < p->n; k++) {
        const struct instance *i = &p->v[k];
        const int64_t numbers[] = {
            i->drain, i->standby, i->weight, i->since_ms, i->drain ? i->drain_seq : 0};
        const char *const texts[] = {i->name, i->module, i->host, i->spec, i->reason};
        h = doc_print(h, numbers, sizeof numbers);
        for (size_t t = 0; t < ARRAY_SIZE(texts); t++)
            h = doc_print_text(h, texts[t]);
    }
    if (json_array_size(p->lacks)) {
        _cleanup_free_ char *text = json_text(p->lacks);
        h = doc_print_text(h, text);
    }
    return h;
}

int placement_parse(struct placement *p, const json_t *doc, struct err *e)
{
    json_t *instances, *specs, *j;
    int r;
    if ((r = doc_check_format(doc, e)) < 0
        || (r = json_get_int(doc, "seq", 0, INT64_MAX, &p->seq, e)) < 0
        || (r = json_get_array(doc, "instances", &instances, e)) < 0
        || (r = json_get_obj(doc, "specs", &specs, e)) < 0)
        return r;
    size_t index;
    json_array_foreach (instances, index, j) {
        struct instance *i = GROW(p->v, p->n, p->cap);
        if ((r = parse_instance(i, j, e)) < 0)
            return err_wrap(e, "instance %zu", index);
    }
    p->json = json_incref((json_t *)doc);
    json_decref(p->specs);
    p->specs = json_copy(specs);
    json_t *lacks = json_object_get(doc, "lacks");
    if (json_is_array(lacks)) {
        json_decref(p->lacks);
        p->lacks = json_copy(lacks);
    }
    p->print = print_of(p, json_opt_int(doc, "revision", 0));
    return 0;
}

static json_t *format_instance(struct instance *i, int64_t seq)
{
    json_t *j = i->json ? json_copy(i->json) : json_object();
    if (i->drain && !i->drain_seq)
        i->drain_seq = seq;
    json_t *known = json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:i,s:I,s:s}", "name", i->name, "module",
        i->module, "host", i->host, "spec", i->spec, "state", i->drain ? "drain" : "run", "standby",
        (int)i->standby, "weight", i->weight, "since_ms", (json_int_t)i->since_ms, "reason",
        i->reason);
    ASSERT(known);
    json_object_update(j, known);
    json_decref(known);
    if (i->drain)
        json_object_set_new(j, "drain_seq", json_integer(i->drain_seq));
    else
        json_object_del(j, "drain_seq");
    json_decref(i->json);
    i->json = json_incref(j);
    return j;
}

static void drop_gone(struct placement *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->v[i].gone)
            instance_done(&p->v[i]);
        else
            p->v[n++] = p->v[i];
    }
    p->n = n;
}

static int by_name(const void *x, const void *y)
{
    const struct instance *a = x, *b = y;
    return strcmp(a->name, b->name);
}

/* Only the specs that an instance runs. */
static json_t *used_specs(const struct placement *p)
{
    json_t *used = json_object();
    for (size_t i = 0; i < p->n; i++) {
        json_t *spec = json_object_get(p->specs, p->v[i].spec);
        if (spec)
            json_object_set(used, p->v[i].spec, spec);
    }
    return used;
}

json_t *placement_write(struct placement *p, const struct step *st)
{
    drop_gone(p);
    if (p->n > 1)
        qsort(p->v, p->n, sizeof *p->v, by_name);
    if (p->json && p->print == print_of(p, st->in->revision))
        return NULL;
    json_t *doc = p->json ? json_copy(p->json) : json_object();
    json_t *list = json_array();
    for (size_t i = 0; i < p->n; i++)
        json_array_append_new(list, format_instance(&p->v[i], p->seq + 1));
    json_t *known = json_pack("{s:i,s:s,s:I,s:o,s:o,s:o}", "format", FORMAT, "region", p->region,
        "revision", (json_int_t)st->in->revision, "lacks", json_copy(p->lacks), "instances", list,
        "specs", used_specs(p));
    ASSERT(known);
    json_object_update(doc, known);
    json_decref(known);
    json_decref(p->specs);
    p->specs = json_copy(json_object_get(doc, "specs"));
    p->seq++;
    json_object_set_new(doc, "seq", json_integer(p->seq));
    json_object_set_new(doc, "epoch", json_integer(st->in->epoch));
    json_decref(p->json);
    p->json = json_incref(doc);
    p->print = print_of(p, st->in->revision);
    return doc;
}
