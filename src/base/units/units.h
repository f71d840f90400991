/* SPDX-License-Identifier: Apache-2.0 */
/* Durations ("5s", "19ms", "1h30m", "7d", "0") and sizes ("256MiB", "1GB", "1024") as people write
 * them. Durations are milliseconds, sizes bytes. KiB/MiB/GiB/TiB are powers of 1024, KB/MB/GB/TB of
 * 1000. */
#pragma once

#include "base/util/util.h"

#define UNITS_TEXT_SIZE 32

bool units_parse_duration(const char *text, uint64_t *ret_ms);
void units_format_duration(
    uint64_t ms, char out[UNITS_TEXT_SIZE]); /* shortest exact form, parses back */
/* Bits a second as tc writes them: "100Mbit", "1Gbit", "64kbit", "9600bit"; powers of 1000. */
bool units_parse_rate(const char *text, uint64_t *ret_bps);
void units_format_rate(uint64_t bps, char out[UNITS_TEXT_SIZE]); /* largest exact unit */
bool units_parse_size(const char *text, uint64_t *ret_bytes);
void units_format_size(uint64_t bytes, char out[UNITS_TEXT_SIZE]); /* largest exact binary unit */
