/* SPDX-License-Identifier: Apache-2.0 */
/* Renewal by the sealing key, for a host whose certificate ended while it was off (renew.c). */
#pragma once

#include "role/control/priv.h"

/* False: nobody to ask, or it is being asked. Else control_pki_take_answer() comes. */
bool control_renew_knock(struct control *c, const char *name, const json_t *request);
/* Of the enrolment door. */
void control_renew_challenge(
    struct control *c, const char *from, struct rpc_req *req, json_t *params);
void control_renew_answer(struct control *c, const char *from, struct rpc_req *req, json_t *params);
