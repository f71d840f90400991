/* SPDX-License-Identifier: Apache-2.0 */
/* Who may join, and as whom: the rules of enrolment over what the state store and the declaration
 * say. Every refusal names its reason and the next thing to do. Pure.
 *
 *   token/<id>   {"format": 1, "hash": "sha256:…" of the secret, "expires_ms", "created_ms", "by",
 *                 "host": "hk2"|null, "used": null|{"host", "at_ms", "from"}}
 *   host/<name>  {"format": 1, "seal_public", "joined_ms", "drained": bool, "version",
 *                 "protocol": [min, max], …}: there while the host belongs to the platform; what
 *                 others put into it stays */
#pragma once

#include "base/ip/ip.h"
#include "domain/enrol/token.h"
#include "domain/model/model.h"

#define ENROL_TTL_MS (10 * 60 * 1000)
#define ENROL_TTL_MAX_MS (24 * 3600 * 1000)
#define ENROL_CLOCK_MS 5000 /* certificates and the order of the timeline bear no more */
#define ENROL_FORGET_MS (24 * 3600 * 1000) /* a spent token is named as such for so long */
#define ENROL_ADDRESSES_MAX 64u

struct enrol_request { /* of the machine that wants in */
    struct token token;
    const char *host;                /* whom it wants to be; NULL: by token or address */
    const struct ip_addr *addresses; /* that it has */
    size_t n_addresses;
    int64_t time_ms; /* its clock, read as the request was sent */
};

struct enrol_facts {
    const struct model *model;
    const json_t *token;  /* its document, NULL: there is none */
    const json_t *joined; /* {"hk1": document, …} */
    int64_t now_ms;
};

/* The token itself: known, the right secret, not used, not expired. */
MUST_CHECK int enrol_check_token(
    const json_t *doc, const struct token *t, int64_t now_ms, struct err *e);
MUST_CHECK int enrol_check_clock(int64_t theirs_ms, int64_t ours_ms, struct err *e);
/* All of it; *ret is the host that it becomes. */
MUST_CHECK int enrol_decide(const struct enrol_facts *f, const struct enrol_request *rq,
    const struct model_host **ret, struct err *e);

/* The document of a new token. host NULL: any host that has not joined. */
json_t *enrol_token_doc(const struct token *t, const char *host, const char *by, int64_t now_ms,
    int64_t ttl_ms);
/* A copy that says by whom it was used. */
json_t *enrol_token_used(
    const json_t *doc, const char *host, const char *from, int64_t now_ms);
bool enrol_token_spent(const json_t *doc, int64_t now_ms); /* long enough to be forgotten */
/* The registry document after joining: what `old` (or NULL) holds besides stays. */
json_t *enrol_host_doc(
    const json_t *old, const char *seal_public, const char *version, int64_t now_ms);
