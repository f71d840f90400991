/* SPDX-License-Identifier: Apache-2.0 */
/* What a buyer's resolver knows of one name: the answer, for exactly its life; and when that is
 * over, whom to ask. Name servers are asked in turn, beginning with the one that answered last; one
 * that says nothing within NAMES_TRY_MS, or nothing of use, gives way to the next. Pure: the caller
 * sends, receives, and steps it with its clock. */
#pragma once

#include "proto/dns/dns.h"

#define NAMES_TRY_MS 800     /* as resolvers begin with */
#define NAMES_ROUNDS 2       /* of all servers, before a question has failed */
#define NAMES_FAILED_MS 1000 /* until the next question after one that failed: RFC 2308 section 7 */
#define NAMES_TTL_MAX_S 86400

struct names {
    size_t n_servers, server; /* asked now, or the one that answered last */
    unsigned tries;           /* of the question under way; 0: none is */
    uint64_t next_ms;         /* when it is asked again; without one: not before that */
    struct ip_addr addresses[DNS_ANSWER_ADDRESSES];
    size_t n;
    uint64_t until_ms; /* end of their life */
    uint64_t asked, failed;
};

enum names_act { NAMES_NOTHING, NAMES_ASK /* server n->server, with a new id */, NAMES_FAILED };

void names_init(struct names *n, size_t n_servers, size_t first);
/* There is an answer whose life lasts. One of no life at all is good for the moment it comes. */
bool names_known(const struct names *n, uint64_t now_ms);
bool names_has(const struct names *n, const struct ip_addr *address);
/* Time has passed, or somebody wants the name. */
enum names_act names_step(struct names *n, bool wanted, uint64_t now_ms);
/* What the server that was asked has said. */
enum names_act names_answer(struct names *n, const struct dns_answer *a, uint64_t now_ms);
/* When step has something to do without being wanted; UINT64_MAX: never. */
uint64_t names_next_ms(const struct names *n);
