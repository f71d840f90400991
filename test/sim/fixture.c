/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "base/str/str.h"

#include <inttypes.h>
#include <sys/wait.h>

#define FAILURES_PRINTED 5u

struct event {
    uint64_t when, order;
    sim_fn fn;
    void *ctx;
    uint64_t arg;
};

struct sim {
    uint64_t now, order;
    struct rnd rnd;
    struct event *heap;
    size_t n, cap;
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
    free(s->heap);
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

static bool before(const struct event *a, const struct event *b)
{
    return a->when != b->when ? a->when < b->when : a->order < b->order;
}

void sim_at(struct sim *s, uint64_t when_ms, sim_fn fn, void *ctx, uint64_t arg)
{
    struct event e = {MAX(when_ms, s->now), s->order++, fn, ctx, arg};
    (void)GROW(s->heap, s->n, s->cap);
    size_t i = s->n - 1;
    for (; i > 0 && before(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
}

static struct event pop(struct sim *s)
{
    struct event top = s->heap[0], last = s->heap[--s->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n; i = child) {
        if (child + 1 < s->n && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return top;
}

void sim_run(struct sim *s, uint64_t until_ms)
{
    while (s->n && s->heap[0].when <= until_ms && !s->failure) {
        struct event e = pop(s);
        s->now = e.when;
        e.fn(e.ctx, e.arg);
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
