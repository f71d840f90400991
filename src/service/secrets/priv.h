/* SPDX-License-Identifier: Apache-2.0 */
/* Inside service/secrets. */
#pragma once

#include "service/secrets/secrets.h"

struct secrets {
    struct secrets_config c;
    char *cache_dir;
    const struct model *model;
    struct documents *docs;
    json_t *cached; /* name -> document, from the disk: until the store has answered */
    json_t *pending; /* path -> text or null: not handed to the writing thread yet */
    bool writing;
    uv_timer_t look;
    int refs; /* ours, the timer's, the changes' on their way */
    bool closing;
};

void secrets_ref(struct secrets *s);
void secrets_unref(struct secrets *s);

/* seal.c */
/* The value's box under a new data key, whose boxes for `hosts` (names) are *ret_keys. */
MUST_CHECK int secrets_seal(const struct secrets *s, const char *name, int64_t v, const void *value,
    size_t len, json_t *hosts, char **ret_value, json_t **ret_keys, struct err *e);
MUST_CHECK int secrets_unseal(const struct secrets *s, const char *name, const json_t *version,
    struct secret **ret, struct err *e);
/* The version's keys as they should be for `hosts`; NULL: they are. ERR_DENIED: not ours to open. */
MUST_CHECK int secrets_reseal(const struct secrets *s, const char *name, const json_t *version,
    json_t *hosts, json_t **ret_keys, struct err *e);
/* Names of those that may have it; NULL when that is not known yet (no model). */
json_t *secrets_hosts(const struct secrets *s, const json_t *doc);

/* cache.c */
void secrets_cache_load(struct secrets *s);
void secrets_cache_put(struct secrets *s, const char *name, const json_t *doc); /* NULL: gone */
void secrets_cache_sweep(struct secrets *s); /* what the store does not have */

/* look.c */
/* The document with every version's keys as they should be; a new reference. */
json_t *secrets_resealed(const struct secrets *s, const char *name, json_t *doc);
void secrets_look_start(struct secrets *s);
