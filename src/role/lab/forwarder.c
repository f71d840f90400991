/* SPDX-License-Identifier: Apache-2.0 */
/* The forwarder process: started by the client's machine, so it is in the client's network; the
 * socket that it listens on is of this computer's. As nobody, with nothing else in reach. */
#include "role/lab/lab.h"

#include "base/log/log.h"
#include "base/sandbox/sandbox.h"
#include "service/forwarder/forwarder.h"
#include "service/lab/lab.h"

#define CONFIG_MAX (256u * 1024)

static int lock_in(struct err *e)
{
    return sandbox_enter(SANDBOX_NETWORK, sandbox_user_of("forwarder"), e);
}

int lab_forwarder_main(void)
{
    struct err e = {0};
    _cleanup_json_ json_t *config = NULL;
    _cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", LAB_FD_CONFIG);
    log_init("forwarder", LOG_INFO);
    int r = json_read_file(path, CONFIG_MAX, &config, &e);
    if (r >= 0)
        r = forwarder_serve(LAB_FD_LISTEN, config, lock_in, &e);
    if (r < 0)
        log_error("forwarder", "ends", "error=\"%s\"", e.message);
    return 1;
}
