/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a token: what is accepted is written again as it was, but for capitals. */
#include "base/str/str.h"
#include "domain/enrol/token.h"

#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    struct token t, again;
    char text[TOKEN_TEXT_SIZE];
    struct str in = STR_INIT;
    str_add_mem(&in, data, MIN(size, 4096));
    int r = token_parse(str_cstr(&in), &t, &e);
    if (r >= 0) {
        token_format(&t, text);
        ASSERT(!strcasecmp(text, str_cstr(&in)));
        ASSERT(token_parse(text, &again, &e) >= 0 && !memcmp(&t, &again, sizeof t));
    } else {
        ASSERT(r == ERR_INVALID);
    }
    str_done(&in);
    return 0;
}
