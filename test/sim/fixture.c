/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "base/str/str.h"

#include <inttypes.h>
#include <sys/wait.h>

#define FAILURES_PRINTED 5u

/* Events lie in one list a millisecond; those beyond the turn of the wheel wait in `later`, in the order they were
 * made, and are sorted in when it has turned. */
#define WHEEL 1024u

struct event {
    struct event *next;
    uint64_t when, arg;
    sim_fn fn;
    void *ctx;
};

struct list {
    struct event *first, *last;
};

#define EVENTS_A_CHUNK 128u
struct chunk {
    struct chunk *next;
    struct event events[EVENTS_A_CHUNK];
};

struct sim {
    uint64_t now;
    struct rnd rnd;
    struct list wheel[WHEEL], later;
    uint64_t turn;            /* when / WHEEL of what lies in the wheel */
    uint64_t busy[WHEEL / 64]; /* bits: lists that are not empty */
    struct event *free;
    struct chunk *chunks;
    char *failure;
    bool trace;
};

struct sim *sim_new(uint64_t seed, bool trace)
{
    struct sim *s = xcalloc(1, sizeof *s);
    rnd_seed(&s->rnd, seed);
    s->trace = trace;
    return s;
}

void sim_free(struct sim *s)
{
    while (s->chunks) {
        struct chunk *c = s->chunks;
        s->chunks = c->next;
        free(c);
    }
    free(s->failure);
    free(s);
}

uint64_t sim_now(const struct sim *s)
{
    return s->now;
}

struct rnd *sim_rnd(struct sim *s)
{
    return &s->rnd;
}

uint64_t sim_between(struct sim *s, uint64_t lo, uint64_t hi)
{
    return lo + rnd_below(&s->rnd, hi - lo + 1);
}

bool sim_chance(struct sim *s, unsigned percent)
{
    return rnd_below(&s->rnd, 100) < percent;
}

static struct event *event_new(struct sim *s)
{
    if (!s->free) {
        struct chunk *c = xcalloc(1, sizeof *c);
        c->next = s->chunks;
        s->chunks = c;
        for (size_t i = 0; i < EVENTS_A_CHUNK; i++) {
            c->events[i].next = s->free;
            s->free = &c->events[i];
        }
    }
    struct event *e = s->free;
    s->free = e->next;
    return e;
}

static void append(struct list *l, struct event *e)
{
    e->next = NULL;
    if (l->first)
        l->last->next = e;
    else
        l->first = e;
    l->last = e;
}

static void put(struct sim *s, struct event *e)
{
    if (e->when / WHEEL != s->turn) {
        append(&s->later, e);
        return;
    }
    unsigned slot = (unsigned)(e->when % WHEEL);
    append(&s->wheel[slot], e);
    s->busy[slot / 64] |= UINT64_C(1) << slot % 64;
}

void sim_at(struct sim *s, uint64_t when_ms, sim_fn fn, void *ctx, uint64_t arg)
{
    struct event *e = event_new(s);
    *e = (struct event){.when = MAX(when_ms, s->now), .arg = arg, .fn = fn, .ctx = ctx};
    put(s, e);
}

/* The slot of the next event of this turn; WHEEL: there is none. */
static unsigned next_slot(const struct sim *s)
{
    for (unsigned i = s->now / WHEEL == s->turn ? s->now % WHEEL / 64 : 0; i < WHEEL / 64; i++)
        if (s->busy[i])
            return i * 64 + (unsigned)__builtin_ctzll(s->busy[i]);
    return WHEEL;
}

/* To the first of those that wait, if it is not beyond that of `until_ms`: what is made by then has its place. */
static void turn(struct sim *s, uint64_t until_ms)
{
    struct event *e = s->later.first;
    uint64_t first = UINT64_MAX;
    for (const struct event *k = e; k; k = k->next)
        first = MIN(first, k->when);
    if (first / WHEEL > until_ms / WHEEL)
        return;
    s->later = (struct list){0};
    s->turn = first / WHEEL;
    for (struct event *next; e; e = next) {
        next = e->next;
        put(s, e);
    }
}

/* NULL: nothing is due until then. */
static struct event *take(struct sim *s, uint64_t until_ms)
{
    unsigned slot = next_slot(s);
    if (slot == WHEEL && s->later.first) {
        turn(s, until_ms);
        slot = next_slot(s);
    }
    struct event *e = slot < WHEEL ? s->wheel[slot].first : NULL;
    if (!e || e->when > until_ms)
        return NULL;
    s->wheel[slot].first = e->next;
    if (!e->next)
        s->busy[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    return e;
}

void sim_run(struct sim *s, uint64_t until_ms)
{
    for (struct event *e; !s->failure && (e = take(s, until_ms));) {
        struct event now = *e;
        e->next = s->free;
        s->free = e;
        s->now = now.when;
        now.fn(now.ctx, now.arg);
    }
    if (!s->failure)
        s->now = until_ms;
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    if (s->failure)
        return;
    struct str text = STR_INIT;
    str_addf(&text, "at %" PRIu64 ".%03" PRIu64 " s: ", s->now / 1000, s->now % 1000);
    va_list ap;
    va_start(ap, fmt);
    str_addv(&text, fmt, ap);
    va_end(ap);
    s->failure = str_steal(&text);
}

const char *sim_failure(const struct sim *s)
{
    return s->failure;
}

void sim_trace(const struct sim *s, const char *fmt, ...)
{
    if (!s->trace)
        return;
    printf("%6" PRIu64 ".%03" PRIu64 "  ", s->now / 1000, s->now % 1000);
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

bool sim_net_cut(const struct sim_net *n, size_t from, size_t to)
{
    return from != to && n->links[from][to].cut;
}

bool sim_net_send(
    struct sim *s, const struct sim_net *n, size_t from, size_t to, uint64_t *ret_delay_ms)
{
    *ret_delay_ms = 0;
    if (from == to)
        return true;
    const struct sim_link *l = &n->links[from][to];
    *ret_delay_ms = l->delay_ms + rnd_below(&s->rnd, l->delay_ms / 4 + 1);
    return !l->cut && !sim_chance(s, l->loss_percent);
}

/* Seeds first, first + step, ... below n; one line a failure to `out`. */
static void run_share(
    const struct sim_suite *suite, uint64_t first, uint64_t step, uint64_t n, FILE *out)
{
    for (uint64_t seed = first; seed < n; seed += step) {
        _cleanup_free_ char *why = suite->run(seed + 1, false);
        fprintf(out, "%c %" PRIu64 " %s\n", why ? 'F' : 'P', seed + 1, why ? why : "");
    }
    fflush(out);
}

static void count(FILE *in, const char *name, unsigned *passed, unsigned *failed)
{
    char line[4096];
    while (fgets(line, sizeof line, in)) {
        if (line[0] == 'P') {
            (*passed)++;
        } else if ((*failed)++ < FAILURES_PRINTED) {
            char *end;
            uint64_t seed = strtoull(line + 2, &end, 10);
            printf("FAILED seed %" PRIu64 ":%s       again: SEED=%" PRIu64 " sim-%s\n", seed, end,
                seed, name);
        }
    }
}

#define JOBS_MAX 16

static void run_all(const struct sim_suite *suite, uint64_t n, unsigned *passed, unsigned *failed)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t jobs = (uint64_t)MIN(MAX(cores, 1), JOBS_MAX);
    FILE *outs[JOBS_MAX];
    pid_t pids[JOBS_MAX];
    fflush(stdout);
    for (uint64_t k = 0; k < jobs; k++) {
        outs[k] = tmpfile();
        ASSERT(outs[k]);
        pids[k] = fork();
        if (pids[k] == 0) {
            run_share(suite, k, jobs, n, outs[k]);
            _exit(0);
        }
    }
    for (uint64_t k = 0; k < jobs; k++) {
        int status = 1;
        waitpid(pids[k], &status, 0);
        rewind(outs[k]);
        count(outs[k], suite->name, passed, failed);
        if (status != 0) {
            printf("FAILED: a worker of seeds ended with status %d\n", status);
            (*failed)++;
        }
        fclose(outs[k]);
    }
}

int sim_main(int argc, char **argv, const struct sim_suite *suite)
{
    const char *one = getenv("SEED");
    unsigned passed = 0, failed = 0;
    if (one) {
        _cleanup_free_ char *why = suite->run(strtoull(one, NULL, 10), true);
        *(why ? &failed : &passed) += 1;
        if (why)
            printf("FAILED: %s\n", why);
    } else {
        run_all(suite, argc > 1 ? strtoull(argv[1], NULL, 10) : 1000, &passed, &failed);
        if (suite->extra)
            passed += suite->extra(&failed);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}
