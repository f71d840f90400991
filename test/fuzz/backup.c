/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a backup: what is accepted is in order, within limits, and written again it reads the
 * same. The checksum is made right first, or no mutation would come far. */
#include "base/str/str.h"
#include "domain/backup/backup.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const struct backup *b, struct str *out)
{
    backup_begin(out, b->platform, b->revision, b->by, b->created_ms);
    for (size_t i = 0; i < b->n; i++)
        backup_add(out, b->pairs[i].key, b->pairs[i].value);
    backup_end(out, b->n);
}

static void check(const struct backup *b)
{
    struct err e;
    struct backup *again;
    struct str text = STR_INIT;
    write_again(b, &text);
    ASSERT(backup_parse(text.buf, text.len, &again, &e) >= 0);
    ASSERT(again->n == b->n && again->revision == b->revision);
    for (size_t i = 0; i < b->n; i++) {
        ASSERT(!strcmp(b->pairs[i].key, again->pairs[i].key));
        ASSERT(!strcmp(b->pairs[i].value, again->pairs[i].value));
        ASSERT(!i || strcmp(b->pairs[i - 1].key, b->pairs[i].key) < 0);
    }
    backup_free(again);
    str_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    struct backup *b;
    struct str text = STR_INIT;
    if (backup_parse((const char *)data, size, &b, &e) >= 0) {
        check(b);
        backup_free(b);
    }
    str_add_mem(&text, data, size);
    size_t lines = 0;
    for (const char *p = str_cstr(&text); (p = strchr(p, '\n')); p++)
        lines++;
    backup_end(&text, lines ? lines - 1 : 0);
    if (backup_parse(text.buf, text.len, &b, &e) >= 0) {
        check(b);
        backup_free(b);
    }
    str_done(&text);
    return 0;
}
