/* SPDX-License-Identifier: Apache-2.0 */
/* wms: what the warehouse holds, and reservations against it. In memory for now. */
#include "json.h"
#include "module.h"

#include <string.h>

#define SKU_MAX 32

struct stock {
    const char *sku, *name, *warehouse;
    long long on_hand, reserved;
};

static struct stock shelf[] = {
    {"KR-GINSENG-6Y", "6-year red ginseng 홍삼", "Busan", 1200, 0},
    {"KR-LAVER-100", "Roasted laver 조미김", "Incheon", 48000, 0},
    {"TH-RICE-25KG", "Jasmine rice ข้าวหอมมะลิ", "Laem Chabang", 9600, 0},
    {"MY-PALM-20L", "Palm oil minyak sawit", "Port Klang", 5200, 0},
    {"CN-PCB-2L", "2-layer circuit board 电路板", "Shanghai", 150000, 0},
};
#define SHELF_N (sizeof(shelf) / sizeof(shelf[0]))

static long long reservation_count;

static struct stock *find_stock(const char *sku)
{
    for (size_t i = 0; i < SHELF_N; i++)
        if (strcmp(shelf[i].sku, sku) == 0)
            return &shelf[i];
    return NULL;
}

static void add_stock(struct buf *b, const struct stock *s)
{
    buf_add(b, SPAN("{\"sku\":"));
    json_add(b, s->sku);
    buf_add(b, SPAN(",\"name\":"));
    json_add(b, s->name);
    buf_add(b, SPAN(",\"warehouse\":"));
    json_add(b, s->warehouse);
    buf_printf(b, ",\"on_hand\":%lld,\"reserved\":%lld}", s->on_hand, s->reserved);
}

static void list_stock(const struct http_request *request, struct reply *reply)
{
    (void)request;
    buf_add(&reply->body, SPAN("{\"stock\":["));
    for (size_t i = 0; i < SHELF_N; i++) {
        if (i > 0)
            buf_add(&reply->body, SPAN(","));
        add_stock(&reply->body, &shelf[i]);
    }
    buf_add(&reply->body, SPAN("]}\n"));
}

static void reserve(const struct http_request *request, struct reply *reply)
{
    struct json_object in;
    if (json_parse(request->body, &in) < 0) {
        reply_error(reply, 400, "the body must be one flat JSON object");
        return;
    }
    const char *sku = json_text(&in, "sku", SKU_MAX);
    long long quantity = json_integer(&in, "quantity", 1000000);
    if (!sku || quantity < 0) {
        reply_error(reply, 422, "sku (32 bytes), quantity (1 to 1000000)");
        return;
    }
    struct stock *s = find_stock(sku);
    if (!s) {
        reply_error(reply, 404, "no such sku");
        return;
    }
    if (s->on_hand - s->reserved < quantity) {
        reply_error(reply, 409, "not enough in stock");
        return;
    }
    s->reserved += quantity;
    reply->status = 201;
    buf_printf(&reply->body,
        "{\"reservation\":%lld,\"quantity\":%lld,\"stock\":", ++reservation_count, quantity);
    add_stock(&reply->body, s);
    buf_add(&reply->body, SPAN("}\n"));
}

int main(void)
{
    static const struct route routes[] = {
        {"GET", "/v1/stock", list_stock},
        {"POST", "/v1/reservations", reserve},
    };
    return module_run(&(struct module){
        .name = "wms",
        .routes = routes,
        .route_count = sizeof(routes) / sizeof(routes[0]),
        .listen_by_default = true,
    });
}
