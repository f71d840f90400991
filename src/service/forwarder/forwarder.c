/* SPDX-License-Identifier: Apache-2.0 */
#include "service/forwarder/priv.h"

#include <openssl/pem.h>
#include <string.h>

#define BACKLOG 128

static int parse_addresses(struct forwarder *f, const json_t *config, struct err *e)
{
    json_t *list, *buyers, *item;
    const char *as, *buyer, *domain;
    size_t i;
    int r = json_get_array(config, "nameservers", &list, e);
    if (r >= 0)
        r = json_get_obj(config, "buyers", &buyers, e);
    if (r >= 0)
        r = json_get_str(config, "as", &as, e);
    if (r >= 0)
        r = json_get_str(buyers, as, &buyer, e);
    if (r >= 0)
        r = json_get_str(config, "domain", &domain, e);
    if (r < 0)
        return r;
    if (!ip_parse(buyer, &f->buyer) || !str_copy(f->domain, sizeof f->domain, domain))
        return err_set(e, ERR_INVALID, "no address of a buyer in %s", as);
    json_array_foreach (list, i, item) {
        const char *text = json_string_value(item);
        if (f->n_nameservers < FORWARDER_NAMESERVERS_MAX && text
            && ip_parse(text, &f->nameservers[f->n_nameservers]))
            f->n_nameservers += f->nameservers[f->n_nameservers].family == f->buyer.family;
    }
    return f->n_nameservers
               ? 0
               : err_set(e, ERR_INVALID, "no name server that a buyer in %s can reach", as);
}

static int open_tls(struct forwarder *f, const char *ca_pem, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(ca_pem, -1);
    X509 *ca = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    f->tls = SSL_CTX_new(TLS_client_method());
    bool ok = ca && f->tls && X509_STORE_add_cert(SSL_CTX_get_cert_store(f->tls), ca);
    X509_free(ca);
    BIO_free(bio);
    if (!ok)
        return err_set(e, ERR_INVALID, "the platform's CA cannot be read");
    /* A cut connection is the end of an answer that had no length: HTTP judges that, not TLS. */
    SSL_CTX_set_options(f->tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(f->tls, SSL_MODE_AUTO_RETRY);
    return 0;
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status == 0)
        conn_accept(listener->data);
}

static int listen_on(struct forwarder *f, int fd, struct err *e)
{
    int r = uv_tcp_init(&f->loop, &f->listener);
    f->listener.data = f;
    if (r == 0)
        r = uv_tcp_open(&f->listener, fd);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&f->listener, BACKLOG, on_connection);
    return r < 0 ? err_set(e, ERR_SYSTEM, "listen: %s", uv_strerror(r)) : 0;
}

int forwarder_serve(
    int listen_fd, const json_t *config, int (*lock_in)(struct err *e), struct err *e)
{
    struct forwarder *f = xcalloc(1, sizeof *f);
    const char *ca;
    int r = parse_addresses(f, config, e);
    if (r >= 0)
        r = json_get_str(config, "ca", &ca, e);
    if (r >= 0)
        r = open_tls(f, ca, e);
    if (r >= 0 && uv_loop_init(&f->loop) < 0)
        r = err_set(e, ERR_SYSTEM, "no event loop");
    if (r >= 0)
        r = listen_on(f, listen_fd, e);
    if (r >= 0 && lock_in)
        r = lock_in(e);
    if (r < 0)
        return r;
    uv_run(&f->loop, UV_RUN_DEFAULT);
    return err_set(e, ERR_FAILED, "the event loop ended");
}
