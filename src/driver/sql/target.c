/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/sql/sql.h"

static const char *copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

struct sql_target *sql_target_copy(const struct sql_target *t)
{
    struct sql_target *n = xmalloc(sizeof *n);
    *n = *t;
    n->socket = copy(t->socket);
    n->host = copy(t->host);
    n->user = copy(t->user);
    n->database = copy(t->database);
    n->program = copy(t->program);
    n->tls.ca = copy(t->tls.ca);
    n->tls.cert = copy(t->tls.cert);
    n->tls.key = copy(t->tls.key);
    if (t->password)
        n->password = secret_new(secret_bytes(t->password), secret_len(t->password));
    return n;
}

void sql_target_free(struct sql_target *t)
{
    if (!t)
        return;
    const char *texts[] = {
        t->socket, t->host, t->user, t->database, t->program, t->tls.ca, t->tls.cert, t->tls.key};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free((char *)texts[i]);
    secret_free(t->password);
    free(t);
}

void sql_target_format(const struct sql_target *t, struct str *out)
{
    if (t->socket)
        str_addf(out, "unix:%s", t->socket);
    else
        str_addf(out, strchr(t->host, ':') ? "[%s]:%u" : "%s:%u", t->host,
            t->port ? (unsigned)t->port : 3306u);
}
