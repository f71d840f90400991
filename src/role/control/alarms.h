/* SPDX-License-Identifier: Apache-2.0 */
/* Alarms: whoever leads looks once a second, everybody knows them and answers for them. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

struct control;
struct rpc_req;

void control_alarms_start(struct control *c);
void control_alarms_stop(struct control *c);
void control_alarms_list(struct control *c, struct rpc_req *req, json_t *params);
void control_alarms_values(struct control *c, struct rpc_req *req, json_t *params);
void control_alarms_ack(struct control *c, struct rpc_req *req, json_t *params);
void control_alarms_silence(struct control *c, struct rpc_req *req, json_t *params);
/* Those that fire, as alarms of `mcp status`: the leader tells them. */
void control_alarms_report(struct control *c, json_t *report);
void control_alarms_metrics(const struct control *c, struct str *out);

/* requests.c: what this host's edge counts, over the last half minute */
struct control_requests;
struct control_requests *control_requests_new(void);
void control_requests_free(struct control_requests *r);
void control_requests_heard(struct control *c, const json_t *params); /* from the edge */
void control_requests_linked(struct control *c);                      /* it begins anew */
void control_requests_pass(struct control *c);                        /* each second */
void control_requests_report(struct control *c, json_t *report);

/* values.c: {"data.trade.lag_ms": 12, ...}, as far as they are known here */
json_t *control_alarm_values(struct control *c);
