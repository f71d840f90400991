/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/spec/boot.h"

#include "base/arena/arena.h"

/* Names become file names, user names and parts of ids: one DNS label. */
static int get_name(
    const json_t *obj, const char *key, struct arena *a, const char **ret, struct err *e)
{
    const char *s;
    int r = json_get_str(obj, key, &s, e);
    if (r < 0)
        return r;
    size_t len = strlen(s);
    if (!len || len > BOOT_NAME_MAX || strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != len
        || s[0] == '-')
        return err_set(
            e, ERR_INVALID, "\"%s\" is no name of small letters, digits and dashes", key);
    *ret = arena_strdup(a, s);
    return 0;
}

static int get_array(const json_t *obj, const char *key, size_t max, json_t **ret, struct err *e)
{
    int r = json_get_array(obj, key, ret, e);
    if (r < 0)
        return r;
    if (json_array_size(*ret) > max)
        return err_set(e, ERR_LIMIT, "\"%s\" has %zu entries, allowed are %zu", key,
            json_array_size(*ret), max);
    return 0;
}

static int get_addrs(
    const json_t *obj, const char *key, struct arena *a, struct boot_addrs *ret, struct err *e)
{
    json_t *list, *item;
    size_t i;
    int r = get_array(obj, key, BOOT_ADDRS_MAX, &list, e);
    if (r < 0)
        return r;
    struct ip_addr *v = arena_alloc(a, (json_array_size(list) + 1) * sizeof *v);
    json_array_foreach (list, i, item) {
        const char *text = json_string_value(item);
        if (!text || !ip_parse(text, &v[i]))
            return err_set(e, ERR_INVALID, "\"%s\"[%zu] is no address", key, i);
    }
    *ret = (struct boot_addrs){v, json_array_size(list)};
    return 0;
}

static int get_texts(const json_t *obj, const char *key, size_t max, struct arena *a,
    const char *const **ret, size_t *ret_n, struct err *e)
{
    json_t *list, *item;
    size_t i;
    int r = get_array(obj, key, max, &list, e);
    if (r < 0)
        return r;
    const char **v = arena_alloc(a, (json_array_size(list) + 1) * sizeof *v);
    json_array_foreach (list, i, item) {
        const char *text = json_string_value(item);
        if (!text || !*text || strlen(text) != json_string_length(item))
            return err_set(e, ERR_INVALID, "\"%s\"[%zu] is no text", key, i);
        v[i] = arena_strdup(a, text);
    }
    *ret = v;
    *ret_n = json_array_size(list);
    return 0;
}

static int parse_roles(const json_t *tree, struct boot *b, struct err *e)
{
    int r = get_texts(tree, "roles", BOOT_ROLES_MAX, b->arena, &b->roles, &b->n_roles, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < b->n_roles; i++) {
        if (strlen(b->roles[i]) > 15
            || strspn(b->roles[i], "abcdefghijklmnopqrstuvwxyz") != strlen(b->roles[i]))
            return err_set(e, ERR_INVALID, "\"roles\"[%zu] is no role's name", i);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(b->roles[i], b->roles[k]))
                return err_set(e, ERR_INVALID, "\"roles\" names %s twice", b->roles[i]);
    }
    return 0;
}

static int parse_state(const json_t *tree, struct boot *b, struct err *e)
{
    json_t *state;
    const char *kind;
    int r = json_get_obj(tree, "state", &state, e);
    if (r >= 0)
        r = json_get_str(state, "kind", &kind, e);
    if (r < 0)
        return r;
    if (!strcmp(kind, "sqlite")) {
        b->state = BOOT_SQLITE;
        return 0;
    }
    if (strcmp(kind, "etcd") != 0)
        return err_set(e, ERR_INVALID, "\"state\": kind is sqlite or etcd");
    b->state = BOOT_ETCD;
    r = get_texts(
        state, "endpoints", BOOT_ENDPOINTS_MAX, b->arena, &b->endpoints, &b->n_endpoints, e);
    if (r < 0)
        return r;
    if (!b->n_endpoints)
        return err_set(e, ERR_INVALID, "\"state\": etcd without endpoints");
    json_t *member = json_object_get(state, "member");
    return member && !json_is_null(member) ? get_name(member, "name", b->arena, &b->member, e) : 0;
}

static int parse_peers(const json_t *tree, struct boot *b, struct err *e)
{
    json_t *list, *item;
    size_t i;
    if (!json_object_get(tree, "peers"))
        return 0;
    int r = get_array(tree, "peers", BOOT_PEERS_MAX, &list, e);
    if (r < 0)
        return r;
    struct boot_peer *v = arena_alloc(b->arena, (json_array_size(list) + 1) * sizeof *v);
    json_array_foreach (list, i, item) {
        r = get_name(item, "host", b->arena, &v[i].host, e);
        if (r >= 0)
            r = get_name(item, "region", b->arena, &v[i].region, e);
        if (r >= 0)
            r = get_addrs(item, "addresses", b->arena, &v[i].addresses, e);
        if (r < 0)
            return err_wrap(e, "\"peers\"[%zu]", i);
    }
    b->peers = v;
    b->n_peers = json_array_size(list);
    return 0;
}

/* The bridge's gateway gets the resolver's sockets: on an address of the host they would meet those
 * of dns. */
static int parse_bridge(const json_t *tree, struct boot *b, struct err *e)
{
    const char *text;
    int r = json_get_str(tree, "bridge", &text, e);
    if (r < 0)
        return r;
    if (!ip_prefix_parse(text, &b->bridge) || !ip_prefix_nth(&b->bridge, 2, &b->gateway)
        || !ip_prefix_nth(&b->bridge, 1, &b->gateway))
        return err_set(
            e, ERR_INVALID, "\"bridge\" %s is no network with room for containers", text);
    for (size_t i = 0; i < b->addresses.n + b->public.n; i++) {
        const struct ip_addr *a =
            i < b->addresses.n ? &b->addresses.v[i] : &b->public.v[i - b->addresses.n];
        if (ip_prefix_contains(&b->bridge, a)) {
            char shown[IP_TEXT_SIZE];
            ip_format(a, shown);
            return err_set(
                e, ERR_INVALID, "\"bridge\" %s contains the host's own address %s", text, shown);
        }
    }
    return 0;
}

static int parse_cgroup(const json_t *tree, struct boot *b, struct err *e)
{
    const char *path = json_opt_str(tree, "cgroup", "/mcp");
    if (path[0] != '/' || strstr(path, "/..") || strlen(path) > 200)
        return err_set(e, ERR_INVALID, "\"cgroup\" is no absolute path");
    b->cgroup = arena_strdup(b->arena, path);
    const char *geo = json_opt_str(tree, "geo", NULL);
    b->geo = geo ? arena_strdup(b->arena, geo) : NULL;
    return 0;
}

static int parse(const json_t *tree, struct boot *b, struct err *e)
{
    int64_t format;
    int r = json_get_int(tree, "format", BOOT_FORMAT, BOOT_FORMAT, &format, e);
    if (r >= 0)
        r = get_name(tree, "platform", b->arena, &b->platform, e);
    if (r >= 0)
        r = get_name(tree, "host", b->arena, &b->host, e);
    if (r >= 0)
        r = get_name(tree, "region", b->arena, &b->region, e);
    if (r >= 0)
        r = get_addrs(tree, "addresses", b->arena, &b->addresses, e);
    if (r >= 0 && !b->addresses.n)
        r = err_set(e, ERR_INVALID, "\"addresses\" is empty: a host needs a private address");
    if (r >= 0)
        r = get_addrs(tree, "public", b->arena, &b->public, e);
    if (r >= 0)
        r = parse_bridge(tree, b, e);
    if (r >= 0)
        r = parse_roles(tree, b, e);
    if (r >= 0)
        r = parse_state(tree, b, e);
    if (r >= 0)
        r = parse_peers(tree, b, e);
    return r >= 0 ? parse_cgroup(tree, b, e) : r;
}

int boot_parse(const json_t *tree, struct boot **ret, struct err *e)
{
    struct arena *a = arena_new(4096);
    struct boot *b = arena_alloc(a, sizeof *b);
    b->arena = a;
    int r = parse(tree, b, e);
    if (r < 0) {
        boot_free(b);
        return err_wrap(e, "boot record");
    }
    b->tree = json_deep_copy(tree);
    *ret = b;
    return 0;
}

void boot_free(struct boot *b)
{
    if (!b)
        return;
    json_decref(b->tree);
    arena_free(b->arena);
}

static json_t *addrs_to_json(const struct boot_addrs *addrs)
{
    json_t *list = json_array();
    for (size_t i = 0; i < addrs->n; i++) {
        char text[IP_TEXT_SIZE];
        ip_format(&addrs->v[i], text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static json_t *texts_to_json(const char *const *v, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(v[i]));
    return list;
}

static json_t *state_to_json(const struct boot *b)
{
    if (b->state == BOOT_SQLITE)
        return json_pack("{s:s}", "kind", "sqlite");
    json_t *member = b->member ? json_pack("{s:s}", "name", b->member) : json_null();
    return json_pack("{s:s,s:o,s:o}", "kind", "etcd", "endpoints",
        texts_to_json(b->endpoints, b->n_endpoints), "member", member);
}

json_t *boot_to_json(const struct boot *b)
{
    char bridge[IP_TEXT_SIZE];
    json_t *peers = json_array();
    for (size_t i = 0; i < b->n_peers; i++)
        json_array_append_new(
            peers, json_pack("{s:s,s:s,s:o}", "host", b->peers[i].host, "region",
                       b->peers[i].region, "addresses", addrs_to_json(&b->peers[i].addresses)));
    ip_prefix_format(&b->bridge, bridge);
    json_t *j = json_pack("{s:i,s:s,s:s,s:s,s:o,s:o,s:s,s:o,s:o,s:o,s:s}", "format", BOOT_FORMAT,
        "platform", b->platform, "host", b->host, "region", b->region, "addresses",
        addrs_to_json(&b->addresses), "public", addrs_to_json(&b->public), "bridge", bridge,
        "roles", texts_to_json(b->roles, b->n_roles), "state", state_to_json(b), "peers", peers,
        "cgroup", b->cgroup);
    ASSERT(j);
    if (b->geo)
        json_object_set_new(j, "geo", json_string(b->geo));
    return j;
}

bool boot_has_role(const struct boot *b, const char *role)
{
    for (size_t i = 0; i < b->n_roles; i++)
        if (!strcmp(b->roles[i], role))
            return true;
    return false;
}
