/* SPDX-License-Identifier: Apache-2.0 */
#include "service/traffic/priv.h"

#include <stdio.h>

/* Everything of an order but its key is the same for all of a buyer's, so that it costs no more than a
 * copy. */
void request_prepare(struct buyer *b)
{
    const struct traffic_config *c = b->engine->config;
    const char *country = *b->who->country ? b->who->country : "KR";
    char body[384];
    int n = snprintf(body, sizeof body,
        "{\"customer\":\"Buyer of %s\",\"country\":\"%s\",\"item\":\"Dried seaweed, seasoned\","
        "\"quantity\":12,\"amount_cents\":123400}",
        country, country);
    snprintf(b->head, sizeof b->head,
        "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: mcp-traffic\r\n"
        "Content-Type: application/json\r\nIdempotency-Key: ",
        c->path, c->name);
    snprintf(b->tail, sizeof b->tail, "\r\nContent-Length: %d\r\n\r\n%s", n, body);
}

void request_write(const struct item *i, struct str *out)
{
    const struct buyer *b = i->buyer;
    const struct engine *e = b->engine;
    const struct traffic_config *c = e->config;
    char key[LEDGER_KEY_SIZE];
    ledger_key(e->run, i->seq, key);
    switch (i->kind) {
    case ITEM_ORDER:
        str_add(out, b->head);
        str_add(out, key);
        str_add(out, b->tail);
        return;
    case ITEM_READ:
        str_addf(out, "GET %s?key=%s", c->path, key);
        break;
    case ITEM_PAGE:
        str_addf(out, "GET %s/export?prefix=%s-", c->path, e->run);
        if (*e->after)
            str_addf(out, "&after=%s", e->after);
        break;
    }
    str_addf(out, " HTTP/1.1\r\nHost: %s\r\nUser-Agent: mcp-traffic\r\n\r\n", c->name);
}
