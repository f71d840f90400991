/* SPDX-License-Identifier: Apache-2.0 */
/* Any JSON as a boot record: what is accepted is written and read again unchanged. */
#include "base/str/str.h"
#include "domain/spec/boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    struct boot *b, *again;
    _cleanup_json_ json_t *tree = NULL;
    if (json_parse((const char *)data, size, &tree, &e) < 0 || boot_parse(tree, &b, &e) < 0)
        return 0;
    _cleanup_json_ json_t *one = boot_to_json(b);
    ASSERT(boot_parse(one, &again, &e) >= 0);
    _cleanup_json_ json_t *two = boot_to_json(again);
    ASSERT(json_equal(one, two) && str_eq(b->host, again->host));
    boot_free(b);
    boot_free(again);
    return 0;
}
