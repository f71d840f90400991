/* SPDX-License-Identifier: Apache-2.0 */
/* api: orders. In memory for now: the newest ORDERS_MAX of this instance, the oldest forgotten. */
#include "json.h"
#include "module.h"

#include <stdio.h>
#include <time.h>

#define ORDERS_MAX 1000
#define PAGE_MAX 40 /* with every byte escaped, 40 orders still fit an answer */
#define NUMBER_MAX 999999999999
#define CUSTOMER_MAX 80
#define ITEM_MAX 120

struct order {
    long long number, quantity;
    time_t placed;
    char customer[CUSTOMER_MAX + 1], item[ITEM_MAX + 1];
};

static struct order orders[ORDERS_MAX]; /* a ring: number N stands at N % ORDERS_MAX */
static long long last_number;

static const struct order *find_order(long long number)
{
    if (number < 1 || number > last_number || number <= last_number - ORDERS_MAX)
        return NULL;
    return &orders[number % ORDERS_MAX];
}

/* Numbers count per instance, so the instance is part of the name. */
static void add_id(struct buf *b, long long number)
{
    char id[80];
    const char *instance = module_identity()->instance;
    snprintf(id, sizeof(id), "%.60s-%lld", *instance ? instance : "api", number);
    json_add(b, id);
}

static void add_order(struct buf *b, const struct order *o)
{
    char placed[32];
    struct tm utc;
    gmtime_r(&o->placed, &utc);
    strftime(placed, sizeof(placed), "%Y-%m-%dT%H:%M:%SZ", &utc);
    buf_add(b, SPAN("{\"id\":"));
    add_id(b, o->number);
    buf_printf(b, ",\"number\":%lld,\"customer\":", o->number);
    json_add(b, o->customer);
    buf_add(b, SPAN(",\"item\":"));
    json_add(b, o->item);
    buf_printf(b, ",\"quantity\":%lld,\"placed\":\"%s\"}", o->quantity, placed);
}

/* Newest first. ?limit=1..40, ?before=NUMBER for the page that follows. */
static void list_orders(const struct http_request *request, struct reply *reply)
{
    long long limit = query_int(request->query, "limit", PAGE_MAX, 20);
    long long before = query_int(request->query, "before", NUMBER_MAX, last_number + 1);
    if (limit < 1 || before < 0) {
        reply_error(reply, 400, "limit is 1 to 40, before is a number");
        return;
    }
    if (before > last_number + 1)
        before = last_number + 1;
    struct buf *b = &reply->body;
    const struct order *o;
    buf_printf(b, "{\"total\":%lld,\"orders\":[", last_number);
    for (long long n = before - 1; limit-- > 0 && (o = find_order(n)); n--) {
        if (n < before - 1)
            buf_add(b, SPAN(","));
        add_order(b, o);
    }
    buf_add(b, SPAN("]}\n"));
}

static void create_order(const struct http_request *request, struct reply *reply)
{
    struct json_object in;
    if (json_parse(request->body, &in) < 0) {
        reply_error(reply, 400, "the body must be one flat JSON object");
        return;
    }
    const char *customer = json_text(&in, "customer", CUSTOMER_MAX);
    const char *item = json_text(&in, "item", ITEM_MAX);
    long long quantity = json_integer(&in, "quantity", 1000000);
    if (!customer || !item || quantity < 0) {
        reply_error(reply, 422, "customer (80 bytes), item (120 bytes), quantity (1 to 1000000)");
        return;
    }
    struct order *o = &orders[++last_number % ORDERS_MAX];
    *o = (struct order){.number = last_number, .quantity = quantity, .placed = time(NULL)};
    snprintf(o->customer, sizeof(o->customer), "%s", customer);
    snprintf(o->item, sizeof(o->item), "%s", item);
    reply->status = 201;
    add_order(&reply->body, o);
    buf_add(&reply->body, SPAN("\n"));
}

static void show_order(const struct http_request *request, struct reply *reply)
{
    size_t prefix = sizeof("/v1/orders/") - 1;
    struct span number = {request->path.p + prefix, request->path.n - prefix};
    const struct order *o = find_order(span_int(number, NUMBER_MAX));
    if (!o) {
        reply_error(reply, 404, "no such order");
        return;
    }
    add_order(&reply->body, o);
    buf_add(&reply->body, SPAN("\n"));
}

int main(void)
{
    static const struct route routes[] = {
        {"GET", "/v1/orders", list_orders},
        {"POST", "/v1/orders", create_order},
        {"GET", "/v1/orders/*", show_order},
    };
    return module_run(&(struct module){
        .name = "api",
        .routes = routes,
        .route_count = sizeof(routes) / sizeof(routes[0]),
        .listen_by_default = true,
    });
}
