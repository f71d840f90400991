/* SPDX-License-Identifier: Apache-2.0 */
/* Of ca.c, for pki.c and for ca.c itself. */
#pragma once

#include "domain/capolicy/bundle.h"
#include "role/control/priv.h"
#include "service/documents/documents.h"

struct control_ca {
    struct documents *docs; /* ca/ */
    uv_timer_t timer;
    char trust[DIGEST_SIZE]; /* of the roots on this host's disk */
    bool has_mark;           /* roots changed under a running etcd: that of stale_pid */
    int64_t stale_pid, restarted_pid;
    bool stepping, stepped; /* an edit is on its way; it changed something */
    char phase[64];         /* of the rotation, as noted last */
};

void control_ca_open(struct control *c);
void control_ca_close(struct control *c);
void control_ca_look(struct control *c); /* something changed: carry it over to this host */
/* Is the intermediate that this host holds the one in force? */
bool control_ca_may_issue(const struct control *c);
void control_ca_report(const struct control *c, json_t *certs, json_t *alarms);
void control_ca_say(const struct control *c); /* to the log: what ends or has ended */
void control_ca_metrics(const struct control *c, int64_t now_ms, struct str *out);
