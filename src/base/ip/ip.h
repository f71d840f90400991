/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and prefixes of both families as plain values. An IPv4 address keeps its four bytes in
 * front; a prefix's host bits are zero. */
#pragma once

#include "base/util/util.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define IP_TEXT_SIZE 64

struct ip_addr {
    uint8_t family;    /* 4, 6, or 0 for none */
    uint8_t bytes[16]; /* network order; IPv4 uses the first 4 */
};

struct ip_prefix {
    struct ip_addr addr;
    uint8_t bits;
};

bool ip_parse(const char *text, struct ip_addr *ret);
void ip_format(const struct ip_addr *a, char out[IP_TEXT_SIZE]);
bool ip_eq(const struct ip_addr *a, const struct ip_addr *b);
bool ip_prefix_parse(
    const char *text, struct ip_prefix *ret); /* "10.0.0.0/8"; host bits must be zero */
void ip_prefix_format(const struct ip_prefix *p, char out[IP_TEXT_SIZE]);
bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a);
bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b);
/* The n-th address of the prefix (0 is the network address). Returns false when it lies outside. */
bool ip_prefix_nth(const struct ip_prefix *p, uint64_t n, struct ip_addr *ret);
void ip_to_sockaddr(
    const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len);
bool ip_from_sockaddr(
    const struct sockaddr *sa, struct ip_addr *ret, uint16_t *ret_port); /* v4-mapped becomes v4 */
