/* SPDX-License-Identifier: Apache-2.0 */
/* The control role: decides with the other hosts' controls and tells this host's roles what to do.
 */
#pragma once

struct role_def;

extern const struct role_def role_control;
