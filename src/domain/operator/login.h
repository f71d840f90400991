/* SPDX-License-Identifier: Apache-2.0 */
/* Operators who log in from afar: what the state store keeps of one, and whether a token is his.
 *
 *   operator/<name>   {"format": 1, "role", "id": the token's, "hash": "sha256:…" of its secret,
 *                      "created_ms", "expires_ms" (0: never), "by"}
 *
 * A token has the form of the one a host joins by (domain/enrol): it names the root certificate
 * that the platform must show before it hears the secret. Pure. */
#pragma once

#include "domain/enrol/token.h"
#include "domain/operator/operator.h"

#define OPERATOR_TTL_MS (90ll * 24 * 3600 * 1000)
#define OPERATOR_TTL_MAX_MS (10ll * 366 * 24 * 3600 * 1000)

json_t *operator_doc(
    const struct token *t, enum operator_role role, const char *by, int64_t now_ms, int64_t ttl_ms);
/* `docs`: {"ann": document, ...}. *ret_name is borrowed from them. Every secret is compared in
 * constant time; what is unknown and what is wrong is told with the same words. */
MUST_CHECK int operator_admit(const json_t *docs, const struct token *t, int64_t now_ms,
    const char **ret_name, enum operator_role *ret_role, struct err *e);
/* Is the session of a token (by its id) still good, and with which role? */
MUST_CHECK int operator_still(const json_t *doc, const char *token_id, int64_t now_ms,
    enum operator_role *ret_role, struct err *e);
/* [{"name", "role", "created_ms", "expires_ms", "by", "expired"}], by name; no hash. */
json_t *operator_listing(const json_t *docs, int64_t now_ms);
