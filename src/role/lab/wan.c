/* SPDX-License-Identifier: Apache-2.0 */
/* The WAN process: the switch on descriptors it is given, as nobody, with nothing else in reach. */
#include "role/lab/lab.h"

#include "base/log/log.h"
#include "base/sandbox/sandbox.h"
#include "service/lab/lab.h"
#include "service/wan/wan.h"

static int lock_in(struct err *e)
{
    return sandbox_enter(SANDBOX_NETWORK, sandbox_user_of("wan"), e);
}

int lab_wan_main(void)
{
    struct err e = {0};
    log_init("wan", LOG_INFO);
    if (wan_serve(LAB_FD_LISTEN, LAB_FD_CONFIG, lock_in, &e) < 0)
        log_error("wan", "ends", "error=\"%s\"", e.message);
    return 1;
}
