/* SPDX-License-Identifier: Apache-2.0 */
#include "service/lab/priv.h"

#include "base/file/file.h"
#include "service/lab/msg.h"
#include "service/wan/wan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define WAN_TIMEOUT_MS 3000u
#define WAN_FILE_MAX (1024u * 1024)

char *links_path(const struct lab *l)
{
    return xasprintf("%s/wan.json", l->run_dir);
}

static int wan_call(const struct lab *l, const json_t *request, int fd, json_t **ret, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/wan.sock", l->run_dir);
    return msg_call(path, request, fd, WAN_TIMEOUT_MS, ret, e);
}

static bool wan_runs(const struct lab *l)
{
    const json_t *wan = lab_host(l, "wan");
    return wan && lab_host_alive(wan);
}

int links_push(struct lab *l, struct err *e)
{
    if (!wan_runs(l))
        return 0;
    _cleanup_free_ char *path = links_path(l);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open %s", path);
    _cleanup_json_ json_t *request = json_pack("{s:s}", "op", "configure");
    return wan_call(l, request, fd, NULL, e);
}

void links_detach(const struct lab *l, const char *host)
{
    _cleanup_json_ json_t *request = json_pack("{s:s,s:s}", "op", "detach", "endpoint", host);
    struct err ignored;
    if (wan_runs(l) && wan_call(l, request, -1, NULL, &ignored) < 0)
        return; /* then the kernel's last words of the host get out; it dies all the same */
}

static int load(const struct lab *l, json_t **ret, struct err *e)
{
    _cleanup_free_ char *path = links_path(l);
    int r = json_read_file(path, WAN_FILE_MAX, ret, e);
    if (r >= 0 && !json_is_array(json_object_get(*ret, "rules")))
        json_object_set_new(*ret, "rules", json_array());
    return r;
}

/* The WAN's word decides whether the configuration is good, so it is asked before the file changes
 * for good. */
static int store(struct lab *l, const json_t *config, struct err *e)
{
    _cleanup_free_ char *path = links_path(l);
    _cleanup_free_ char *text = json_text_pretty(config);
    _cleanup_str_ struct str old = STR_INIT;
    struct err ignored;
    int r = file_read(path, WAN_FILE_MAX, &old, e);
    if (r >= 0)
        r = file_write(path, text, strlen(text), 0600, e);
    if (r < 0)
        return r;
    r = links_push(l, e);
    if (r < 0 && file_write(path, old.buf, old.len, 0600, &ignored) < 0)
        return r;
    return r;
}

static json_t *find_rule(const json_t *rules, const char *from, const char *to, size_t *ret_index)
{
    size_t i;
    json_t *rule;
    json_array_foreach (rules, i, rule)
        if (!strcmp(json_opt_str(rule, "from", ""), from)
            && !strcmp(json_opt_str(rule, "to", ""), to)) {
            *ret_index = i;
            return rule;
        }
    return NULL;
}

static void lay(json_t *rules, const struct lab_link *link)
{
    size_t at;
    json_t *rule = find_rule(rules, link->from, link->to, &at);
    if (!rule) {
        rule = json_pack("{s:s,s:s}", "from", link->from, "to", link->to);
        json_array_append_new(rules, rule);
    }
    if (link->has_cut)
        json_object_set_new(rule, "cut", json_boolean(link->cut));
    if (link->has_delay)
        json_object_set_new(rule, "delay_us", json_integer((json_int_t)link->delay_us));
    if (link->has_loss)
        json_object_set_new(rule, "loss", json_real(link->loss));
    if (link->has_rate)
        json_object_set_new(rule, "rate_bps", json_integer((json_int_t)link->rate_bps));
}

int lab_links_set(struct lab *l, const struct lab_link *links, size_t n, struct err *e)
{
    _cleanup_json_ json_t *config = NULL;
    int r = load(l, &config, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        lay(json_object_get(config, "rules"), &links[i]);
    return store(l, config, e);
}

int lab_link_set(struct lab *l, const struct lab_link *link, struct err *e)
{
    return lab_links_set(l, link, 1, e);
}

int lab_link_mend(struct lab *l, const char *from, const char *to, unsigned *ret_n, struct err *e)
{
    _cleanup_json_ json_t *config = NULL;
    int r = load(l, &config, e);
    if (r < 0)
        return r;
    json_t *rules = json_object_get(config, "rules");
    size_t at;
    for (*ret_n = 0; find_rule(rules, from, to, &at); (*ret_n)++)
        json_array_remove(rules, at);
    return *ret_n ? store(l, config, e) : 0;
}

int lab_wan_status(const struct lab *l, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *request = json_pack("{s:s}", "op", "status");
    _cleanup_json_ json_t *answer = NULL, *config = NULL;
    int r = wan_call(l, request, -1, &answer, e);
    if (r >= 0)
        r = load(l, &config, e);
    if (r < 0)
        return r;
    *ret = json_incref(json_object_get(answer, "status"));
    json_object_set(*ret, "rules", json_object_get(config, "rules"));
    return 0;
}
