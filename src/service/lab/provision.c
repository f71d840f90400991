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
#include "domain/spec/spec.h"
#include "service/lab/priv.h"

#include <errno.h>
#include <string.h>

#define ETCD_CLIENT_PORT 2379
#define ETCD_PEER_PORT 2380
#define FILE_MAX (4u * 1024 * 1024)

/* ---- the country database ---- */

static bool PRINTF_LIKE(2, 3) try_geo(char ret[PATH_MAX], const char *fmt, ...)
{
    char path[PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    return n > 0 && n < PATH_MAX && realpath(path, ret) != NULL;
}

int provision_find_geo(const struct model *m, const char *file, char ret[PATH_MAX], struct err *e)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[MAX(n, 0)] = '\0';
    int exe_dir = (int)(strrchr(exe, '/') ? strrchr(exe, '/') - exe : 0);
    int file_dir = (int)(strrchr(file, '/') - file);
    const char *named = m->routing.geo_database;
    if (named
        && (named[0] == '/' ? try_geo(ret, "%s", named)
                            : try_geo(ret, "%.*s/%s", file_dir, file, named)))
        return 0;
    if (named) {
        err_set(e, ERR_NOT_FOUND, "routing.geo.database: there is no %s", named);
        err_fix(e, "correct the path, or leave it out for the installed one");
        return ERR_NOT_FOUND;
    }
    if (try_geo(ret, "%.*s/../geo/country.mmdb", exe_dir, exe)
        || try_geo(ret, "/usr/share/mcp/country.mmdb"))
        return 0;
    err_set(e, ERR_NOT_FOUND,
        "no country database: neither %.*s/../geo/country.mmdb nor /usr/share/mcp/country.mmdb",
        exe_dir, exe);
    err_fix(e, "`make setup` fetches one; or name an mmdb file in routing.geo.database");
    return ERR_NOT_FOUND;
}

/* ---- boot record ---- */

/* "https://10.20.0.11:2379" */
static char *url(struct arena *a, const struct ip_addr *addr, unsigned port)
{
    char text[IP_TEXT_SIZE];
    ip_format(addr, text);
    return arena_printf(a, addr->family == 6 ? "https://[%s]:%u" : "https://%s:%u", text, port);
}

static bool is_member(const struct model *m, const struct model_host *h)
{
    for (size_t i = 0; model_has_etcd(m) && i < m->n_members; i++)
        if (m->members[i] == h)
            return true;
    return false;
}

static void fill_peers(
    const struct model *m, const struct model_host *self, struct arena *a, struct boot *b)
{
    struct boot_peer *peers = arena_alloc(a, (m->n_hosts + 1) * sizeof *peers);
    for (size_t i = 0; i < m->n_hosts; i++) {
        const struct model_host *h = &m->hosts[i];
        if (h != self)
            peers[b->n_peers++] =
                (struct boot_peer){h->name, h->region->name, {h->addresses.v, h->addresses.n}};
    }
    b->peers = peers;
}

static void fill_state(
    const struct model *m, const struct model_host *self, struct arena *a, struct boot *b)
{
    if (!model_has_etcd(m)) {
        b->state = BOOT_SQLITE;
        return;
    }
    const char **endpoints = arena_alloc(a, m->n_members * sizeof *endpoints);
    for (size_t i = 0; i < m->n_members; i++)
        endpoints[i] = url(a, &m->members[i]->addresses.v[0], ETCD_CLIENT_PORT);
    b->state = BOOT_ETCD;
    b->endpoints = endpoints;
    b->n_endpoints = m->n_members;
    b->member = is_member(m, self) ? self->name : NULL;
}

json_t *provision_boot(const struct model *m, const struct model_host *h, const char *geo)
{
    static const char *const roles[] = {"control", "agent", "resolver", "dns", "edge"};
    _cleanup_arena_ struct arena *a = arena_new(0);
    struct boot b = {.platform = m->platform,
        .host = h->name,
        .region = h->region->name,
        .addresses = {h->addresses.v, h->addresses.n},
        .bridge = h->bridge,
        .roles = roles,
        .n_roles = h->is_public ? 5 : 3,
        .geo = geo};
    b.cgroup = arena_printf(a, "/mcp/%s.%s", m->platform, h->name);
    if (h->is_public)
        b.public = (struct boot_addrs){h->region->addresses.v, h->region->addresses.n};
    fill_peers(m, h, a, &b);
    fill_state(m, h, a, &b);
    json_t *j = boot_to_json(&b);
    json_object_set_new(
        j, "lab", json_true()); /* the invented buyers' ranges count as their countries */
    return j;
}

/* ---- boot units: what must run for the state store to exist ---- */

static const char *initial_cluster(const struct model *m, struct arena *a)
{
    struct str s = STR_INIT;
    for (size_t i = 0; i < m->n_members; i++)
        str_addf(&s, "%s%s=%s", i ? "," : "", m->members[i]->name,
            url(a, &m->members[i]->addresses.v[0], ETCD_PEER_PORT));
    const char *text = arena_strdup(a, str_cstr(&s));
    str_done(&s);
    return text;
}

/* The three timing and size figures are etcd's own defaults but for the quota: the state store
 * holds decisions, not data, so a small one fails early and loudly instead of filling a disk. */
static const char *const *etcd_command(
    const struct model *m, const struct model_host *h, struct arena *a)
{
    const char *peer = url(a, &h->addresses.v[0], ETCD_PEER_PORT);
    const char *client = url(a, &h->addresses.v[0], ETCD_CLIENT_PORT);
    const char *const argv[] = {"/usr/bin/etcd", "--name", h->name, "--data-dir",
        LAB_STATE_ROOT "/etcd", "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--listen-client-urls", client, "--advertise-client-urls", client, "--initial-cluster",
        initial_cluster(m, a), "--initial-cluster-state", "new", "--initial-cluster-token",
        arena_printf(a, "mcp-%s", m->platform), "--client-cert-auth", "--peer-client-cert-auth",
        "--trusted-ca-file", LAB_STATE_ROOT "/pki/ca.pem", "--peer-trusted-ca-file",
        LAB_STATE_ROOT "/pki/ca.pem", "--cert-file", LAB_STATE_ROOT "/pki/host.pem", "--key-file",
        LAB_STATE_ROOT "/pki/host.key", "--peer-cert-file", LAB_STATE_ROOT "/pki/host.pem",
        "--peer-key-file", LAB_STATE_ROOT "/pki/host.key", "--heartbeat-interval", "100",
        "--election-timeout", "1000", "--quota-backend-bytes", "67108864", "--auto-compaction-mode",
        "revision", "--auto-compaction-retention", "1000", "--logger", "zap", "--log-level", "warn",
        NULL};
    const char **copy = arena_alloc(a, sizeof argv);
    memcpy(copy, argv, sizeof argv);
    return copy;
}

json_t *provision_boot_units(const struct model *m, const struct model_host *h)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    json_t *units = json_array();
    if (is_member(m, h)) {
        static const char *const no_env[] = {NULL};
        struct unit_spec s = {.name = "etcd-1",
            .kind = UNIT_ENGINE,
            .module = "etcd",
            .runtime = UNIT_EXEC,
            .command = etcd_command(m, h, a),
            .env = no_env,
            .port = ETCD_CLIENT_PORT,
            .probe = {.kind = PROBE_TCP,
                .interval_ms = 2000,
                .timeout_ms = 1000,
                .start_timeout_ms = 60000,
                .failures = 5},
            .limits = {.memory_bytes = 512ull << 20, .cpu_milli = 0, .pids = 256},
            .stop_timeout_ms = 10000};
        json_array_append_new(units, unit_spec_format(&s));
    }
    return json_pack("{s:i,s:o}", "revision", 0, "units", units);
}

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
    int r = pki_issue_host(p->ca, m->platform, h->name, all, n, dir, now, NULL, e);
    return r < 0 || !h->is_public ? r
                                  : pki_issue_edge(p->ca, p->names, p->n_names, dir, now, NULL, e);
}

int provision_host(const struct provision *p, const struct model_host *h, const char *root,
    bool *ret_changed, struct err *e)
{
    _cleanup_json_ json_t *boot = provision_boot(p->model, h, p->geo),
                          *units = provision_boot_units(p->model, h);
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
