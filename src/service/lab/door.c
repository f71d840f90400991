/* SPDX-License-Identifier: Apache-2.0 */
/* The way in for this computer's browser: the forwarder's socket on 127.0.0.1 and what the
 * forwarder is told. The port stays the same as long as the lab lives, unless somebody took it
 * while the client was off. */
#include "service/lab/priv.h"

#include "base/file/file.h"
#include "domain/model/model.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 128
#define CONFIG_MAX (256u * 1024)
#define PEM_MAX 65536u

static char *config_path(const struct lab *l)
{
    return xasprintf("%s/forwarder.json", l->run_dir);
}

static int bind_to(int fd, uint16_t port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return bind(fd, (struct sockaddr *)&sa, sizeof sa);
}

int door_listen(struct lab *l, int *ret, struct err *e)
{
    json_t *door = json_object_get(l->state, "forwarder");
    uint16_t wanted = (uint16_t)json_opt_int(door, "port", 0);
    int on = 1;
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, errno, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool bound = bind_to(fd, wanted) == 0 || (wanted && bind_to(fd, 0) == 0);
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    if (!bound || listen(fd, BACKLOG) < 0 || getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return err_errno(e, errno, "listen on 127.0.0.1");
    if (!door) {
        door = json_object();
        json_object_set_new(l->state, "forwarder", door);
    }
    json_object_set_new(door, "address", json_string("127.0.0.1"));
    json_object_set_new(door, "port", json_integer(ntohs(sa.sin_port)));
    *ret = util_steal_fd(&fd);
    return 0;
}

void door_want_port(struct lab *l, uint16_t port)
{
    json_t *door = json_object_get(l->state, "forwarder");
    if (!door) {
        door = json_object();
        json_object_set_new(l->state, "forwarder", door);
    }
    json_object_set_new(door, "port", json_integer(port));
}

static json_t *nameservers(const struct model *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->routing.n_nameservers; i++) {
        const struct model_addrs *addrs = &m->routing.nameservers[i].region->addresses;
        for (size_t k = 0; k < addrs->n; k++) {
            char text[IP_TEXT_SIZE];
            ip_format(&addrs->v[k], text);
            json_array_append_new(list, json_string(text));
        }
    }
    return list;
}

/* Is the country sent to a region first that can be killed for show? */
static bool is_served_elsewhere(const struct model *m, const char *country)
{
    for (size_t i = 0; i < m->routing.n_countries; i++)
        if (!strcmp(m->routing.countries[i].code, country))
            return m->routing.countries[i].order.v[0]->duty == REGION_DR;
    return false;
}

/* The buyer that was chosen, if there still is one of that country; else one whom the standby region
 * serves, else the first. NULL: there is none. */
static const char *choose(const struct lab *l, const struct model *m)
{
    const char *now = json_opt_str(json_object_get(l->state, "forwarder"), "as", "");
    const char *best = m->lab.n_clients ? m->lab.clients[0].country : NULL;
    for (size_t i = m->lab.n_clients; i-- > 0;) {
        if (!strcmp(m->lab.clients[i].country, now))
            return now;
        if (is_served_elsewhere(m, m->lab.clients[i].country))
            best = m->lab.clients[i].country;
    }
    return best;
}

static int write_config(const struct lab *l, const json_t *config, bool *ret_changed, struct err *e)
{
    _cleanup_free_ char *path = config_path(l), *text = json_text_pretty(config);
    _cleanup_str_ struct str old = STR_INIT;
    struct err ignored;
    *ret_changed =
        file_read(path, CONFIG_MAX, &old, &ignored) < 0 || strcmp(str_cstr(&old), text) != 0;
    return *ret_changed ? file_write(path, text, strlen(text), 0600, e) : 0;
}

static int apply(struct lab *l, const json_t *config, struct err *e)
{
    bool changed;
    int r = write_config(l, config, &changed, e);
    json_t *door = json_object_get(l->state, "forwarder");
    if (r >= 0 && door)
        json_object_set(door, "as", json_object_get(config, "as"));
    if (r >= 0)
        r = lab_save(l, e);
    const json_t *client = lab_host(l, "client");
    if (r >= 0 && changed && client && lab_host_alive(client))
        r = lab_machine_call(l, "client", "restart", NULL, e);
    return r;
}

int door_configure(struct lab *l, const struct model *m, struct err *e)
{
    const char *as = choose(l, m), *ca = json_opt_str(l->state, "ca", "");
    _cleanup_str_ struct str pem = STR_INIT;
    if (!as || !m->routing.n_nameservers)
        return 0;
    int r = file_read(ca, PEM_MAX, &pem, e);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *config = json_pack("{s:o,s:O,s:s,s:s,s:s}", "nameservers",
        nameservers(m), "buyers", json_object_get(json_object_get(l->state, "client"), "buyers"),
        "as", as, "domain", m->domain, "ca", pem.buf);
    return apply(l, config, e);
}

int lab_buyers(const struct lab *l, json_t **ret, struct err *e)
{
    _cleanup_free_ char *path = config_path(l);
    int r = json_read_file(path, CONFIG_MAX, ret, e);
    if (r < 0)
        err_fix(e, "`mcp up` with ranges under lab.clients makes buyers");
    const json_t *ranges = json_object_get(lab_host(l, "client"), "ranges");
    if (r >= 0 && ranges)
        json_object_set(*ret, "ranges", (json_t *)(uintptr_t)ranges);
    return r;
}

int lab_set_buyer(struct lab *l, const char *country, struct err *e)
{
    _cleanup_json_ json_t *config = NULL;
    int r = lab_buyers(l, &config, e);
    if (r < 0)
        return r;
    json_t *buyers = json_object_get(config, "buyers");
    if (!json_object_get(buyers, country)) {
        _cleanup_str_ struct str known = STR_INIT;
        const char *key;
        json_t *unused;
        json_object_foreach (buyers, key, unused)
            str_addf(&known, "%s%s", known.len ? ", " : "", key);
        err_set(e, ERR_NOT_FOUND, "the lab has no buyer in %s", country);
        err_fix(e, "there are some in %s; lab.clients declares them", str_cstr(&known));
        return ERR_NOT_FOUND;
    }
    json_object_set_new(config, "as", json_string(country));
    json_object_del(config, "ranges");
    return apply(l, config, e);
}
