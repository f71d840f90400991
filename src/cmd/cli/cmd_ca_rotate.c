/* SPDX-License-Identifier: Apache-2.0 */
/* New keys are made here, from the folder of the roots, and reach the hosts sealed; the platform
 * does the rest by itself and this command only watches. Killed at any point it is run again. */
#include "cmd/cli/cmd.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rpc/rpc.h"
#include "base/str/str.h"
#include "driver/pki/authority.h"
#include "service/lab/lab.h"

#include <errno.h>
#include <time.h>

#define TIMEOUT_MS 20000
#define WAIT_DEFAULT_MS 600000u
#define LOOK_MS 300

struct rotation {
    struct cmd_ctx *ctx;
    struct rpc_client *client;
    const char *kind;
    char folder[PATH_MAX];
    char platform[64];
    uint64_t until_ms;
};

static const char *const words[] = {"leaves", "intermediate", "root"};

static int choose(const struct cmd_ctx *ctx, const char **ret, struct err *e)
{
    int n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (cmd_flag(ctx, words[i])) {
            *ret = words[i];
            n++;
        }
    return n == 1 ? 0 : err_set(e, ERR_USAGE, "one of --leaves, --intermediate, --root");
}

/* One look. A host that has only begun does not know yet whether a rotation runs: it counts as
 * one that does not answer, and the next look asks anew whoever answers then. */
static int get_status(struct rotation *a, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *status = NULL;
    int r = a->client ? 0 : cmd_connect(a->ctx, NULL, &a->client, e);
    if (r >= 0)
        r = rpc_client_call(a->client, "ca.status", NULL, TIMEOUT_MS, NULL, NULL, &status, e);
    if (r >= 0 && !json_opt_bool(status, "known", false))
        r = err_set(e, ERR_UNAVAILABLE, "the host that answers has not heard the state store yet");
    if (r >= 0) {
        *ret = json_incref(status);
        return 0;
    }
    rpc_client_free(a->client);
    a->client = NULL;
    return r;
}

static void until_next_look(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
}

static int first_status(struct rotation *a, json_t **ret, struct err *e)
{
    uint64_t patience = clock_boot_ms() + TIMEOUT_MS;
    for (;;) {
        int r = get_status(a, ret, e);
        if (r != ERR_UNAVAILABLE || clock_boot_ms() > patience || clock_boot_ms() > a->until_ms)
            return r;
        until_next_look();
    }
}

static int find_folder(struct rotation *a, struct err *e)
{
    const char *named = cmd_opt(a->ctx, "ca");
    if (named)
        str_copy(a->folder, sizeof a->folder, named);
    else
        snprintf(a->folder, sizeof a->folder, LAB_DIR "/%s/ca", a->platform);
    _cleanup_free_ char *root = xasprintf("%s/root.pem", a->folder);
    if (file_exists(root))
        return 0;
    err_set(e, ERR_NOT_FOUND, "there is no %s", root);
    err_fix(e, "--ca FOLDER: what `mcp host init` gave you to keep offline");
    return ERR_NOT_FOUND;
}

/* ---- what comes next, made here */

static json_t *side_json(const struct pki_authority *auth, enum pki_kind k)
{
    struct pki_info info;
    const struct pki_ca *ca = pki_authority_ca(auth, k);
    _cleanup_free_ char *root = pki_ca_root_pem(ca), *intermediate = pki_ca_intermediate_pem(ca);
    pki_ca_info(ca, NULL, &info);
    return json_pack(
        "{s:s,s:s,s:s}", "root", root, "intermediate", intermediate, "issuer", info.id);
}

static int seal_to_holders(const struct rotation *a, const struct pki_authority *auth,
    const json_t *status, json_t *sealed, struct err *e)
{
    size_t i;
    json_t *h;
    json_array_foreach (json_object_get(status, "hosts"), i, h) {
        const char *host = json_opt_str(h, "host", ""),
                   *text = json_opt_str(h, "seal_public", NULL);
        uint8_t public_key[SEAL_KEY_SIZE];
        json_t *doc;
        if (!json_opt_bool(h, "holder", false))
            continue;
        if (!text) {
            err_set(e, ERR_UNAVAILABLE, "host %s has not registered its sealing key yet", host);
            err_fix(e, "it must have been up once: `mcp status`");
            return ERR_UNAVAILABLE;
        }
        int r = seal_public_parse(text, public_key, e);
        if (r >= 0)
            r = pki_authority_seal(auth, a->platform, host, public_key, &doc, e);
        if (r < 0)
            return err_wrap(e, "host %s", host);
        json_object_set_new(sealed, host, doc);
    }
    return 0;
}

static int make_next(struct rotation *a, struct pki_authority **ret, struct err *e)
{
    _cleanup_free_ char *next = xasprintf("%s/next", a->folder);
    int64_t now = clock_wall_ms();
    return strcmp(a->kind, "root") != 0 ? pki_authority_renew(a->folder, a->platform, now, ret, e)
                                        : pki_authority_open(next, a->platform, now, ret, e);
}

static int begin(struct rotation *a, const json_t *status, struct err *e)
{
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_pki_authority_ struct pki_authority *next = NULL;
    const char *by = getenv("SUDO_USER") ? getenv("SUDO_USER") : getenv("USER");
    json_t *params = json_pack("{s:s,s:s}", "kind", a->kind, "by", by ? by : "root");
    if (!params)
        return err_set(e, ERR_USAGE, "the user's name is not UTF-8");
    int r = 0;
    if (strcmp(a->kind, "leaves") != 0) {
        json_t *sealed = json_object();
        json_object_set_new(params, "sealed", sealed);
        r = make_next(a, &next, e);
        if (r >= 0)
            r = seal_to_holders(a, next, status, sealed, e);
        if (r >= 0)
            json_object_set_new(params, "next",
                json_pack("{s:o,s:o}", "hosts", side_json(next, PKI_HOSTS), "state",
                    side_json(next, PKI_STATE)));
    }
    if (r < 0) {
        json_decref(params);
        return r;
    }
    r = rpc_client_call(a->client, "ca.rotate", params, TIMEOUT_MS, NULL, NULL, &answer, e);
    if (r >= 0 && !strcmp(a->kind, "intermediate"))
        r = pki_authority_keep(next, a->folder, e);
    return r < 0 ? r : 0;
}

/* ---- watching it */

static void tell(const struct rotation *a, const json_t *r, char last[512])
{
    char text[512];
    const char *waiting = json_opt_str(r, "waiting", "");
    snprintf(text, sizeof text, "%s: %s", json_opt_str(r, "phase", ""), waiting);
    if (!a->ctx->json && *waiting && strcmp(text, last) != 0)
        printf("%s\n", text);
    fflush(stdout);
    str_copy(last, 512, text);
}

static int watch(struct rotation *a, json_t **ret, struct err *e)
{
    char last[512] = "";
    for (;;) {
        struct err why = {0};
        json_t *status = NULL;
        int r = get_status(a, &status, &why); /* a control that restarts: another one answers */
        if (r < 0)
            str_copy(last, sizeof last, why.message);
        else if (!json_is_object(json_object_get(status, "rotation"))) {
            *ret = status;
            return 0;
        } else
            tell(a, json_object_get(status, "rotation"), last);
        json_decref(status);
        if (clock_boot_ms() > a->until_ms) {
            err_set(e, ERR_TIMEOUT, "the rotation is not done yet; %s", last);
            err_fix(e, "it goes on; run the same command again to wait for it");
            return ERR_TIMEOUT;
        }
        until_next_look();
    }
}

/* ---- the folder follows: the new root takes the old one's place, which is kept beside it */

static int move_files(const char *from, const char *to, const char *old, struct err *e)
{
    static const char *const files[] = {
        "root.key", "intermediate.key", "intermediate.pem", "root.pem"};
    int r = file_mkdirs(old, 0700, e);
    for (size_t i = 0; i < ARRAY_SIZE(files) && r >= 0; i++) {
        _cleanup_free_ char *source = xasprintf("%s/%s", from, files[i]),
                            *target = xasprintf("%s/%s", to, files[i]),
                            *kept = xasprintf("%s/%s", old, files[i]);
        if (!file_exists(source))
            continue;
        if (!file_exists(kept) && rename(target, kept) < 0 && errno != ENOENT)
            r = err_errno(e, errno, "keep %s", target);
        else if (rename(source, target) < 0)
            r = err_errno(e, errno, "rename %s", source);
    }
    return r;
}

static int place_root(const struct rotation *a, const json_t *status, struct err *e)
{
    struct pki_info info;
    struct err ignored;
    _cleanup_free_ char *pem = xasprintf("%s/next/root.pem", a->folder),
                        *next = xasprintf("%s/next", a->folder),
                        *next_state = xasprintf("%s/next/state", a->folder),
                        *state = xasprintf("%s/state", a->folder);
    const char *trusted =
        json_opt_str(json_array_get(json_object_get(status, "roots"), 0), "id", "");
    if (!file_exists(pem) || pki_info_read(pem, &info, &ignored) < 0
        || strcmp(info.id, trusted) != 0)
        return 0; /* nothing waits there, or it is not what is trusted */
    _cleanup_free_ char *old = xasprintf("%s/before-%.12s", a->folder, info.id),
                        *old_state = xasprintf("%s/state", old);
    int r = move_files(next_state, state, old_state, e);
    if (r >= 0)
        r = move_files(next, a->folder, old, e); /* its root.pem last: what we look for above */
    return r < 0 ? r : file_remove_tree(next, e);
}

static int rotate(struct rotation *a, struct err *e)
{
    _cleanup_json_ json_t *status = NULL, *after = NULL;
    int r = first_status(a, &status, e);
    if (r < 0)
        return r;
    str_copy(a->platform, sizeof a->platform, json_opt_str(status, "platform", ""));
    const json_t *running = json_object_get(status, "rotation");
    bool resume = json_is_object(running) && str_eq(json_opt_str(running, "kind", NULL), a->kind);
    if (strcmp(a->kind, "leaves") != 0)
        r = find_folder(a, e);
    if (r >= 0 && !resume && !strcmp(a->kind, "root"))
        r = place_root(a, status, e); /* of one whose command was killed at its very end */
    if (r >= 0 && !resume)
        r = begin(a, status, e);
    if (r >= 0 && cmd_flag(a->ctx, "no-wait"))
        return 0;
    if (r >= 0)
        r = watch(a, &after, e);
    if (r >= 0 && !strcmp(a->kind, "root"))
        r = place_root(a, after, e);
    if (r < 0)
        return r;
    if (a->ctx->json)
        cmd_print_json(after);
    else
        printf("%s rotated\n", a->kind);
    return 0;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    struct rotation a = {.ctx = ctx};
    uint64_t timeout_ms = WAIT_DEFAULT_MS;
    int r = choose(ctx, &a.kind, e);
    if (r >= 0)
        r = cmd_opt_duration(ctx, "timeout", &timeout_ms, e);
    if (r >= 0)
        r = cmd_connect(ctx, NULL, &a.client, e);
    if (r < 0)
        return r;
    a.until_ms = clock_boot_ms() + timeout_ms;
    r = rotate(&a, e);
    rpc_client_free(a.client);
    return r;
}

const struct cmd cmd_ca_rotate = {
    .name = "ca rotate",
    .operands = "",
    .summary = "Replace certificates, the intermediate or the root under load",
    .text =
        "--leaves: every certificate of every host is made anew. --intermediate: with a new "
        "intermediate, made here with the root's key. --root: with a new root; first both roots "
        "are trusted everywhere (the state store's members restart for it, one at a time), then "
        "every certificate is made anew under the new one, then the old root is dropped.\n\n"
        "The platform carries a rotation out by itself, step by step, each when every host has "
        "reported the one before; a host that is away holds it up. This command starts it and "
        "watches; run again it goes on watching. Connections that are open stay open.\n\n"
        "The folder of the roots (--ca) is that of the lab, or what `mcp host init` gave out to be "
        "kept offline. After --root the new root lies in it, the old one in before-ID beside it.\n\n"
        "JSON: as `mcp ca status`, after it is done.",
    .opts = (const struct cmd_opt[]){CMD_OPT_FILE, CMD_OPT_PLATFORM,
        {"leaves", 0, NULL, "every host's certificates"},
        {"intermediate", 0, NULL, "a new intermediate, and every certificate by it"},
        {"root", 0, NULL, "a new root, with both trusted for a while"},
        {"ca", 0, "FOLDER", "where the root and its key are (default: the lab's)"},
        {"no-wait", 0, NULL, "do not stay until it is done"},
        {"timeout", 't', "D", "stay at most this long (default 10m)"}, CMD_OPT_JSON, {0}},
    .run = run,
};
