/* SPDX-License-Identifier: Apache-2.0 */
/* One call through a platform's enrolment door, by a machine that has no certificate: connects,
 * checks who answers, asks, ends. Blocks; for commands. */
#pragma once

#include "base/ip/ip.h"
#include "base/json/json.h"

struct enrol_ask {
    struct ip_addr address;
    uint16_t port;
    /* The root that the answerer's certificate must come from, and the platform whose host it must
     * be. NULL: anybody is heard, nothing secret may be asked. */
    const char *root_pem, *platform;
    const char *method;
    const json_t *params;
    uint64_t timeout_ms;
};

/* *ret is the caller's. ERR_DENIED: not who it must be; then nothing was said to it. */
MUST_CHECK int enrol_ask(const struct enrol_ask *a, json_t **ret, struct err *e);
