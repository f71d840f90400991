/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rpc/rpc.h"

#ifndef MCP_PROTOCOL_BUMP
#define MCP_PROTOCOL_BUMP 0
#endif

const int rpc_protocol_min = 1, rpc_protocol_max = 1 + MCP_PROTOCOL_BUMP;
