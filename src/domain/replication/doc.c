/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/doc.h"

#include "base/str/str.h"

static int parse_member(const json_t *j, struct replication_member *m, struct err *e)
{
    int64_t port, id;
    if (json_get_str(j, "host", &m->host, e) < 0 || json_get_str(j, "region", &m->region, e) < 0
        || json_get_str(j, "address", &m->address, e) < 0
        || json_get_int(j, "port", 1, UINT16_MAX, &port, e) < 0
        || json_get_int(j, "server_id", 1, INT32_MAX, &id, e) < 0)
        return err_wrap(e, "\"members\"");
    m->port = (uint16_t)port;
    m->id = (uint32_t)id;
    int64_t delay_ms = json_opt_int(j, "delay_ms", 0);
    m->delay_ms = delay_ms > 0 ? (uint64_t)delay_ms : 0;
    return 0;
}

static int parse_members(const json_t *json, struct replication_doc *d, struct err *e)
{
    json_t *list;
    if (json_get_array(json, "members", &list, e) < 0)
        return e->code;
    if (json_array_size(list) > REPLICATION_MEMBERS_MAX)
        return err_set(e, ERR_LIMIT, "\"members\": over %u", REPLICATION_MEMBERS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (parse_member(json_array_get(list, i), &d->members[i], e) < 0)
            return e->code;
        if (replication_doc_find(d, d->members[i].host))
            return err_set(e, ERR_INVALID, "\"members\": %s twice", d->members[i].host);
        d->n_members++;
    }
    return 0;
}

int replication_doc_parse(const json_t *json, struct replication_doc *ret, struct err *e)
{
    struct replication_doc d = {.json = json};
    int64_t format;
    const char *source;
    if (json_get_int(json, "format", 1, INT32_MAX, &format, e) < 0)
        return e->code;
    if (format != REPLICATION_FORMAT) {
        err_set(e, ERR_REFUSED, "format %lld of the database's document", (long long)format);
        err_fix(e, "upgrade this host: a newer version wrote it");
        return e->code;
    }
    if (json_get_int(json, "epoch", 1, INT64_MAX, &d.epoch, e) < 0
        || json_get_str(json, "source", &source, e) < 0 || parse_members(json, &d, e) < 0)
        return e->code;
    d.changes = json_opt_int(json, "changes", 0);
    d.last_id = json_opt_int(json_object_get(json, "last"), "id", 0);
    d.change = json_object_get(json, "change");
    if (!json_is_object(d.change))
        d.change = NULL;
    *ret = d;
    ret->source = replication_doc_find(ret, source);
    return ret->source ? 0 : err_set(e, ERR_INVALID, "\"source\": %s is no member", source);
}

const struct replication_member *replication_doc_find(
    const struct replication_doc *d, const char *host)
{
    for (size_t i = 0; i < d->n_members; i++)
        if (str_eq(d->members[i].host, host))
            return &d->members[i];
    return NULL;
}

static json_t *format_member(const struct replication_member *m, int64_t id)
{
    return json_pack("{s:s,s:s,s:s,s:i,s:I,s:I,s:I}", "host", m->host, "region", m->region,
        "address", m->address, "port", (int)m->port, "server_id", (json_int_t)id, "domain_id",
        (json_int_t)id, "delay_ms", (json_int_t)m->delay_ms);
}

json_t *replication_doc_new(const struct replication_member *members, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, format_member(&members[i], (int64_t)i + 1));
    return json_pack("{s:i,s:i,s:s,s:I,s:o,s:i,s:n,s:n}", "format", REPLICATION_FORMAT, "epoch", 1,
        "source", members[0].host, "next_id", (json_int_t)n + 1, "members", list, "changes", 0,
        "change", "last");
}

json_t *replication_doc_add(const json_t *json, const struct replication_member *m)
{
    json_t *doc = json_deep_copy(json);
    int64_t id = json_opt_int(doc, "next_id", 1);
    json_array_append_new(json_object_get(doc, "members"), format_member(m, id));
    json_object_set_new(doc, "next_id", json_integer(id + 1));
    return doc;
}

json_t *replication_doc_remove(const json_t *json, const char *host)
{
    json_t *doc = json_deep_copy(json), *list = json_object_get(doc, "members");
    for (size_t i = json_array_size(list); i > 0; i--)
        if (str_eq(json_opt_str(json_array_get(list, i - 1), "host", ""), host))
            json_array_remove(list, i - 1);
    return doc;
}

json_t *replication_doc_move(const json_t *json, const char *host)
{
    json_t *doc = json_deep_copy(json);
    json_object_set_new(doc, "source", json_string(host));
    json_object_set_new(doc, "epoch", json_integer(json_opt_int(doc, "epoch", 1) + 1));
    json_object_del(doc, "sync"); /* sync.h: nobody acknowledges to the new one yet */
    return doc;
}
