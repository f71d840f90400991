/* SPDX-License-Identifier: Apache-2.0 */
#include "service/wan/priv.h"

#include <string.h>

#define RULES_MAX 4096
#define DELAY_US_MAX (60 * 1000 * 1000) /* a minute; beyond it nothing works anyway */
#define RATE_BPS_MIN 8000               /* a full packet takes 1.5 s */

/* What the links and rules say about one direction so far, with how narrow the rule was that said
 * it. */
struct effect {
    bool cut;
    int delay_rank, loss_rank, rate_rank;
    uint64_t delay_ns;
    double loss;
    int shaper;
};

struct rule {
    const char *from, *to;
    bool cut;
    bool has_delay, has_loss, has_rate;
    uint64_t delay_ns;
    double loss;
    uint64_t rate_bps;
    int shaper;
};

int wan_config_endpoint(const struct wan_config *c, const char *name)
{
    for (size_t i = 0; i < c->n_endpoints; i++)
        if (!strcmp(c->endpoints[i].name, name))
            return (int)i;
    return -1;
}

static int add_prefixes(struct wan_config *c, unsigned endpoint, const json_t *list, struct err *e)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        const char *text = json_string_value(item);
        struct ip_prefix p = {0};
        if (text && ip_parse(text, &p.addr))
            p.bits = p.addr.family == 6 ? 128 : 32;
        else if (!text || !ip_prefix_parse(text, &p))
            return err_set(e, ERR_INVALID, "'%s' is neither an address nor a prefix",
                text ? text : "(not a string)");
        wan_table_add(&c->table, &p, endpoint);
    }
    return 0;
}

static int parse_endpoint(struct wan_config *c, const json_t *j, struct err *e)
{
    const char *name, *region;
    int r = json_get_str(j, "name", &name, e);
    if (r >= 0)
        r = json_get_str(j, "region", &region, e);
    if (r < 0)
        return r;
    if (wan_config_endpoint(c, name) >= 0)
        return err_set(e, ERR_INVALID, "endpoint %s is there twice", name);
    unsigned index = (unsigned)c->n_endpoints++;
    c->endpoints[index] = (struct wan_endpoint){xstrdup(name), xstrdup(region)};
    static const char *const keys[] = {"addresses", "public", "prefixes"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        r = add_prefixes(c, index, json_object_get(j, keys[i]), e);
        if (r < 0)
            return err_wrap(e, "endpoint %s", name);
    }
    return 0;
}

static int parse_endpoints(struct wan_config *c, const json_t *j, struct err *e)
{
    json_t *list;
    int r = json_get_array(j, "endpoints", &list, e);
    if (r < 0)
        return r;
    if (json_array_size(list) > WAN_ENDPOINTS_MAX)
        return err_set(e, ERR_LIMIT, "more than %u hosts", WAN_ENDPOINTS_MAX);
    c->endpoints = xcalloc(json_array_size(list), sizeof *c->endpoints);
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        r = parse_endpoint(c, item, e);
        if (r < 0)
            return r;
    }
    wan_table_seal(&c->table);
    return 0;
}

/* 2: the name of the endpoint, 1: of its region, 0: of neither. */
static int match(const struct wan_endpoint *p, const char *name)
{
    return !strcmp(p->name, name) ? 2 : !strcmp(p->region, name) ? 1 : 0;
}

static bool is_known(const struct wan_config *c, const char *name)
{
    for (size_t i = 0; i < c->n_endpoints; i++)
        if (match(&c->endpoints[i], name))
            return true;
    return false;
}

static int parse_rule(struct wan_config *c, const json_t *j, struct rule *ret, struct err *e)
{
    *ret = (struct rule){.cut = json_opt_bool(j, "cut", false), .shaper = -1};
    int r = json_get_str(j, "from", &ret->from, e);
    if (r >= 0)
        r = json_get_str(j, "to", &ret->to, e);
    if (r < 0)
        return r;
    if (!is_known(c, ret->from) || !is_known(c, ret->to))
        return err_set(e, ERR_NOT_FOUND, "no host or region is called %s",
            is_known(c, ret->from) ? ret->to : ret->from);
    int64_t number = 0;
    if ((ret->has_delay = json_object_get(j, "delay_us") != NULL))
        r = json_get_int(j, "delay_us", 0, DELAY_US_MAX, &number, e);
    if (r < 0)
        return r;
    ret->delay_ns = (uint64_t)number * 1000;
    const json_t *loss = json_object_get(j, "loss");
    ret->has_loss = loss != NULL;
    ret->loss = json_number_value(loss);
    if (loss && (!json_is_number(loss) || !(ret->loss >= 0 && ret->loss <= 1)))
        return err_set(e, ERR_INVALID, "loss must be a number from 0 to 1");
    number = 0;
    if ((ret->has_rate = json_object_get(j, "rate_bps") != NULL))
        r = json_get_int(j, "rate_bps", 0, INT64_MAX / 2, &number, e);
    if (r < 0)
        return r;
    if (number && number < RATE_BPS_MIN)
        return err_set(
            e, ERR_INVALID, "rate must be 0 (no limit) or at least %d bit/s", RATE_BPS_MIN);
    ret->rate_bps = (uint64_t)number;
    return 0;
}

static void apply(const struct rule *rule, int rank, struct effect *f)
{
    f->cut |= rule->cut;
    if (rule->has_delay && rank >= f->delay_rank) {
        f->delay_rank = rank;
        f->delay_ns = rule->delay_ns;
    }
    if (rule->has_loss && rank >= f->loss_rank) {
        f->loss_rank = rank;
        f->loss = rule->loss;
    }
    if (rule->has_rate && rank >= f->rate_rank) {
        f->rate_rank = rank;
        f->shaper = rule->shaper;
    }
}

static void fill_pair(
    struct wan_config *c, size_t from, size_t to, const struct rule *rules, size_t n, uint64_t seed)
{
    struct effect f = {.shaper = -1};
    for (size_t i = 0; i < n; i++) {
        int a = match(&c->endpoints[from], rules[i].from),
            b = match(&c->endpoints[to], rules[i].to);
        if (a && b)
            apply(&rules[i], a + b, &f);
    }
    size_t at = from * c->n_endpoints + to;
    struct wan_pair *p = &c->pairs[at];
    *p =
        (struct wan_pair){.cut = f.cut, .delay_ns = f.delay_ns, .loss = f.loss, .shaper = f.shaper};
    rnd_seed(&p->rnd, seed ^ (at * 0x9e3779b97f4a7c15u));
}

static int parse_rules(
    struct wan_config *c, const json_t *list, struct rule *rules, size_t *n, struct err *e)
{
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        if (*n == RULES_MAX)
            return err_set(e, ERR_LIMIT, "more than %d links and rules", RULES_MAX);
        struct rule *rule = &rules[*n];
        int r = parse_rule(c, item, rule, e);
        if (r < 0)
            return r;
        if (rule->rate_bps) {
            rule->shaper = (int)c->n_shapers;
            c->shapers[c->n_shapers++].rate_bps = rule->rate_bps;
        }
        (*n)++;
    }
    return 0;
}

static int parse_all(struct wan_config *c, const json_t *j, struct err *e)
{
    int r = parse_endpoints(c, j, e);
    if (r < 0)
        return r;
    const json_t *links = json_object_get(j, "links"), *extra = json_object_get(j, "rules");
    _cleanup_free_ struct rule *rules = xcalloc(RULES_MAX, sizeof *rules);
    size_t n = 0;
    c->shapers = xcalloc(
        MIN(json_array_size(links) + json_array_size(extra), RULES_MAX), sizeof *c->shapers);
    r = parse_rules(c, links, rules, &n, e);
    if (r >= 0)
        r = parse_rules(c, extra, rules, &n, e);
    if (r < 0)
        return r;
    c->pairs = xcalloc(c->n_endpoints * c->n_endpoints, sizeof *c->pairs);
    uint64_t seed = (uint64_t)json_opt_int(j, "seed", 1);
    for (size_t from = 0; from < c->n_endpoints; from++)
        for (size_t to = 0; to < c->n_endpoints; to++)
            fill_pair(c, from, to, rules, n, seed);
    return 0;
}

int wan_config_parse(const json_t *j, struct wan_config *ret, struct err *e)
{
    struct wan_config c = {0};
    int r = parse_all(&c, j, e);
    if (r < 0)
        wan_config_done(&c);
    else
        *ret = c;
    return r;
}

void wan_config_done(struct wan_config *c)
{
    for (size_t i = 0; i < c->n_endpoints; i++) {
        free(c->endpoints[i].name);
        free(c->endpoints[i].region);
    }
    free(c->endpoints);
    wan_table_done(&c->table);
    free(c->pairs);
    free(c->shapers);
    *c = (struct wan_config){0};
}
