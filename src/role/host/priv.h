/* SPDX-License-Identifier: Apache-2.0 */
/* Inside role/host: the process table (proc.c), folders (tree.c), what is told about it
 * (report.c). */
#pragma once

#include "role/host/host.h"

#include "base/rnd/rnd.h"
#include "base/spawn/spawn.h"
#include "domain/spec/boot.h"
#include "role/frame/frame.h"
#include "role/host/binary.h"
#include "role/host/listen.h"
#include "role/host/supervise.h"

#define HOST_LOCK ROLE_RUN_ROOT "/host.lock"
#define HOST_PING_MS 10000u
#define HOST_PINGS_MAX 6u       /* unanswered: a minute of silence is a hang, a slow disk is not */
#define HOST_LINK_RETRY_MS 100u /* a role does not read its channel */
#define HOST_ROLL_MS 50u        /* between two looks while roles are replaced */
#define HOST_OPEN_RETRY_MS 5000u
#define HOST_KEPT_MAX 128u     /* sockets that a role opened itself, for its successor */
#define HOST_MESSAGES_MAX 200u /* of one role within HOST_PING_MS */

struct host_role {
    char name[ROLE_NAME_MAX + 1];
    struct sup sup;
    struct spawn_proc proc;          /* pidfd -1: no process */
    int channel;                     /* -1: none */
    uint64_t generation;             /* of the process; 0: never started */
    uint64_t linked, linked_control; /* the generations of both ends that hold the present link */
    uint64_t print;                  /* of the boot record and sockets that it was given */
    int64_t since_ms;                /* wall clock, of the last change of state */
    unsigned unanswered, messages;
    uint64_t oom_kills; /* of the machine when it started */
    char reason[96];    /* of its last end */
    char binary[DIGEST_SIZE]; /* that it runs */
    int kept[HOST_KEPT_MAX];
    size_t n_kept;
};

struct host_leaving { /* a process whose place in the table another has taken */
    char name[ROLE_NAME_MAX + 1];
    struct spawn_proc proc;
    int channel;
    bool asked; /* to finish */
    uint64_t kill_at_ms;
};

struct host {
    struct boot *boot;
    /* Of the boot record as far as roles are started by it. */
    uint64_t boot_print, control_print;
    struct listens listens;
    struct host_role roles[BOOT_ROLES_MAX];
    size_t n_roles;
    struct rnd rnd;
    uint64_t generations;
    int signal_fd, lock_fd;
    uint64_t ping_at_ms, open_at_ms; /* open_at_ms 0: all sockets are open */
    bool stopping, links_due, report_due, is_ready;
    char own[DIGEST_SIZE], before[DIGEST_SIZE]; /* binaries: this one, the replaced one */
    bool rolling;                               /* roles are being replaced */
    char roll_name[ROLE_NAME_MAX + 1];          /* the one that is now; "" */
    unsigned roll_failures;                     /* of it, before */
    uint64_t roll_until_ms, roll_leave_ms, confirm_at_ms;
    struct host_leaving leaving[BOOT_ROLES_MAX];
    size_t n_leaving;
};

/* tree.c */
MUST_CHECK int host_tree_prepare(const struct boot *boot, struct err *e);
MUST_CHECK int host_lock(int *ret_fd, struct err *e);

/* proc.c */
struct host_role *host_role_find(struct host *h, const char *name);
struct host_role *host_role_add(struct host *h, const char *name);
void host_role_event(struct host *h, struct host_role *r, enum sup_event event);
void host_role_ended(struct host *h, struct host_role *r);   /* its pidfd is readable */
void host_role_message(struct host *h, struct host_role *r); /* its channel is */
void host_links_renew(struct host *h);
void host_roles_ping(struct host *h);
uint64_t host_role_print(const struct host *h, const char *name);

/* upgrade.c */
/* May not return: another binary is in force. */
void host_binary_enter(struct host *h, bool handed_over);
json_t *host_handover_read(void);       /* NULL: an ordinary start; a new reference */
int host_handover_lock(const json_t *handover);
void host_handover_take(struct host *h, const json_t *handover);
void host_upgrade(struct host *h, const char *digest);
void host_upgrade_confirm(struct host *h, const char *digest);
void host_upgrade_back(struct host *h, const char *reason);
void host_roll(struct host *h, uint64_t now);
void host_leaving_ended(struct host *h, size_t i); /* its pidfd is readable */
void host_leaving_timers(struct host *h, uint64_t now);
void host_leaving_stop(struct host *h);
json_t *host_binary_report(const struct host *h);

/* report.c */
void host_report(struct host *h); /* to control */
void host_notify_systemd(const char *state);
uint64_t host_oom_kills(void);
/* The call that seccomp killed the process for, by the kernel's log; false: the log does not say. */
bool host_forbidden_call(pid_t pid, char out[SANDBOX_CALL_SIZE]);
