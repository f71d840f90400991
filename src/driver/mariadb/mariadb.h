/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a MariaDB server of ours, made ready before each start; by the user that the server
 * runs as, in a process of its own (`mcp engine-files`), so that nothing in a folder of that user is
 * ever touched with root's rights. A database's folder holds
 *
 *   my.cnf    the configuration            data/     the data folder, copied from a template
 *   run/      db.sock, db.pid              binlog/, relay/
 *   tls/      ca.pem cert.pem key.pem      tmp/, spool/, vault/, evidence/
 *   seed/     with seed.ready: another data folder, to be taken instead of data/ at this start; what
 *             was there before lies in before/ then
 *
 * Making a data folder takes a second, so one is made for each version of the server and copied.
 * Blocking. */
#pragma once

#include "base/err/err.h"

struct mariadb_files {
    const char *dir;       /* "/var/lib/mcp/data/trade" */
    const char *templates; /* "/var/lib/mcp/data/.templates" */
    const char *config;    /* the text of my.cnf */
    const char *ca, *cert, *key; /* PEM; NULL: as they are */
};

/* Idempotent; a death in its middle is made good by the next call. ERR_NOT_FOUND: the server is not
 * installed. */
MUST_CHECK int mariadb_prepare(const struct mariadb_files *f, struct err *e);
/* The server's program, or NULL with *e (ERR_NOT_FOUND, how to install it). Static. */
const char *mariadb_server(struct err *e);
