/* SPDX-License-Identifier: Apache-2.0 */
/* The question behind `mcp explain dns`: checks it, finds the country as the dns role would, asks
 * steering. */
#include "service/steer/priv.h"

#include <ctype.h>

#define NAME_MAX_LEN 253u

/* Lower case, without the trailing dot. */
static int read_name(const char *text, char out[NAME_MAX_LEN + 1], struct err *e)
{
    size_t len = strlen(text);
    if (len && text[len - 1] == '.')
        len--;
    if (len == 0 || len > NAME_MAX_LEN)
        return err_set(e, ERR_USAGE, "'%.80s' is no domain name", text);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)tolower((unsigned char)text[i]);
    out[len] = '\0';
    return 0;
}

struct found {
    int bits; /* of the prefix; -1: none yet */
    char *country;
    const char *source;
};

/* The longest prefix decides, of two equal ones the later: as the dns role reads the snapshot. */
static void consider(struct found *f, const struct ip_addr *from, const struct ip_prefix *p,
    const char *country, const char *source)
{
    if (ip_prefix_contains(p, from) && p->bits >= f->bits) {
        f->bits = p->bits;
        f->source = source;
        str_copy(f->country, 3, country);
    }
}

/* Overrides first, then the database. Returns what told it, "" when nothing did. */
static const char *find_country(
    const struct steer_service *s, const struct ip_addr *from, char ret[3])
{
    const struct model_lab *lab = &s->model->lab;
    const struct model_routing *r = &s->model->routing;
    struct found f = {-1, ret, ""};
    ret[0] = '\0';
    for (size_t i = 0; s->o.lab && i < lab->n_clients; i++)
        consider(&f, from, &lab->clients[i].prefix, lab->clients[i].country, "lab.clients");
    for (size_t i = 0; i < r->n_overrides; i++)
        consider(
            &f, from, &r->overrides[i].prefix, r->overrides[i].country, "routing.geo.overrides");
    if (f.bits >= 0)
        return f.source;
    if (s->o.handler->country && s->o.handler->country(s->o.ctx, from, ret))
        return "the country database";
    ret[0] = '\0';
    return "";
}

int steer_service_explain(
    struct steer_service *s, const json_t *params, json_t **ret, struct err *e)
{
    const char *name, *from;
    char name_text[NAME_MAX_LEN + 1], from_text[IP_TEXT_SIZE], type[12] = {0}, country[3];
    struct ip_addr address;
    int r = json_get_str(params, "name", &name, e);
    if (r >= 0)
        r = json_get_str(params, "from", &from, e);
    if (r >= 0)
        r = read_name(name, name_text, e);
    if (r < 0)
        return r;
    if (!ip_parse(from, &address))
        return err_set(e, ERR_USAGE, "'%.80s' is no address", from);
    ip_format(&address, from_text);
    const char *asked_type = json_opt_str(params, "type", "A");
    if (!str_copy(type, sizeof type, asked_type) || !*type)
        return err_set(e, ERR_USAGE, "'%.20s' is no record type", asked_type);
    for (char *p = type; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    if (!s->model)
        return err_set(e, ERR_UNAVAILABLE, "no revision has taken effect here yet");
    struct steer_question q = {
        .name = name_text, .type = type, .from = from_text, .country = country};
    q.source = find_country(s, &address, country);
    *ret = steer_explain(s->steer, s->model, &q);
    return 0;
}
