/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of our own. */
#include "net/http/priv.h"

/* Takes what is left of the request's content and is here already. What is still to come is not
 * waited for: the connection ends behind the answer instead. */
static void discard_request(struct tx *tx)
{
    struct conn *c = tx->conn;
    size_t used = 1;
    while (!tx->request_ended && used && c->s.in && !tx->pub.reject) {
        struct http_text data;
        int e = http_body_take(
            &tx->request_body, http_buf_at(c->s.in), http_buf_len(c->s.in), SIZE_MAX, &used, &data);
        if (e < 0)
            break;
        c->s.in->start += (uint32_t)used;
        tx->request_ended = http_body_ended(&tx->request_body);
        if (!http_buf_len(c->s.in))
            http_buf_put(c->t, &c->s.in);
    }
    tx->close |= !tx->request_ended;
}

static void out_line(struct http_out *o, const char *name, struct http_text value)
{
    http_out_str(o, name);
    http_out_text(o, value);
    http_out_str(o, "\r\n");
}

static void write_reply(struct tx *tx, const struct http_reply *reply)
{
    struct conn *c = tx->conn;
    if (!c->s.out)
        c->s.out = http_buf_get(c->t);
    struct http_out o = {.p = c->s.out->data + c->s.out->end, .cap = BUF_BYTES - c->s.out->end};
    http_out_str(&o, "HTTP/1.1 ");
    http_out_u64(&o, reply->status);
    http_out_str(&o, " ");
    http_out_str(&o, http_status_reason(reply->status));
    out_line(&o, "\r\nDate: ", (struct http_text){c->t->date, strlen(c->t->date)});
    if (reply->type) {
        out_line(&o, "Content-Type: ", (struct http_text){reply->type, strlen(reply->type)});
        http_out_str(&o, "Content-Length: ");
        http_out_u64(&o, reply->body.len);
        http_out_str(&o, "\r\n");
    } else if (reply->status != 204 && reply->status != 304) {
        http_out_str(&o, "Content-Length: 0\r\n");
    }
    http_out_text(&o, reply->fields);
    out_line(&o, "X-Request-Id: ", (struct http_text){tx->pub.id, sizeof tx->pub.id});
    if (tx->close)
        http_out_str(&o, "Connection: close\r\n");
    http_out_str(&o, "\r\n");
    if (reply->type && !tx->request.is_head) {
        http_out_text(&o, reply->body);
        tx->pub.bytes = reply->body.len;
    }
    ASSERT(!o.full); /* at most 16 KiB, by contract */
    c->s.out->end += (uint32_t)o.len;
}

void http_reply_write(struct tx *tx, const struct http_reply *reply)
{
    struct conn *c = tx->conn;
    if (c->parent) {
        http_h2_reply(tx, reply);
    } else {
        discard_request(tx);
        tx->close |= reply->close || tx->request.close || c->t->draining;
        write_reply(tx, reply);
    }
    tx->pub.status = reply->status;
    tx->answered = true;
    tx->step = TX_REPLY;
}

void http_reply_error(struct tx *tx, unsigned status, const char *text, const char *fields)
{
    char body[512];
    int n = snprintf(body, sizeof body,
        "{\"error\": {\"status\": %u, \"message\": \"%s\", \"request_id\": \"%.*s\"}}\n", status,
        text, HTTP_REQUEST_ID_LEN, tx->pub.id);
    if (status == 405)
        fields = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";
    struct http_reply reply = {
        .status = status,
        .type = "application/json",
        .fields = {fields, fields ? strlen(fields) : 0},
        .body = {body, MIN((size_t)n, sizeof body - 1)},
        .close = tx->pub.reject != HTTP_REJECT_NONE,
    };
    http_reply_write(tx, &reply);
}

void http_tx_error(struct http_tx *pub, unsigned status, const char *text, const char *fields)
{
    struct tx *tx = (struct tx *)pub;
    ASSERT(tx->step == TX_DECIDE);
    http_reply_error(tx, status, text, fields);
}

void http_reply_continue(struct tx *tx)
{
    struct conn *c = tx->conn;
    tx->expecting = false;
    if (c->parent) {
        http_h2_continue(tx);
        return;
    }
    if (!c->s.out)
        c->s.out = http_buf_get(c->t);
    struct http_out o = {.p = c->s.out->data + c->s.out->end, .cap = BUF_BYTES - c->s.out->end};
    http_out_str(&o, "HTTP/1.1 100 Continue\r\n\r\n");
    if (!o.full)
        c->s.out->end += (uint32_t)o.len;
}
