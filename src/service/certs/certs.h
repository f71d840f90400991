/* SPDX-License-Identifier: Apache-2.0 */
/* The certificates of one host: each that is wanted lies in the folder as NAME.pem (leaf and
 * intermediate) and NAME.key, and is renewed around the middle of its life. The key is made here
 * for every renewal and never leaves; who issues is the caller's concern (ask). What comes back is
 * taken only if it fits the key and chains to a root that the folder's bundle trusts; it is then put
 * into place durably, and whoever uses the files is told (changed). A renewal that fails is tried
 * again with back-off; the old pair stays as it is: nothing is ever taken away because it could not
 * be replaced. Judged by wall time, looked at often enough to see it jump.
 *
 * One thread, on the loop. */
#pragma once

#include "domain/capolicy/capolicy.h"
#include "driver/pki/authority.h"

#include <uv.h>

#define CERTS_NAME_MAX 80

struct certs;

struct certs_handler {
    /* Get the request {"kind", "module", "csr"} (borrowed) issued: certs_answer(), later or at
     * once. */
    void (*ask)(void *ctx, const char *name, const json_t *request);
    void (*changed)(void *ctx, const char *name);
    /* A renewal failed; `first`: of a row. May be NULL. */
    void (*failed)(void *ctx, const char *name, bool first, const struct err *e);
};

struct certs_config {
    uv_loop_t *loop;
    const char *dir;        /* /var/lib/mcp/pki */
    double (*jitter)(void); /* NULL: of its own */
};

struct leaf_request {
    enum leaf_kind kind;
    const char *module;                 /* of LEAF_MODULE */
    const struct capolicy_leaf *expect; /* what it should say as far as we know; NULL: whatever */
};

struct certs *certs_new(const struct certs_config *c, const struct certs_handler *h, void *ctx);
void certs_free(struct certs *c); /* NULL is fine; handles close on the loop */

/* From now on that one is kept fresh. Wanted again with other expectations it is renewed at once if
 * it does not meet them. ERR_LIMIT: name too long. */
MUST_CHECK int certs_want(
    struct certs *c, const char *name, const struct leaf_request *req, struct err *e);
/* No longer wanted: its files go too. */
void certs_unwant(struct certs *c, const char *name);
/* Leaves made before that wall time are renewed. */
void certs_renew_after(struct certs *c, int64_t wall_ms);
/* The intermediates that leaves are to be by ("": any): the state store's for LEAF_STATE. */
void certs_set_issuers(struct certs *c, const char *hosts, const char *state);
/* Who issues can be reached (again): what failed is tried now. */
void certs_retry(struct certs *c);
/* e NULL: the chain is the answer to what was asked last under that name. */
void certs_answer(struct certs *c, const char *name, const char *chain_pem, const struct err *e);
/* Is there a usable pair (whole, not expired)? */
bool certs_usable(const struct certs *c, const char *name);
/* [{"name", "kind", "state", "issued_ms", "not_after_ms", "issuer", "error",
 * "renewed_ms": all that certs_renew_after() asked for up to then is done}] */
json_t *certs_report(const struct certs *c);

/* ---- the issuing side: pure but for the signature */

struct certs_issuer {
    const struct pki_authority *authority;
    const struct capolicy_facts *facts;
    int64_t life_s; /* 0: PKI_LEAF_S */
};
/* For `host`, as its certificate proves it: {"chain": PEM, "root": PEM}. ERR_REFUSED by the policy.
 */
MUST_CHECK int certs_issue(const struct certs_issuer *i, const char *host, const json_t *request,
    int64_t now_ms, json_t **ret, struct err *e);
