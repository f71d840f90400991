/* SPDX-License-Identifier: Apache-2.0 */
/* Inside role/frame: the process (frame.c) and its links (link.c). */
#pragma once

#include "role/frame/frame.h"

struct frame_link { /* to control, or in control to one role */
    struct frame *frame;
    struct frame_link *next; /* control's list */
    char peer[ROLE_NAME_MAX + 1];
    struct rpc_conn *conn; /* NULL once it has ended */
    bool is_up;            /* linked() or peer_linked() has been called */
};

struct frame {
    struct role role;
    char name[96]; /* "dns@hk1" */
    uv_poll_t channel;
    uv_signal_t sigterm;
    uv_timer_t relink;
    struct frame_link *links;
    bool is_control;
    bool stopping;
};

/* Takes fd. */
void frame_link_add(struct frame *f, const char *peer, int fd);
void frame_links_close(struct frame *f);
