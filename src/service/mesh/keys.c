/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates by identity, and the sessions that new connections go on from. A set is made anew
 * when any certificate or the CA changes, so that nothing is resumed over such a change. */
#include "service/mesh/priv.h"

#include "base/str/str.h"

static const unsigned char alpn[] = "\12" MESH_ALPN;

void keys_unref(struct keys *k)
{
    if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    SSL_CTX_free(k->server);
    for (size_t i = 0; i < k->n; i++)
        SSL_CTX_free(k->v[i].client);
    free(k->v);
    free(k);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct identity *)a)->id, ((const struct identity *)b)->id);
}

static int find_id(const void *key, const void *item)
{
    return strcmp(key, ((const struct identity *)item)->id);
}

const struct identity *keys_find(const struct keys *k, const char *id)
{
    return k && k->n ? bsearch(id, k->v, k->n, sizeof *k->v, find_id) : NULL;
}

/* "A.mcp.internal" is module A, "A.B.mcp.internal" is B's A: hosts' meshes are "HOST.mesh". */
static bool id_of_name(const char *name, char out[IDENTITY_MAX])
{
    static const char zone[] = ".mcp.internal";
    size_t len = strlen(name), n = strcspn(name, ".");
    if (len <= sizeof zone - 1 || strcmp(name + len - (sizeof zone - 1), zone) != 0)
        return false;
    const char *kind = name + n + 1, *end = name + len - (sizeof zone - 1);
    int n_kind = kind < end ? (int)(end - kind) : 0;
    snprintf(out, IDENTITY_MAX, "%.*s/%.*s", n_kind ? n_kind : 6, n_kind ? kind : "module", (int)n, name);
    return true;
}

/* The certificate of whom the client asks for answers. */
static int on_cert(SSL *ssl, void *arg)
{
    const struct keys *k = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char id[IDENTITY_MAX];
    const struct identity *i = name && id_of_name(name, id) ? keys_find(k, id) : NULL;
    STACK_OF(X509) *chain = NULL;
    if (!i)
        return 0;
    SSL_CTX_get0_chain_certs(i->client, &chain);
    return SSL_use_cert_and_key(ssl, SSL_CTX_get0_certificate(i->client),
        SSL_CTX_get0_privatekey(i->client), chain, 1);
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, alpn, sizeof alpn - 1, in, in_len)
        != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int mark_index = -1; /* of a connection: which key its slot had */

static void *mark_of(const struct session *slot)
{
    return (void *)(uintptr_t)(slot->key ^ slot->keys);
}

/* Keeps the session where keys_resume() of its connection looked, unless that has become the place
 * of another. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct session *slot = SSL_get_app_data(ssl);
    if (!slot || SSL_get_ex_data(ssl, mark_index) != mark_of(slot))
        return 0;
    SSL_SESSION_free(slot->session);
    slot->session = session;
    return 1;
}

void keys_resume(struct worker *w, const struct keys *k, uint64_t key, SSL *ssl)
{
    struct session *slot = &w->sessions[key % SESSION_SLOTS];
    if (slot->key != key || slot->keys != k->number) {
        SSL_SESSION_free(slot->session);
        *slot = (struct session){.key = key, .keys = k->number};
    }
    SSL_set_app_data(ssl, slot);
    SSL_set_ex_data(ssl, mark_index, mark_of(slot));
    if (slot->session && SSL_SESSION_is_resumable(slot->session))
        SSL_set_session(ssl, slot->session);
}

void keys_forget(struct worker *w)
{
    for (size_t i = 0; i < SESSION_SLOTS; i++)
        SSL_SESSION_free(w->sessions[i].session);
    memset(w->sessions, 0, sizeof w->sessions);
}

static int read_identity(const json_t *j, const char *ca, struct identity *i, struct err *e)
{
    const char *id, *cert, *key;
    int r = json_get_str(j, "id", &id, e);
    if (r >= 0)
        r = json_get_str(j, "cert", &cert, e);
    if (r >= 0)
        r = json_get_str(j, "key", &key, e);
    if (r < 0)
        return r;
    if (!str_copy(i->id, sizeof i->id, id))
        return err_set(e, ERR_INVALID, "identity %s is too long", id);
    struct tls_pem pem = {ca, cert, key};
    r = tls_ctx_pem_new(&pem, false, true, &i->client, e);
    if (r < 0)
        return err_wrap(e, "identity %s", id);
    SSL_CTX_set_alpn_protos(i->client, alpn, sizeof alpn - 1);
    SSL_CTX_sess_set_new_cb(i->client, on_session);
    return 0;
}

static int read_all(const json_t *doc, struct keys *k, struct err *e)
{
    const char *ca;
    json_t *list, *j;
    size_t i;
    int r = json_get_str(doc, "ca", &ca, e);
    if (r >= 0)
        r = json_get_array(doc, "identities", &list, e);
    struct tls_pem pem = {.ca = ca};
    if (r >= 0)
        r = tls_ctx_pem_new(&pem, true, true, &k->server, e);
    if (r < 0)
        return r;
    SSL_CTX_set_cert_cb(k->server, on_cert, k);
    SSL_CTX_set_alpn_select_cb(k->server, on_alpn, NULL);
    k->v = xcalloc(json_array_size(list) + 1, sizeof *k->v);
    json_array_foreach (list, i, j) {
        r = read_identity(j, ca, &k->v[k->n++], e);
        if (r < 0)
            return r;
    }
    qsort(k->v, k->n, sizeof *k->v, by_id);
    return 0;
}

int keys_new(const json_t *doc, struct keys **ret, struct err *e)
{
    static uint64_t number; /* the main thread alone makes them */
    struct keys *k = xcalloc(1, sizeof *k);
    atomic_init(&k->refs, 1);
    if (mark_index < 0)
        mark_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    k->number = ++number;
    int r = read_all(doc, k, e);
    if (r < 0) {
        keys_unref(k);
        return err_wrap(e, "mesh identities");
    }
    *ret = k;
    return 0;
}
