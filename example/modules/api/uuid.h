/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs of version 7 (RFC 9562 §5.7, §6.2 method 3): time in front, to a quarter of a microsecond, so
 * that ids of one instance follow each other; 62 random bits. */
#pragma once

#include "text.h"

#include <time.h>

#define UUID_SIZE 37

void uuid_new(const struct timespec *now, char out[UUID_SIZE]);
bool uuid_is(struct span text); /* as we write them: lower case */
