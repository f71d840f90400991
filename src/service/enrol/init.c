/* SPDX-License-Identifier: Apache-2.0 */
#include "service/enrol/init.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rnd/rnd.h"
#include "base/sandbox/sandbox.h"
#include "base/str/str.h"
#include "domain/backup/backup.h"
#include "domain/enrol/enrol.h"
#include "domain/model/model.h"
#include "domain/spec/boot.h"
#include "driver/pki/authority.h"
#include "service/enrol/join.h"
#include "service/enrol/provision.h"
#include "service/enrol/records.h"

#include <errno.h>
#include <ifaddrs.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define STATE "/var/lib/mcp"
#define MARK STATE "/init.json"

/* ---- which host this is ---- */

static bool is_ours(const struct ip_addr *a)
{
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) < 0)
        return false;
    for (struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
        struct ip_addr have;
        found = i->ifa_addr && ip_from_sockaddr(i->ifa_addr, &have, NULL) && ip_eq(&have, a);
    }
    freeifaddrs(all);
    return found;
}

static int choose(const struct enrol_init *in, const struct model_host **ret, struct err *e)
{
    const struct model *m = in->model;
    const struct model_host *h = in->host ? model_find_host(m, in->host) : NULL;
    if (in->host && !h)
        return err_set(e, ERR_REFUSED, "the declaration has no host %s", in->host);
    for (size_t i = 0; i < m->n_hosts && !h; i++)
        if (is_ours(&m->hosts[i].addresses.v[0]))
            h = &m->hosts[i];
    if (!h || !is_ours(&h->addresses.v[0])) {
        err_set(e, ERR_REFUSED, "this machine does not have the address of %s",
            h ? h->name : "any host of the declaration");
        err_fix(e, "write this machine's private address into `hosts:`");
        return ERR_REFUSED;
    }
    bool member = !model_has_etcd(m);
    for (size_t i = 0; i < m->n_members; i++)
        member |= m->members[i] == h;
    if (!member) {
        err_set(e, ERR_REFUSED, "%s is not in state.members", h->name);
        err_fix(e, "begin on a host that holds the state store; this one joins");
        return ERR_REFUSED;
    }
    *ret = h;
    return 0;
}

/* ---- nobody else's machine ---- */

static const char *const traces[] = {
    STATE "/boot.json", STATE "/etcd", STATE "/control/state.sqlite", STATE "/pki/host.pem"};

/* *ret_done: it is this very host already. */
static int check_traces(
    const struct enrol_init *in, const struct model_host *h, bool *ret_done, struct err *e)
{
    _cleanup_json_ json_t *mark = NULL;
    struct err ignored;
    bool ours = json_read_file(MARK, 4096, &mark, &ignored) >= 0
                && str_eq(json_opt_str(mark, "platform", NULL), in->model->platform)
                && str_eq(json_opt_str(mark, "host", NULL), h->name);
    *ret_done = ours && file_exists(BOOT_PATH);
    if (ours)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(traces); i++)
        if (file_exists(traces[i])) {
            int r = enrol_check_unclaimed("", e);
            if (r < 0)
                return r;
            err_set(e, ERR_REFUSED, "%s is there: another platform's state", traces[i]);
            err_fix(e, "remove " STATE " if it is not needed any more");
            return ERR_REFUSED;
        }
    _cleanup_json_ json_t *now =
        json_pack("{s:s,s:s}", "platform", in->model->platform, "host", h->name);
    _cleanup_free_ char *text = json_text(now);
    int r = file_mkdirs(STATE, 0755, e);
    return r < 0 ? r : file_write_durable(MARK, text, strlen(text), 0644, e);
}

/* ---- what it becomes ---- */

static int write_host(const struct enrol_init *in, const struct model_host *h,
    const struct pki_authority *authority, struct err *e)
{
    char geo[PATH_MAX];
    bool changed;
    _cleanup_free_ char *url = enrol_peer_url(h);
    _cleanup_free_ char *initial = xasprintf("%s=%s", h->name, url);
    struct enrol_cluster alone = {.initial = initial};
    int r = enrol_find_geo(in->model, in->file, geo, e);
    if (r < 0)
        return r;
    struct provision p = {.model = in->model,
        .authority = authority,
        .geo = geo,
        .is_real = true,
        .cluster = model_has_etcd(in->model) ? &alone : NULL};
    return provision_host(&p, h, "", &changed, e);
}

static int fingerprint(const struct enrol_init *in, uint8_t out[TOKEN_ROOT_BYTES], struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s/root.pem", in->ca_dir);
    _cleanup_str_ struct str pem = STR_INIT;
    int r = file_read(path, 65536, &pem, e);
    if (r < 0)
        return r;
    BIO *bio = BIO_new_mem_buf(str_cstr(&pem), -1);
    X509 *root = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    uint8_t *der = NULL;
    int len = root ? i2d_X509(root, &der) : -1;
    if (len >= 0)
        token_root_of(der, (size_t)len, out);
    OPENSSL_free(der);
    X509_free(root);
    BIO_free(bio);
    return len < 0 ? err_set(e, ERR_INVALID, "%s holds no certificate", path) : 0;
}

/* A file that control alone may read. */
static int give_control(const char *name, const char *data, size_t len, struct err *e)
{
    struct sandbox_user user = sandbox_user_of("control");
    _cleanup_free_ char *path = xasprintf(STATE "/control/%s", name);
    int r = file_mkdirs(STATE "/control", 0700, e);
    if (r >= 0)
        r = file_write_durable(path, data, len, 0600, e);
    if (r >= 0 && chown(path, user.uid, user.gid) < 0)
        r = err_errno(e, errno, "chown %s", path);
    return r;
}

/* Refused here rather than when the host runs. */
static int read_backup(const struct enrol_init *in, struct str *out, struct err *e)
{
    struct backup *b;
    int r = file_read(in->backup, BACKUP_BYTES_MAX, out, e);
    if (r >= 0)
        r = backup_parse(str_cstr(out), out->len, &b, e);
    if (r < 0)
        return r;
    if (strcmp(b->platform, in->model->platform) != 0)
        r = err_set(e, ERR_REFUSED, "%s is a backup of %s, the file declares %s", in->backup,
            b->platform, in->model->platform);
    backup_free(b);
    return r;
}

static int write_first(
    const struct enrol_init *in, const struct model_host *h, struct enrol_inited *ret, struct err *e)
{
    struct token t;
    char id[TOKEN_ID_SIZE];
    int64_t now = clock_wall_ms();
    _cleanup_str_ struct str backup = STR_INIT;
    int r = fingerprint(in, t.root, e);
    if (r >= 0 && in->backup)
        r = read_backup(in, &backup, e);
    if (r >= 0 && in->backup)
        r = give_control(ENROL_BACKUP, backup.buf, backup.len, e);
    if (r < 0)
        return r;
    rnd_bytes(t.id, sizeof t.id);
    rnd_bytes(t.secret, sizeof t.secret);
    token_id_format(&t, id);
    ret->expires_ms = now + ENROL_TTL_MS;
    _cleanup_json_ json_t *first = json_pack("{s:i,s:O,s:O,s:s,s:b,s:{s:s,s:o}}", "format", 1,
        "platform", in->model->tree, "files", (json_t *)in->files, "by", in->by, "restore",
        in->backup != NULL, "token", "id", id, "doc",
        enrol_token_doc(&t, NULL, in->by, now, ENROL_TTL_MS));
    _cleanup_free_ char *text = json_text(first);
    token_format(&t, ret->token);
    OPENSSL_cleanse(&t, sizeof t);
    return give_control(ENROL_FIRST, text, strlen(text), e);
}

int enrol_init(const struct enrol_init *in, struct enrol_inited *ret, struct err *e)
{
    const struct model_host *h = NULL;
    bool done = false;
    int r = enrol_check_machine(NULL, 0, false, e);
    if (r >= 0)
        r = choose(in, &h, e);
    if (r >= 0)
        r = check_traces(in, h, &done, e);
    if (r < 0)
        return r;
    *ret = (struct enrol_inited){.done_before = done, .others = in->model->n_hosts - 1};
    str_copy(ret->host, sizeof ret->host, h->name);
    if (done)
        return 0;
    r = enrol_check_machine(h->addresses.v, h->addresses.n, model_has_etcd(in->model), e);
    _cleanup_pki_authority_ struct pki_authority *authority = NULL;
    if (r >= 0)
        r = pki_authority_open(in->ca_dir, in->model->platform, clock_wall_ms(), &authority, e);
    if (r >= 0)
        r = write_first(in, h, ret, e);
    return r < 0 ? r : write_host(in, h, authority, e); /* boot.json: the host starts by it */
}
