/* SPDX-License-Identifier: Apache-2.0 */
/* The edge role: gateway of this host's region on its public addresses. Wiring of service/edge. */
#pragma once

struct role_def;

extern const struct role_def role_edge;
