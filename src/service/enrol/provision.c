/* SPDX-License-Identifier: Apache-2.0 */
/* What a host must know before anybody answers it: certificates, boot record, boot units. Written
 * to its disk from outside, through its first process; what is there already and the same is left
 * alone. */
#include "service/enrol/provision.h"

#include "base/arena/arena.h"
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "domain/capolicy/capolicy.h"
#include "domain/model/model.h"
#include "domain/spec/boot.h"
#include "service/enrol/records.h"

#include <errno.h>
#include <string.h>

#define STATE_ROOT "/var/lib/mcp"
#define FILE_MAX (4u * 1024 * 1024)

/* ---- writing ---- */

static int write_if_new(
    const char *root, const char *path, const json_t *j, bool *changed, struct err *e)
{
    _cleanup_free_ char *file = xasprintf("%s%s", root, path), *text = json_text_pretty(j);
    _cleanup_str_ struct str old = STR_INIT;
    struct err ignored;
    if (file_read(file, FILE_MAX, &old, &ignored) >= 0 && !strcmp(str_cstr(&old), text))
        return 0;
    *changed = true;
    return file_write_durable(file, text, strlen(text), 0644, e);
}

static int issue(const struct provision *p, const struct capolicy_leaf *leaf, const char *host,
    const char *dir, struct err *e)
{
    int64_t now = clock_wall_ms();
    const struct pki_ca *hosts = pki_authority_ca(p->authority, PKI_HOSTS),
                        *state = pki_authority_ca(p->authority, PKI_STATE);
    if (leaf->kind == LEAF_HOST)
        return pki_issue_host(hosts, p->model->platform, host, leaf->addresses, leaf->n_addresses,
            p->leaf_s, dir, now, NULL, e);
    if (leaf->kind == LEAF_STATE)
        return pki_issue_state(state, p->model->platform, host, leaf->addresses, leaf->n_addresses,
            p->leaf_s, dir, now, NULL, e);
    return pki_issue_edge(hosts, leaf->names, leaf->n_names, p->leaf_s, dir, now, NULL, e);
}

/* What a host needs before it can ask for the rest itself. */
static int write_certificates(
    const struct provision *p, const struct model_host *h, const char *dir, struct err *e)
{
    static const enum leaf_kind kinds[] = {LEAF_HOST, LEAF_STATE, LEAF_EDGE};
    struct capolicy_facts facts = {.platform = p->model->platform, .model = p->model};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(kinds) && r >= 0; i++) {
        _cleanup_arena_ struct arena *a = arena_new(0);
        struct capolicy_leaf leaf;
        bool wanted = kinds[i] == LEAF_HOST || (kinds[i] == LEAF_STATE && model_has_etcd(p->model))
                      || (kinds[i] == LEAF_EDGE && h->is_public);
        if (!wanted)
            continue;
        r = capolicy_leaf(&facts, h->name, kinds[i], NULL, a, &leaf, e);
        if (r >= 0)
            r = issue(p, &leaf, h->name, dir, e);
    }
    return r;
}

/* The issuing keys, sealed to that host; what it can open stays, for it may have been renewed. */
static int write_authority(
    const struct provision *p, const struct model_host *h, const char *dir, struct err *e)
{
    struct err ignored;
    _cleanup_free_ char *key_path = xasprintf("%s/seal.key", dir),
                        *path = xasprintf("%s/" PKI_AUTHORITY_FILE, dir);
    _cleanup_seal_key_ struct seal_key *key = NULL;
    _cleanup_json_ json_t *old = NULL, *doc = NULL;
    _cleanup_pki_authority_ struct pki_authority *opened = NULL;
    if (!capolicy_holds(p->model, h->name))
        return 0;
    int r = seal_key_load_or_make(key_path, &key, e);
    if (r < 0)
        return r;
    if (file_exists(path) && json_read_file(path, PKI_AUTHORITY_BYTES_MAX, &old, &ignored) >= 0
        && pki_authority_unseal(old, p->model->platform, h->name, key, &opened, &ignored) >= 0)
        return 0;
    r = pki_authority_seal(p->authority, p->model->platform, h->name, seal_public(key), &doc, e);
    return r < 0 ? r : pki_authority_write(doc, dir, e);
}

static int write_pki(
    const struct provision *p, const struct model_host *h, const char *root, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s" STATE_ROOT "/pki", root);
    int r = write_certificates(p, h, dir, e);
    return r < 0 ? r : write_authority(p, h, dir, e);
}

static void only_endpoint(const struct model_host *h, json_t *state)
{
    _cleanup_free_ char *url = enrol_client_url(h);
    json_object_set_new(state, "endpoints", json_pack("[s]", url));
}

/* A host that joined, or whose member was replaced, knows better than the declaration where its
 * state store is: what it has stays. */
static bool keeps_state(const char *root, json_t *boot)
{
    struct err ignored;
    _cleanup_json_ json_t *old = NULL;
    _cleanup_free_ char *path = xasprintf("%s" BOOT_PATH, root);
    if (json_read_file(path, BOOT_BYTES_MAX, &old, &ignored) < 0)
        return false;
    json_t *state = json_object_get(old, "state");
    bool joined = json_opt_bool(old, "joined", false);
    if (!joined && !json_object_get(json_object_get(state, "member"), "id"))
        return false;
    json_object_set(boot, "state", state);
    if (joined)
        json_object_set_new(boot, "joined", json_true());
    return true;
}

int provision_host(const struct provision *p, const struct model_host *h, const char *root,
    bool *ret_changed, struct err *e)
{
    _cleanup_json_ json_t *boot = enrol_boot(p->model, h, p->geo, !p->is_real),
                          *units = enrol_boot_units(p->model, h, p->cluster);
    _cleanup_free_ char *agent = xasprintf("%s" STATE_ROOT "/agent", root);
    if (p->leaf_s)
        json_object_set_new(boot, "leaf_s", json_integer(p->leaf_s));
    if (p->cluster) /* the only member so far */
        only_endpoint(h, json_object_get(boot, "state"));
    if (p->is_real)
        json_object_set_new(boot, "joined", json_true());
    bool keeps = !p->is_real && keeps_state(root, boot);
    struct boot *check = NULL;
    bool units_changed = false;
    *ret_changed = false;
    int r = boot_parse(boot, &check, e);
    boot_free(check);
    if (r >= 0)
        r = write_pki(p, h, root, e);
    if (r >= 0)
        r = file_mkdirs(agent, 0700, e);
    if (r >= 0 && !keeps)
        r = write_if_new(root, STATE_ROOT "/agent/boot-units.json", units, &units_changed, e);
    return r < 0 ? r
                 : write_if_new(
                     root, BOOT_PATH, boot, ret_changed, e); /* last: the host starts by it */
}
