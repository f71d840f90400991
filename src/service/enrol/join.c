/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/join.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rpc/rpc.h"
#include "base/seal/seal.h"
#include "base/str/str.h"
#include "domain/enrol/enrol.h"
#include "domain/spec/boot.h"
#include "driver/pki/pki.h"
#include "service/enrol/ask.h"
#include "service/enrol/door.h"
#include "service/enrol/prove.h"
#include "service/enrol/records.h"

#include <errno.h>
#include <ifaddrs.h>
#include <openssl/crypto.h>

#define JOIN_MS 30000u
#define GEO_INSTALLED "/usr/share/mcp/country.mmdb"

struct joining {
    const struct enrol_join *j;
    struct token token;
    char *platform, *root_pem; /* once proven */
    char *csr;
    char seal_public[SEAL_PUBLIC_TEXT_SIZE];
    json_t *answer;
};

/* Refuses early, before any key is made. */
static int say_hello(struct joining *k, struct err *e)
{
    struct enrol_prover at = {.address = k->j->address, .port = k->j->port, .token = k->token};
    struct enrol_proven proven = {0};
    int r = enrol_prove(&at, &proven, e);
    if (r < 0)
        return r;
    k->platform = proven.platform;
    k->root_pem = proven.root_pem;
    return enrol_check_clock(clock_wall_ms(), proven.time_ms, e);
}

/* ---- what is asked for ---- */

static json_t *own_addresses(void)
{
    json_t *list = json_array();
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        return list;
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        struct ip_addr a;
        char text[IP_TEXT_SIZE];
        if (!i->ifa_addr || !ip_from_sockaddr(i->ifa_addr, &a, NULL)
            || json_array_size(list) >= ENROL_ADDRESSES_MAX)
            continue;
        ip_format(&a, text);
        if (strcmp(text, "127.0.0.1") != 0 && strcmp(text, "::1") != 0)
            json_array_append_new(list, json_string(text));
    }
    freeifaddrs(all);
    return list;
}

static int make_keys(struct joining *k, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf("%s/var/lib/mcp/pki", k->j->root);
    _cleanup_free_ char *key = xasprintf("%s/host.key", dir), *seal = xasprintf("%s/seal.key", dir);
    _cleanup_seal_key_ struct seal_key *pair = NULL;
    int r = file_mkdirs(dir, 0755, e);
    if (r >= 0)
        r = pki_csr_make(key, k->j->host ? k->j->host : "host", &k->csr, e);
    if (r >= 0)
        r = seal_key_load_or_make(seal, &pair, e);
    if (r >= 0)
        seal_public_format(seal_public(pair), k->seal_public);
    return r;
}

static int ask_to_join(struct joining *k, struct err *e)
{
    const struct enrol_join *j = k->j;
    _cleanup_json_ json_t *params =
        json_pack("{s:s,s:s?,s:o,s:I,s:s,s:s,s:s,s:[i,i]}", "token", j->token, "host", j->host,
            "addresses", own_addresses(), "time_ms", (json_int_t)clock_wall_ms(), "csr", k->csr,
            "seal_public", k->seal_public, "version", MCP_VERSION, "protocol", RPC_PROTOCOL_MIN,
            RPC_PROTOCOL_MAX);
    struct enrol_ask ask = {.address = j->address,
        .port = j->port ? j->port : ENROL_PORT,
        .root_pem = k->root_pem,
        .platform = k->platform,
        .method = "enrol.join",
        .params = params,
        .timeout_ms = JOIN_MS};
    return enrol_ask(&ask, &k->answer, e);
}

/* ---- what comes back ---- */

static const char *const file_names[] = {"ca.pem", "host.pem", "state-ca.pem", "state.pem"};

static int write_files(const struct joining *k, const json_t *files, struct err *e)
{
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(file_names) && r >= 0; i++) {
        const char *text = json_opt_str(files, file_names[i], NULL);
        _cleanup_free_ char *path = xasprintf("%s/var/lib/mcp/pki/%s", k->j->root, file_names[i]);
        if (text)
            r = file_write_durable(path, text, strlen(text), 0644, e);
    }
    /* The same key serves with the state store; its file has the name of the certificate. */
    _cleanup_free_ char *from = xasprintf("%s/var/lib/mcp/pki/host.key", k->j->root);
    _cleanup_free_ char *to = xasprintf("%s/var/lib/mcp/pki/state.key", k->j->root);
    _cleanup_str_ struct str key = STR_INIT;
    if (r >= 0 && json_object_get(files, "state.pem"))
        r = file_read(from, 65536, &key, e);
    if (r >= 0 && key.len)
        r = file_write_durable(to, key.buf, key.len, 0600, e);
    if (key.buf)
        OPENSSL_cleanse(key.buf, key.len);
    return r;
}

static int write_json(const char *path, const json_t *j, struct err *e)
{
    _cleanup_free_ char *text = json_text_pretty(j);
    return file_write_durable(path, text, strlen(text), 0644, e);
}

static const char *find_geo(char beside[PATH_MAX])
{
    char exe[PATH_MAX], path[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[MAX(n, 0)] = '\0';
    char *slash = strrchr(exe, '/');
    snprintf(path, sizeof path, "%.*s/../geo/country.mmdb", slash ? (int)(slash - exe) : 0, exe);
    return !file_exists(GEO_INSTALLED) && realpath(path, beside) ? beside : GEO_INSTALLED;
}

static int check_answer(const struct joining *k, json_t **ret_files, json_t **ret_boot,
    struct enrol_joined *ret, struct err *e)
{
    struct boot *b;
    const char *chain;
    char beside[PATH_MAX];
    _cleanup_free_ char *key = xasprintf("%s/var/lib/mcp/pki/host.key", k->j->root);
    int r = json_get_obj(k->answer, "files", ret_files, e);
    if (r >= 0)
        r = json_get_obj(k->answer, "boot", ret_boot, e);
    if (r >= 0)
        r = json_get_str(*ret_files, "host.pem", &chain, e);
    if (r >= 0 && !pki_chain_fits(chain, key))
        r = err_set(e, ERR_PROTOCOL, "the certificate that came back is not of this machine's key");
    if (r < 0)
        return r;
    json_object_set_new(*ret_boot, "joined", json_true());
    json_object_set_new(*ret_boot, "geo", json_string(find_geo(beside)));
    r = boot_parse(*ret_boot, &b, e);
    if (r < 0)
        return r;
    str_copy(ret->platform, sizeof ret->platform, b->platform);
    str_copy(ret->host, sizeof ret->host, b->host);
    str_copy(ret->region, sizeof ret->region, b->region);
    ret->member = json_opt_bool(k->answer, "member", false);
    r = str_eq(b->platform, k->platform)
            ? enrol_check_machine(b->addresses.v, b->addresses.n, ret->member, e)
            : err_set(e, ERR_PROTOCOL, "asked to join %s, answered for %s", k->platform,
                b->platform);
    boot_free(b);
    return r;
}

static int take_answer(const struct joining *k, struct enrol_joined *ret, struct err *e)
{
    json_t *files, *boot, *units = json_object_get(k->answer, "units");
    int r = check_answer(k, &files, &boot, ret, e);
    _cleanup_free_ char *agent = xasprintf("%s/var/lib/mcp/agent", k->j->root);
    _cleanup_free_ char *units_path = xasprintf("%s/boot-units.json", agent);
    _cleanup_free_ char *boot_path = xasprintf("%s" BOOT_PATH, k->j->root);
    if (r >= 0)
        r = write_files(k, files, e);
    if (r >= 0)
        r = file_mkdirs(agent, 0700, e);
    if (r >= 0 && json_is_object(units))
        r = write_json(units_path, units, e);
    return r < 0 ? r : write_json(boot_path, boot, e); /* last: the host starts by it */
}

static int run(struct joining *k, struct enrol_joined *ret, struct err *e)
{
    int r = token_parse(k->j->token, &k->token, e);
    if (r >= 0)
        r = enrol_check_unclaimed(k->j->root, e);
    if (r >= 0)
        r = enrol_check_machine(NULL, 0, false, e);
    if (r >= 0)
        r = say_hello(k, e);
    if (r >= 0)
        r = make_keys(k, e);
    if (r >= 0)
        r = ask_to_join(k, e);
    return r < 0 ? r : take_answer(k, ret, e);
}

int enrol_join(const struct enrol_join *j, struct enrol_joined *ret, struct err *e)
{
    struct joining k = {.j = j};
    int r = run(&k, ret, e);
    OPENSSL_cleanse(&k.token, sizeof k.token);
    free(k.platform);
    free(k.root_pem);
    free(k.csr);
    json_decref(k.answer);
    return r;
}
