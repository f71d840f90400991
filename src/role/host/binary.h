/* SPDX-License-Identifier: Apache-2.0 */
/* The binaries of a host that did not come with its package, and which of them it runs:
 *
 *   /var/lib/mcp/bin/<hex>/mcp    by digest, root's, verified whenever it is to be run
 *   /var/lib/mcp/bin/current      link to the folder of the one in force
 *   /var/lib/mcp/bin/state.json   what is in force, what was before, is it on trial, what failed
 *
 * A binary on trial is in force until somebody confirms it; a host that dies under it three times
 * goes back by itself. A package that brings another binary than the one that was there at the
 * upgrade wins: `apt upgrade` does what it says. Blocking; root's. */
#pragma once

#include "base/digest/digest.h"
#include "base/err/err.h"

#define BINARY_ROOT "/var/lib/mcp/bin"
#define BINARY_TRIES 3u

struct binary_state {
    char current[DIGEST_SIZE];  /* in force; "": what the package brought */
    char previous[DIGEST_SIZE]; /* to go back to */
    char base[DIGEST_SIZE];     /* of the package's when `current` came */
    bool trial;
    unsigned tries; /* starts of `current` while on trial */
    char failed[DIGEST_SIZE], reason[256];
    int64_t failed_ms; /* wall clock */
};

void binary_state_read(struct binary_state *ret); /* zeroed where there is none */
/* Members that this version does not know survive. */
MUST_CHECK int binary_state_write(const struct binary_state *s, struct err *e);

/* Of the running program. */
MUST_CHECK int binary_own(char ret[DIGEST_SIZE], struct err *e);
/* A copy of the running program, to come back to. */
MUST_CHECK int binary_keep_own(const char *own, struct err *e);
/* From the host's files by digest; there already: nothing to do. */
MUST_CHECK int binary_install(const char *digest, struct err *e);
/* ERR_DENIED: not root's alone, or not what its name says. *ret_path is the caller's. */
MUST_CHECK int binary_verify(const char *digest, char **ret_path, struct err *e);
/* Does it run at all, and is there a protocol that both speak? */
MUST_CHECK int binary_probe(const char *digest, struct err *e);
