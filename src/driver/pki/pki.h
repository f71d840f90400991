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
 * The state store has an authority of its own, so that a host's leaf alone opens nothing there.
 * Writing is durable; a key and a certificate of different runs (killed in between) do not match
 * and are made anew. Time is an argument, in wall milliseconds. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#define PKI_ROOT_DAYS 3650u
#define PKI_INTERMEDIATE_DAYS 1825u
#define PKI_LEAF_S (12 * 3600)
#define PKI_BACKDATE_S 300 /* of leaves: hosts' clocks differ */
#define PKI_NAMES_MAX 4096u
/* Common names by which a member of the state store knows the others from its clients. */
#define PKI_MEMBER_NAME "mcp-state-member"
#define PKI_CLIENT_NAME "mcp-state-client"
#define PKI_ID_SIZE 41 /* a key's identifier (SHA-1, RFC 5280 4.2.1.2) in hexadecimal digits */

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
    bool client;    /* also for the client side of TLS */
    int64_t life_s; /* 0: PKI_LEAF_S; never beyond the intermediate's end */
};

/* dir/<file>.pem and dir/<file>.key. *ret_new (may be NULL): whether they were made now. */
MUST_CHECK int pki_issue(const struct pki_ca *ca, const struct pki_leaf *leaf, const char *dir,
    const char *file, int64_t now_ms, bool *ret_new, struct err *e);
/* host.pem, host.key, ca.pem. */
MUST_CHECK int pki_issue_host(const struct pki_ca *ca, const char *platform, const char *host,
    const struct ip_addr *addresses, size_t n, int64_t life_s, const char *dir, int64_t now_ms,
    bool *ret_new, struct err *e);
/* state.pem, state.key, state-ca.pem by the state store's own authority: a member's, or without
 * addresses only that of a client of it. */
MUST_CHECK int pki_issue_state(const struct pki_ca *ca, const char *platform, const char *host,
    const struct ip_addr *addresses, size_t n, int64_t life_s, const char *dir, int64_t now_ms,
    bool *ret_new, struct err *e);
/* edge.pem, edge.key for public names. */
MUST_CHECK int pki_issue_edge(const struct pki_ca *ca, const char *const *names, size_t n,
    int64_t life_s, const char *dir, int64_t now_ms, bool *ret_new, struct err *e);

/* ---- keys that stay where they are used ---- */

/* Loads or makes (0600, durable) the P-256 key of that path; *ret_pem (heap) is a request for it.
 */
MUST_CHECK int pki_csr_make(
    const char *key_path, const char *common_name, char **ret_pem, struct err *e);
/* Of a request only the public key is taken, and only if it is signed with it; the names are those
 * of `leaf`. *ret_chain_pem (heap): leaf and intermediate. ERR_INVALID: no such request;
 * ERR_REFUSED: the intermediate has ended. */
MUST_CHECK int pki_sign_csr(const struct pki_ca *ca, const char *csr_pem,
    const struct pki_leaf *leaf, int64_t now_ms, char **ret_chain_pem, struct err *e);

/* ---- looking at certificates ---- */

struct pki_info { /* of one certificate */
    char subject[96], uri[256];
    char id[PKI_ID_SIZE];     /* of its key */
    char issuer[PKI_ID_SIZE]; /* of the key that signed it */
    int64_t not_before_ms, not_after_ms;
    int64_t issued_ms; /* when it was made: not_before without the backdating */
};

/* The first certificate of a PEM text, or of a file. */
MUST_CHECK int pki_info_parse(const char *pem, struct pki_info *ret, struct err *e);
MUST_CHECK int pki_info_read(const char *path, struct pki_info *ret, struct err *e);
MUST_CHECK int pki_issuer_read(
    const char *path, struct pki_info *ret, struct err *e); /* the second */
/* The certificate file belongs to the key file, and (leaf not NULL) names just what leaf does. */
bool pki_pair_is(const char *pem_path, const char *key_path, const struct pki_leaf *leaf);
/* The same with texts not yet in their places. */
bool pki_chain_fits(const char *chain_pem, const char *key_path);

/* Its leaf chains, through what else is in the text, to a root of the bundle file, now. */
MUST_CHECK int pki_chain_trusted(
    const char *chain_pem, const char *bundle_path, int64_t now_ms, struct err *e);

/* What is renewed is prepared as NAME.pem.next and NAME.key.next; this puts both into their places,
 * the key first. Called again after a crash it goes on, or clears what is half written. */
MUST_CHECK int pki_install(const char *dir, const char *name, struct err *e);
