/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing a lab up: from a declaration to running hosts. Each step is idempotent, so `up` after an
 * interrupted `up`, or on a running lab with a changed declaration, converges. Progress is told as
 * it happens; who shows it, and how, is the caller's. One thread calls; the callback may come from
 * others, one at a time. */
#pragma once

#include "service/lab/lab.h"

struct model;

enum up_phase {
    UP_CHECK,
    UP_DISKS,
    UP_MACHINES,
    UP_HOSTS,
    UP_STATE,
    UP_APPLY,
    UP_READY,
    UP_PHASES
};
const char *up_phase_name(enum up_phase phase); /* "check", "disks", ... */

struct up_params {
    const struct model *model;
    const char *file; /* the declaration, absolute */
    uint64_t image_size_bytes;
    uint16_t port;       /* of the forwarder; 0: any */
    const json_t *files; /* of service/files: digests of what the declaration names */
    uint64_t timeout_ms; /* until everything is ready */
    /* text NULL: the phase is done. `host` NULL: it is about all of them. */
    void (*progress)(void *ctx, enum up_phase phase, const char *host, const char *text);
    void *ctx;
};

#define UP_IMAGE_SIZE (4ull << 30)
#define UP_IMAGE_SIZE_MIN (64ull << 20)

/* What must be there before anything is made: rights, kernel features, tools. The error names the
 * fix. */
MUST_CHECK int up_check(const struct up_params *p, struct err *e);
/* Disks, machines, what each host must know, `mcp host` everywhere. */
MUST_CHECK int up_hosts(struct lab *l, const struct up_params *p, struct err *e);
/* Images brought to one host, state store there, revision applied, every unit ready, name servers answering. */
MUST_CHECK int up_apply(
    struct lab *l, const struct up_params *p, int64_t *ret_revision, struct err *e);
/* What control says about the platform (domain/status). */
MUST_CHECK int up_status(const struct lab *l, json_t **ret, struct err *e);
