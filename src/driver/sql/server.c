/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/sql/dialect.h"

#include <strings.h>

/* 10.6: seconds of expiry, the finer privileges. 8.0.23: CHANGE REPLICATION SOURCE. */
static const unsigned mariadb_min[3] = {10, 6, 0}, mysql_min[3] = {8, 0, 23};
/* 8.2: SHOW BINARY LOG STATUS, RESET BINARY LOGS AND GTIDS; 8.4 took the old words away. */
static const unsigned mysql_new[3] = {8, 2, 0};

static bool parse_numbers(const char *text, unsigned ret[3])
{
    for (size_t i = 0; i < 3; i++) {
        if (*text < '0' || *text > '9')
            return false;
        unsigned v = 0;
        for (size_t digits = 0; *text >= '0' && *text <= '9'; text++, digits++) {
            if (digits == 5)
                return false;
            v = v * 10 + (unsigned)(*text - '0');
        }
        ret[i] = v;
        if (i < 2 && *text++ != '.')
            return false;
    }
    return true;
}

static bool older(const unsigned a[3], const unsigned b[3])
{
    for (size_t i = 0; i < 3; i++)
        if (a[i] != b[i])
            return a[i] < b[i];
    return false;
}

int sql_server_parse(const char *version, const char *comment, struct sql_server *ret,
    const struct sql_dialect **ret_dialect, struct err *e)
{
    unsigned v[3];
    if (!parse_numbers(version, v))
        return err_set(e, ERR_PROTOCOL, "the server says version '%.40s'", version);
    bool maria = strcasestr(version, "mariadb") || strcasestr(comment, "mariadb");
    const unsigned *min = maria ? mariadb_min : mysql_min;
    if (older(v, min)) {
        err_set(e, ERR_REFUSED, "%s %u.%u.%u is too old: at least %u.%u.%u is needed",
            maria ? "MariaDB" : "MySQL", v[0], v[1], v[2], min[0], min[1], min[2]);
        err_fix(e, "upgrade the server");
        return ERR_REFUSED;
    }
    *ret = (struct sql_server){
        .vendor = maria ? SQL_MARIADB : SQL_MYSQL, .major = v[0], .minor = v[1], .patch = v[2]};
    str_copy(ret->version, sizeof ret->version, version);
    str_copy(ret->comment, sizeof ret->comment, comment);
    *ret_dialect = maria ? &sql_mariadb : older(v, mysql_new) ? &sql_mysql80 : &sql_mysql;
    return 0;
}
