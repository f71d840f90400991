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

static void consider(const struct ip_addr *from, const struct ip_prefix *p, const char *country,
    int *best, char ret[3])
{
    if (ip_prefix_contains(p, from) && p->bits > *best) {
        *best = p->bits;
        str_copy(ret, 3, country);
    }
}

/* Overrides first, the most specific one; then the database. *ret_source says which. */
static void find_country(
    const struct steer_service *s, const struct ip_addr *from, char ret[3], const char **ret_source)
{
    const struct model *m = s->model;
    int best = -1;
    ret[0] = '\0';
    *ret_source = "";
    for (size_t i = 0; s->o.lab && i < m->lab.n_clients; i++)
        consider(from, &m->lab.clients[i].prefix, m->lab.clients[i].country, &best, ret);
    if (best >= 0)
        *ret_source = "lab.clients";
    int lab_best = best;
    for (size_t i = 0; i < m->routing.n_overrides; i++)
        consider(
            from, &m->routing.overrides[i].prefix, m->routing.overrides[i].country, &best, ret);
    if (best > lab_best)
        *ret_source = "routing.overrides";
    if (best >= 0)
        return;
    if (s->o.handler->country && s->o.handler->country(s->o.ctx, from, ret))
        *ret_source = "the country database";
    else
        ret[0] = '\0';
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
    find_country(s, &address, country, &q.source);
    *ret = steer_explain(s->steer, s->model, &q);
    return 0;
}
