/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of this folder. */
#pragma once

#include "service/drill/drill.h"

#include "base/str/str.h"
#include "service/lab/lab.h"

#include <sys/types.h>

/* What a fault is planned against. */
struct drill_site {
    const struct drill_config *config;
    struct lab *lab;
    const json_t *status;     /* of control */
    const char *database;     /* its name, or NULL: no database */
    const char *source;       /* host */
    const char *region;       /* that is struck */
    const char *other_region; /* that the database's standby is in; NULL: none */
};

/* ---- acts.c: one thing that is done to a lab, as data ("lead": true: it comes before the fault)
 *   {"op": "cut", "from", "to"}  {"op": "loss", "from", "to", "loss"}   one direction
 *   {"op": "power", "host"}  {"op": "freeze", "host"}
 *   {"op": "kill"|"stop", "host", "what", "pid", "start_time"}          SIGKILL, SIGSTOP
 *   {"op": "role", "host", "what"}   SIGKILL of the role's process, whichever it is by then
 *   {"op": "clock", "host", "offset_ms"}   wall time of its programs
 *   {"op": "fill", "host"}  {"op": "fsfreeze", "host"}                  of its own file system
 * Doing twice and undoing what was not done are harmless. */

MUST_CHECK int acts_inject(const char *platform, const json_t *acts, struct err *e);
MUST_CHECK int acts_undo(const char *platform, const json_t *acts, struct err *e);
/* Looks at the lab itself. Appends {"op", "on", "good", "read"} of each to *found; `done` what is to
 * be seen. Returns whether all of them are so; waits a little for what takes its time. */
bool acts_read_back(const char *platform, const json_t *acts, bool done, json_t *found);
/* "host hk1", "ap-hongkong -> ap-seoul". */
char *act_object(const json_t *act);

/* ---- probe.c: packets, from inside */

/* Does a packet of host `from` come back from host `to`? Negative: it could not be tried. */
int probe_reach(const struct lab *l, const json_t *from, const json_t *to);
/* Sends datagrams to nobody. */
void probe_flood(const struct lab *l, const json_t *from, const json_t *to, unsigned n);

/* ---- guard.c */

struct guard {
    int fd;
    pid_t pid;
};

/* id: of the platform's record of the drill, which ends with the guard if not before. */
MUST_CHECK int guard_start(const char *platform, const char *id, const json_t *acts,
    uint64_t max_ms, struct guard *ret, struct err *e);
/* Asks it to undo now. *ret_found: what was read back. */
MUST_CHECK int guard_undo(struct guard *g, json_t **ret_found, struct err *e);
/* Nothing is undone. */
void guard_dismiss(struct guard *g);
void guard_close(struct guard *g);

/* ---- observe.c: processes that say one JSON object a line */

struct observer {
    pid_t pid;
    int fd;
    struct str text;
};

MUST_CHECK int observe_traffic(const struct drill_config *c, const char *ledger,
    struct observer *ret, struct err *e);
/* {"event": "server", "at_ms", "host", "read_only", "server_id", "gtid"}, without the last three
 * when it does not answer. */
MUST_CHECK int observe_server(const struct drill_config *c, const char *host, const char *database,
    int not_his, struct observer *ret, struct err *e);
/* {"event": "platform", "at_ms", "doc": of the database, "state", "replicas": [state]}, each time
 * that it is another. `hosts`: whom to ask. */
MUST_CHECK int observe_platform(const struct drill_config *c, const json_t *hosts,
    const char *database, int not_his, struct observer *ret, struct err *e);
/* {"event": "read_back", "at_ms", "good", "found"}, once. */
MUST_CHECK int observe_read_back(const struct drill_config *c, const json_t *acts, int not_his,
    struct observer *ret, struct err *e);
void observe_interrupt(const struct observer *o);
void observe_end(struct observer *o);
/* What can be read now, an object for each line. False: it has ended. */
bool observe_read(struct observer *o, void (*take)(void *ctx, json_t *event), void *ctx);

/* ---- report.c */

/* Writes the evidence and the page; adds their paths to the report. */
MUST_CHECK int report_write(const char *folder, const char *base, json_t *report, struct err *e);
