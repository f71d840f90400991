/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets as one host's control has them: sets and grants (documents of domain/secret in the state
 * store), opens what is sealed to this host, and keeps who can open true: a host that comes to run a
 * holder, or comes with a new key, is sealed the data keys by any control that can open them; a host
 * that may no longer have one loses its box (it knew the value: rotate). Versions that no holder
 * uses any more are dropped.
 *
 * What this host may open is also kept on its disk, sealed as in the store, so that a reboot without
 * quorum starts its modules. No value is ever in a text that is kept. On the control loop. */
#pragma once

#include "base/seal/seal.h"
#include "domain/secret/made.h"
#include "domain/secret/secret.h"
#include "service/documents/documents.h"

struct secrets;

struct secrets_config { /* borrowed for as long as the service lives */
    uv_loop_t *loop;
    struct kv *kv;
    const char *platform;
    const char *host;
    const struct seal_key *key;
    struct documents *hosts; /* the register: "seal_public" of each */
    const char *cache_dir;   /* copied */
    /* A secret is another, or gone, for this host. */
    void (*changed)(void *ctx, const char *name);
    /* Has every host that is heard and holds the secret taken version v? Older ones then go. */
    bool (*taken)(void *ctx, const char *name, int64_t v);
    void *ctx;
};

struct secrets *secrets_new(const struct secrets_config *c);
void secrets_free(struct secrets *s); /* changes on their way end with ERR_CANCELED */
/* Borrowed until the next. Who may hold what follows from it. */
void secrets_set_model(struct secrets *s, const struct model *m);
/* Something that reconciling looks at has changed (the register, what hosts have taken). */
void secrets_look(struct secrets *s);

/* doc: the secret as it is now, NULL when removed. */
typedef documents_done_fn secrets_done_fn;
struct secrets_set {
    const char *name;
    const void *value;
    size_t len;
    const char *const *modules; /* granted along with it */
    size_t n_modules;
    int64_t keep;      /* 0: as it was, else 1 */
    bool must_exist;   /* a rotation */
    bool must_be_new;
    const struct secret_made *made; /* by the platform; NULL: by people. Its value is the password */
    const char *by;
};
/* The next version. Everything is copied; the copy of the value is wiped. */
void secrets_set(struct secrets *s, const struct secrets_set *what, secrets_done_fn fn, void *ctx);
void secrets_grant(struct secrets *s, const char *name, const char *const *modules, size_t n,
    bool granted, const char *by, secrets_done_fn fn, void *ctx);
void secrets_remove(struct secrets *s, const char *name, secrets_done_fn fn, void *ctx);
/* One that the platform made, as it shall be by these facts (domain/secret/made.h). */
void secrets_step(struct secrets *s, const char *name, const struct secret_made_facts *f,
    const char *by, secrets_done_fn fn, void *ctx);

/* [secret_doc_show()], by name. */
json_t *secrets_list(struct secrets *s);
const json_t *secrets_get(struct secrets *s, const char *name); /* the document, borrowed; NULL */
/* The same as the state store has it, never what the disk remembers; NULL: none, or not known. */
const json_t *secrets_stored(struct secrets *s, const char *name);
bool secrets_synced(const struct secrets *s); /* secrets_stored() knows all of them */
json_t *secrets_all(struct secrets *s); /* by name, borrowed: for json_object_foreach */
/* Is the newest version sealed to every host that may have it, and in place there? */
bool secrets_taken(const struct secrets *s, const json_t *doc);
/* The value for a module of this host: it must ask for the secret and have been granted it. The
 * error is what the waiting unit says. */
MUST_CHECK int secrets_open(struct secrets *s, const char *name, const char *module,
    struct secret **ret, int64_t *ret_version, struct err *e);
/* The value for this host itself: its login to servers that others run. */
MUST_CHECK int secrets_open_login(
    struct secrets *s, const char *name, struct secret **ret, struct err *e);
