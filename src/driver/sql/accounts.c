/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/sql/priv.h"

#include <openssl/evp.h>

/* "*" and SHA1(SHA1(password)): what the server keeps. */
void sql_password_hash(struct secret *password, char out[SQL_HASH_SIZE])
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t hash[20];
    unsigned len = sizeof hash;
    ASSERT(EVP_Digest(secret_bytes(password), secret_len(password), hash, &len, EVP_sha1(), NULL));
    ASSERT(EVP_Digest(hash, sizeof hash, hash, &len, EVP_sha1(), NULL));
    out[0] = '*';
    for (size_t i = 0; i < sizeof hash; i++) {
        out[1 + 2 * i] = digits[hash[i] >> 4];
        out[2 + 2 * i] = digits[hash[i] & 15];
    }
    out[SQL_HASH_SIZE - 1] = '\0';
    secret_wipe(hash, sizeof hash);
}

static int set_account(struct sql_conn *c, const struct sql_account *a, bool local, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    if (local)
        sql_script_add(&s, "SET SESSION sql_log_bin=0");
    int r = c->dialect->account_set(a, &s, e);
    if (r >= 0)
        r = sql_run(c, &s, e);
    if (local && !c->lost) { /* also after a failure: the session goes on */
        struct err again = {0};
        int back = sql_exec(c, "SET SESSION sql_log_bin=1", &again);
        if (back < 0 && r >= 0) {
            if (e)
                *e = again;
            r = back;
        }
    }
    return r;
}

int sql_account_set(struct sql_conn *c, const struct sql_account *a, bool local, struct err *e)
{
    return set_account(c, a, local, e) < 0 ? err_wrap(e, "account '%s'", a->user) : 0;
}

int sql_account_drop(struct sql_conn *c, const char *user, const char *host, struct err *e)
{
    _cleanup_str_ struct str s = STR_INIT;
    str_add(&s, "DROP USER IF EXISTS ");
    sql_add_account(&s, user, host);
    return sql_exec(c, str_cstr(&s), e) < 0 ? err_wrap(e, "drop account '%s'", user) : 0;
}

static void add_grant(
    const char *user, const char *host, const struct sql_grant *g, struct sql_script *out)
{
    _cleanup_str_ struct str s = STR_INIT;
    str_addf(&s, "GRANT %s ON ", g->privileges);
    if (g->database)
        sql_add_name(&s, g->database);
    else
        str_add(&s, "*");
    str_add(&s, ".");
    if (g->table)
        sql_add_name(&s, g->table);
    else
        str_add(&s, "*");
    str_add(&s, " TO ");
    sql_add_account(&s, user, host);
    sql_script_take(out, &s);
}

int sql_grants_set(struct sql_conn *c, const char *user, const char *host,
    const struct sql_grant *grants, size_t n, struct err *e)
{
    _cleanup_sql_script_ struct sql_script s = {0};
    _cleanup_str_ struct str revoke = STR_INIT;
    str_add(&revoke, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM ");
    sql_add_account(&revoke, user, host);
    sql_script_take(&s, &revoke);
    for (size_t i = 0; i < n; i++)
        add_grant(user, host, &grants[i], &s);
    return sql_run(c, &s, e) < 0 ? err_wrap(e, "grants of account '%s'", user) : 0;
}
