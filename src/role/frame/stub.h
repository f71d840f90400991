/* SPDX-License-Identifier: Apache-2.0 */
/* Roles that do nothing: they hold their sockets, link, answer ping, and are locked in like the
 * real ones. They let `mcp host` be tested alone. */
#pragma once

#include "role/frame/frame.h"

extern const struct role_def role_stub_control, role_stub_agent, role_stub_dns, role_stub_resolver,
    role_stub_edge, role_stub_mesh, role_stub_data;
