/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of this folder. */
#pragma once

#include "service/lab/lab.h"
#include "service/lab/process.h"

struct process lab_host_process(const json_t *host);
bool lab_host_is(const json_t *host, const char *kind);

/* ---- spawn.c: a machine process under way ---- */

struct spawn {
    json_t *host; /* its entry, borrowed */
    int status;   /* reads its first words */
};

/* Starts it in its cgroup, detached from this terminal and session. Fills in the entry's pid and
 * start time. listen_fd (or -1) goes to its service. */
MUST_CHECK int spawn_machine(
    struct lab *l, json_t *host, int listen_fd, struct spawn *ret, struct err *e);
/* Waits until the machine is up or says why not. Closes s->status. */
MUST_CHECK int spawn_wait(struct spawn *s, unsigned timeout_ms, struct err *e);

/* ---- links.c ---- */

/* Sends wan.json to the WAN; success when none runs (it reads the file when it starts). */
MUST_CHECK int links_push(struct lab *l, struct err *e);
/* Tells the WAN that the host's wire is dead. */
void links_detach(const struct lab *l, const char *host);
char *links_path(const struct lab *l); /* wan.json, heap */

/* ---- door.c: the forwarder ---- */

/* Its socket on 127.0.0.1, on the port that lab.json tells if that is free. Notes address and port
 * there. */
MUST_CHECK int door_listen(struct lab *l, int *ret, struct err *e);
void door_want_port(struct lab *l, uint16_t port);
/* Writes what it must know; restarts it when that changed. Nothing without buyers or name
 * servers. */
MUST_CHECK int door_configure(struct lab *l, const struct model *m, struct err *e);

/* ---- plan.c: what a declaration makes of a lab ---- */

/* The WAN's configuration without rules. */
json_t *plan_wan(const struct model *m);
/* Entries of lab.json "hosts", machines off. */
json_t *plan_hosts(const struct model *m);
json_t *plan_client(const struct model *m);
json_t *plan_wan_machine(void);
/* The machine's description. */
json_t *plan_machine(const struct lab *l, const struct model *m, const json_t *host);
/* Refuses what a lab cannot build: reserved names, addresses used twice. */
MUST_CHECK int plan_check(const struct model *m, struct err *e);
