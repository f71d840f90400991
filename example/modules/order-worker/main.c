/* SPDX-License-Identifier: Apache-2.0 */
/* order-worker: will take order.created from the queue order_worker. Without a broker it beats, so
 * that one sees it lives. */
#include "module.h"

static void beat(void)
{
    log_line("info", "worker", "heartbeat queue=order_worker broker=none handled=0");
}

int main(void)
{
    return module_run(&(struct module){.name = "order-worker", .beat = beat});
}
