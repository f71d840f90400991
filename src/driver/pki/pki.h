/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in certificate authority: a root that is needed only to make intermediates and can lie
 * offline, a P-256 intermediate that signs, leaves for hosts and for the edge. Everything is PEM
 * files in a folder:
 *   CA     root.pem root.key intermediate.pem intermediate.key      (keys 0600)
 *   host   ca.pem (what peers are verified against) host.pem (leaf and intermediate) host.key
 *   edge   edge.pem (leaf and intermediate) edge.key
 * A host is known by the URI name spiffe://<platform>/host/<host>; its leaf serves both ways
 * (etcd's gateway uses its server certificate as a client). Issuing is idempotent: a leaf that
 * still says what is asked, by this intermediate, with over a third of its life left, stays.
 * Writing is durable; a key and a certificate of different runs (killed in between) do not match
 * and are made anew. Time is an argument, in wall milliseconds. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#define PKI_ROOT_DAYS 3650u
#define PKI_INTERMEDIATE_DAYS 1825u
#define PKI_LEAF_DAYS 30u
#define PKI_NAMES_MAX 4096u

struct pki_ca;

/* Loads the CA of a folder, making what is missing. A root that is there is never replaced; an
 * intermediate whose root key is away is used until it expires. */
MUST_CHECK int pki_ca_open(
    const char *dir, const char *platform, int64_t now_ms, struct pki_ca **ret, struct err *e);
void pki_ca_free(struct pki_ca *ca); /* NULL is fine */
static inline void pki_ca_free_p(struct pki_ca **ca)
{
    pki_ca_free(*ca);
}
#define _cleanup_pki_ca_ _cleanup_(pki_ca_free_p)

struct pki_leaf {
    const char *common_name; /* for people's eyes */
    const char *uri;         /* NULL: none */
    const struct ip_addr *addresses;
    size_t n_addresses;
    const char *const *names; /* DNS names, "*.x" allowed */
    size_t n_names;
    bool client;   /* also for the client side of TLS */
    unsigned days; /* 0: PKI_LEAF_DAYS */
};

/* dir/<file>.pem and dir/<file>.key. *ret_new (may be NULL): whether they were made now. */
MUST_CHECK int pki_issue(const struct pki_ca *ca, const struct pki_leaf *leaf, const char *dir,
    const char *file, int64_t now_ms, bool *ret_new, struct err *e);
/* host.pem, host.key, ca.pem. */
MUST_CHECK int pki_issue_host(const struct pki_ca *ca, const char *platform, const char *host,
    const struct ip_addr *addresses, size_t n, const char *dir, int64_t now_ms, bool *ret_new,
    struct err *e);
/* edge.pem, edge.key for public names. */
MUST_CHECK int pki_issue_edge(const struct pki_ca *ca, const char *const *names, size_t n,
    const char *dir, int64_t now_ms, bool *ret_new, struct err *e);
