/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "domain/route/route.h"

uint32_t route_hash(const char *name, size_t len);
