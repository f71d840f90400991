/* SPDX-License-Identifier: Apache-2.0 */
/* payment: one charge per order. Asking again with the same order is answered by the same charge,
 * so that a caller may always retry. In memory for now; when full it refuses, since forgetting a
 * charge would repeat it. */
#include "json.h"
#include "module.h"

#include <stdio.h>
#include <string.h>

#define CHARGES_MAX 4096
#define PAGE_MAX 50
#define ORDER_MAX 64
#define AMOUNT_MAX 1000000000000 /* minor units */

struct charge {
    long long amount;
    char order[ORDER_MAX + 1], currency[4];
};

static struct charge charges[CHARGES_MAX];
static size_t charge_count;

static bool is_currency(const char *text)
{
    static const char *const known[] = {"KRW", "THB", "MYR", "CNY", "HKD", "USD"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (text && strcmp(text, known[i]) == 0)
            return true;
    return false;
}

static void add_charge(struct buf *b, const struct charge *c)
{
    buf_printf(b, "{\"id\":%td,\"order\":", c - charges + 1);
    json_add(b, c->order);
    buf_printf(
        b, ",\"amount\":%lld,\"currency\":\"%s\",\"state\":\"captured\"}", c->amount, c->currency);
}

static const struct charge *find_charge(const char *order)
{
    for (size_t i = 0; i < charge_count; i++)
        if (strcmp(charges[i].order, order) == 0)
            return &charges[i];
    return NULL;
}

static void answer_again(
    const struct charge *old, long long amount, const char *currency, struct reply *reply)
{
    if (old->amount != amount || strcmp(old->currency, currency) != 0) {
        reply_error(reply, 409, "this order was charged otherwise");
        return;
    }
    add_charge(&reply->body, old);
    buf_add(&reply->body, SPAN("\n"));
}

static void create_charge(const struct http_request *request, struct reply *reply)
{
    struct json_object in;
    if (json_parse(request->body, &in) < 0) {
        reply_error(reply, 400, "the body must be one flat JSON object");
        return;
    }
    const char *order = json_text(&in, "order", ORDER_MAX);
    const char *currency = json_text(&in, "currency", 3);
    long long amount = json_integer(&in, "amount", AMOUNT_MAX);
    if (!order || !is_currency(currency) || amount < 0) {
        reply_error(reply, 422, "order (64 bytes), amount (minor units), currency (KRW …)");
        return;
    }
    const struct charge *old = find_charge(order);
    if (old) {
        answer_again(old, amount, currency, reply);
        return;
    }
    if (charge_count == CHARGES_MAX) {
        reply_error(reply, 503, "full");
        return;
    }
    struct charge *c = &charges[charge_count++];
    c->amount = amount;
    snprintf(c->order, sizeof(c->order), "%s", order);
    snprintf(c->currency, sizeof(c->currency), "%s", currency);
    reply->status = 201;
    add_charge(&reply->body, c);
    buf_add(&reply->body, SPAN("\n"));
}

/* The newest ones, newest first. */
static void list_charges(const struct http_request *request, struct reply *reply)
{
    (void)request;
    struct buf *b = &reply->body;
    buf_printf(b, "{\"total\":%zu,\"charges\":[", charge_count);
    for (size_t i = 0; i < PAGE_MAX && i < charge_count; i++) {
        if (i > 0)
            buf_add(b, SPAN(","));
        add_charge(b, &charges[charge_count - 1 - i]);
    }
    buf_add(b, SPAN("]}\n"));
}

int main(void)
{
    static const struct route routes[] = {
        {"GET", "/v1/charges", list_charges},
        {"POST", "/v1/charges", create_charge},
    };
    return module_run(&(struct module){
        .name = "payment",
        .routes = routes,
        .route_count = sizeof(routes) / sizeof(routes[0]),
        .listen_by_default = true,
    });
}
