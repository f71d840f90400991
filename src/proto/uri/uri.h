/* SPDX-License-Identifier: Apache-2.0 */
/* Request paths and authorities, strictly. What routing decides on and what the upstream receives
 * is one and the same normal form, so that no two parties can read a path differently (RFC 3986
 * section 6.2.2):
 *   - escapes of unreserved characters are decoded, all other escapes stay, their hex digits in
 *     upper case: %2f remains an escape and never becomes a separator;
 *   - "." and ".." segments are removed; a path that climbs above its root is refused, not clamped;
 *   - runs of "/" become one (before dot segments are looked at), unless URI_KEEP_SLASHES;
 *   - refused: %00, an incomplete escape, a backslash, and ".." that some servers see behind an
 *     encoded separator ("..%2f", "%5c..") or before a path parameter ("..;").
 * Pure; no allocation; any thread. */
#pragma once

#include "base/util/util.h"

enum uri_error {
    URI_OK = 0,
    URI_NOT_ABSOLUTE = -1, /* does not start with "/" */
    URI_BAD_CHAR = -2,
    URI_BAD_ESCAPE = -3,
    URI_NUL = -4,
    URI_ABOVE_ROOT = -5,
    URI_HIDDEN_DOTS = -6,
};

enum uri_flags {
    URI_KEEP_SLASHES = 1 << 0,
};

/* Writes the normal form of a path (no query) to out, which holds at least len bytes and may be
 * `in` itself: it never grows. Returns its length, or a negative enum uri_error. */
MUST_CHECK int uri_path_normalise(const char *in, size_t len, unsigned flags, char *out);

struct uri_authority {
    const char *host; /* points into the text; an IPv6 literal keeps its brackets */
    size_t host_len;
    uint16_t port; /* 0: none given */
};

/* host [":" port] as Host and :authority have it: no user info, host not empty, at most 255 bytes
 * of letters, digits, "-", "." and "_", or a bracketed IPv6 literal. */
bool uri_authority_parse(const char *text, size_t len, struct uri_authority *ret);

/* The host in the form that names are kept in: lower case, without a trailing dot. out holds at
 * least a->host_len bytes. Returns its length, 0 when nothing is left. */
size_t uri_host_normalise(const struct uri_authority *a, char *out);
