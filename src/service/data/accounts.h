/* SPDX-License-Identifier: Apache-2.0 */
/* The accounts of modules in one database, kept as declared (domain/grants): made, changed, given
 * what is missing, taken what is more, dropped when nobody declares them any more. What is as it
 * should be is not touched, so an idle call writes nothing to the binary log, and a grant that
 * stays is never away for a moment.
 *
 * Only at the source: replicas get accounts by replication. Which accounts are ours the table
 * mcp_dts.accounts says; others are nobody's business here. Blocks (driver/sql): for a worker thread. */
#pragma once

#include "base/json/json.h"
#include "driver/sql/sql.h"

/* accounts: [{"user", "passwords": ["*HEX", ...], "max_connections", "grants":
 * [{"access", "database", "table"}]}]. An account without a password is left alone: its password is
 * not known yet. Returns how many grants have to wait, because their table is not there yet: to be
 * called again when it may be. */
MUST_CHECK int data_accounts_reconcile(
    struct sql_conn *c, const json_t *accounts, struct err *e);
/* What the server has, at any member: {"api": ["6BB4837E", ...]}, the first digits of each password
 * that it takes. */
MUST_CHECK int data_accounts_read(struct sql_conn *c, json_t **ret, struct err *e);
