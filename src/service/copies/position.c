/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/priv.h"

#include "base/str/str.h"
#include "proto/gtid/gtid.h"

bool copies_is_behind(const char *gtid, const char *reached)
{
    struct gtid_set a, b;
    struct err ignored;
    bool yes = false;
    if (gtid_set_parse(GTID_MARIADB, gtid, strlen(gtid), &a, &ignored) < 0)
        return false;
    if (gtid_set_parse(GTID_MARIADB, reached, strlen(reached), &b, &ignored) >= 0) {
        yes = gtid_set_contains(&b, &a);
        gtid_set_done(&b);
    }
    gtid_set_done(&a);
    return yes;
}

bool copies_is_past(const char *reached, const char *gtid)
{
    struct gtid_set a, b;
    struct err ignored;
    bool yes = false;
    if (gtid_set_parse(GTID_MARIADB, reached, strlen(reached), &a, &ignored) < 0)
        return false;
    if (gtid_set_parse(GTID_MARIADB, gtid, strlen(gtid), &b, &ignored) >= 0) {
        for (size_t i = 0; i < b.n; i++) {
            struct gtid here;
            yes |= gtid_set_domain(&a, b.at[i].domain, &here) && here.seq > b.at[i].seq;
        }
        gtid_set_done(&b);
    }
    gtid_set_done(&a);
    return yes;
}

int copies_union(char reached[COPIES_GTID_MAX], const char *to, struct err *e)
{
    _cleanup_gtid_ struct gtid_set a = {0}, b = {0}, both = {0};
    _cleanup_str_ struct str text = STR_INIT;
    if (gtid_set_parse(GTID_MARIADB, reached, strlen(reached), &a, e) < 0
        || gtid_set_parse(GTID_MARIADB, to, strlen(to), &b, e) < 0
        || gtid_set_union(&a, &b, &both, e) < 0)
        return e->code;
    gtid_set_format(&both, &text);
    return str_copy(reached, COPIES_GTID_MAX, str_cstr(&text))
               ? 0
               : err_set(e, ERR_LIMIT, "a GTID position of %zu bytes", text.len);
}

int copies_replace(char position[COPIES_GTID_MAX], const char *with, struct err *e)
{
    _cleanup_gtid_ struct gtid_set a = {0}, b = {0};
    _cleanup_str_ struct str text = STR_INIT;
    if (gtid_set_parse(GTID_MARIADB, position, strlen(position), &a, e) < 0
        || gtid_set_parse(GTID_MARIADB, with, strlen(with), &b, e) < 0)
        return e->code;
    str_add(&text, with);
    for (size_t i = 0; i < a.n; i++) {
        struct gtid there;
        if (!gtid_set_domain(&b, a.at[i].domain, &there))
            str_addf(&text, ",%u-%u-%llu", a.at[i].domain, a.at[i].server,
                (unsigned long long)a.at[i].seq);
    }
    return str_copy(position, COPIES_GTID_MAX, str_cstr(&text))
               ? 0
               : err_set(e, ERR_LIMIT, "a GTID position of %zu bytes", text.len);
}
