/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/records.h"

#include "base/arena/arena.h"
#include "base/str/str.h"
#include "domain/model/model.h"
#include "domain/spec/boot.h"
#include "domain/spec/spec.h"

#include <errno.h>
#include <string.h>

#define ETCD_CLIENT_PORT 2379
#define ETCD_PEER_PORT 2380
#define STATE_ROOT "/var/lib/mcp"

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

int enrol_find_geo(const struct model *m, const char *file, char ret[PATH_MAX], struct err *e)
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

json_t *enrol_boot(const struct model *m, const struct model_host *h, const char *geo, bool is_lab)
{
    static const char *const roles[] = {
        "control", "agent", "resolver", "mesh", "data", "dns", "edge"};
    _cleanup_arena_ struct arena *a = arena_new(0);
    struct boot b = {.platform = m->platform,
        .host = h->name,
        .region = h->region->name,
        .addresses = {h->addresses.v, h->addresses.n},
        .bridge = h->bridge,
        .roles = roles,
        .n_roles = h->is_public ? 7 : 5,
        .geo = geo};
    b.cgroup = arena_printf(a, "/mcp/%s.%s", m->platform, h->name);
    if (h->is_public)
        b.public = (struct boot_addrs){h->region->addresses.v, h->region->addresses.n};
    fill_peers(m, h, a, &b);
    fill_state(m, h, a, &b);
    json_t *j = boot_to_json(&b);
    if (is_lab) /* the invented buyers' ranges count as their countries */
        json_object_set_new(j, "lab", json_true());
    return j;
}

/* ---- boot units: what must run for the state store to exist ---- */

char *enrol_peer_url(const struct model_host *h)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    return xstrdup(url(a, &h->addresses.v[0], ETCD_PEER_PORT));
}

char *enrol_client_url(const struct model_host *h)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    return xstrdup(url(a, &h->addresses.v[0], ETCD_CLIENT_PORT));
}

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

/* Each member that the cluster ever had knows its data by a folder of its own: what is left of one
 * before is neither in the way nor lost. */
static const char *data_dir(const struct enrol_cluster *c, struct arena *a)
{
    return c && c->id ? arena_printf(a, STATE_ROOT "/etcd-%s", c->id) : STATE_ROOT "/etcd";
}

/* The three timing and size figures are etcd's own defaults but for the quota: the state store
 * holds decisions, not data, so a small one fails early and loudly instead of filling a disk. */
static const char *const *etcd_command(const struct model *m, const struct model_host *h,
    const struct enrol_cluster *c, struct arena *a)
{
    const char *peer = url(a, &h->addresses.v[0], ETCD_PEER_PORT);
    const char *client = url(a, &h->addresses.v[0], ETCD_CLIENT_PORT);
    /* An authority of its own: a host's leaf opens nothing here. Members are told from clients by
     * their common name (domain/capolicy). */
    static const char ca[] = STATE_ROOT "/pki/state-ca.pem", cert[] = STATE_ROOT "/pki/state.pem",
                      key[] = STATE_ROOT "/pki/state.key";
    const char *const argv[] = {"/usr/bin/etcd", "--name", h->name, "--data-dir",
        data_dir(c, a), "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--listen-client-urls", client, "--advertise-client-urls", client, "--initial-cluster",
        c ? arena_strdup(a, c->initial) : initial_cluster(m, a), "--initial-cluster-state",
        c && c->existing ? "existing" : "new", "--initial-cluster-token",
        arena_printf(a, "mcp-%s", m->platform), "--client-cert-auth", "--peer-client-cert-auth",
        "--trusted-ca-file", ca, "--peer-trusted-ca-file", ca, "--peer-cert-allowed-cn",
        "mcp-state-member", "--cert-file", cert, "--key-file", key, "--peer-cert-file", cert,
        "--peer-key-file", key, "--heartbeat-interval", "100", "--election-timeout", "1000",
        "--quota-backend-bytes", "67108864", "--auto-compaction-mode", "revision",
        "--auto-compaction-retention", "1000", "--logger", "zap", "--log-level", "warn", NULL};
    const char **copy = arena_alloc(a, sizeof argv);
    memcpy(copy, argv, sizeof argv);
    return copy;
}

json_t *enrol_boot_units(
    const struct model *m, const struct model_host *h, const struct enrol_cluster *c)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    json_t *units = json_array();
    if (c || is_member(m, h)) {
        static const char *const no_env[] = {NULL};
        struct unit_spec s = {.name = "etcd-1",
            .kind = UNIT_ENGINE,
            .module = "etcd",
            .runtime = UNIT_EXEC,
            .command = etcd_command(m, h, c, a),
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
