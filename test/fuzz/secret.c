/* SPDX-License-Identifier: Apache-2.0 */
/* Any document under secret/ of the state store: what passes the check can be worked with. */
#include "domain/secret/made.h"
#include "domain/secret/secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct secret_change_note note = {"a", "b"};
    _cleanup_json_ json_t *doc = NULL;
    struct err e = {0};
    if (json_parse((const char *)data, size, &doc, &e) < 0 || secret_doc_check(doc, &e) < 0)
        return 0;
    json_t *next = NULL;
    if (secret_doc_add(doc, "x", "y", json_object(), 0, &note, &next, &e) >= 0) {
        ASSERT(secret_doc_newest(next) > secret_doc_newest(doc));
        ASSERT(secret_doc_check(next, &e) >= 0 || json_array_size(json_object_get(next, "versions")));
        json_decref(next);
    }
    if (secret_doc_grant(doc, "api", true, &note, &next, &e) >= 0) {
        ASSERT(secret_doc_granted(next, "api"));
        json_decref(next);
    }
    const struct secret_made_facts facts = {secret_doc_newest(doc), true, true, 1000};
    const char *what;
    json_decref(secret_made_step(doc, &facts, &note, &what));
    json_decref(secret_made_hashes(doc));
    json_decref(secret_doc_pruned(doc));
    json_decref(secret_doc_show(doc, NULL));
    secret_doc_for_host(doc, "hk1");
    return 0;
}
