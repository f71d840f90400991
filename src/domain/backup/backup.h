/* SPDX-License-Identifier: Apache-2.0 */
/* A backup of the state store as text: what an operator keeps and a machine can check. One JSON a
 * line:
 *
 *   {"format": "mcp-state", "version": 1, "platform", "revision", "created_ms", "by"}
 *   {"k": "desired/7", "v": "..."}          below /mcp/<platform>/, sorted, each once
 *   {"keys": N, "digest": "sha256:…"}       of every byte before this line
 *
 * A file that was cut or changed is refused whole. What belongs to hosts and moments rather than to
 * the platform's will is in the file for the eye and is not put back: leases, tokens, the register
 * of hosts, the certificate authority's, the audit log. Counters that fence (epoch/…) come back
 * higher than they ever were. Pure. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define BACKUP_VERSION 1
#define BACKUP_BYTES_MAX (96u * 1024 * 1024)
#define BACKUP_KEYS_MAX 100000u
#define BACKUP_EPOCH_STEP 1000000 /* more than a platform raises one between two backups */

struct backup_pair {
    const char *key; /* below the platform's prefix */
    const char *value;
    size_t len;
};

struct backup {
    struct arena *arena;
    const char *platform, *by;
    int64_t revision, created_ms;
    struct backup_pair *pairs;
    size_t n;
};

void backup_begin(
    struct str *out, const char *platform, int64_t revision, const char *by, int64_t now_ms);
void backup_add(struct str *out, const char *key, const char *value);
void backup_end(struct str *out, size_t n_keys);
/* ERR_INVALID names the line. */
MUST_CHECK int backup_parse(const char *text, size_t len, struct backup **ret, struct err *e);
void backup_free(struct backup *b); /* NULL is fine */

/* Is a key of that name put back? */
bool backup_restores(const char *key);
bool backup_is_epoch(const char *key);
/* The value of an epoch after a restore: beyond both. Texts that are no numbers count as 0. */
int64_t backup_epoch(const char *kept, const char *present);
