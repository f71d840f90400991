/* SPDX-License-Identifier: Apache-2.0 */
/* Who a platform is, before anything is said to it: its enrolment door tells the roots it has, and
 * the one that a token names is proven by the fingerprint. What comes back is only as good as the
 * TLS connection that is made with it afterwards. Blocks; for commands. */
#pragma once

#include "base/ip/ip.h"
#include "domain/enrol/token.h"

struct enrol_prover {
    struct ip_addr address;
    uint16_t port; /* 0: ENROL_PORT */
    struct token token;
};

struct enrol_proven {
    char *platform, *root_pem; /* heap */
    int64_t time_ms;           /* its clock, as it says */
};

/* ERR_REFUSED: who answers has no root of that fingerprint. */
MUST_CHECK int enrol_prove(const struct enrol_prover *p, struct enrol_proven *ret, struct err *e);
void enrol_proven_done(struct enrol_proven *p);
