/* SPDX-License-Identifier: Apache-2.0 */
/* Global transaction ids of both kinds of servers, as values: parsing, the canonical text, and the
 * few operations that replication is decided with.
 *
 * MariaDB: "1-11-42,2-12-7", domain-server-sequence. A position names one id of each domain and
 * means it and everything before it in that domain; gtid_binlog_state names the last of every
 * server of a domain. The position in a domain is the highest sequence number
 * (gtid_strict_mode).
 * MySQL: "uuid:1-5:7,uuid2:1-3", intervals; since 8.3 also tagged, "uuid:1-5:tag:1-3".
 *
 * Sets are kept sorted and merged. Limits: GTID_MAX domains or intervals, GTID_TEXT_MAX bytes of
 * text. Operations on sets of different kinds are bugs (they assert). Memory is the set's own until
 * gtid_set_done(); zeroed is an empty MariaDB position. Pure. */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"

#define GTID_MAX 1024
#define GTID_TEXT_MAX (128u * 1024)
#define GTID_TAG_MAX 32 /* MySQL: letters, digits, underscore; kept in small letters */
#define GTID_UUID_TEXT_SIZE 37

enum gtid_flavour { GTID_MARIADB, GTID_MYSQL };

struct gtid { /* one MariaDB transaction */
    uint32_t domain;
    uint32_t server;
    uint64_t seq;
};

/* `from` to `to`, both included; of a MariaDB domain, or of a MySQL server and tag ("" is none). */
struct gtid_range {
    uint32_t domain;
    uint8_t uuid[16];
    char tag[GTID_TAG_MAX + 1];
    uint64_t from, to;
};

struct gtid_set {
    enum gtid_flavour flavour;
    size_t n;
    struct gtid *at; /* MariaDB: by domain, then sequence: a domain's last is its position */
    struct gtid_range *ranges; /* MySQL: by uuid, tag, from; never touching */
};

struct gtid_ranges { /* what a difference consists of; same order */
    enum gtid_flavour flavour;
    size_t n;
    struct gtid_range *v;
};

void gtid_set_init(struct gtid_set *s, enum gtid_flavour flavour); /* empty */
void gtid_set_done(struct gtid_set *s);
void gtid_ranges_done(struct gtid_ranges *r);
#define _cleanup_gtid_ _cleanup_(gtid_set_done)
#define _cleanup_gtid_ranges_ _cleanup_(gtid_ranges_done)

/* Blanks and line ends between parts are fine, as servers print them; empty text is the empty set.
 * Several ids of one domain are taken (the form of gtid_binlog_state); gtid_set_is_position() tells.
 * ERR_INVALID, or ERR_LIMIT. *ret is written on success only. */
MUST_CHECK int gtid_set_parse(
    enum gtid_flavour flavour, const char *text, size_t len, struct gtid_set *ret, struct err *e);
/* One of "1-11-42" (MariaDB) and "uuid:…" (MySQL): which is it? Empty text: false. */
bool gtid_flavour_guess(const char *text, size_t len, enum gtid_flavour *ret);
/* Canonical: sorted, no blanks, MySQL's uuids in small letters and its intervals merged. */
void gtid_set_format(const struct gtid_set *s, struct str *out);
/* MySQL: the bytes in which a replica tells what it has (COM_BINLOG_DUMP_GTID), added to out. A set
 * with tags is ERR_REFUSED. */
MUST_CHECK int gtid_set_encode(const struct gtid_set *s, struct str *out, struct err *e);
void gtid_set_copy(const struct gtid_set *s, struct gtid_set *ret);

bool gtid_set_empty(const struct gtid_set *s);
bool gtid_set_is_position(const struct gtid_set *s); /* one id a domain; MySQL: always */
/* One id for each domain: of several the highest. MySQL: as it is. */
void gtid_set_to_position(const struct gtid_set *s, struct gtid_set *ret);
/* The same transactions: MariaDB's position of each domain with its server, MySQL's intervals. */
bool gtid_set_equal(const struct gtid_set *a, const struct gtid_set *b);
/* Everything of b is in a. MariaDB: each domain of b is in a, as far or further; the same sequence
 * number from another server is not the same transaction. */
bool gtid_set_contains(const struct gtid_set *a, const struct gtid_set *b);
/* What a has and b has not. MariaDB: of each domain the numbers behind b's; the same number from
 * another server counts as that one number. */
void gtid_set_subtract(const struct gtid_set *a, const struct gtid_set *b, struct gtid_ranges *ret);
/* MySQL: union. MariaDB: the further one of each domain. ERR_LIMIT. */
MUST_CHECK int gtid_set_union(
    const struct gtid_set *a, const struct gtid_set *b, struct gtid_set *ret, struct err *e);

enum gtid_order { GTID_SAME, GTID_BEHIND, GTID_AHEAD, GTID_DIVERGED };
/* Where a stands as seen from b. DIVERGED: each has what the other has not. */
enum gtid_order gtid_set_compare(const struct gtid_set *a, const struct gtid_set *b);
const char *gtid_order_name(enum gtid_order o); /* "same", "behind", ... */

/* How many transactions; stops at UINT64_MAX. MariaDB's numbers are counted from 1: a domain that
 * began later counts as more than it holds. */
uint64_t gtid_set_count(const struct gtid_set *s);
uint64_t gtid_ranges_count(const struct gtid_ranges *r);
/* "1:43-50,2:8" (domain:numbers), or a MySQL set. */
void gtid_ranges_format(const struct gtid_ranges *r, struct str *out);

/* MariaDB: the position in a domain; false: nothing of it. */
bool gtid_set_domain(const struct gtid_set *s, uint32_t domain, struct gtid *ret);
/* The id that a server would give next in a domain (MariaDB), sequence 1 where there is none. */
struct gtid gtid_set_next(const struct gtid_set *s, uint32_t domain, uint32_t server);
/* MySQL: the number after the highest of that server and tag. */
uint64_t gtid_set_next_of(const struct gtid_set *s, const uint8_t uuid[16], const char *tag);
/* MySQL: the part that a server gave out itself, all tags. */
void gtid_set_of_server(const struct gtid_set *s, const uint8_t uuid[16], struct gtid_set *ret);

bool gtid_uuid_parse(const char *text, size_t len, uint8_t ret[16]); /* with its hyphens */
void gtid_uuid_format(const uint8_t uuid[16], char out[GTID_UUID_TEXT_SIZE]);
