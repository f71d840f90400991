/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes without surprises: the child gets the descriptors that it is given and no others,
 * default signal handling, an empty signal mask, /dev/null where nothing was said, and its failure
 * to start is reported to the parent with the true errno. Children are known by pidfd; only own
 * children are ever reaped or signalled. A whole run (spawn_run) has limits on time and output. The
 * caller may have threads: between fork and exec only async-signal-safe calls are made. */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"

#include <sys/types.h>

#define SPAWN_OUTPUT_MAX (1024u * 1024) /* default of spawn_opts.max_output */
#define SPAWN_TIMEOUT_MS 30000u         /* default of spawn_opts.timeout_ms */

struct spawn_fd {
    int parent; /* ours */
    int child;  /* its number there */
};

struct spawn_opts {         /* zeroed: sensible */
    const char *path;       /* program file; NULL: argv[0] */
    const char *const *env; /* "NAME=value", NULL-terminated; NULL: ours */
    const char *dir;        /* working directory; NULL: ours */
    /* Descriptors of the child. 0 and 1 not named: /dev/null; 2 not named: ours. */
    const struct spawn_fd *fds;
    size_t n_fds;
    bool set_user;
    uid_t uid;
    gid_t gid;
    int death_signal; /* sent to the child when the thread that spawned it dies; 0: none */
    bool new_session;
    /* else a protected parent (negative oom_score_adj) does not protect its child */
    bool keep_oom_score;
    /* Last thing before exec, in the child: async-signal-safe calls only. Returns 0 or an errno. */
    int (*setup)(void *ctx);
    void *setup_ctx;
    /* spawn_run() only. */
    const void *input; /* to standard input */
    size_t input_len;
    uint64_t timeout_ms;
    size_t max_output; /* of standard output and of standard error, each */
};

struct spawn_proc {
    pid_t pid;
    int pidfd; /* readable once it has ended */
};

struct spawn_exit {
    bool exited; /* else killed by a signal */
    int status;  /* exit status or signal */
    bool core;
    bool timed_out; /* spawn_run() killed it */
};

struct spawn_out {
    struct str out, err;
    struct spawn_exit exit;
};

/* argv[0] is looked up in PATH unless it has a slash. */
MUST_CHECK int spawn_start(
    const char *const *argv, const struct spawn_opts *opts, struct spawn_proc *ret, struct err *e);
/* 1: ended, *ret filled, the process reaped and p->pidfd closed (-1); 0: still running (wait
 * false). */
MUST_CHECK int spawn_reap(struct spawn_proc *p, bool wait, struct spawn_exit *ret, struct err *e);
/* To this very process, never to a later one of the same number. */
MUST_CHECK int spawn_signal(const struct spawn_proc *p, int sig, struct err *e);

/* Runs to the end. Success means that it ran: the status is in out->exit. A run over its time is
 * killed, over its standard output's limit is ERR_LIMIT; standard error is cut. out must be zeroed;
 * spawn_out_done() always. */
MUST_CHECK int spawn_run(
    const char *const *argv, const struct spawn_opts *opts, struct spawn_out *out, struct err *e);
void spawn_out_done(struct spawn_out *out);
#define _cleanup_spawn_out_ _cleanup_(spawn_out_done)
/* Same, and any end but status 0 is an error that quotes the last line of standard error. `out`
 * (standard output) may be NULL. */
MUST_CHECK int spawn_check(
    const char *const *argv, const struct spawn_opts *opts, struct str *out, struct err *e);

#define SPAWN_EXIT_TEXT_SIZE 64
/* "exit status 3", "killed by SIGKILL", "killed by SIGSEGV (core dumped)". */
void spawn_exit_format(const struct spawn_exit *x, char out[SPAWN_EXIT_TEXT_SIZE]);
