/* SPDX-License-Identifier: Apache-2.0 */
#include "orders.h"

#include "db.h"
#include "json.h"
#include "uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TASKS_MAX 512    /* also those whose client has gone */
#define DEADLINE_MS 4000 /* a switchover's pause fits in; proxies in front wait longer */
#define PAGE_MAX 40      /* with every byte escaped, 40 orders still fit an answer */
#define EXPORT_MAX 400   /* 400 keys of 64 bytes, escaped to twice that, and their ids too */
#define KEY_MAX 64
#define CUSTOMER_MAX 80
#define ITEM_MAX 120
#define QUANTITY_MAX 1000000
#define AMOUNT_MAX 1000000000000 /* minor units */

enum column { ID, KEY, COUNTRY, CUSTOMER, ITEM, QUANTITY, AMOUNT, REGION, CREATED, COLUMNS };

struct order {
    char id[UUID_SIZE], key[KEY_MAX + 1], country[3], customer[CUSTOMER_MAX + 1], item[ITEM_MAX + 1];
    long long quantity, amount;
    char created[48]; /* UTC, as the database has it */
};

struct task { /* one request until its answer */
    struct promise promise;
    struct db_query query;
    struct order order;
    char upper[KEY_MAX + 8]; /* export: keys below this one */
    bool page;               /* answered by a list */
    bool lost;               /* a commit that nobody answered */
    bool found;              /* the key was taken; now its order is looked at */
    unsigned tries;
};

static size_t task_count;

static uint64_t deadline_ms(void)
{
    static long long ms = -1;
    if (ms < 0) {
        const char *text = getenv("DB_DEADLINE_MS");
        ms = text && *text ? span_int(span_of(text), PROMISE_MS - 500) : DEADLINE_MS;
        if (ms < 1)
            ms = DEADLINE_MS;
    }
    return now_ms() + (uint64_t)ms;
}

/* The task, or NULL after an answer that says that there are too many. */
static struct task *task_new(struct reply *reply)
{
    struct task *t = task_count < TASKS_MAX ? calloc(1, sizeof(*t)) : NULL;
    if (!t) {
        reply_error(reply, 503, "too many requests at once");
        reply->field = "Retry-After: 1\r\n";
        return NULL;
    }
    task_count++;
    t->query.deadline_ms = deadline_ms();
    return t;
}

static void task_end(struct task *t, struct reply *reply)
{
    promise_keep(&t->promise, reply);
    task_count--;
    free(t);
}

static void ask(struct task *t, struct reply *reply)
{
    reply_later(reply, &t->promise);
    db_ask(&t->query);
}

static struct task *task_of(struct db_query *query)
{
    return (struct task *)(void *)((char *)query - offsetof(struct task, query));
}

static void set_text(struct db_value *v, const char *text)
{
    *v = (struct db_value){.text = text, .size = strlen(text)};
}

static void set_number(struct db_value *v, long long number)
{
    *v = (struct db_value){.number = number};
}

/* -- answers ----------------------------------------------------------------------------------- */

static void add_text(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "\"%s\":", name);
    json_add(b, value);
    buf_add(b, SPAN(","));
}

/* The columns of a row, as the database gives them. */
static void add_order(struct buf *b, const char *const *c)
{
    buf_add(b, SPAN("{"));
    add_text(b, "id", c[ID]);
    add_text(b, "key", c[KEY]);
    add_text(b, "country", c[COUNTRY]);
    add_text(b, "customer", c[CUSTOMER]);
    add_text(b, "item", c[ITEM]);
    buf_printf(b, "\"quantity\":%s,\"amount_cents\":%s,", c[QUANTITY], c[AMOUNT]);
    add_text(b, "region", c[REGION]);
    buf_printf(b, "\"placed\":\"%.10sT%.15sZ\"}", c[CREATED], c[CREATED] + 11);
}

static void answer_unserved(struct task *t, struct reply *reply, enum db_end end)
{
    bool write = t->query.statement == DB_INSERT || t->found || t->lost;
    if (write && (t->lost || end == DB_LOST))
        reply_error(reply, 504, "nobody knows whether the order was taken: ask again with its key");
    else if (end == DB_REFUSED)
        reply_error(reply, 503, "the database refuses");
    else
        reply_error(reply, 503, "the database does not answer in time");
    reply->field = "Retry-After: 1\r\n";
    task_end(t, reply);
}

/* -- placing an order -------------------------------------------------------------------------- */

static void on_inserted(struct db_query *query, enum db_end end, struct db_rows *rows);
static void on_existing(struct db_query *query, enum db_end end, struct db_rows *rows);

static void insert(struct task *t)
{
    struct order *o = &t->order;
    struct db_value *v = t->query.values;
    set_text(&v[ID], o->id);
    set_text(&v[KEY], o->key);
    set_text(&v[COUNTRY], o->country);
    set_text(&v[CUSTOMER], o->customer);
    set_text(&v[ITEM], o->item);
    set_number(&v[QUANTITY], o->quantity);
    set_number(&v[AMOUNT], o->amount);
    set_text(&v[REGION], module_identity()->region);
    set_text(&v[CREATED], o->created);
    t->query.side = DB_RW;
    t->query.statement = DB_INSERT;
    t->query.done = on_inserted;
    t->tries++;
}

static void look_at_existing(struct task *t)
{
    set_text(&t->query.values[0], t->order.key);
    t->query.statement = DB_BY_KEY; /* still from the source: no replica knows it earlier */
    t->query.done = on_existing;
    t->found = true;
}

/* The same question again, as long as there is time; a key makes that safe. */
static bool again(struct task *t, enum db_end end)
{
    if ((end != DB_AGAIN && end != DB_LOST) || t->tries > 100 || now_ms() >= t->query.deadline_ms)
        return false;
    t->tries++;
    db_ask(&t->query);
    return true;
}

static void answer_created(struct task *t, int status)
{
    struct order *o = &t->order;
    char quantity[24], amount[24];
    snprintf(quantity, sizeof(quantity), "%lld", o->quantity);
    snprintf(amount, sizeof(amount), "%lld", o->amount);
    const char *columns[COLUMNS] = {o->id, o->key, o->country, o->customer, o->item, quantity, amount,
        module_identity()->region, o->created};
    struct reply reply = reply_new();
    reply.status = status;
    add_order(&reply.body, columns);
    buf_add(&reply.body, SPAN("\n"));
    task_end(t, &reply);
}

static void on_inserted(struct db_query *query, enum db_end end, struct db_rows *rows)
{
    (void)rows;
    struct task *t = task_of(query);
    if (end == DB_LOST)
        t->lost = true;
    if (end == DB_DONE) {
        answer_created(t, 201);
    } else if (end == DB_DUPLICATE) {
        look_at_existing(t);
        db_ask(query);
    } else if (!again(t, end)) {
        struct reply reply = reply_new();
        answer_unserved(t, &reply, end);
    }
}

static bool is_same(const struct order *o, const char *const *c)
{
    char quantity[24], amount[24];
    snprintf(quantity, sizeof(quantity), "%lld", o->quantity);
    snprintf(amount, sizeof(amount), "%lld", o->amount);
    return strcmp(c[COUNTRY], o->country) == 0 && strcmp(c[CUSTOMER], o->customer) == 0 &&
           strcmp(c[ITEM], o->item) == 0 && strcmp(c[QUANTITY], quantity) == 0 &&
           strcmp(c[AMOUNT], amount) == 0;
}

static void answer_existing(struct task *t, const char *const *columns)
{
    struct reply reply = reply_new();
    if (is_same(&t->order, columns)) {
        add_order(&reply.body, columns);
        buf_add(&reply.body, SPAN("\n"));
    } else {
        reply_error(&reply, 422, "another order has this key");
    }
    task_end(t, &reply);
}

static void on_existing(struct db_query *query, enum db_end end, struct db_rows *rows)
{
    struct task *t = task_of(query);
    const char *columns[COLUMNS];
    if (end == DB_DONE && db_row(rows, columns)) {
        answer_existing(t, columns);
    } else if (end == DB_DONE) { /* gone since: somebody took it back */
        insert(t);
        if (!again(t, DB_AGAIN)) {
            struct reply reply = reply_new();
            answer_unserved(t, &reply, DB_LATE);
        }
    } else if (!again(t, end)) {
        struct reply reply = reply_new();
        answer_unserved(t, &reply, end);
    }
}

static bool is_key(struct span key)
{
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] <= 0x20 || key.p[i] >= 0x7f)
            return false;
    return key.n > 0 && key.n <= KEY_MAX;
}

static bool is_country(const char *text)
{
    return text && strlen(text) == 2 && text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'A' &&
           text[1] <= 'Z';
}

static bool read_order(const struct json_object *in, struct order *ret)
{
    const char *customer = json_text(in, "customer", CUSTOMER_MAX);
    const char *country = json_text(in, "country", 2);
    const char *item = json_text(in, "item", ITEM_MAX);
    ret->quantity = json_integer(in, "quantity", QUANTITY_MAX);
    ret->amount = json_integer(in, "amount_cents", AMOUNT_MAX);
    if (!customer || !is_country(country) || !item || ret->quantity < 0 || ret->amount < 0)
        return false;
    snprintf(ret->customer, sizeof(ret->customer), "%s", customer);
    snprintf(ret->country, sizeof(ret->country), "%s", country);
    snprintf(ret->item, sizeof(ret->item), "%s", item);
    return true;
}

/* Its id and its time are ours, and the same in every attempt. */
static void name_order(struct order *o)
{
    struct timespec now;
    struct tm utc;
    char second[24];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(second, sizeof(second), "%Y-%m-%d %H:%M:%S", &utc);
    snprintf(o->created, sizeof(o->created), "%s.%06ld", second, now.tv_nsec / 1000);
    uuid_new(&now, o->id);
}

void orders_create(const struct http_request *request, struct reply *reply)
{
    static struct json_object in; /* one thread */
    struct span key;
    if (http_field(request, "Idempotency-Key", &key) <= 0 || !is_key(key)) {
        reply_error(reply, 400, "Idempotency-Key: 1 to 64 visible characters, once");
        return;
    }
    if (json_parse(request->body, &in) < 0) {
        reply_error(reply, 400, "the body must be one flat JSON object");
        return;
    }
    struct order order = {0};
    if (!read_order(&in, &order)) {
        reply_error(reply, 422,
            "customer (80 bytes), country (KR), item (120 bytes), quantity (1 to 1000000),"
            " amount_cents (1 to 1000000000000)");
        return;
    }
    struct task *t = task_new(reply);
    if (!t)
        return;
    memcpy(order.key, key.p, key.n);
    name_order(&order);
    t->order = order;
    insert(t);
    ask(t, reply);
}

/* -- looking ----------------------------------------------------------------------------------- */

static void on_rows(struct db_query *query, enum db_end end, struct db_rows *rows)
{
    struct task *t = task_of(query);
    const char *columns[COLUMNS];
    struct reply reply = reply_new();
    if (again(t, end))
        return;
    if (end != DB_DONE) {
        answer_unserved(t, &reply, end);
        return;
    }
    struct buf *b = &reply.body;
    bool any = false;
    if (t->page)
        buf_add(b, SPAN("{\"orders\":["));
    while (db_row(rows, columns)) {
        if (any)
            buf_add(b, SPAN(","));
        add_order(b, columns);
        any = true;
    }
    buf_add(b, t->page ? SPAN("]}\n") : SPAN("\n"));
    if (!t->page && !any)
        reply_error(&reply, 404, "no such order");
    task_end(t, &reply);
}

/* The nearest replica, unless the client wants to see what it has just written. */
static bool choose_side(const struct http_request *request, enum db_side *ret)
{
    struct span wanted;
    int found = http_field(request, "X-Consistency", &wanted);
    *ret = found > 0 ? DB_RW : DB_RO;
    return found == 0 || (found > 0 && span_equal_nocase(wanted, "strong"));
}

static void look(const struct http_request *request, struct reply *reply,
    enum db_statement statement, struct task *t)
{
    if (!choose_side(request, &t->query.side)) {
        reply_error(reply, 400, "X-Consistency: strong, or nothing");
        task_count--;
        free(t);
        return;
    }
    t->query.statement = statement;
    t->query.done = on_rows;
    ask(t, reply);
}

void orders_show(const struct http_request *request, struct reply *reply)
{
    size_t prefix = sizeof("/v1/orders/") - 1;
    struct span id = {request->path.p + prefix, request->path.n - prefix};
    if (!uuid_is(id)) {
        reply_error(reply, 404, "no such order");
        return;
    }
    struct task *t = task_new(reply);
    if (!t)
        return;
    memcpy(t->order.id, id.p, id.n);
    set_text(&t->query.values[0], t->order.id);
    look(request, reply, DB_BY_ID, t);
}

static void list_newest(const struct http_request *request, struct reply *reply)
{
    /* Behind every id that there can be. */
    char before[UUID_SIZE] = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    long long limit = query_int(request->query, "limit", PAGE_MAX, 20);
    int given = query_text(request->query, "before", before, sizeof(before));
    if (limit < 1 || given < 0 || !uuid_is(span_of(before))) {
        reply_error(reply, 400, "limit is 1 to 40, before is an order's id");
        return;
    }
    struct task *t = task_new(reply);
    if (!t)
        return;
    t->page = true;
    memcpy(t->order.id, before, sizeof(before));
    set_text(&t->query.values[0], t->order.id);
    set_number(&t->query.values[1], limit);
    look(request, reply, DB_NEWEST, t);
}

void orders_find(const struct http_request *request, struct reply *reply)
{
    char key[KEY_MAX + 1];
    int given = query_text(request->query, "key", key, sizeof(key));
    if (given == 0) {
        list_newest(request, reply);
        return;
    }
    if (given < 0 || !is_key(span_of(key))) {
        reply_error(reply, 400, "key is 1 to 64 visible characters");
        return;
    }
    struct task *t = task_new(reply);
    if (!t)
        return;
    memcpy(t->order.key, key, sizeof(key));
    set_text(&t->query.values[0], t->order.key);
    look(request, reply, DB_BY_KEY, t);
}

/* -- comparing --------------------------------------------------------------------------------- */

static void on_exported(struct db_query *query, enum db_end end, struct db_rows *rows)
{
    struct task *t = task_of(query);
    const char *columns[COLUMNS];
    char last[KEY_MAX + 1] = "";
    struct reply reply = reply_new();
    if (again(t, end))
        return;
    if (end != DB_DONE) {
        answer_unserved(t, &reply, end);
        return;
    }
    struct buf *b = &reply.body;
    size_t n = 0;
    buf_add(b, SPAN("{\"orders\":["));
    for (; db_row(rows, columns); n++) {
        buf_add(b, n ? SPAN(",[") : SPAN("["));
        json_add(b, columns[0]);
        buf_add(b, SPAN(","));
        json_add(b, columns[1]);
        buf_add(b, SPAN("]"));
        snprintf(last, sizeof(last), "%s", columns[0]);
    }
    buf_add(b, SPAN("],\"next\":"));
    if (n == EXPORT_MAX)
        json_add(b, last);
    else
        buf_add(b, SPAN("null"));
    buf_add(b, SPAN("}\n"));
    task_end(t, &reply);
}

void orders_export(const struct http_request *request, struct reply *reply)
{
    char prefix[KEY_MAX + 1], after[KEY_MAX + 1];
    int given = query_text(request->query, "prefix", prefix, sizeof(prefix));
    int goes_on = query_text(request->query, "after", after, sizeof(after));
    if (given <= 0 || !is_key(span_of(prefix)) || goes_on < 0 ||
        (goes_on > 0 && !is_key(span_of(after)))) {
        reply_error(reply, 400, "prefix and after are 1 to 64 visible characters");
        return;
    }
    struct task *t = task_new(reply);
    if (!t)
        return;
    /* The key that follows `after` has one more byte; no key has a byte over '~'. */
    snprintf(t->order.key, sizeof(t->order.key), "%s", goes_on > 0 ? after : prefix);
    t->query.values[0] =
        (struct db_value){.text = t->order.key, .size = strlen(t->order.key) + (goes_on > 0)};
    snprintf(t->upper, sizeof(t->upper), "%s\x7f", prefix);
    set_text(&t->query.values[1], t->upper);
    set_number(&t->query.values[2], EXPORT_MAX);
    t->query.side = DB_RW;
    t->query.statement = DB_EXPORT;
    t->query.done = on_exported;
    ask(t, reply);
}
