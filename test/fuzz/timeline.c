/* SPDX-License-Identifier: Apache-2.0 */
/* A report of a role, an entry of a file or of another host: parses or is refused; what was parsed is printed and read
 * again as the same. */
#include "domain/timeline/timeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct timeline_draft d;
    struct timeline_entry t, again;
    _cleanup_json_ json_t *j = NULL, *back = NULL, *draft = NULL;
    if (json_parse((const char *)data, size, &j, NULL) < 0)
        return 0;
    if (timeline_draft_parse(j, &d, NULL) >= 0) {
        draft = timeline_draft_format(&d);
        ASSERT(draft);
    }
    if (timeline_entry_parse(j, &t, NULL) < 0)
        return 0;
    back = timeline_entry_format(&t);
    ASSERT(back && timeline_entry_parse(back, &again, NULL) >= 0);
    ASSERT(again.seq == t.seq && again.wall_ms == t.wall_ms
           && !strcmp(again.draft.message, t.draft.message));
    _cleanup_str_ struct str line = STR_INIT;
    timeline_entry_print(&t, true, &line);
    ASSERT(!memchr(line.buf, '\n', line.len) && !memchr(line.buf, '\x1b', line.len));
    return 0;
}
