/* SPDX-License-Identifier: Apache-2.0 */
/* Small helpers of the dialects: options of statements, columns of answers. */
#include "driver/sql/priv.h"

#include <inttypes.h>

void sql_add_option(struct str *out, const char *name, const char *text)
{
    if (!text)
        return;
    str_addf(out, ", %s=", name);
    sql_add_text(out, text);
}

void sql_add_option_u64(struct str *out, const char *name, uint64_t value)
{
    str_addf(out, ", %s=%" PRIu64, name, value);
}

int sql_attach_check(const struct sql_attach *a, size_t password_max, struct err *e)
{
    if (!a->host || !a->host[0] || !a->user)
        return err_set(e, ERR_INVALID, "replication needs a host and a user to connect to");
    if (a->password && secret_len(a->password) > password_max)
        return err_set(
            e, ERR_LIMIT, "a password for replication has at most %zu bytes", password_max);
    return 0;
}

uint64_t sql_u64_or(const struct sql_row *row, const char *name, uint64_t otherwise)
{
    uint64_t v;
    return sql_u64(row, name, &v) ? v : otherwise;
}

void sql_take_text(const struct sql_row *row, const char *name, char *out, size_t size)
{
    str_copy(out, size, sql_text(row, name)); /* cut where it is longer */
}

int sql_take_gtid(enum gtid_flavour flavour, const struct sql_row *row, const char *name,
    struct gtid_set *ret, struct err *e)
{
    const struct sql_cell *cell = sql_cell(row, name);
    struct gtid_set fresh;
    int r = gtid_set_parse(
        flavour, cell && cell->value ? cell->value : "", cell ? cell->len : 0, &fresh, e);
    if (r < 0)
        return err_wrap(e, "%s", name);
    gtid_set_done(ret);
    *ret = fresh;
    return 0;
}

int sql_one_row(struct sql_conn *c, const char *statement, struct sql_rows *rows,
    const struct sql_row **ret, struct err *e)
{
    int r = sql_query(c, statement, NULL, rows, e);
    *ret = r >= 0 && rows->n ? &rows->v[0] : NULL;
    return r;
}

void sql_add_require(struct str *out, const struct sql_account *a)
{
    if (a->require == SQL_REQUIRE_X509 && a->subject) {
        str_add(out, " REQUIRE SUBJECT ");
        sql_add_text(out, a->subject);
    } else {
        static const char *const words[] = {[SQL_REQUIRE_NONE] = " REQUIRE NONE",
            [SQL_REQUIRE_SSL] = " REQUIRE SSL",
            [SQL_REQUIRE_X509] = " REQUIRE X509"};
        str_add(out, words[a->require]);
    }
    str_addf(out, " WITH MAX_USER_CONNECTIONS %" PRIu32, a->max_connections);
}
