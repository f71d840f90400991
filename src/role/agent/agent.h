/* SPDX-License-Identifier: Apache-2.0 */
/* The agent role: root, runs the host's units (service/agent). From control it takes "units"; it tells control
 * "status" and "timeline", and answers "logs", "exec" and "status". */
#pragma once

#include "role/frame/frame.h"

extern const struct role_def role_agent;
