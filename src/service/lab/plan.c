/* SPDX-License-Identifier: Apache-2.0 */
/* From the declaration to machines and wires. Pure: no file is touched here. */
#include "service/lab/priv.h"

#include "domain/model/model.h"

#include <string.h>

#define NAMESERVERS_MAX 3 /* resolv.conf(5) reads no more */

static json_t *address_text(const struct ip_addr *a)
{
    char text[IP_TEXT_SIZE];
    ip_format(a, text);
    return json_string(text);
}

static json_t *address_list(const struct model_addrs *addrs)
{
    json_t *list = json_array();
    for (size_t i = 0; i < addrs->n; i++)
        json_array_append_new(list, address_text(&addrs->v[i]));
    return list;
}

static json_t *client_prefixes(const struct model *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->lab.n_clients; i++) {
        char text[IP_TEXT_SIZE];
        ip_prefix_format(&m->lab.clients[i].prefix, text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

/* The invented buyer of a range: its second address (the first looks like a network's), or the only
 * one. */
static struct ip_addr buyer(const struct model_client *c)
{
    struct ip_addr a;
    if (!ip_prefix_nth(&c->prefix, 1, &a))
        a = c->prefix.addr;
    return a;
}

/* {"KR": "198.51.100.1", ...} */
static json_t *buyers(const struct model *m)
{
    json_t *by_country = json_object();
    for (size_t i = 0; i < m->lab.n_clients; i++) {
        struct ip_addr a = buyer(&m->lab.clients[i]);
        if (!json_object_get(by_country, m->lab.clients[i].country))
            json_object_set_new(by_country, m->lab.clients[i].country, address_text(&a));
    }
    return by_country;
}

/* {"KR": "198.51.100.0/28", ...}: where more buyers of a country may be. */
static json_t *ranges(const struct model *m)
{
    json_t *by_country = json_object();
    for (size_t i = 0; i < m->lab.n_clients; i++) {
        char text[IP_TEXT_SIZE];
        ip_prefix_format(&m->lab.clients[i].prefix, text);
        if (!json_object_get(by_country, m->lab.clients[i].country))
            json_object_set_new(by_country, m->lab.clients[i].country, json_string(text));
    }
    return by_country;
}

/* What the client uses when a program asks for no particular address: a buyer of each family. */
static json_t *default_buyers(const struct model *m)
{
    json_t *list = json_array();
    bool have[2] = {0};
    for (size_t i = 0; i < m->lab.n_clients; i++) {
        struct ip_addr a = buyer(&m->lab.clients[i]);
        if (have[a.family == 6])
            continue;
        have[a.family == 6] = true;
        json_array_append_new(list, address_text(&a));
    }
    return list;
}

int plan_check(const struct model *m, struct err *e)
{
    static const char *const reserved[] = {"client", "wan"};
    for (size_t k = 0; k < ARRAY_SIZE(reserved); k++)
        if (model_find_host(m, reserved[k]) || model_find_region(m, reserved[k])) {
            err_set(e, ERR_INVALID, "a lab has a machine called %s of its own", reserved[k]);
            err_fix(e, "give the host or region another name");
            return ERR_INVALID;
        }
    return 0;
}

static void add_link(json_t *links, const struct model_wan *w, bool back)
{
    const char *a = w->a->name, *b = w->b->name;
    json_array_append_new(links,
        json_pack("{s:s,s:s,s:I,s:f,s:I}", "from", back ? b : a, "to", back ? a : b, "delay_us",
            (json_int_t)w->delay_us, "loss", w->loss, "rate_bps", (json_int_t)w->rate_bps));
}

json_t *plan_wan(const struct model *m)
{
    json_t *endpoints = json_array(), *links = json_array();
    for (size_t i = 0; i < m->n_hosts; i++) {
        const struct model_host *h = &m->hosts[i];
        json_t *public = h->is_public ? address_list(&h->region->addresses) : json_array();
        json_array_append_new(
            endpoints, json_pack("{s:s,s:s,s:o,s:o}", "name", h->name, "region", h->region->name,
                           "addresses", address_list(&h->addresses), "public", public));
    }
    json_array_append_new(endpoints, json_pack("{s:s,s:s,s:o}", "name", "client", "region",
                                         "client", "prefixes", client_prefixes(m)));
    for (size_t i = 0; i < m->lab.n_wan; i++) {
        add_link(links, &m->lab.wan[i], false);
        add_link(links, &m->lab.wan[i], true);
    }
    return json_pack("{s:i,s:i,s:o,s:o,s:[]}", "format", 1, "seed", 1, "endpoints", endpoints,
        "links", links, "rules");
}

json_t *plan_hosts(const struct model *m)
{
    json_t *hosts = json_array();
    for (size_t i = 0; i < m->n_hosts; i++) {
        const struct model_host *h = &m->hosts[i];
        json_array_append_new(hosts,
            json_pack("{s:s,s:s,s:s,s:b,s:o,s:o,s:i}", "name", h->name, "kind", "host", "region",
                h->region->name, "public", h->is_public, "addresses", address_list(&h->addresses),
                "public_addresses",
                h->is_public ? address_list(&h->region->addresses) : json_array(), "pid", 0));
    }
    return hosts;
}

json_t *plan_wan_machine(void)
{
    return json_pack("{s:s,s:s,s:i}", "name", "wan", "kind", "wan", "pid", 0);
}

json_t *plan_client(const struct model *m)
{
    return json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:i}", "name", "client", "kind", "client", "region",
        "client", "addresses", default_buyers(m), "buyers", buyers(m), "ranges", ranges(m), "pid",
        0);
}

static char *resolv_text(const struct model *m)
{
    struct str text = STR_INIT;
    unsigned n = 0;
    for (size_t i = 0; i < m->routing.n_nameservers; i++) {
        const struct model_addrs *addrs = &m->routing.nameservers[i].region->addresses;
        for (size_t k = 0; k < addrs->n && n < NAMESERVERS_MAX; k++, n++) {
            char address[IP_TEXT_SIZE];
            ip_format(&addrs->v[k], address);
            str_addf(&text, "nameserver %s\n", address);
        }
    }
    str_add(&text, "options timeout:2 attempts:2\n");
    return str_steal(&text);
}

static char *hosts_text(const struct model *m, bool with_platform)
{
    struct str text = STR_INIT;
    str_add(&text, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    for (size_t i = 0; with_platform && i < m->n_hosts; i++)
        for (size_t k = 0; k < m->hosts[i].addresses.n; k++) {
            char address[IP_TEXT_SIZE];
            ip_format(&m->hosts[i].addresses.v[k], address);
            str_addf(&text, "%s %s\n", address, m->hosts[i].name);
        }
    return str_steal(&text);
}

static json_t *host_net(const struct model *m, const json_t *host)
{
    json_t *addresses = json_object_get(host, "addresses"),
           *public = json_object_get(host, "public_addresses");
    json_t *local = lab_host_is(host, "client") ? client_prefixes(m) : json_array();
    return json_pack("{s:O,s:o,s:o}", "addresses", addresses, "public",
        public ? json_incref(public) : json_array(), "local", local);
}

static json_t *service(const struct model *m, const json_t *host)
{
    if (lab_host_is(host, "wan"))
        return json_pack("{s:[s,s,s],s:s}", "argv", "mcp", "lab-role", "wan", "config", "wan.json");
    if (lab_host_is(host, "client") && (!m->lab.n_clients || !m->routing.n_nameservers))
        return json_null(); /* nobody to see as, or nobody to ask */
    if (lab_host_is(host, "client"))
        return json_pack(
            "{s:[s,s,s],s:s}", "argv", "mcp", "lab-role", "forwarder", "config", "forwarder.json");
    return json_pack("{s:[s,s]}", "argv", "mcp", "host");
}

json_t *plan_machine(const struct lab *l, const struct model *m, const json_t *host)
{
    const char *name = json_opt_str(host, "name", "");
    _cleanup_free_ char *cgroup = xasprintf("%s/%s", l->cgroup, name);
    _cleanup_free_ char *log = xasprintf("%s/log/%s.log", l->dir, name);
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:o}", "name", name, "dir", l->run_dir, "cgroup",
        cgroup, "log", log, "service", service(m, host));
    if (lab_host_is(host, "wan"))
        return j;
    _cleanup_free_ char *resolv = resolv_text(m), *hosts = hosts_text(m, lab_host_is(host, "host"));
    json_object_set_new(j, "net", host_net(m, host));
    json_object_set_new(j, "etc", json_pack("{s:s,s:s}", "resolv.conf", resolv, "hosts", hosts));
    if (lab_host_is(host, "client")) { /* a buyer's computer, except that it trusts the lab */
        _cleanup_free_ char *root = xasprintf("%s/ca/root.pem", l->dir);
        json_object_set_new(j, "trust", json_string(root));
    }
    if (lab_host_is(host, "host")) {
        _cleanup_free_ char *disk = xasprintf("%s/%s.img", l->dir, name);
        json_object_set_new(j, "disk", json_string(disk));
    }
    return j;
}
