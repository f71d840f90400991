/* SPDX-License-Identifier: Apache-2.0 */
/* From the members that the state store has to those that the declaration names, one step at a
 * time: a new member follows as a learner before it counts, one that is not declared any more goes
 * only when the others are enough without it, and nothing is touched while that could lose the
 * quorum. Stateless: whoever leads looks, takes the one step that comes next, and looks again. */
#pragma once

#include "base/util/util.h"

#define MEMBERS_HOSTS_MAX 64u

struct members_host {
    const char *name;
    const char *peer_url;
    bool declared; /* in state.members */
    bool joined;   /* has certificates: is in the register of hosts */
    bool heard;
    bool fresh;   /* joined since, with an empty disk: what its member knew is gone */
    bool running; /* its etcd unit is ready */
    bool has_unit; /* it has one, in whatever state */
};

struct members_actual {
    uint64_t id;
    const char *peer_url;
    bool started; /* it has told its name */
    bool learner;
};

struct members_input {
    const struct members_host *hosts;
    size_t n_hosts;
    const struct members_actual *actual;
    size_t n_actual;
};

enum members_kind {
    MEMBERS_NOTHING, /* all is as declared, or `why` says what is waited for */
    MEMBERS_ADD,     /* `host` as a learner */
    MEMBERS_START,   /* `host` shall run the member `id` */
    MEMBERS_PROMOTE, /* `id` counts from now on, if it has caught up */
    MEMBERS_REMOVE,  /* `id` goes */
    MEMBERS_STOP,    /* `host` runs a member that is none any more */
};

struct members_step {
    enum members_kind kind;
    const struct members_host *host; /* may be NULL for REMOVE: nobody we know */
    uint64_t id;
    char why[160]; /* for the timeline; of NOTHING: "" or what it waits for */
};

void members_next(const struct members_input *in, struct members_step *ret);
/* Members of which a majority must live. */
static inline size_t members_quorum(size_t voters)
{
    return voters / 2 + 1;
}
