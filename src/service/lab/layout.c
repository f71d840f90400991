/* SPDX-License-Identifier: Apache-2.0 */
/* Writes what a lab consists of, over what was there before. */
#include "service/lab/priv.h"

#include "base/file/file.h"
#include "domain/model/model.h"

#include <string.h>

static int write_json(const char *path, const json_t *j, struct err *e)
{
    _cleanup_free_ char *text = json_text_pretty(j);
    return file_write(path, text, strlen(text), 0600, e);
}

/* Whoever is not in the declaration any more is switched off, with its disk. */
static int drop_strangers(struct lab *l, const json_t *next, struct err *e)
{
    _cleanup_json_ json_t *gone = json_array();
    size_t i, k;
    json_t *host, *other;
    json_array_foreach (json_object_get(l->state, "hosts"), i, host) {
        bool stays = false;
        json_array_foreach (next, k, other)
            stays |= !strcmp(json_opt_str(host, "name", ""), json_opt_str(other, "name", "?"));
        if (!stays)
            json_array_append(gone, host);
    }
    int r = json_array_size(gone) ? lab_power_off(l, gone, e) : 0;
    json_array_foreach (gone, i, host) {
        _cleanup_free_ char *image = xasprintf("%s/%s.img", l->dir, json_opt_str(host, "name", ""));
        if (r >= 0)
            r = file_remove_tree(image, e);
    }
    return r;
}

/* A machine whose description changed (another address, another region) is a new machine with the
 * old disk: it is powered off here and started by whoever starts the dead. */
static int write_machine(struct lab *l, const struct model *m, json_t *host, struct err *e)
{
    const char *name = json_opt_str(host, "name", "");
    _cleanup_free_ char *path = xasprintf("%s/machine/%s.json", l->run_dir, name);
    _cleanup_json_ json_t *next = plan_machine(l, m, host), *old = NULL;
    struct err ignored;
    bool same = json_read_file(path, 1024 * 1024, &old, &ignored) >= 0 && json_equal(old, next);
    int r = same ? 0 : write_json(path, next, e);
    if (r < 0 || same || !lab_host_alive(host) || lab_host_is(host, "wan"))
        return r;
    _cleanup_json_ json_t *only = json_pack("[O]", host);
    return lab_power_off(l, only, e);
}

/* Rules that still name something stay in force. */
static void keep_rules(json_t *wan, const json_t *old)
{
    size_t i;
    json_t *rule;
    json_array_foreach (json_object_get(old, "rules"), i, rule) {
        const char *ends[] = {json_opt_str(rule, "from", ""), json_opt_str(rule, "to", "")};
        unsigned known = 0;
        for (size_t k = 0; k < 2; k++) {
            bool found = false;
            size_t n;
            json_t *p;
            json_array_foreach (json_object_get(wan, "endpoints"), n, p)
                found |= !strcmp(json_opt_str(p, "name", ""), ends[k])
                         || !strcmp(json_opt_str(p, "region", ""), ends[k]);
            known += found;
        }
        if (known == 2)
            json_array_append(json_object_get(wan, "rules"), rule);
    }
}

static int write_wan(struct lab *l, const struct model *m, struct err *e)
{
    _cleanup_free_ char *path = links_path(l);
    _cleanup_json_ json_t *next = plan_wan(m), *old = NULL;
    struct err ignored;
    if (json_read_file(path, 1024 * 1024, &old, &ignored) >= 0)
        keep_rules(next, old);
    int r = write_json(path, next, e);
    return r < 0 ? r : links_push(l, e);
}

/* A new entry, with the process of the old one. */
static json_t *adopt(const struct lab *l, json_t *host)
{
    const json_t *old = lab_host(l, json_opt_str(host, "name", ""));
    if (old) {
        json_object_set_new(host, "pid", json_integer(json_opt_int(old, "pid", 0)));
        json_object_set_new(host, "start_time", json_integer(json_opt_int(old, "start_time", 0)));
    }
    return host;
}

static int make_folders(const struct lab *l, struct err *e)
{
    _cleanup_free_ char *machine = xasprintf("%s/machine", l->run_dir);
    _cleanup_free_ char *log = xasprintf("%s/log", l->dir);
    int r = file_mkdirs(machine, 0700, e);
    if (r >= 0)
        r = file_mkdirs(l->dir, 0700, e);
    return r < 0 ? r : file_mkdirs(log, 0700, e);
}

int lab_lay_out(struct lab *l, const struct model *m, const char *file, struct err *e)
{
    _cleanup_json_ json_t *next = plan_hosts(m);
    int r = plan_check(m, e);
    if (r >= 0)
        r = make_folders(l, e);
    if (r >= 0)
        r = drop_strangers(l, next, e);
    if (r < 0)
        return r;
    json_object_set_new(l->state, "wan", adopt(l, plan_wan_machine()));
    json_object_set_new(l->state, "client", adopt(l, plan_client(m)));
    size_t i;
    json_t *host;
    json_array_foreach (next, i, host)
        adopt(l, host);
    json_object_set(l->state, "hosts", next);
    json_object_set_new(l->state, "file", json_string(file));
    r = lab_save(l, e);
    _cleanup_json_ json_t *all = lab_machines(l);
    json_array_foreach (all, i, host)
        if (r >= 0)
            r = write_machine(l, m, host, e);
    return r < 0 ? r : write_wan(l, m, e);
}
