/* SPDX-License-Identifier: Apache-2.0 */
/* Orders over HTTP. The client names each order with an Idempotency-Key, so it may ask again as often
 * as it likes: one order a key. 201 and 200 mean that the database has said OK to the commit; 503 that
 * the order was not taken; 504 that nobody knows. After both the client asks again with its key. */
#pragma once

#include "module.h"

void orders_create(const struct http_request *request, struct reply *reply);
/* ?key=, or the newest: ?limit=, ?before=ID */
void orders_find(const struct http_request *request, struct reply *reply);
void orders_show(const struct http_request *request, struct reply *reply);
/* ?prefix=, ?after=KEY: keys and ids in the order of keys, from the source; for who compares. */
void orders_export(const struct http_request *request, struct reply *reply);
