/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/grants/grants.h"

#include "base/str/str.h"

static const struct {
    const char *access;
    unsigned privileges;
} words[] = {
    {"read", GRANT_SELECT},
    {"write", GRANT_SELECT | GRANT_INSERT | GRANT_UPDATE | GRANT_DELETE},
    {"insert", GRANT_INSERT},
};

unsigned grants_of_access(const char *access)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (str_eq(words[i].access, access))
            return words[i].privileges;
    return 0;
}

static void add(json_t *list, const char *access, const struct model_database *db, const char *table)
{
    json_array_append_new(list,
        json_pack("{s:s,s:s,s:s}", "access", access, "database", db->name, "table", table));
}

static json_t *grants_of(const struct model_grant *g)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->n_tables; i++)
        add(list, data_access_name(g->access[i]), g->database, g->tables[i]);
    if (g->publish)
        add(list, "insert", g->database, GRANTS_OUTBOX);
    if (g->consume) {
        add(list, "insert", g->database, GRANTS_INBOX);
        add(list, "read", g->database, GRANTS_INBOX);
    }
    return list;
}

bool grants_write(const struct model_grant *g)
{
    bool write = g->publish || g->consume;
    for (size_t i = 0; i < g->n_tables; i++)
        write |= g->access[i] == DATA_WRITE;
    return write;
}

unsigned grants_share(const struct model *m, const struct model_database *db)
{
    size_t holders = 0;
    for (size_t i = 0; i < m->n_modules; i++)
        holders += model_grant(&m->modules[i], db) != NULL;
    return holders > 1 ? (db->connections + 1) / 2 : db->connections;
}

/* The server learns a moment late that a connection has gone; who counts is the mesh, this is only
 * behind it. */
#define SPARE_CONNECTIONS 8

json_t *grants_accounts(const struct model *m, const struct model_database *db)
{
    json_t *list = json_array();
    unsigned most = grants_share(m, db) + SPARE_CONNECTIONS;
    for (size_t i = 0; i < m->n_modules; i++) {
        const struct model_grant *g = model_grant(&m->modules[i], db);
        if (g)
            json_array_append_new(list, json_pack("{s:s,s:i,s:o}", "user", m->modules[i].name,
                                            "max_connections", (int)most, "grants", grants_of(g)));
    }
    return list;
}
