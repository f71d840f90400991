/* SPDX-License-Identifier: Apache-2.0 */
/* Databases as control knows them: their documents, this host's snapshot, everybody's reports. */
#pragma once

#include "service/documents/documents.h"

struct control;
struct rpc_req;

void control_databases_start(struct control *c);
void control_databases_stop(struct control *c);
void control_databases_look(struct control *c); /* another revision, or this host leads now */
/* Its data role learns how it logs in to servers that others run: a secret may be another. */
void control_databases_logins(struct control *c);
/* {database: accounts that its source shall have}; taken. */
void control_databases_accounts(struct control *c, json_t *accounts);
void control_databases_tell(struct control *c); /* its data role, if it is linked */
void control_databases_linked(struct control *c); /* all that its data role must know */
/* From the state store or from the disk: before, nobody knows which engines run here. */
bool control_databases_known(const struct control *c);

/* This host is a member of a declared database, by its document. */
bool control_databases_here(const struct control *c);
/* Another certificate, or other roots: the data role gives them to its servers. */
void control_databases_identity(struct control *c);
void control_databases_report(const struct control *c, json_t *report);
/* Adds the units of this host's databases to those that the agent is told. Changed settings are
 * held back until it is this host's turn. */
void control_databases_units(struct control *c, json_t *units);

/* NULL: there is none (yet). Borrowed until the next turn of the loop. */
const json_t *control_data_doc(const struct control *c, const char *database);
/* What that host's data role last said of the database; NULL: nothing, or too long ago. */
const json_t *control_data_report(const struct control *c, const char *host, const char *database);
/* Were the documents read from the quorum within the last ten seconds? */
bool control_data_fresh(const struct control *c);
json_t *control_data_sources(const struct control *c); /* {database: region of its source} */

/* All of them as the state store has them; for an edit by who does not lead. NULL: not open. */
struct documents *control_data_docs(const struct control *c);
/* documents_edit() for the leader: the write also compares that it still leads. `done` may come at
 * once, with ERR_UNAVAILABLE, when it does not. */
void control_data_edit(struct control *c, const char *database, documents_edit_fn fn,
    documents_done_fn done, void *ctx);

void control_data_heard(struct control *c, json_t *params); /* the report of this host's data role */
void control_data_peer(struct control *c, const char *host, json_t *params);
/* {"digest"} of a schema file: answers with an open file. */
void control_data_file(struct control *c, struct rpc_req *req, json_t *params);
