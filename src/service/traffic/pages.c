/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison: every key of this run that the database has, page by page, from the source. A page
 * that fails is asked for again, by the next buyer, until nothing came for the whole patience. */
#include "service/traffic/priv.h"

#include <string.h>

static void ask_page(struct engine *e)
{
    struct buyer *b = &e->buyers[e->page_tries % e->n_buyers];
    struct item *i = item_new(e, b, ITEM_PAGE);
    i->due_us = e->now_us;
    items_put(&b->pages, i);
}

void pages_begin(struct engine *e)
{
    e->phase = PHASE_COMPARE;
    e->give_up_us = e->now_us + e->config->patience_ms * 1000;
    *e->after = '\0';
    ask_page(e);
}

void pages_failed(struct engine *e, struct item *i, const char *why)
{
    err_set(&e->compare_error, ERR_UNAVAILABLE, "the api does not list the orders: %s", why);
    i->buyer = &e->buyers[++e->page_tries % e->n_buyers];
    item_again(e, i);
}

/* False: it is no page. */
static bool read_page(struct engine *e, const json_t *page)
{
    const json_t *orders = json_object_get(page, "orders"), *next = json_object_get(page, "next");
    size_t k;
    json_t *row;
    if (!json_is_array(orders) || !next)
        return false;
    json_array_foreach (orders, k, row) {
        const char *key = json_string_value(json_array_get(row, 0)),
                   *id = json_string_value(json_array_get(row, 1));
        if (!key || !id || !book_row(&e->book, key, id))
            return false;
    }
    if (json_is_null(next)) {
        e->compared = true;
        return true;
    }
    /* Onwards, or it would never end. */
    const char *after = json_string_value(next);
    return after && strcmp(after, e->after) > 0 && str_copy(e->after, sizeof e->after, after);
}

void pages_take(struct engine *e, struct item *i, const char *content, size_t len)
{
    _cleanup_json_ json_t *page = NULL;
    struct err ignored;
    if (json_parse(content, len, &page, &ignored) < 0 || !read_page(e, page)) {
        e->phase = PHASE_END;
        err_set(&e->compare_error, ERR_PROTOCOL, "the api's list of orders is none");
        item_free(e, i);
        return;
    }
    item_free(e, i);
    e->give_up_us = e->now_us + e->config->patience_ms * 1000;
    if (e->compared)
        e->phase = PHASE_END;
    else
        ask_page(e);
}
