/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of both sides, and who waits for one. */
#include "priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINKS_MAX 24 /* a side */
#define LINKS_DEFAULT 16 /* a commit two regions away takes 45 ms: 350 a second */
#define BACKOFF_MIN_MS 50 /* doubled with every connection that does not come about */
#define BACKOFF_MAX_MS 1000
#define ACCOUNT_MS 1000 /* how often the file with our password is looked at */
/* The endpoint's address stays; a name that moved is still found soon. */
#define ADDRESS_MS 10000

struct side {
    const char *name;
    char host[256];
    unsigned port;
    struct link links[LINKS_MAX];
    struct db_query *first, **last; /* waiting */
    char address[NI_MAXHOST];
    uint64_t address_until_ms; /* 0: it has to be asked for */
    bool resolving;
    unsigned failures; /* connections that did not come about, in a row */
    uint64_t not_before_ms, down_since_ms;
};

static struct side sides[DB_SIDES] = {[DB_RW] = {.name = "rw"}, [DB_RO] = {.name = "ro"}};
static unsigned links_max = LINKS_DEFAULT;
static struct link *polled[WATCH_MAX]; /* whose descriptor stands there */
static uint64_t account_look_ms;
static bool account_suspect; /* the database did not take it */

static bool read_endpoint(const char *variable, const char *fallback, struct side *ret)
{
    const char *text = getenv(variable);
    text = text && *text ? text : fallback;
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    long long port = colon ? span_int(span_of(colon + 1), 65535) : -1;
    if (n == 0 || n >= sizeof(ret->host) || port < 1) {
        log_line("error", "db", "%s is not HOST:PORT", variable);
        return false;
    }
    memcpy(ret->host, text, n);
    ret->host[n] = 0;
    ret->port = (unsigned)port;
    ret->last = &ret->first;
    return true;
}

static bool read_connections(void)
{
    const char *text = getenv("DB_CONNECTIONS");
    if (!text || !*text)
        return true;
    long long n = span_int(span_of(text), LINKS_MAX);
    if (n < 1) {
        log_line("error", "db", "DB_CONNECTIONS is not 1 to %d", LINKS_MAX);
        return false;
    }
    links_max = (unsigned)n;
    return true;
}

int db_start(void)
{
    const char *file = getenv("DB_SECRET");
    account_init(file && *file ? file : "/run/secrets/trade");
    if (!read_endpoint("DB_RW", "trade.rw.mcp.internal:3306", &sides[DB_RW]) ||
        !read_endpoint("DB_RO", "trade.ro.mcp.internal:3306", &sides[DB_RO]) || !read_connections())
        return -1;
    for (size_t i = 0; i < DB_SIDES; i++)
        for (size_t k = 0; k < LINKS_MAX; k++)
            sides[i].links[k].side = (enum db_side)i;
    if (mysql_library_init(0, NULL, NULL) != 0 || resolve_start() < 0) {
        log_line("error", "db", "cannot begin");
        return -1;
    }
    if (account_refresh(true))
        log_line("info", "db", "account user=%s database=%s", account_get()->user,
            account_get()->database);
    else
        log_line("warn", "db", "no account yet: orders are refused until its file is there");
    return 0;
}

void db_ask(struct db_query *query)
{
    struct side *s = &sides[query->side];
    query->next = NULL;
    *s->last = query;
    s->last = &query->next;
}

static struct db_query *take_first(struct side *s)
{
    struct db_query *q = s->first;
    s->first = q->next;
    if (!s->first)
        s->last = &s->first;
    return q;
}

static unsigned count(const struct side *s, enum link_state state)
{
    unsigned n = 0;
    for (unsigned i = 0; i < links_max; i++)
        n += s->links[i].state == state;
    return n;
}

/* -- connecting -------------------------------------------------------------------------------- */

void pool_linked(struct link *l)
{
    struct side *s = &sides[l->side];
    if (s->down_since_ms)
        log_line("info", "db", "%s is back after_ms=%llu tries=%u", s->name,
            (unsigned long long)(now_ms() - s->down_since_ms), s->failures);
    s->failures = 0;
    s->down_since_ms = s->not_before_ms = 0;
}

static bool is_account_error(unsigned code)
{
    return code == 1044 || code == 1045 || code == 1049 || code == 1698;
}

void pool_link_down(struct link *l, const struct link_error *error)
{
    struct side *s = &sides[l->side];
    uint64_t now = now_ms();
    if (!s->down_since_ms && count(s, LINK_DOWN) == links_max) {
        s->down_since_ms = now;
        log_line("warn", "db", "%s lost code=%u error=%s", s->name, error->code, error->text);
    }
    if (is_account_error(error->code))
        account_suspect = true;
    s->address_until_ms = 0;
    if (now < s->not_before_ms)
        return; /* it began with the one that failed before: all of them are one try */
    uint64_t wait = (uint64_t)BACKOFF_MIN_MS << (s->failures < 5 ? s->failures : 5);
    if (wait > BACKOFF_MAX_MS)
        wait = BACKOFF_MAX_MS;
    /* Instances that lost the same source do not come back in step. */
    s->not_before_ms = now + wait / 2 + (uint64_t)random() % (wait / 2 + 1);
    s->failures += error->connecting;
}

/* The address to connect to: true when it is known. */
static bool has_address(struct side *s, uint64_t now)
{
    if (s->address_until_ms > now)
        return true;
    enum db_side side = (enum db_side)(s - sides);
    if (!s->resolving) {
        s->resolving = true;
        resolve_want(side, s->host);
        return false;
    }
    int result = resolve_get(side, s->address);
    if (result == 0)
        return false;
    s->resolving = false;
    if (result > 0) {
        s->address_until_ms = now + ADDRESS_MS;
        return true;
    }
    struct link none = {.side = side};
    pool_link_down(&none, &(struct link_error){.connecting = true, .text = "its name has no address"});
    return false;
}

/* One for each that waits; a single one after a failure, until it stands. */
static void connect_more(struct side *s, uint64_t now)
{
    unsigned wanted = 0, connecting = count(s, LINK_CONNECT);
    for (const struct db_query *q = s->first; q && wanted < links_max; q = q->next)
        wanted++;
    if (s->failures && wanted > 1)
        wanted = 1;
    if (connecting >= wanted || now < s->not_before_ms || !account_get() || !has_address(s, now))
        return;
    wanted -= connecting;
    for (unsigned i = 0; i < links_max && wanted > 0; i++) {
        if (s->links[i].state != LINK_DOWN)
            continue;
        link_connect(&s->links[i], s->address, s->port, now);
        wanted--;
    }
}

/* -- the loop ---------------------------------------------------------------------------------- */

/* Without an account nobody waits. */
static void expire_waiting(struct side *s, uint64_t now)
{
    struct db_query *late = NULL, **at = &s->first;
    while (*at) {
        struct db_query *q = *at;
        if (q->deadline_ms > now && account_get()) {
            at = &q->next;
            continue;
        }
        *at = q->next;
        q->next = late;
        late = q;
    }
    s->last = at;
    while (late) {
        struct db_query *q = late;
        late = q->next;
        q->done(q, DB_LATE, NULL);
    }
}

static void expire_links(struct side *s, uint64_t now)
{
    for (unsigned i = 0; i < links_max; i++)
        if (s->links[i].until_ms <= now)
            link_expire(&s->links[i]);
}

/* Answers may ask again, so the queue is looked at until nobody moves. */
static void dispatch(struct side *s, uint64_t now)
{
    for (unsigned i = 0; i < links_max && s->first; i++)
        while (s->links[i].state == LINK_IDLE && s->first)
            link_ask(&s->links[i], take_first(s));
    if (s->first)
        connect_more(s, now);
}

/* A new password: connections that are not at work are made anew with it, the others live on until
 * the platform ends them. */
static void refresh_account(uint64_t now)
{
    if (now < account_look_ms && !account_suspect)
        return;
    account_look_ms = now + ACCOUNT_MS;
    bool changed = account_refresh(account_suspect);
    account_suspect = false;
    if (!changed)
        return;
    log_line("info", "db", "account read again");
    for (size_t i = 0; i < DB_SIDES; i++) {
        sides[i].not_before_ms = 0;
        for (unsigned k = 0; k < links_max; k++)
            if (sides[i].links[k].state == LINK_IDLE)
                link_drop(&sides[i].links[k]);
    }
}

static void earliest(uint64_t *until, uint64_t other)
{
    if (other < *until)
        *until = other;
}

static size_t want_side(struct side *s, struct pollfd *fds, size_t n, uint64_t *until)
{
    for (unsigned i = 0; i < links_max; i++) {
        struct link *l = &s->links[i];
        if (l->state == LINK_DOWN)
            continue;
        polled[n] = l;
        fds[n++] = link_pollfd(l);
        if (l->state != LINK_IDLE)
            earliest(until, l->until_ms);
    }
    for (const struct db_query *q = s->first; q; q = q->next)
        earliest(until, q->deadline_ms);
    if (s->first && s->not_before_ms > now_ms())
        earliest(until, s->not_before_ms);
    return n;
}

static size_t want(struct pollfd *fds, uint64_t *until)
{
    size_t n = 0;
    fds[n++] = (struct pollfd){.fd = resolve_fd(), .events = POLLIN};
    for (size_t i = 0; i < DB_SIDES; i++)
        n = want_side(&sides[i], fds, n, until);
    earliest(until, account_look_ms);
    return n;
}

static void step(const struct pollfd *fds, size_t n, uint64_t now)
{
    if (n > 0 && fds[0].revents)
        resolve_taken();
    for (size_t i = 1; i < n; i++)
        if (fds[i].revents && polled[i]->state != LINK_DOWN)
            link_ready(polled[i], fds[i].revents);
    refresh_account(now);
    for (size_t i = 0; i < DB_SIDES; i++) {
        expire_links(&sides[i], now);
        expire_waiting(&sides[i], now);
        dispatch(&sides[i], now);
    }
}

const struct watch db_watch = {.want = want, .step = step};
