/* SPDX-License-Identifier: Apache-2.0 */
/* What a host must know before anybody answers it: certificates, boot record, boot units. Written
 * to its disk from outside, through its first process; what is there already and the same is left
 * alone. */
#include "service/lab/provision.h"

#include "base/arena/arena.h"
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "domain/model/model.h"
#include "domain/spec/boot.h"
#include "service/enrol/records.h"
#include "service/lab/priv.h"

#include <errno.h>
#include <string.h>

#define FILE_MAX (4u * 1024 * 1024)

/* ---- writing ---- */

static int write_if_new(
    const char *root, const char *path, const json_t *j, bool *changed, struct err *e)
{
    _cleanup_free_ char *file = xasprintf("%s%s", root, path), *text = json_text_pretty(j);
    _cleanup_str_ struct str old = STR_INIT;
    struct err ignored;
    if (file_read(file, FILE_MAX, &old, &ignored) >= 0 && !strcmp(str_cstr(&old), text))
        return 0;
    *changed = true;
    return file_write_durable(file, text, strlen(text), 0644, e);
}

static int write_certificates(
    const struct provision *p, const struct model_host *h, const char *root, struct err *e)
{
    const struct model *m = p->model;
    int64_t now = clock_wall_ms();
    _cleanup_free_ char *dir = xasprintf("%s" LAB_STATE_ROOT "/pki", root);
    size_t n = h->addresses.n + (h->is_public ? h->region->addresses.n : 0);
    _cleanup_free_ struct ip_addr *all = xcalloc(n, sizeof *all);
    memcpy(all, h->addresses.v, h->addresses.n * sizeof *all);
    if (h->is_public)
        memcpy(all + h->addresses.n, h->region->addresses.v, h->region->addresses.n * sizeof *all);
    int r = pki_issue_host(p->ca, m->platform, h->name, all, n, 0, dir, now, NULL, e);
    return r < 0 || !h->is_public ? r
                                  : pki_issue_edge(p->ca, p->names, p->n_names, 0, dir, now, NULL, e);
}

int provision_host(const struct provision *p, const struct model_host *h, const char *root,
    bool *ret_changed, struct err *e)
{
    _cleanup_json_ json_t *boot = enrol_boot(p->model, h, p->geo, true),
                          *units = enrol_boot_units(p->model, h, NULL);
    _cleanup_free_ char *agent = xasprintf("%s" LAB_STATE_ROOT "/agent", root);
    struct boot *check = NULL;
    bool units_changed = false;
    *ret_changed = false;
    int r = boot_parse(boot, &check, e);
    boot_free(check);
    if (r >= 0)
        r = write_certificates(p, h, root, e);
    if (r >= 0)
        r = file_mkdirs(agent, 0700, e);
    if (r >= 0)
        r = write_if_new(root, LAB_STATE_ROOT "/agent/boot-units.json", units, &units_changed, e);
    return r < 0 ? r
                 : write_if_new(
                     root, BOOT_PATH, boot, ret_changed, e); /* last: the host starts by it */
}

/* ---- names on the edge's certificate ---- */

static void add_name(
    struct str *seen, struct arena *a, const char **names, size_t *n, const char *name)
{
    _cleanup_free_ char *mark = xasprintf("\n%s\n", name);
    if (*n >= PKI_NAMES_MAX || (seen->len && strstr(seen->buf, mark)))
        return;
    str_add(seen, mark);
    names[(*n)++] = arena_strdup(a, name);
}

const char *const *provision_edge_names(const struct model *m, struct arena *a, size_t *ret_n)
{
    const char **names = arena_alloc(a, PKI_NAMES_MAX * sizeof *names);
    _cleanup_str_ struct str seen = STR_INIT;
    *ret_n = 0;
    add_name(&seen, a, names, ret_n, m->domain);
    add_name(&seen, a, names, ret_n, arena_printf(a, "*.%s", m->domain));
    for (size_t i = 0; i < m->n_modules; i++)
        for (size_t k = 0; k < m->modules[i].n_routes; k++)
            for (size_t n = 0; n < m->modules[i].routes[k].n_names; n++)
                add_name(&seen, a, names, ret_n, m->modules[i].routes[k].names[n]);
    return names;
}
