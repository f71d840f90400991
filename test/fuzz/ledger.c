/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a ledger: read or refused, never more orders than there are lines; and rows of a
 * database held against it. */
#include "service/traffic/ledger.h"

#include "base/file/file.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A checksum is nothing a fuzzer guesses: lines that end in " ?" get theirs. */
static void add_lines(struct str *out, const char *p, size_t len)
{
    for (const char *end = p + len; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((nl ? nl : end) - p);
        if (n > 2 && p[n - 1] == '?' && p[n - 2] == ' ') {
            str_add_mem(out, p, n - 1);
            str_addf(out, "%08x", ledger_check(p, n - 2));
        } else {
            str_add_mem(out, p, n);
        }
        if (nl)
            str_add_ch(out, '\n');
        p += n + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    _cleanup_str_ struct str text = STR_INIT;
    struct book b;
    struct book_sums s;
    struct err e = {0};
    if (fd < 0) {
        fd = memfd_create("ledger", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    add_lines(&text, (const char *)data, size);
    ASSERT(ftruncate(fd, 0) == 0 && pwrite(fd, str_cstr(&text), text.len, 0) == (ssize_t)text.len);
    if (book_read(path, &b, &e) < 0)
        return 0;
    char key[LEDGER_KEY_SIZE];
    ledger_key(b.run, 1, key);
    ASSERT(book_row(&b, key, "id"));
    book_sum(&b, &s);
    ASSERT(s.acked == s.present + s.lost && s.intents <= size && s.present <= 1);
    book_done(&b);
    return 0;
}
