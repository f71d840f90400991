/* SPDX-License-Identifier: Apache-2.0 */
/* Acknowledged orders that are missing at the new source, each looked for by its key: in the rescue
 * files of the source that has returned, and by the transaction found there in the range that the
 * platform reported as possibly missing. Pure. */
#pragma once

#include "base/json/json.h"

/* A row of a rescue's readable file: {"gtid", "row", ...}. NULL: none names the key. */
const json_t *lost_find(const json_t *rows, const char *key);
/* Is it over what the target had when it took over, of the same domain? The range is open upwards
 * until the old source returns: what came after its last lease nobody knows. */
bool lost_is_reported(const char *gtid, const json_t *missing);
/* [{"key", "rescued", "gtid" or null, "reported"}] of each key. */
json_t *lost_match(const json_t *keys, const json_t *rows, const json_t *missing);
/* How many of them are so. */
size_t lost_count(const json_t *matched, const char *what);
/* Lines of such a file, appended. What is no object is left out. */
void lost_add_lines(json_t *rows, const char *text, size_t len);
