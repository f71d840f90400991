/* SPDX-License-Identifier: Apache-2.0 */
#include "service/certs/certs.h"

#include "base/arena/arena.h"

int certs_issue(const struct certs_issuer *i, const char *host, const json_t *request,
    int64_t now_ms, json_t **ret, struct err *e)
{
    _cleanup_arena_ struct arena *a = arena_new(0);
    const char *kind_name, *csr;
    struct capolicy_leaf leaf;
    _cleanup_free_ char *chain = NULL;
    int r = json_get_str(request, "kind", &kind_name, e);
    if (r >= 0)
        r = json_get_str(request, "csr", &csr, e);
    if (r < 0)
        return r;
    int kind = leaf_kind_parse(kind_name);
    if (kind < 0)
        return err_set(e, ERR_INVALID, "no kind of certificate is called %.40s", kind_name);
    r = capolicy_leaf(
        i->facts, host, (enum leaf_kind)kind, json_opt_str(request, "module", NULL), a, &leaf, e);
    if (r < 0)
        return r;
    const struct pki_ca *ca =
        pki_authority_ca(i->authority, kind == LEAF_STATE ? PKI_STATE : PKI_HOSTS);
    _cleanup_free_ char *root = pki_ca_root_pem(ca);
    struct pki_leaf what = {.common_name = leaf.common_name,
        .uri = leaf.uri,
        .addresses = leaf.addresses,
        .n_addresses = leaf.n_addresses,
        .names = leaf.names,
        .n_names = leaf.n_names,
        .client = leaf.is_client,
        .life_s = i->life_s};
    r = pki_sign_csr(ca, csr, &what, now_ms, &chain, e);
    if (r >= 0)
        *ret = json_pack("{s:s,s:s}", "chain", chain, "root", root);
    return r;
}
