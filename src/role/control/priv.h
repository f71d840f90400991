/* SPDX-License-Identifier: Apache-2.0 */
/* The control role of one host: follows the desired revision, tells this host's roles what to do,
 * tells the other controls how this host is, and answers the command line. Wiring only: what
 * decides lives in domain and service. One thread, one loop. */
#pragma once

#include "domain/capolicy/capolicy.h"
#include "domain/model/model.h"
#include "domain/revision/revision.h"
#include "domain/enrol/token.h"
#include "domain/operator/operator.h"
#include "role/frame/frame.h"
#include "service/audit/audit.h"
#include "service/remote/remote.h"
#include "service/bulk/bulk.h"
#include "service/documents/documents.h"
#include "service/enrol/door.h"
#include "service/peers/peers.h"
#include "service/revisions/revisions.h"
#include "service/scheduler/scheduler.h"
#include "service/scrape/scrape.h"
#include "service/steer/steer.h"
#include "service/timeline/timeline.h"

#define ROLES_MAX 16
#define CONTROL_PKI "/var/lib/mcp/pki/"

struct role_link { /* a role of this host that is linked now */
    char name[32];
    struct rpc_conn *conn;
};

struct host_report { /* what another host said last */
    char host[64];
    json_t *report; /* NULL: only beats yet */
    uint64_t heard_ms;
    json_t *hears; /* {host: ms since it heard it}, at beat_ms */
    uint64_t beat_ms;
    json_t *data; /* what its data role said, at data_ms; NULL: nothing */
    uint64_t data_ms;
};

#define CONTROL_ACK_ROLES 2
extern const char *const control_ack_roles[CONTROL_ACK_ROLES]; /* who sends requests to instances */

struct control {
    struct role *role;
    const char *host;
    char platform[64];
    struct kv *kv;
    const char *kv_kind;
    bool kv_connected;
    char kv_reason[512];
    struct seal_key *seal_key; /* this host's; its public half is in the register */
    struct documents *hosts;   /* the register of hosts */
    struct documents *denied;   /* hosts that were removed */
    struct control_members *members; /* of the state store */
    bool tidied;     /* what an interrupted move left was taken away */
    bool recovering; /* the state store is being moved, or its quorum given up */
    bool done;       /* what still ends is cut off: nothing is begun any more */
    uv_timer_t stop_timer;
    unsigned stop_turns;
    json_t *first; /* what `mcp host init` left to do, NULL: nothing */
    struct enrol_door *door;    /* for machines that want to join */
    uint64_t enrol_noted_ms;    /* refusals told since then: */
    unsigned enrol_notes;
    struct ip_addr own_address; /* the main private one */
    struct revisions *revisions;
    struct revision *revision; /* the current one; NULL before the first */
    const struct model *model; /* its model */
    int64_t number;
    char alarm[512]; /* the newest revision cannot be used: why; "" */
    struct peers *peers;
    struct bulk *bulk;
    struct scrape *scrape;
    struct steer_service *steer;
    struct control_functions *functions;
    struct control_after *after;
    struct documents *away; /* steer/: what users are steered away from */
    struct timeline *timeline;
    struct audit *audit;
    struct documents *operators; /* operator/<name> */
    struct remote *remote;
    uint64_t refusals_since_ms; /* of logins, in the audit log */
    unsigned refusals;
    struct role_link links[ROLES_MAX];
    size_t n_links;
    json_t *roles; /* as the host process tells: [{name, pid, state, restarts, since_ms, reason,
                      pss_bytes}] */
    json_t *units; /* as the agent tells */
    struct host_report *reports;
    size_t n_reports, cap_reports;
    uv_timer_t report_timer; /* gathers changes for a moment, then broadcasts */
    uv_timer_t measure_timer;
    uv_timer_t maintain_timer;
    uv_timer_t keep_timer;
    uv_poll_t cli_poll;
    struct waiter *waiters; /* applies that wait for readiness */
    struct control_pki *pki;
    uint64_t refused_ms; /* a link, for the last time, and why */
    char refused[256];
    struct control_mesh *mesh;
    struct control_secrets *secrets;
    struct control_databases *databases;
    struct control_credentials *credentials;
    struct control_world *world;
    bool started; /* everything is open: reports and notes have somewhere to go */
    struct scheduler *scheduler;
    json_t *placements; /* {"<region>": placement document} */
    json_t *placed;    /* the placement of this host's region that its roles were told last */
    int64_t units_seq; /* of the placement that the agent follows */
    int64_t acks[CONTROL_ACK_ROLES]; /* seq of the placement that each of these has taken over */
    struct schedule_host *seen;      /* of the step that is being made */
    json_t *seen_own, *admitted;
    uint64_t started_ms, silent;
    bool knows_hosts, knows_ways; /* edge.c: since the start */
    bool edge_held; /* instances that leave serve on, as told last */
    unsigned checks;
    uv_timer_t fleet_timer;
    char placement_alarm[512]; /* the leader cannot decide: why; "" */
    json_t *binary; /* that this host runs, as the host process tells; NULL: not yet told */
    struct control_upgrade *upgrade;
    struct control_switchover *switchover;
    struct control_sync *sync;
    struct control_admit *admit;
    struct control_lease *lease;
    struct retention_trend *disk_trend; /* of this host's own files */
    struct control_alarms *alarms;
    struct control_requests *requests; /* of this host's edge */
    struct control_failover *failover;
    struct documents *drills; /* drill/running */
    struct drain *drains;      /* commands that wait for a host to be empty */
};

/* control.c */
struct rpc_conn *control_link(struct control *c, const char *role); /* NULL: not linked */

/* activate.c: the current revision to this host's roles */
void control_activate(struct control *c, const json_t *revision);
void control_tell_role(struct control *c, const char *role);
void control_tell_units(
    struct control *c); /* after this host's units changed: names and endpoints */

void control_set_peers(struct control *c); /* who is linked to: the declared, less the removed */

const char *control_geo_path(const struct control *c);

/* pki.c: this host's certificates, others' if it holds the issuing keys */
struct boot;
struct pki_authority;
MUST_CHECK int control_pki_open(struct control *c, const struct boot *boot, struct err *e);
void control_pki_follow(struct control *c); /* the state store is open */
void control_pki_close(struct control *c);
void control_pki_model(struct control *c); /* another revision: who may have what */
void control_pki_peer_up(struct control *c);
void control_pki_report(const struct control *c, json_t *report);
void control_pki_metrics(const struct control *c, struct str *out);
/* NULL: this host holds no issuing keys. */
const struct pki_authority *control_authority(const struct control *c);
int64_t control_leaf_life(const struct control *c); /* seconds */
/* certs_issue() by the keys that this host holds; ERR_UNAVAILABLE: it holds none. */
MUST_CHECK int control_issue_leaf(
    struct control *c, const char *host, const json_t *request, json_t **ret, struct err *e);
void control_issue(struct control *c, const char *host, struct rpc_req *req, json_t *params);
/* Keeps /var/lib/mcp/pki/<name>.pem and .key fresh; of every change the mesh role is told. */
void control_want_leaf(
    struct control *c, const char *name, enum leaf_kind kind, const char *module);
void control_unwant_leaf(struct control *c, const char *name);

/* mesh.c: calls of modules to modules, and of this host's edge to instances elsewhere */
void control_mesh_open(struct control *c, const struct boot *boot);
void control_mesh_close(struct control *c);
bool control_mesh_is_here(const struct control *c); /* this host has the role */
void control_mesh_linked(struct control *c);        /* the role starts anew: all of it */
void control_mesh_tell(struct control *c);          /* what may have changed */
void control_mesh_data(struct control *c);          /* the same, of databases alone */
json_t *control_mesh_names(struct control *c);      /* for the resolver */
/* The local address at which this host's mesh forwards to that instance of another host, on the
 * module's port. False: not (yet). */
bool control_mesh_address(
    struct control *c, const char *host, const char *unit, struct ip_addr *ret);

/* ca.c: roots, intermediates, rotations */
json_t *control_ca_status(struct control *c);
void control_ca_answer(struct control *c, struct rpc_req *req, json_t *params);
void control_ca_rotate(struct control *c, struct rpc_req *req, json_t *params);
/* ERR_REFUSED: a root or an intermediate ends so soon that nothing may be changed before. */
MUST_CHECK int control_ca_gate(const struct control *c, struct err *e);

/* maintain.c */
void control_maintain_start(struct control *c);
void control_maintain_stop(struct control *c);

/* registry.c: every host's document, as this host's control last heard it */
MUST_CHECK int control_registry_start(struct control *c, struct err *e);
void control_registry_stop(struct control *c);
const json_t *control_registry_host(const struct control *c, const char *host); /* NULL: none */

/* enrol.c: how a machine becomes a host */
MUST_CHECK int control_enrol_start(struct control *c, const int *fds, size_t n, struct err *e);
void control_enrol_stop(struct control *c);
void control_enrol_token(struct control *c, struct rpc_req *req, json_t *params);
void control_enrol_relayed(
    struct control *c, const char *host, struct rpc_req *req, json_t *params);

/* first.c */
void control_first(struct control *c);

/* backup.c */
struct backup;
/* b: what was put back, valid during the call; NULL when it is none. */
typedef void (*control_restored_fn)(void *ctx, const struct backup *b, const struct err *e);
/* confirmed: also over a state that is there. fn comes at once or later. */
void control_restore(struct control *c, const char *text, size_t len, bool confirmed,
    control_restored_fn fn, void *ctx);
void control_state_status(struct control *c, struct rpc_req *req, json_t *params);
void control_state_backup(struct control *c, struct rpc_req *req, json_t *params);
void control_state_restore(struct control *c, struct rpc_req *req, json_t *params);

/* move.c */
void control_move_tidy(struct control *c); /* other units run here */
void control_state_move(struct control *c, struct rpc_req *req, json_t *params);

/* recover.c */
void control_recover_calm(struct control *c); /* the agent is linked */
void control_state_recover(struct control *c, struct rpc_req *req, json_t *params);

/* records.c: the files by which this host starts */
typedef void (*control_records_fn)(void *ctx, const struct err *e);
/* Takes both; NULL: that one stays. fn may be NULL. */
void control_records_write(
    struct control *c, json_t *boot, json_t *units, control_records_fn fn, void *ctx);
void control_records_sync(struct control *c); /* another revision: who the peers are */

/* members.c: the state store's */
void control_members_start(struct control *c);
void control_members_stop(struct control *c);
const json_t *control_members_list(const struct control *c); /* as seen last */
/* `row` of that list is of a disk that the host no longer has. */
bool control_member_lost(const struct control *c, const char *host, const json_t *row);
void control_member_told(
    struct control *c, const char *host, struct rpc_req *req, json_t *params);

/* hosts.c: those that joined, and those that were removed */
void control_hosts_start(struct control *c);
void control_hosts_stop(struct control *c);
void control_host_list(struct control *c, struct rpc_req *req, json_t *params);
void control_host_remove(struct control *c, struct rpc_req *req, json_t *params);
/* It was removed: what proves to be it is not listened to. */
bool control_host_denied(const struct control *c, const char *host);
void control_admit(struct control *c, const char *host); /* it joined (again) */
/* secrets.c */
void control_secrets_start(struct control *c);
void control_secrets_stop(struct control *c);
void control_secrets_model(struct control *c); /* another revision: who asks for what */
void control_secrets_look(struct control *c);  /* the register, or a report, is another */
void control_secrets_wanted(struct control *c, const json_t *params); /* by the agent */
void control_secrets_have(struct control *c, const json_t *params);
void control_secrets_report(const struct control *c, json_t *report);
void control_secret_set(struct control *c, struct rpc_req *req, json_t *params);
void control_secret_rotate(struct control *c, struct rpc_req *req, json_t *params);
void control_secret_grant(struct control *c, struct rpc_req *req, json_t *params);
void control_secret_remove(struct control *c, struct rpc_req *req, json_t *params);
void control_secret_list(struct control *c, struct rpc_req *req, json_t *params);
void control_secret_history(struct control *c, struct rpc_req *req, json_t *params);
struct secrets;
struct secrets *control_secrets_service(const struct control *c);

/* credentials.c: modules' passwords of databases */
struct secret;
void control_credentials_start(struct control *c);
void control_credentials_stop(struct control *c);
/* Accounts for this host's data role; if this host leads, also the secrets themselves. */
void control_credentials_look(struct control *c);
void control_credentials_rotate(struct control *c, struct rpc_req *req, json_t *params);
/* What holders get: JSON with user, password, database and where it is. */
void control_credentials_file(
    const struct control *c, const char *name, struct secret *password, struct str *out);

/* steer.c */
MUST_CHECK int control_steer_open(struct control *c, const char *region, struct err *e);
void control_hear_view(struct control *c, const char *host, const json_t *view);
void control_tell_health(struct control *c, struct rpc_conn *dns);

/* away.c: users steered away from a region, by hand or by a function */
struct control_away_wish { /* borrowed */
    const char *region, *by, *why;
    const json_t *names; /* strings; NULL or empty: every name */
    uint64_t for_ms;     /* 0: until it is taken back */
    bool back;
};
/* list: as `mcp steer list --json` has it; NULL with an error. Never from within the call. */
typedef void (*control_away_fn)(void *ctx, const json_t *list, const struct err *e);
void control_away_start(struct control *c);
void control_away_stop(struct control *c);
void control_away(struct control *c, const struct control_away_wish *wish, control_away_fn fn, void *ctx);
void control_steer_away(struct control *c, struct rpc_req *req, json_t *params);
void control_steer_back(struct control *c, struct rpc_req *req, json_t *params);
void control_steer_list(struct control *c, struct rpc_req *req, json_t *params);

/* functions.c: containers that run once */
struct function_result { /* valid during the call */
    bool ran;
    int status; /* exit status, 128 + signal */
    bool timed_out;
    const char *output; /* standard output, at most 64 KiB */
    const char *errors; /* the end of standard error */
    char host[64];
    int64_t took_ms;
};
/* Once, from the loop, never from within the call. e: it did not run, or it failed (a status that is
 * not 0, its deadline): why. r is NULL only when it did not run. */
typedef void (*control_function_fn)(
    void *ctx, const struct function_result *r, const struct err *e);
/* Runs it on this host or, if it cannot begin here, on another. Takes input, an object that gets
 * "function", "run" and "why" added. run: [a-z0-9.-]{1,64}; one run is begun once on a host, and
 * asked for again its first answer is the answer. why: for the timeline, "alarm api-errors". */
void control_function_run(struct control *c, const char *name, const char *run, const char *why,
    json_t *input, control_function_fn fn, void *ctx);
/* bound.c: those of a list (may be NULL), in order; done: all ended well, or the first that did not. At
 * once where there is none. run: their names begin so, at most 55 bytes. Takes input. */
typedef void (*control_bound_fn)(void *ctx, const struct err *e);
void control_bound_run(struct control *c, const struct model_function *const *list, const char *run,
    const char *why, json_t *input, control_bound_fn done, void *ctx);
void control_after_start(struct control *c); /* after.c: those of deployments */
void control_after_stop(struct control *c);
void control_functions_start(struct control *c);
void control_functions_stop(struct control *c);
void control_functions_callers(struct control *c, json_t *callers); /* adds those that run here */
void control_functions_run(struct control *c, struct rpc_req *req, json_t *params);
void control_functions_list(struct control *c, struct rpc_req *req, json_t *params);
void control_function_peer(
    struct control *c, const char *host, struct rpc_req *req, json_t *params);
/* What a function that runs on this host asks of the platform, told by the agent. */
void control_function_ask(struct control *c, struct rpc_req *req, json_t *params);

/* timeline.c: this host's entries, and the platform's story for who asks */
MUST_CHECK int control_timeline_open(struct control *c, const char *region, struct err *e);
void control_note(struct control *c, const char *kind, const char *subject, const char *message,
    const char *cause);
void control_note_draft(struct control *c, const struct timeline_draft *d);
void control_note_json(struct control *c, const char *role, const json_t *draft);
void control_note_roles(struct control *c, const json_t *roles);
void control_timeline(struct control *c, struct rpc_req *req, json_t *params);
void control_timeline_own(struct control *c, struct rpc_req *req, json_t *params);

/* report.c: how this host is, to the others; how they are, to whoever asks */
json_t *control_own_report(struct control *c);
json_t *control_status(struct control *c); /* of `mcp status --json` */
void control_report_soon(struct control *c);
const json_t *control_report_of(
    const struct control *c, const char *host); /* NULL: not heard now */
void control_hear_report(struct control *c, const char *host, json_t *report);
struct host_report *control_find_report(struct control *c, const char *host); /* NULL: none */
struct host_report *control_get_report(struct control *c, const char *host);  /* NULL: too many */
void control_report_start(struct control *c);
void control_report_stop(struct control *c);

/* access.c: who may ask what; what changes something is in the audit log before it happens */
struct control_caller {
    char who[64];  /* "ann", "root" */
    char from[64]; /* an address, "local" */
    enum operator_role role;
};
MUST_CHECK int control_access_start(struct control *c, struct err *e);
void control_access_stop(struct control *c);
void control_ask(struct control *c, const struct control_caller *by, struct rpc_req *req,
    const char *method, json_t *params);
void control_audit(struct control *c, struct rpc_req *req, json_t *params);
/* What the mesh refused to a module; who tells it bounds how often. */
void control_audit_call(struct control *c, const struct timeline_draft *t);

/* fleet.c: where instances run */
MUST_CHECK int control_fleet_start(struct control *c, struct err *e);
void control_fleet_stop(struct control *c);
const json_t *control_placement(const struct control *c); /* of our region; NULL: none yet */
bool control_hears(struct control *c, const char *host);  /* we, or somebody that we hear */
void control_hear_beat(struct control *c, const char *host, const json_t *beat);
void control_fleet_host_changed(struct control *c);           /* a registry document */
void control_fleet_report(struct control *c, json_t *report); /* adds what leaders look at */
/* The role ("edge", "mesh") of this host sends nothing more to what placement `seq` took out. */
void control_acked(struct control *c, const char *role, int64_t seq);

/* drain.c: `mcp host drain|undrain` */
void control_host_drain(struct control *c, struct rpc_req *req, json_t *params);
void control_drains_check(struct control *c);

/* enrol.c: the fingerprint of the root that this host's certificate comes from */
MUST_CHECK int control_own_root(uint8_t out[TOKEN_ROOT_BYTES], struct err *e);

/* remote.c: operators, and their commands from afar */
MUST_CHECK int control_remote_start(struct control *c, struct err *e);
void control_remote_stop(struct control *c);
void control_operator_add(struct control *c, struct rpc_req *req, json_t *params);
void control_operator_remove(struct control *c, struct rpc_req *req, json_t *params);
void control_operator_list(struct control *c, struct rpc_req *req, json_t *params);

/* upgrade.c: another binary, host by host; which protocol version the platform acts at */
void control_upgrade_open(struct control *c);
void control_upgrade_close(struct control *c);
void control_upgrade_report(struct control *c, json_t *report);
bool control_upgrades(const struct control *c, const char *host); /* it is its turn */
/* The binary that hosts are being brought to, to be kept; NULL: none. */
const char *control_upgrade_file(const struct control *c);
int control_protocol(struct control *c); /* the lowest of all that are heard */
void control_upgrade_status(struct control *c, struct rpc_req *req, json_t *params);
void control_upgrade_plan(struct control *c, struct rpc_req *req, json_t *params);
void control_upgrade_start(struct control *c, struct rpc_req *req, json_t *params);
void control_upgrade_rollback(struct control *c, struct rpc_req *req, json_t *params);
void control_upgrade_peer(
    struct control *c, const char *host, struct rpc_req *req, json_t *params);

/* world.c */
void control_world_start(struct control *c);
void control_world_stop(struct control *c);

/* data_status.c */
void control_data_status(struct control *c, struct rpc_req *req, json_t *params);

/* sync.c: who holds every acknowledged commit */
void control_sync_open(struct control *c);
void control_sync_close(struct control *c);

/* switchover.c: the planned move of a database's source */
void control_switchover_open(struct control *c);
void control_switchover_close(struct control *c);
void control_switchover_start(struct control *c, struct rpc_req *req, json_t *params);
void control_switchover_status(struct control *c, struct rpc_req *req, json_t *params);

/* failover.c: a database whose source is lost; failover_orders.c: what people order */
void control_failover_open(struct control *c);
void control_failover_close(struct control *c);
void control_failover_start(struct control *c, struct rpc_req *req, json_t *params);
void control_failover_pause(struct control *c, struct rpc_req *req, json_t *params);
void control_failover_resume(struct control *c, struct rpc_req *req, json_t *params);
void control_failover_ack(struct control *c, struct rpc_req *req, json_t *params);
void control_failover_arm(struct control *c, struct rpc_req *req, json_t *params);
void control_failover_explain(struct control *c, struct rpc_req *req, json_t *params);
/* [{"database", "automatic", "armed", "state", "rule", "text", "fix"}] for `mcp status`. */
json_t *control_failover_status(struct control *c);
void control_failover_report(const struct control *c, json_t *report); /* "clock_step_ms" */

/* reach.c: a call to a role of any host; the answer comes from the loop, always. Takes params. */
void control_reach(struct control *c, const char *host, const char *role, const char *method,
    json_t *params, uint64_t timeout_ms, rpc_answer_fn fn, void *ctx);
void control_reached(struct control *c, const char *host, struct rpc_req *req, json_t *params);

/* The same for a request: parts, cancellation and the answer travel through. params: borrowed. */
void control_relay_role(struct control *c, struct rpc_req *req, const char *host, const char *role,
    const char *method, json_t *params);

/* seeds.c: copies of a source for its replicas */
void control_seed_source(struct control *c, struct rpc_req *req, json_t *params);
void control_seed_fetch(struct control *c, struct rpc_req *req, json_t *params, int fd); /* takes fd */
void control_seed_open(struct control *c, uint64_t ticket, const char *digest);
void control_seed_take(struct control *c, struct rpc_req *req, json_t *params);
void control_data_resume(struct control *c, struct rpc_req *req, json_t *params);

/* look.c: questions about the content of databases */
void control_data_look(struct control *c, struct rpc_req *req, json_t *params);
void control_data_checksum(struct control *c, struct rpc_req *req, json_t *params);
void control_backup_run(struct control *c, struct rpc_req *req, json_t *params);
void control_backup_verify(struct control *c, struct rpc_req *req, json_t *params);
void control_backup_restore(struct control *c, struct rpc_req *req, json_t *params);

/* methods.c: calls of the command line, and of other controls for theirs */
void control_answer(struct control *c, struct rpc_req *req, const char *method, json_t *params);
void control_answer_peer(
    struct control *c, const char *host, struct rpc_req *req, const char *method, json_t *params);

/* blobs.c: images and files by digest */
struct boot;
MUST_CHECK int control_blobs_start(struct control *c, const struct boot *boot, struct err *e);
void control_blobs_stop(struct control *c);
void control_blobs_pull(struct control *c, struct rpc_req *req, json_t *params, int fd);
void control_blobs_missing(struct control *c, struct rpc_req *req, json_t *params);
void control_blobs_put(struct control *c, struct rpc_req *req, json_t *params);
void control_blobs_has(struct control *c, const char *host, struct rpc_req *req, json_t *params);
void control_blobs_ensure(struct control *c, const char *host, struct rpc_req *req, json_t *params);
void control_blobs_list_here(
    struct control *c, const char *host, struct rpc_req *req, json_t *params);
void control_blobs_tell(struct control *c, struct rpc_conn *agent);
/* {"images": [...], "files": [...]}: what the host needs of a revision, or all of it. */
json_t *control_blobs_of(
    const struct model *m, const json_t *files, const struct model_host *h, bool all);
bool control_is_member(const struct model *m, const char *host); /* of the state store */

/* keep.c: what of the store is needed */
void control_image_list(struct control *c, struct rpc_req *req, json_t *params);
void control_image_gc(struct control *c, struct rpc_req *req, json_t *params);
void control_blobs_gc_here(
    struct control *c, const char *host, struct rpc_req *req, json_t *params);
void control_keep_start(struct control *c);
void control_keep_soon(struct control *c);
void control_keep_stop(struct control *c);

/* secure.c: a revision's blobs on this host and one more; `hosts` names the others that have them */
struct secure;
typedef void (*control_secured_fn)(void *ctx, const char *hosts, const struct err *e);
/* Takes revision. `req` (may be NULL) hears of progress. NULL: done() was called already. */
struct secure *control_secure(struct control *c, struct revision *revision, struct rpc_req *req,
    uint64_t patience_ms, control_secured_fn done, void *ctx);
void control_secure_cancel(struct secure *s); /* done() does not come */

/* edge.c */
MUST_CHECK int control_edge_routes(
    struct control *c, const struct model_host *host, json_t **ret, struct err *e);
/* Is what every host with instances runs known by now? */
bool control_knows_hosts(struct control *c);
void control_edge_look(struct control *c); /* now and then: something may be known by now */
void control_edge_tell(struct control *c); /* the instances, after they changed */
/* What a unit that `host` tells of is to callers, by the placement of its region. */
enum control_duty {
    CONTROL_DUTY_NONE,   /* not placed: a host that comes back still runs it */
    CONTROL_DUTY_WAITS,  /* not admitted: a standby, or another region has it */
    CONTROL_DUTY_LEAVES, /* drained, or waits for its turn: no new calls */
    CONTROL_DUTY_SERVES,
};
enum control_duty control_duty_of(
    const struct control *c, const struct model_host *host, const json_t *unit);
/* {"api": true}: the modules of which some instance shall serve in the placement's region. */
json_t *control_awaited(const struct control *c, const json_t *placement);
/* Those of this host's units that serve: not drained, and the placement's. New reference. */
json_t *control_units_serving(struct control *c);

/* apply.c */
/* With "module" it is a deploy of that: its rollout is what is waited for. */
void control_apply(struct control *c, struct rpc_req *req, json_t *params);
void control_stage(struct control *c, struct rpc_req *req, json_t *params);
void control_waiters_check(struct control *c); /* something changed: is the platform ready now? */

/* cli.c: the Unix socket of the command line */
MUST_CHECK int control_cli_start(struct control *c, int fd, struct err *e);
void control_cli_stop(struct control *c);

/* scrape.c */
void control_scrape(void *ctx, struct scrape_answer *a);

/* deploy.c: one module changed, or put back */
void control_deploy(struct control *c, struct rpc_req *req, json_t *params);
void control_deploy_status(struct control *c, struct rpc_req *req, json_t *params);
void control_rollback(struct control *c, struct rpc_req *req, json_t *params);
/* Did its last rollout fail, and which one was it? */
bool control_deploy_failed(const struct control *c, const char *module, int64_t *ret_id);
/* Asks the leader to try it again. */
void control_deploy_retry(struct control *c, const char *module);
