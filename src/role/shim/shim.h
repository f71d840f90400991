/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp shim DIR`: the parent of one unit (driver/runtime/runtime.h says what lies in DIR). A process of its own, so
 * that agent and host may die: it makes the unit's namespaces, starts it, writes its output to log files, passes
 * signals on (TERM: the stop signal; USR1: kill everything), and when the unit has ended leaves exit.json, after
 * everything of the unit is gone. One thread, no event library, little memory: there is one of it for every unit. */
#pragma once

int shim_main(const char *run_dir);
