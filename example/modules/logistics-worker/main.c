/* SPDX-License-Identifier: Apache-2.0 */
/* logistics-worker: will take shipment.updated from the queue logistics_worker. Without a broker it
 * beats, so that one sees it lives. */
#include "module.h"

static void beat(void)
{
    log_line("info", "worker", "heartbeat queue=logistics_worker broker=none handled=0");
}

int main(void)
{
    return module_run(&(struct module){.name = "logistics-worker", .beat = beat});
}
