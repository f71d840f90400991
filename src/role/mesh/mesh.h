/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh role: calls of modules to modules, on every host. Wiring of service/mesh. */
#pragma once

#include "role/frame/frame.h"

extern const struct role_def role_mesh;
