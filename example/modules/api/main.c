/* SPDX-License-Identifier: Apache-2.0 */
/* api: orders, kept in the platform's database. */
#include "db.h"
#include "orders.h"

int main(void)
{
    static const struct route routes[] = {
        {"POST", "/v1/orders", orders_create, true},
        {"GET", "/v1/orders", orders_find, true},
        {"GET", "/v1/orders/export", orders_export, false},
        {"GET", "/v1/orders/*", orders_show, true},
    };
    return module_run(&(struct module){
        .name = "api",
        .routes = routes,
        .route_count = sizeof(routes) / sizeof(routes[0]),
        .listen_by_default = true,
        .start = db_start,
        .watch = &db_watch,
    });
}
