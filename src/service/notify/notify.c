/* SPDX-License-Identifier: Apache-2.0 */
#include "service/notify/notify.h"

#include "base/curl/curl.h"
#include "base/str/str.h"

#include <ctype.h>
#include <string.h>

#define CONNECT_MS 5000L
#define ANSWER_MAX 4096u /* "ok", or what is wrong */
#define URL_MAX 2048u

struct notify {
    struct curl_loop *curl;
};

struct sending {
    notify_done_fn done;
    void *ctx;
};

int notify_new(uv_loop_t *loop, struct notify **ret, struct err *e)
{
    struct notify *n = xcalloc(1, sizeof *n);
    int r = curl_loop_new(loop, &n->curl, e);
    if (r < 0) {
        free(n);
        return r;
    }
    curl_loop_set_connections(n->curl, 1); /* a connection that is kept keeps the URL's host busy */
    *ret = n;
    return 0;
}

void notify_free(struct notify *n)
{
    if (!n)
        return;
    curl_loop_free(n->curl);
    free(n);
}

/* What libcurl says in words may quote the URL: only its code is told. */
static void on_done(void *ctx, const struct curl_done *d)
{
    struct sending *s = ctx;
    struct err e = {0};
    if (d->code == CURLE_ABORTED_BY_CALLBACK)
        err_set(&e, ERR_CANCELED, "given up");
    else if (d->code != CURLE_OK)
        err_set(&e, ERR_UNAVAILABLE, "the webhook was not reached: %s", curl_easy_strerror(d->code));
    else if (d->status < 200 || d->status > 299)
        err_set(&e, ERR_UNAVAILABLE, "the webhook answered %ld", d->status);
    s->done(s->ctx, e.code ? &e : NULL);
    free(s);
}

/* The text of the secret without the blanks that `echo` puts behind it; false: no URL. */
static bool url_of(struct secret *secret, char out[URL_MAX + 1])
{
    const char *s = (const char *)secret_bytes(secret);
    size_t n = secret_len(secret);
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    while (n && isspace((unsigned char)*s))
        s++, n--;
    if (n > URL_MAX || memchr(s, '\0', n))
        return false;
    memcpy(out, s, n);
    out[n] = '\0';
    return str_starts(out, "https://") || str_starts(out, "http://");
}

int notify_send(struct notify *n, struct secret *url, const struct notify_message *m,
    notify_done_fn done, void *ctx, struct err *e)
{
    char text[URL_MAX + 1];
    if (!url_of(url, text)) {
        secret_wipe(text, sizeof text);
        return err_set(e, ERR_INVALID, "the secret holds no http:// or https:// URL");
    }
    CURL *easy = curl_easy_prepared(text, NOTIFY_TIMEOUT_MS);
    secret_wipe(text, sizeof text);
    _cleanup_free_ char *body = notify_slack_body(m);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body);
    struct sending *s = xcalloc(1, sizeof *s);
    *s = (struct sending){done, ctx};
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (*m->delivery) { /* a structured text: RFC 8941 section 3.3.3 */
        _cleanup_free_ char *key = xasprintf("Idempotency-Key: \"%s-%s\"", m->platform, m->delivery);
        headers = curl_slist_append(headers, key);
    }
    (void)curl_start(n->curl, easy, headers, ANSWER_MAX, NULL, on_done, s);
    return 0;
}
