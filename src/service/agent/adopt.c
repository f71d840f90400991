/* SPDX-License-Identifier: Apache-2.0 */
/* From one agent to the next: unit.json in each unit's run folder holds its life and its spec. */
#include "service/agent/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"

#include <dirent.h>
#include <errno.h>
#include <sys/syscall.h>

#define SAVED_MAX (1u * 1024 * 1024)

void agent_unit_save(struct agent_unit *u)
{
    struct err ignored;
    _cleanup_json_ json_t *j = json_pack("{s:i,s:o,s:O,s:b,s:I}", "format", 1, "life",
        unit_save(&u->life), "spec", u->spec->json, "rolling", (int)u->rolling, "since_wall_ms",
        (json_int_t)u->since_wall_ms);
    char *text = json_text(j);
    if (u->saved && !strcmp(text, u->saved)) {
        free(text);
        return;
    }
    _cleanup_free_ char *path = xasprintf("%s/unit.json", u->run_dir);
    free(u->saved);
    u->saved = text;
    if (file_mkdirs(u->run_dir, 0711, &ignored) < 0
        || file_write(path, text, strlen(text), 0600, &ignored) < 0) {
        free(u->saved); /* tried again at the next step */
        u->saved = NULL;
    }
}

/* Makes the unit from its file; NULL when the file says nothing usable. */
static struct agent_unit *load(struct agent *a, const char *name)
{
    _cleanup_free_ char *path = xasprintf("%s/%s/unit.json", a->units_dir, name);
    _cleanup_json_ json_t *j = NULL;
    struct unit_specs *doc = NULL;
    struct unit_params p;
    struct err ignored;
    if (json_read_file(path, SAVED_MAX, &j, &ignored) < 0)
        return NULL;
    _cleanup_json_ json_t *wrap =
        json_pack("{s:i,s:[O]}", "revision", 0, "units", json_object_get(j, "spec"));
    if (!wrap || unit_specs_parse(wrap, &doc, &ignored) < 0)
        return NULL;
    unit_params_of(&doc->v[0], &p);
    struct unit life;
    if (strcmp(doc->v[0].name, name) != 0
        || unit_restore(&life, json_object_get(j, "life"), &p, clock_boot_ms(), &ignored) < 0) {
        unit_specs_free(doc);
        return NULL;
    }
    struct agent_unit *u = agent_unit_new(a, name);
    u->doc = doc;
    u->spec = &doc->v[0];
    u->life = life;
    u->rolling = json_opt_bool(j, "rolling", false);
    u->since_wall_ms = json_opt_int(j, "since_wall_ms", clock_wall_ms());
    return u;
}

static void find_place(struct agent_unit *u)
{
    struct agent *a = u->agent;
    struct ip_prefix half = slots_half(&a->cfg.host.bridge, false);
    u->slot = slots_find(&a->slots, u->spec->name);
    if (u->spec->runtime == UNIT_EXEC)
        u->address = a->cfg.own_address;
    else if (!u->slot || !slot_address(u->slot, &half, &u->address))
        u->address = (struct ip_addr){0};
}

static void adopt(struct agent_unit *u)
{
    struct runtime_state s;
    struct err ignored;
    find_place(u);
    if (!u->life.alive)
        return;
    bool ran = u->life.state != UNIT_STARTING;
    if (runtime_read_state(u->run_dir, &s, &ignored) >= 0 && s.incarnation == u->life.incarnation) {
        u->pid = s.pid;
        u->started_told = ran;
    }
    pid_t shim = runtime_shim_pid(u->run_dir);
    if (shim)
        agent_unit_watch(u, shim);
    else
        agent_unit_gone(u);
}

/* Its life is not readable, so nobody can say what it should be: it goes, and starts anew if it is wanted. */
static void end_unknown(struct agent *a, const char *name)
{
    _cleanup_free_ char *run_dir = xasprintf("%s/%s", a->units_dir, name);
    pid_t shim = runtime_shim_pid(run_dir);
    _cleanup_close_ int fd = shim ? (int)syscall(SYS_pidfd_open, shim, 0) : -1;
    struct err ignored;
    if (fd >= 0 && runtime_signal(fd, true, &ignored) < 0)
        return;
}

int agent_adopt(struct agent *a, struct err *e)
{
    DIR *d = opendir(a->units_dir);
    if (!d)
        return errno == ENOENT ? 0 : err_errno(e, errno, "read %s", a->units_dir);
    for (struct dirent *entry; (entry = readdir(d));)
        if (unit_name_valid(entry->d_name) && !load(a, entry->d_name))
            end_unknown(a, entry->d_name);
    closedir(d);
    for (struct agent_unit *u = a->units, *next; u; u = next) {
        next = u->next;
        adopt(u);
    }
    return 0;
}
