/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as an alarm's expression: what is refused names a place in it, what is taken can be
 * asked, with and without values, and says why. */
#include "domain/alarm/rule.h"
#include "domain/alarm/values.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct alarm_expr x;
    struct err e;
    unsigned at = 0;
    char why[ALARM_WHY_MAX + 1], name[ALARM_PATH_MAX + 1];
    char *text = xcalloc(size + 1, 1);
    memcpy(text, data, size);
    _cleanup_json_ json_t *values = json_pack("{s:b,s:i,s:s}", "data.trade.answering", 0,
        "data.trade.lag_ms", 3000, "data.trade.state", "broken");
    int r = alarm_expr_parse(text, size, &x, &at, &e);
    if (r < 0) {
        ASSERT(r == ERR_INVALID && at >= 1 && at <= size + 1);
        free(text);
        return 0;
    }
    ASSERT(x.n >= 1 && x.root < x.n);
    for (unsigned i = 0; i < x.n; i++)
        if (alarm_op_compares(x.nodes[i].op))
            (void)alarm_value_find(x.nodes[i].path, name, NULL);
    ASSERT(alarm_expr_eval(&x, NULL) == ALARM_UNKNOWN);
    (void)alarm_expr_eval(&x, values);
    alarm_expr_why(&x, values, why);
    ASSERT(strlen(why) <= ALARM_WHY_MAX);
    free(text);
    return 0;
}
