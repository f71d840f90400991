/* SPDX-License-Identifier: Apache-2.0 */
/* The merged page must itself be a page that merges without loss: nothing unchecked gets through.
 */
#include "base/metrics/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count_samples(const struct str *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->len; i++)
        n += (i == 0 || s->buf[i - 1] == '\n') && s->buf[i] != '#';
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t half = size / 2;
    const struct metrics_text texts[] = {
        {"dns", (const char *)data, half},
        {"edge", (const char *)data + half, size - half},
    };
    _cleanup_str_ struct str out = STR_INIT, stripped = STR_INIT, again = STR_INIT;
    metrics_merge(texts, 2, &out);
    /* Without the role labels the page is read again, sample for sample. */
    for (size_t i = 0; i < out.len; i++) {
        if (out.len - i >= 6 && !memcmp(out.buf + i, "{role=", 6))
            str_add(&stripped, "{ex"), i += 1;
        str_add_ch(&stripped, out.buf[i]);
    }
    const struct metrics_text once = {"x", stripped.buf, stripped.len};
    metrics_merge(&once, 1, &again);
    ASSERT(count_samples(&again) == count_samples(&out));
    return 0;
}
