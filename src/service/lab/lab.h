/* SPDX-License-Identifier: Apache-2.0 */
/* A lab: a whole platform on one computer, one machine process per host (role/lab), joined by the
 * WAN. Several labs of different platform names stand side by side; this computer's own network,
 * mounts and cgroups are untouched.
 *
 * On disk, all of it gone after lab_down():
 *   /run/mcp-lab/<platform>/
 *     lab.json              what runs; lock; wan.json and forwarder.json, their configurations
 *     wan.sock, machine/<host>.json (its description), machine/<host>.sock
 *   /var/lib/mcp-lab/<platform>/  <host>.img (its disk), log/<host>.log, ca/
 *   <cgroup2>/mcp-lab/<platform>/<host>   every process of the host
 * lab.json:
 *   {"format": 1, "platform", "file": the declaration, "ca": PATH,
 *    "forwarder": {"address", "port", "as"},
 *    "hosts": [{"name", "kind": "host", "region", "public": bool, "addresses", "public_addresses",
 *      "pid", "start_time"}],
 *    "client": {"name", "kind": "client", "region": "client", "addresses", "pid", "start_time",
 *      "buyers": {country: address}, "ranges": {country: prefix}},
 *    "wan": {"name", "kind": "wan", "pid", "start_time"}}
 * pid 0: off. Only holders of the lock write; it is replaced atomically, so anybody may read.
 *
 * Nothing here depends on the platform inside being healthy: kill, heal, cut and down work on
 * wrecks. One thread, except where a function says so. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "base/str/str.h"

#define LAB_DIR "/var/lib/mcp-lab"
#define LAB_RUN_DIR "/run/mcp-lab"
#define LAB_STATE_ROOT "/var/lib/mcp"
/* Inside a host: how far the wall clock of its programs is ahead (base/clock). */
#define LAB_CLOCK_FILE "/run/machine/clock"

enum { LAB_FD_CONFIG = 3, LAB_FD_STATUS = 4, LAB_FD_LISTEN = 5 }; /* of the processes of role/lab */

struct model;

struct lab {
    char *platform;
    char *dir, *run_dir, *cgroup;
    int lock;      /* -1: opened for reading */
    json_t *state; /* lab.json; an empty object for one that never ran */
};

/* For changing: makes the folders if `create`, takes the lock (waiting for whoever holds it).
 * ERR_NOT_FOUND without `create` when there is no trace of such a lab. */
MUST_CHECK int lab_open(const char *platform, bool create, struct lab **ret, struct err *e);
/* For looking: no lock. */
MUST_CHECK int lab_read(const char *platform, struct lab **ret, struct err *e);
void lab_free(struct lab *l); /* NULL is fine */
static inline void lab_free_p(struct lab **l)
{
    lab_free(*l);
}
#define _cleanup_lab_ _cleanup_(lab_free_p)
MUST_CHECK int lab_save(struct lab *l, struct err *e);

/* Names of the labs with any trace on this computer; a heap array ending with NULL, as its
 * strings. */
char **lab_names(void);
void lab_names_free(char **names);
#define _cleanup_names_ _cleanup_(lab_names_free_p)
static inline void lab_names_free_p(char ***names)
{
    lab_names_free(*names);
}

/* ---- hosts ---- */

/* Every machine's entry of lab.json: the WAN's, the client's, the hosts'. The array is the
 * caller's, the entries not. */
json_t *lab_machines(const struct lab *l);
/* One of them, borrowed; NULL: unknown. */
json_t *lab_host(const struct lab *l, const char *name);
bool lab_host_alive(const json_t *host);
/* Hosts of that name or region: an array of borrowed entries, ERR_NOT_FOUND with the nearest name.
 * "wan" is none. */
MUST_CHECK int lab_select(const struct lab *l, const char *name, json_t **ret, struct err *e);
/* A request to the machine (role/lab/machine.c): "status", "start", "restart", "stop". ret may be
 * NULL. */
MUST_CHECK int lab_machine_call(
    const struct lab *l, const char *host, const char *op, json_t **ret, struct err *e);
/* Moves the calling process into the host: namespaces and cgroup. Stays in `cwd` if that exists
 * there. */
MUST_CHECK int lab_enter(const struct lab *l, const char *host, struct err *e);
/* Only its network: files are still this computer's, and the process outlives the host. Before any
 * thread is made. */
MUST_CHECK int lab_enter_network(const struct lab *l, const char *host, struct err *e);
/* Path of a host's file as seen from outside: /proc/PID/root + path. Heap. */
char *lab_host_path(const json_t *host, const char *path);

/* Starts the machines of `hosts` (entries), all at once; those that run already are left alone.
 * `start` their service too. Saves lab.json. */
MUST_CHECK int lab_power_on(struct lab *l, const json_t *hosts, bool start, struct err *e);
/* Power loss for all of `hosts` at once: their wires go silent first, then every process is killed.
 * Disks survive. */
MUST_CHECK int lab_power_off(struct lab *l, const json_t *hosts, struct err *e);

/* Stops every process of `hosts` where it is, or lets them go on; wires and kernels live. Of a host
 * that is off: ERR_UNAVAILABLE for freezing, success for thawing. */
MUST_CHECK int lab_freeze(struct lab *l, const json_t *hosts, bool freeze, struct err *e);
/* Whether the kernel says that nothing of the host runs. */
MUST_CHECK int lab_frozen(const struct lab *l, const char *host, bool *ret, struct err *e);

/* Power loss, then new machines with empty disks, on, their service not started: computers fresh
 * from the shop. */
MUST_CHECK int lab_wipe(struct lab *l, const json_t *hosts, struct err *e);

/* ---- links ---- */

struct lab_link { /* one direction; unset members leave what is */
    const char *from, *to;
    bool has_cut, cut;
    bool has_delay, has_loss, has_rate;
    uint64_t delay_us;
    double loss;
    uint64_t rate_bps;
};

/* Lays a rule over the declared links. */
MUST_CHECK int lab_link_set(struct lab *l, const struct lab_link *link, struct err *e);
/* Several at one moment. */
MUST_CHECK int lab_links_set(
    struct lab *l, const struct lab_link *links, size_t n, struct err *e);
/* Takes the rules of that direction away: links are as declared. *ret_n: how many there were. */
MUST_CHECK int lab_link_mend(
    struct lab *l, const char *from, const char *to, unsigned *ret_n, struct err *e);
/* The WAN's own account: service/wan's wan_status(), and the rules in force under "rules". */
MUST_CHECK int lab_wan_status(const struct lab *l, json_t **ret, struct err *e);

/* ---- the forwarder ---- */

/* Whose eyes the forwarder sees through: a country of lab.clients. Its open connections end. */
MUST_CHECK int lab_set_buyer(struct lab *l, const char *country, struct err *e);
/* What a buyer's computer is told: {"nameservers", "buyers": {country: address}, "ranges": {country:
 * prefix}, "domain", "ca": PEM text}; ERR_NOT_FOUND when the lab has no buyers. */
MUST_CHECK int lab_buyers(const struct lab *l, json_t **ret, struct err *e);

/* ---- the whole ---- */

/* Writes what the lab consists of after the declaration: machine descriptions, WAN, lab.json.
 * Machines that are not in it any more are powered off and their disks removed. */
MUST_CHECK int lab_lay_out(struct lab *l, const struct model *m, const char *file, struct err *e);

/* Removes every trace, whatever state it is in; with keep_state the disks and the CA stay for the
 * next `up`. Frees nothing of *l but its files. Called twice: success. */
MUST_CHECK int lab_down(struct lab *l, bool keep_state, struct err *e);
