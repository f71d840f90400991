/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs, clocks, links and processes. */
#include "world.h"

#include "base/str/str.h"

#include <string.h>

#define JOBS_A_CHUNK 64u
#define LOOK_AGAIN_MS 400u /* whether what is stopped goes on again */

struct chunk {
    struct chunk *next;
    struct job jobs[JOBS_A_CHUNK];
};

struct job *job_new(struct world *w)
{
    if (!w->free_jobs) {
        struct chunk *c = xcalloc(1, sizeof *c);
        c->next = w->chunks;
        w->chunks = c;
        for (size_t i = 0; i < JOBS_A_CHUNK; i++) {
            c->jobs[i].next = w->free_jobs;
            w->free_jobs = &c->jobs[i];
        }
    }
    struct job *j = w->free_jobs;
    w->free_jobs = j->next;
    memset(j, 0, sizeof *j);
    j->w = w;
    return j;
}

void job_free(struct job *j)
{
    struct world *w = j->w;
    json_decref(j->json);
    j->json = NULL;
    j->next = w->free_jobs;
    w->free_jobs = j;
}

void jobs_done(struct world *w)
{
    while (w->chunks) {
        struct chunk *c = w->chunks;
        w->chunks = c->next;
        for (size_t i = 0; i < JOBS_A_CHUNK; i++)
            json_decref(c->jobs[i].json);
        free(c);
    }
}

void job_in(struct job *j, uint64_t delay_ms, sim_fn fn)
{
    sim_at(j->w->sim, sim_now(j->w->sim) + delay_ms, fn, j, 0);
}

/* ---- clocks */

uint64_t boot_now(const struct world *w, unsigned h)
{
    uint64_t now = sim_now(w->sim);
    return w->h[h].boot_ms + now + (uint64_t)((int64_t)now * w->h[h].ppm / 1000000);
}

int64_t wall_now(const struct world *w, unsigned h)
{
    return WALL_MS + (int64_t)sim_now(w->sim) + w->h[h].wall_ms;
}

/* ---- links */

bool link_carries(const struct world *w, unsigned from, unsigned to)
{
    return from == to || (!w->cut[from][to] && w->h[from].powered && w->h[to].powered);
}

/* A packet that is lost is sent again: it comes late. */
bool link_send(struct world *w, unsigned from, unsigned to, uint64_t *ret_ms)
{
    *ret_ms = 1;
    if (from == to)
        return true;
    if (!link_carries(w, from, to))
        return false;
    *ret_ms = w->delay_ms[from][to] + rnd_below(sim_rnd(w->sim), w->delay_ms[from][to] / 4 + 1);
    for (unsigned again = 200; w->lossy && again < 2000 && sim_chance(w->sim, w->lossy); again *= 2)
        *ret_ms += again;
    return true;
}

/* ---- processes */

const char *process_name(enum process p)
{
    static const char *const names[] = {
        "control", "data role", "mesh", "watchdog", "server", "member"};
    return names[p];
}

const char *host_name(unsigned h)
{
    static const char *const names[] = {"hk1", "kr1", "sg1", "nobody"};
    return names[h];
}

const char *region_name(unsigned h)
{
    static const char *const names[] = {"ap-hongkong", "ap-seoul", "ap-singapore", "nowhere"};
    return names[h];
}

unsigned host_of(const char *name)
{
    unsigned h = 0;
    while (h < HOSTS && !str_eq(name, host_name(h)))
        h++;
    return h;
}

bool is_up(const struct world *w, unsigned h, enum process p)
{
    return w->h[h].powered && w->h[h].p[p].up;
}

uint64_t goes_on_ms(const struct world *w, unsigned h, enum process p)
{
    return MAX(w->h[h].p[p].stopped_until, w->h[h].frozen_until);
}

bool is_stopped(const struct world *w, unsigned h, enum process p)
{
    return goes_on_ms(w, h, p) > sim_now(w->sim);
}

bool runs(const struct world *w, unsigned h, enum process p)
{
    return is_up(w, h, p) && !is_stopped(w, h, p);
}

/* What a stopped process would do now it does when it goes on. */
bool postponed(struct job *j, unsigned h, enum process p, sim_fn fn)
{
    struct world *w = j->w;
    if (!is_up(w, h, p) || !is_stopped(w, h, p))
        return false;
    uint64_t left = goes_on_ms(w, h, p) - sim_now(w->sim);
    job_in(j, MIN(left, (uint64_t)LOOK_AGAIN_MS) + sim_between(w->sim, 0, 3), fn);
    return true;
}
