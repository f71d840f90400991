/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets of this host's units. Control tells the values, per module, over the socket pair; they are
 * kept in memory here and as files in memory for each unit, never on a disk. An agent that starts
 * anew has the files of units that run, and nothing else until control has told it. */
#include "service/agent/priv.h"

#include "base/base64/base64.h"

#include <dirent.h>
#include <signal.h>

struct agent_secret {
    struct agent_secret *next;
    char *module, *name;
    int64_t v;
    struct secret *value; /* NULL: why not is in `why` */
    char *why;
    bool passing; /* a trouble that passes: files that are there serve */
};

static void drop(struct agent_secret *s)
{
    secret_free(s->value);
    free(s->module);
    free(s->name);
    free(s->why);
    free(s);
}

void agent_secrets_done(struct agent *a)
{
    for (struct agent_secret *s = a->secrets, *next; s; s = next) {
        next = s->next;
        drop(s);
    }
    a->secrets = NULL;
    json_decref(a->secrets_want);
    json_decref(a->secrets_have);
}

static struct agent_secret *find(const struct agent *a, const char *module, const char *name)
{
    for (struct agent_secret *s = a->secrets; s; s = s->next)
        if (!strcmp(s->module, module) && !strcmp(s->name, name))
            return s;
    return NULL;
}

/* ---- may it start? */

bool agent_secrets_missing(
    const struct agent_unit *u, const struct unit_spec *spec, char *why, size_t size)
{
    for (size_t i = 0; i < spec->n_secrets; i++) {
        const struct model_secret *m = &spec->secrets[i];
        const struct agent_secret *s = find(u->agent, spec->module, m->name);
        bool there = runtime_secrets_has(u->secrets_dir, m->file);
        if ((s && s->value) || (there && (!s || s->passing)))
            continue;
        if (s)
            str_copy(why, size, s->why);
        else
            snprintf(why, size, "secret %s: control has not told it yet", m->name);
        return true;
    }
    return false;
}

int agent_secrets_prepare(struct agent_unit *u, struct err *e)
{
    const struct unit_spec *spec = u->spec;
    const char *files[MODEL_SECRET_FILES_MAX];
    char why[UNIT_REASON_SIZE];
    bool changed;
    if (!spec->n_secrets) {
        runtime_secrets_close(u->secrets_dir);
        return 0;
    }
    if (agent_secrets_missing(u, spec, why, sizeof why))
        return err_set(e, ERR_UNAVAILABLE, "%s", why);
    int r = runtime_secrets_open(u->secrets_dir, e);
    for (size_t i = 0; i < spec->n_secrets && r >= 0; i++) {
        const struct model_secret *m = &spec->secrets[i];
        const struct agent_secret *s = find(u->agent, spec->module, m->name);
        files[i] = m->file;
        if (s && s->value)
            r = runtime_secrets_put(u->secrets_dir, m->file, m->mode, secret_bytes(s->value),
                secret_len(s->value), &changed, e);
    }
    if (r >= 0)
        runtime_secrets_keep(u->secrets_dir, files, spec->n_secrets);
    return r;
}

/* ---- a new value */

static void tell_unit(struct agent_unit *u, const struct model_secret *m, int64_t v)
{
    const struct agent_config *c = &u->agent->cfg;
    char message[128];
    if (m->on_change == SECRET_SIGNAL && u->pid > 0)
        kill(u->pid, m->signal);
    if (m->on_change == SECRET_RESTART) {
        u->refresh = true;
        agent_changed(u->agent);
    }
    snprintf(message, sizeof message, "secret %s is version %lld now", m->name, (long long)v);
    if (c->timeline)
        c->timeline(c->ctx, u->spec->name, message, secret_change_name(m->on_change));
}

/* The files of a unit that runs, as control has told them. */
static void renew(struct agent_unit *u)
{
    struct err e = {0};
    u->stale = false;
    if (!runtime_secrets_has(u->secrets_dir, ".")) /* its image is still on the way */
        return;
    for (size_t i = 0; i < u->spec->n_secrets; i++) {
        const struct model_secret *m = &u->spec->secrets[i];
        const struct agent_secret *s = find(u->agent, u->spec->module, m->name);
        bool changed = false;
        if (!s || !s->value)
            continue;
        if (runtime_secrets_put(u->secrets_dir, m->file, m->mode, secret_bytes(s->value),
                secret_len(s->value), &changed, &e)
            < 0) {
            if (u->agent->cfg.timeline)
                u->agent->cfg.timeline(
                    u->agent->cfg.ctx, u->spec->name, "a secret could not be renewed", e.message);
        } else if (changed) {
            tell_unit(u, m, s->v);
        }
    }
}

static void take(struct agent *a, const char *module, const char *name, const json_t *j)
{
    struct agent_secret *s = find(a, module, name);
    const char *text = json_opt_str(j, "value", NULL);
    size_t n = text ? base64_decoded_max(strlen(text)) : 0;
    if (!s) {
        s = xcalloc(1, sizeof *s);
        *s = (struct agent_secret){
            .next = a->secrets, .module = xstrdup(module), .name = xstrdup(name)};
        a->secrets = s;
    }
    secret_free(s->value);
    s->value = text ? secret_new(NULL, n) : NULL;
    if (text
        && base64_decode_into(text, strlen(text), secret_bytes(s->value), n, &n, NULL) >= 0) {
        secret_shorten(s->value, n);
    } else if (text) {
        secret_free(s->value);
        s->value = NULL;
    }
    free(s->why);
    s->why = xstrdup(json_opt_str(j, "error", "control told no value"));
    s->passing = json_opt_bool(j, "passing", false);
    s->v = json_opt_int(j, "v", 0);
}

/* What control no longer tells of the module is forgotten. */
static void forget_others(struct agent *a, const char *module, const json_t *told)
{
    for (struct agent_secret **at = &a->secrets; *at;) {
        struct agent_secret *s = *at;
        if (strcmp(s->module, module) != 0 || json_object_get(told, s->name)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        drop(s);
    }
}

void agent_secrets(struct agent *a, const json_t *params)
{
    const char *module = json_opt_str(params, "module", ""), *name;
    json_t *told = json_object_get(params, "secrets"), *one;
    if (!json_is_object(told))
        return;
    json_object_foreach (told, name, one)
        take(a, module, name, one);
    forget_others(a, module, told);
    for (struct agent_unit *u = a->units; u; u = u->next)
        u->stale |= !strcmp(u->spec->module, module) && u->spec->n_secrets;
    agent_reconcile(a);
}

/* ---- to control */

static json_t *names_of(const struct unit_spec *spec)
{
    json_t *list = json_array();
    for (size_t i = 0; i < spec->n_secrets; i++)
        json_array_append_new(list, json_string(spec->secrets[i].name));
    return list;
}

/* By module: what its wanted units ask for, and what those ask for that run still. */
static json_t *wanted(const struct agent *a)
{
    json_t *modules = json_object();
    for (const struct agent_unit *u = a->units; u; u = u->next) {
        const struct unit_spec *specs[] = {u->spec, agent_unit_latest(u)};
        for (size_t k = 0; k < ARRAY_SIZE(specs); k++) {
            if (!specs[k]->n_secrets)
                continue;
            _cleanup_json_ json_t *names = names_of(specs[k]);
            json_t *list = json_object_get(modules, specs[k]->module), *n;
            size_t i;
            if (!list)
                json_object_set_new(modules, specs[k]->module, list = json_array());
            json_array_foreach (names, i, n) {
                size_t j = 0;
                while (j < json_array_size(list) && !json_equal(json_array_get(list, j), n))
                    j++;
                if (j == json_array_size(list))
                    json_array_append(list, n);
            }
        }
    }
    return modules;
}

/* The oldest version of each that a process of this host has. */
static json_t *in_place(const struct agent *a)
{
    json_t *have = json_object();
    for (const struct agent_unit *u = a->units; u; u = u->next)
        for (size_t i = 0; u->life.alive && !u->stale && i < u->spec->n_secrets; i++) {
            const char *name = u->spec->secrets[i].name;
            const struct agent_secret *s = find(a, u->spec->module, name);
            json_t *old = json_object_get(have, name);
            if (s && s->value && (!old || json_integer_value(old) > s->v))
                json_object_set_new(have, name, json_integer((json_int_t)s->v));
        }
    return have;
}

static void tell(json_t **last, json_t *now, void (*fn)(void *, const json_t *), void *ctx)
{
    if (!json_equal(*last, now)) {
        json_decref(*last);
        *last = json_incref(now);
        if (fn)
            fn(ctx, now);
    }
    json_decref(now);
}

void agent_secrets_tell(struct agent *a)
{
    for (struct agent_unit *u = a->units; u; u = u->next)
        if (u->stale && u->life.alive && !u->jobs)
            renew(u);
    tell(&a->secrets_want, wanted(a), a->cfg.secrets_want, a->cfg.ctx);
    tell(&a->secrets_have, in_place(a), a->cfg.secrets_have, a->cfg.ctx);
}

/* ---- leftovers */

/* Of units that went while no agent ran. */
void agent_secrets_sweep(struct agent *a)
{
    DIR *d = opendir(a->secrets_dir);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (!unit_name_valid(entry->d_name) || agent_unit_find(a, entry->d_name))
            continue;
        _cleanup_free_ char *dir = xasprintf("%s/%s", a->secrets_dir, entry->d_name);
        runtime_secrets_close(dir);
    }
    closedir(d);
}
