/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder alone. */
#pragma once

#include "net/probe/probe.h"

struct reach;

struct prober {
    uv_loop_t *loop;
    struct curl_loop *curl;
    char *ca_file;
    struct group *groups;
    struct reach *reaches;
    uint64_t count; /* probes started */
};

/* reach.c: drops what is in flight. */
void probe_reach_cancel_all(struct prober *p);
