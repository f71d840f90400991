/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by pki.c (leaves, issuing) and ca.c (roots, intermediates, their rotation). */
#pragma once

#include "role/control/priv.h"

#include "service/certs/certs.h"

struct control_pki {
    struct arena *arena; /* of what the boot record says */
    struct model_host self;
    struct model_region self_region;
    bool is_member, has_etcd;
    const char **peers;
    size_t n_peers, turn;
    const struct ip_addr *peer_addresses; /* of the boot record */
    size_t n_peer_addresses;
    struct challenge *challenges; /* renew.c */
    size_t n_challenges;
    bool knocking;
    struct seal_key *key;
    struct pki_authority *authority; /* NULL: this host holds none */
    struct certs *certs;
    struct control_ca *ca; /* ca.h */
};

void control_pki_take_answer(
    struct control *c, const char *name, const json_t *answer, const struct err *error);
/* New certificates or roots: for the connections to come. */
void control_pki_reload(struct control *c);
