/* SPDX-License-Identifier: Apache-2.0 */
/* What modules need of a database, compiled to accounts and grants: one account for each module that
 * needs it, named as the module, with just the tables that the declaration names.
 *
 *   need                       grant
 *   access: read, tables: [t]  SELECT on t
 *   access: write              SELECT, INSERT, UPDATE, DELETE on t; "*" is all tables
 *   events: publish            INSERT on the outbox of events.outbox's database
 *   events: consume            SELECT and INSERT on its inbox
 *
 * Nothing else, on no other schema, nothing global, and nobody may grant. Pure. */
#pragma once

#include "base/json/json.h"
#include "domain/model/model.h"

#define GRANTS_OUTBOX "outbox"
#define GRANTS_INBOX "inbox"

enum { GRANT_SELECT = 1, GRANT_INSERT = 2, GRANT_UPDATE = 4, GRANT_DELETE = 8 };

/* By user: [{"user": "api", "max_connections": 100, "grants":
 *   [{"access": "write", "database": "trade", "table": "orders"}, ...]}]. Without passwords. */
json_t *grants_accounts(const struct model *m, const struct model_database *db);
/* The privileges of "read", "write" or "insert"; 0: no such word. */
unsigned grants_of_access(const char *access);
/* Does the module need the rw end? (One that does not may only have the ro end.) */
bool grants_write(const struct model_grant *g);
/* Connections that one module may hold to one member: all of them if it is alone, else half, so that
 * no module starves the others. */
unsigned grants_share(const struct model *m, const struct model_database *db);
