/* SPDX-License-Identifier: Apache-2.0 */
/* A country database in MaxMind's format, read whole when routing is compiled and by single
 * addresses for `mcp explain`; never asked per query. Understands flat records (`country_code`, as
 * @ip-location-db publishes them) and GeoIP2 ones (`country.iso_code`, else
 * `registered_country.iso_code`). Read only; one thread at a time. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

struct mmdb;

/* ERR_NOT_FOUND names the path and how to get a database; ERR_INVALID: not an mmdb file. */
MUST_CHECK int mmdb_open(const char *path, struct mmdb **ret, struct err *e);
/* From a descriptor that host passed; it stays the caller's and may be closed afterwards. A file
 * that is cut short while it is mapped kills the process (SIGBUS): replace by rename, as
 * tools/fetch_geo.sh does. */
MUST_CHECK int mmdb_open_fd(int fd, struct mmdb **ret, struct err *e);
void mmdb_close(struct mmdb *m); /* NULL is fine */

/* A negative return ends the iteration with it. */
typedef int (*mmdb_network_fn)(
    void *ctx, const struct ip_prefix *prefix, const char *country, struct err *e);
/* Every network that has a country, IPv4 ones as IPv4, each once: the aliases of the IPv4 tree that
 * IPv6 databases hold (::ffff:0:0/96, 2002::/16, ...) are left out. Gives the pages it touched
 * back. */
MUST_CHECK int mmdb_each(struct mmdb *m, mmdb_network_fn fn, void *ctx, struct err *e);

/* The country of one address and the network of its record (may be NULL). False: unknown. */
bool mmdb_country(
    struct mmdb *m, const struct ip_addr *a, char ret_country[3], struct ip_prefix *ret_network);

/* "iptoasn-country", and when it was built: seconds since 1970. */
const char *mmdb_type(const struct mmdb *m);
uint64_t mmdb_built(const struct mmdb *m);
