/* SPDX-License-Identifier: Apache-2.0 */
/* The only place that reads clocks. Intervals and deadlines use boot time (CLOCK_BOOTTIME:
 * monotonic, counts suspend). Wall time is for people and certificates. MCP_CLOCK_OFFSET_MS shifts
 * wall time, and so does the file that MCP_CLOCK_OFFSET_FILE names (8 bytes, milliseconds, this
 * machine's order), at any moment: for tests of clock jumps. */
#pragma once

#include <stdint.h>

#define CLOCK_STAMP_SIZE 32

uint64_t clock_boot_ms(void);
uint64_t clock_boot_ns(void);
uint64_t clock_slept_ms(void); /* how much of the time since boot the machine was suspended */
int64_t clock_wall_ms(void); /* milliseconds since 1970, UTC */
int64_t clock_wall_us(void);
/* "2026-11-23T05:30:12.345Z" */
void clock_format_rfc3339(int64_t wall_ms, char out[CLOCK_STAMP_SIZE]);
