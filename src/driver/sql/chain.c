/* SPDX-License-Identifier: Apache-2.0 */
/* libmariadb looks at a server's certificate only together with its name. Where the name does not
 * matter the chain is looked at here, behind the handshake and the login. */
#include "driver/sql/priv.h"

/* The library was built with TLS; its header asks, and has a type of its own in the wrong order. */
#define HAVE_TLS 1
typedef unsigned char uchar;
#include <ma_pvio.h>
#include <openssl/ssl.h>

int sql_check_chain(const struct sql_conn *c, struct err *e)
{
    const MARIADB_TLS *tls = c->my->net.pvio ? c->my->net.pvio->ctls : NULL;
    const SSL *ssl = tls ? tls->ssl : NULL;
    if (!ssl)
        return err_set(e, ERR_DENIED, "the session is not encrypted");
    long r = SSL_get_verify_result(ssl);
    if (r != X509_V_OK)
        return err_set(
            e, ERR_DENIED, "the server's certificate: %s", X509_verify_cert_error_string(r));
    return 0;
}
