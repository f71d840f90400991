/* SPDX-License-Identifier: Apache-2.0 */
/* The role `resolver`: service/resolver on the host's address on the bridge, fed by control
 * ("names"). Unprivileged. */
#pragma once

#include "role/frame/frame.h"

extern const struct role_def role_resolver;
