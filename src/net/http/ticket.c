/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of session tickets: one makes tickets, it and the one before open them. They change with
 * time, since who learns a ticket key can read every TLS 1.2 session that was resumed under it.
 * Shared by the threads; a handshake takes the lock, a request does not. */
#include "net/http/priv.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>

void http_tickets_init(struct tickets *t)
{
    pthread_mutex_init(&t->lock, NULL);
    rnd_bytes(&t->keys, sizeof t->keys);
    t->made_ms = 0;
}

void http_tickets_done(struct tickets *t)
{
    OPENSSL_cleanse(&t->keys, sizeof t->keys);
    pthread_mutex_destroy(&t->lock);
}

static void rotate(struct tickets *t, uint64_t now_ms, uint64_t life_ms)
{
    if (t->made_ms && now_ms - t->made_ms < life_ms)
        return;
    if (t->made_ms)
        t->keys[1] = t->keys[0];
    rnd_bytes(&t->keys[0], sizeof t->keys[0]);
    t->made_ms = now_ms;
}

static struct ticket_key key_to_make(struct tickets *t, uint64_t now_ms, uint64_t life_ms)
{
    pthread_mutex_lock(&t->lock);
    rotate(t, now_ms, life_ms);
    struct ticket_key key = t->keys[0];
    pthread_mutex_unlock(&t->lock);
    return key;
}

/* 0: unknown, else what OpenSSL wants to hear: 1 for the newest, 2 (make a new ticket) for the one
 * before. */
static int key_to_open(struct tickets *t, uint64_t now_ms, uint64_t life_ms,
    const unsigned char *name, struct ticket_key *ret)
{
    int found = 0;
    pthread_mutex_lock(&t->lock);
    rotate(t, now_ms, life_ms); /* sessions that only resume make no new tickets */
    for (int i = 0; i < 2 && !found; i++)
        if (!memcmp(name, t->keys[i].name, sizeof ret->name)) {
            *ret = t->keys[i];
            found = i + 1;
        }
    pthread_mutex_unlock(&t->lock);
    return found;
}

int http_tickets_callback(SSL *ssl, unsigned char name[16], unsigned char *iv,
    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int making)
{
    const struct conn *c = SSL_get_app_data(ssl);
    struct http_server *s = c->t->server;
    struct ticket_key key;
    int r = 1;
    if (making) {
        key = key_to_make(&s->tickets, c->t->now_ms, s->timeouts.ticket);
        memcpy(name, key.name, sizeof key.name);
        rnd_bytes(iv, 16);
    } else {
        r = key_to_open(&s->tickets, c->t->now_ms, s->timeouts.ticket, name, &key);
        if (!r)
            return 0; /* a full handshake */
    }
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, sizeof key.mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end(),
    };
    if (EVP_MAC_CTX_set_params(mac, params) != 1
        || EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv, making) != 1)
        r = -1;
    OPENSSL_cleanse(&key, sizeof key);
    return r;
}
