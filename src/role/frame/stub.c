/* SPDX-License-Identifier: Apache-2.0 */
#include "role/frame/stub.h"

#include "base/log/log.h"

static void linked(struct role *r)
{
    log_info("stub", "linked to control", "host=%s", r->host);
}

static void peer_linked(struct role *r, struct rpc_conn *peer)
{
    log_info("stub", "role linked", "peer=%s", rpc_conn_peer_name(peer));
}

static void peer_unlinked(struct role *r, struct rpc_conn *peer)
{
    log_info("stub", "role unlinked", "peer=%s", rpc_conn_peer_name(peer));
}

/* As if an attacker had taken the role over. */
static void misbehave(struct role *r, const char *method, json_t *params)
{
    if (!strcmp(method, "exec"))
        execl("/bin/true", "true", (char *)NULL);
}

static void on_host_message(struct role *r, const char *method, json_t *params)
{
    _cleanup_free_ char *text = json_text(params);
    log_info("stub", "host says", "method=%s params=%s", method, text);
}

const struct role_def role_stub_control = {.name = "control",
    .profile = SANDBOX_CONTROL,
    .peer_linked = peer_linked,
    .peer_unlinked = peer_unlinked,
    .on_host_message = on_host_message};
const struct role_def role_stub_agent = {
    .name = "agent", .profile = SANDBOX_NONE, .linked = linked};
const struct role_def role_stub_dns = {
    .name = "dns", .profile = SANDBOX_NETWORK, .linked = linked, .on_host_message = misbehave};
const struct role_def role_stub_resolver = {
    .name = "resolver", .profile = SANDBOX_NETWORK, .linked = linked};
const struct role_def role_stub_edge = {
    .name = "edge", .profile = SANDBOX_NETWORK, .linked = linked};
const struct role_def role_stub_mesh = {
    .name = "mesh", .profile = SANDBOX_NETWORK, .linked = linked};
const struct role_def role_stub_data = {
    .name = "data", .profile = SANDBOX_TOOLS, .linked = linked};
