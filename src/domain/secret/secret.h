/* SPDX-License-Identifier: Apache-2.0 */
/* The document of one secret, `secret/<name>` in the state store, and what may be done with it:
 *
 *   {"format": 1, "name", "next": 4, "keep": 1, "grants": ["api"],
 *    "versions": [{"v": 3, "created", "by", "value": box, "keys": {"hk1": {"to": public, "box"}}}],
 *    "history": [{"at", "by", "what"}]}                                        newest last, both
 *
 * The value is sealed with a key of its own (the data key), the data key to every host that may use
 * it; what is here opens nothing without a host's own key. Everything is pure: boxes come from the
 * caller, who has the keys. Functions that change return a new document and borrow the old. */
#pragma once

#include "base/json/json.h"
#include "domain/model/model.h"

#define SECRET_FORMAT 1
#define SECRETS_MAX 1000
#define SECRET_VALUE_MAX (64u * 1024)
#define SECRET_KEEP_MAX 5
#define SECRET_VERSIONS_MAX 8 /* while holders are slow to take the newest */
#define SECRET_GRANTS_MAX 64
#define SECRET_HISTORY_MAX 50

struct secret_change_note { /* who, when */
    const char *by;
    const char *at; /* RFC 3339 */
};

/* A document that this version can work with. */
MUST_CHECK int secret_doc_check(const json_t *doc, struct err *e);
/* `old` NULL: the first version of a new secret, whose number is secret_doc_next(). Takes `value`
 * (a text) and `keys`. ERR_LIMIT: too many versions that some holder still uses. */
int64_t secret_doc_next(const json_t *old);
MUST_CHECK int secret_doc_add(const json_t *old, const char *name, const char *value, json_t *keys,
    int64_t keep, const struct secret_change_note *note, json_t **ret, struct err *e);
MUST_CHECK int secret_doc_grant(const json_t *old, const char *module, bool granted,
    const struct secret_change_note *note, json_t **ret, struct err *e);
/* The document with version v's keys replaced (taken). */
json_t *secret_doc_with_keys(const json_t *old, int64_t v, json_t *keys);
/* Without the versions that nobody needs: all but the newest `keep`. */
json_t *secret_doc_pruned(const json_t *old);

bool secret_doc_granted(const json_t *doc, const char *module);
int64_t secret_doc_newest(const json_t *doc); /* 0: none */
json_t *secret_doc_version(const json_t *doc, int64_t v); /* borrowed; NULL: none */
/* The newest version whose data key is sealed to the host and that does not wait (made.h). */
json_t *secret_doc_for_host(const json_t *doc, const char *host);
/* May this host have it: it keeps the state, or alarms tell by it, or it logs in to a database with
 * it, or instances of a module that asks for it and was granted it may stand in its region. */
bool secret_host_may(const struct model *m, const json_t *doc, const struct model_host *host);
bool secret_module_asks(const struct model_module *module, const char *name);
/* What people and programs see: never a box. {"name", "version", "created", "by", "versions": n,
 * "keep", "grants", "hosts": [those that can open the newest], "asked_by": [modules]}; made by the
 * platform: also "phase". */
json_t *secret_doc_show(const json_t *doc, const struct model *m);
