/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/secret/secret.h"

#include "base/str/str.h"
#include "domain/secret/made.h"
#include "domain/secret/priv.h"

static json_t *versions_of(const json_t *doc)
{
    return json_object_get(doc, "versions");
}

static int check_version(const json_t *v, struct err *e)
{
    const char *text;
    int64_t number;
    json_t *keys;
    int r = json_get_int(v, "v", 1, INT64_MAX, &number, e);
    if (r >= 0)
        r = json_get_str(v, "value", &text, e);
    if (r >= 0)
        r = json_get_obj(v, "keys", &keys, e);
    return r;
}

int secret_doc_check(const json_t *doc, struct err *e)
{
    int64_t format, last = 0;
    json_t *list, *v;
    size_t i;
    const char *name;
    int r = json_get_int(doc, "format", SECRET_FORMAT, SECRET_FORMAT, &format, e);
    if (r >= 0)
        r = json_get_str(doc, "name", &name, e);
    if (r >= 0)
        r = json_get_array(doc, "versions", &list, e);
    if (r < 0)
        return r;
    if (!model_secret_name_valid(name))
        return err_set(e, ERR_INVALID, "\"name\" is not as secrets may be called");
    if (json_array_size(list) > SECRET_VERSIONS_MAX)
        return err_set(e, ERR_LIMIT, "over %d versions", SECRET_VERSIONS_MAX);
    json_array_foreach (list, i, v) {
        r = check_version(v, e);
        if (r < 0)
            return r;
        if (json_opt_int(v, "v", 0) <= last)
            return err_set(e, ERR_INVALID, "\"versions\" are not in order");
        last = json_opt_int(v, "v", 0);
    }
    return 0;
}

void secret_history_add(json_t *doc, const struct secret_change_note *note, json_t *what)
{
    json_t *old = json_object_get(doc, "history");
    json_t *list = json_is_array(old) ? json_copy(old) : json_array();
    json_array_append_new(
        list, json_pack("{s:s,s:s,s:o}", "at", note->at, "by", note->by, "what", what));
    while (json_array_size(list) > SECRET_HISTORY_MAX)
        json_array_remove(list, 0);
    json_object_set_new(doc, "history", list);
}

int64_t secret_doc_next(const json_t *old)
{
    return MAX(json_opt_int(old, "next", 1), secret_doc_newest(old) + 1);
}

int secret_doc_add(const json_t *old, const char *name, const char *value, json_t *keys,
    int64_t keep, const struct secret_change_note *note, json_t **ret, struct err *e)
{
    int64_t v = secret_doc_next(old);
    json_t *version = json_pack("{s:I,s:s,s:s,s:s,s:o}", "v", (json_int_t)v, "created", note->at,
        "by", note->by, "value", value, "keys", keys);
    if (!version)
        return err_set(e, ERR_INVALID, "not UTF-8");
    json_t *doc = old ? json_copy((json_t *)old)
                      : json_pack("{s:i,s:s,s:[],s:[]}", "format", SECRET_FORMAT, "name", name,
                          "grants", "versions");
    json_t *list = old ? json_copy(versions_of(old)) : json_array();
    json_array_append_new(list, version);
    json_object_set_new(doc, "versions", list);
    json_object_set_new(doc, "next", json_integer((json_int_t)v + 1));
    if (keep || !json_object_get(doc, "keep"))
        json_object_set_new(doc, "keep", json_integer(keep ? keep : 1));
    secret_history_add(doc, note, json_sprintf("version %lld set", (long long)v));
    if (json_array_size(list) > SECRET_VERSIONS_MAX) {
        json_decref(doc);
        err_set(e, ERR_LIMIT, "%s has %d versions already, and some host has not taken the newest",
            name, SECRET_VERSIONS_MAX);
        err_fix(e, "look which in `mcp secret list`; a host that is gone for good: `mcp host remove`");
        return ERR_LIMIT;
    }
    *ret = doc;
    return 0;
}

static size_t find_grant(const json_t *doc, const char *module)
{
    json_t *list = json_object_get(doc, "grants"), *m;
    size_t i;
    json_array_foreach (list, i, m)
        if (str_eq(json_string_value(m), module))
            return i;
    return SIZE_MAX;
}

bool secret_doc_granted(const json_t *doc, const char *module)
{
    return find_grant(doc, module) != SIZE_MAX;
}

int secret_doc_grant(const json_t *old, const char *module, bool granted,
    const struct secret_change_note *note, json_t **ret, struct err *e)
{
    size_t at = find_grant(old, module);
    if ((at != SIZE_MAX) == granted) {
        *ret = json_incref((json_t *)old);
        return 0;
    }
    json_t *list = json_copy(json_object_get(old, "grants"));
    if (!list)
        list = json_array();
    if (granted)
        json_array_append_new(list, json_string(module));
    else
        json_array_remove(list, at);
    if (json_array_size(list) > SECRET_GRANTS_MAX) {
        json_decref(list);
        return err_set(e, ERR_LIMIT, "over %d modules", SECRET_GRANTS_MAX);
    }
    json_t *doc = json_copy((json_t *)old);
    json_object_set_new(doc, "grants", list);
    secret_history_add(doc, note,
        json_sprintf(granted ? "granted to module %s" : "taken from module %s", module));
    *ret = doc;
    return 0;
}

json_t *secret_doc_with_keys(const json_t *old, int64_t v, json_t *keys)
{
    json_t *doc = json_copy((json_t *)old), *list = json_array(), *version;
    size_t i;
    json_array_foreach (versions_of(old), i, version) {
        json_t *copy = json_copy(version);
        if (json_opt_int(version, "v", 0) == v)
            json_object_set(copy, "keys", keys);
        json_array_append_new(list, copy);
    }
    json_decref(keys);
    json_object_set_new(doc, "versions", list);
    return doc;
}

json_t *secret_doc_pruned(const json_t *old)
{
    json_t *list = versions_of(old);
    size_t n = json_array_size(list), keep = (size_t)MAX(json_opt_int(old, "keep", 1), 1);
    if (n <= keep)
        return json_incref((json_t *)old);
    json_t *doc = json_copy((json_t *)old), *kept = json_array();
    for (size_t i = n - keep; i < n; i++)
        json_array_append(kept, json_array_get(list, i));
    json_object_set_new(doc, "versions", kept);
    return doc;
}

int64_t secret_doc_newest(const json_t *doc)
{
    json_t *list = versions_of(doc);
    size_t n = json_array_size(list);
    return n ? json_opt_int(json_array_get(list, n - 1), "v", 0) : 0;
}

json_t *secret_doc_version(const json_t *doc, int64_t v)
{
    size_t i;
    json_t *version;
    json_array_foreach (versions_of(doc), i, version)
        if (json_opt_int(version, "v", 0) == v)
            return version;
    return NULL;
}

json_t *secret_doc_for_host(const json_t *doc, const char *host)
{
    json_t *list = versions_of(doc);
    for (size_t i = json_array_size(list); i-- > 0;) {
        json_t *version = json_array_get(list, i);
        if (!json_opt_bool(version, "waits", false)
            && json_object_get(json_object_get(version, "keys"), host))
            return version;
    }
    return NULL;
}

bool secret_module_asks(const struct model_module *module, const char *name)
{
    for (size_t i = 0; i < module->n_secrets; i++)
        if (!strcmp(module->secrets[i].name, name))
            return true;
    return false;
}

static bool stands_in(const struct model_module *module, const struct model_region *region)
{
    for (size_t i = 0; i < module->n_instances; i++)
        if (module->instances[i].region == region)
            return true;
    return false;
}

/* Any control may come to lead, and who leads tells of alarms. */
static bool tells_by(const struct model *m, const char *name)
{
    for (size_t i = 0; i < m->n_notify; i++)
        if (str_eq(m->notify[i].url_secret, name))
            return true;
    return false;
}

/* It asks servers that others run, and logs in with it. */
static bool logs_in(const struct model *m, const char *name, const struct model_host *host)
{
    for (size_t i = 0; i < m->n_databases; i++)
        if (str_eq(m->databases[i].secret, name)
            && model_database_member(&m->databases[i], host->name))
            return true;
    return false;
}

bool secret_host_may(const struct model *m, const json_t *doc, const struct model_host *host)
{
    if (!model_has_etcd(m))
        return true; /* one host alone */
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i] == host)
            return true;
    const char *name = json_opt_str(doc, "name", "");
    if (logs_in(m, name, host) || tells_by(m, name))
        return true;
    for (size_t i = 0; i < m->n_modules; i++) {
        const struct model_module *module = &m->modules[i];
        if (secret_module_asks(module, name) && secret_doc_granted(doc, module->name)
            && stands_in(module, host->region))
            return true;
    }
    for (size_t i = 0; i < m->n_functions; i++) /* any host may have to run it */
        if (secret_module_asks(&m->functions[i].as, name)
            && secret_doc_granted(doc, m->functions[i].as.name))
            return true;
    return false;
}

static json_t *hosts_of(const json_t *version)
{
    json_t *list = json_array();
    const char *host;
    json_t *box;
    json_object_foreach (json_object_get(version, "keys"), host, box)
        json_array_append_new(list, json_string(host));
    return list;
}

static json_t *asked_by(const struct model *m, const char *name)
{
    json_t *list = json_array();
    for (size_t i = 0; m && i < m->n_modules; i++)
        if (secret_module_asks(&m->modules[i], name))
            json_array_append_new(list, json_string(m->modules[i].name));
    for (size_t i = 0; m && i < m->n_functions; i++)
        if (secret_module_asks(&m->functions[i].as, name))
            json_array_append_new(list, json_string(m->functions[i].as.name));
    return list;
}

json_t *secret_doc_show(const json_t *doc, const struct model *m)
{
    int64_t newest = secret_doc_newest(doc);
    const json_t *v = secret_doc_version(doc, newest);
    const char *name = json_opt_str(doc, "name", "");
    json_t *grants = json_object_get(doc, "grants");
    json_t *j = json_pack("{s:s,s:I,s:s,s:s,s:i,s:I,s:o,s:o,s:o}", "name", name, "version",
        (json_int_t)newest, "created", json_opt_str(v, "created", ""), "by",
        json_opt_str(v, "by", ""), "versions", (int)json_array_size(versions_of(doc)), "keep",
        (json_int_t)json_opt_int(doc, "keep", 1), "grants",
        json_is_array(grants) ? json_copy(grants) : json_array(), "hosts", hosts_of(v), "asked_by",
        asked_by(m, name));
    ASSERT(j);
    if (secret_doc_made(doc))
        json_object_set_new(j, "phase", json_string(secret_phase_name(secret_doc_phase(doc))));
    return j;
}
