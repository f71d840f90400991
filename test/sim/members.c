/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster whose hosts die, come back, lose their disks and are declared and undeclared, and a
 * leader that looks (a little late) and takes steps. Never may a step cost a quorum that was there;
 * when the faults stop the members are the declared ones. */
#include "fixture.h"

#include "base/str/str.h"
#include "domain/members/members.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS 6u
#define STEP_MS 2000u
#define FAULTS_MS 600000u
#define END_MS 1200000u
#define CATCH_UP_MS 5000u

struct machine {
    char name[8], url[40];
    bool declared, up;
    uint64_t disk;     /* the member whose data it has; 0: none */
    uint64_t told;     /* the member that the register says it runs; ~0: joined with an empty disk */
    uint64_t ready_ms; /* its data is whole from then on */
};

struct member {
    uint64_t id;
    unsigned host;
    bool started, learner;
};

struct world {
    struct sim *sim;
    struct machine m[HOSTS];
    struct member members[HOSTS];
    size_t n_members;
    uint64_t ids;
    bool calm, careless;
    bool strict; /* etcd itself refuses what would lose the quorum; the picture may be old then */
    struct members_host seen[HOSTS]; /* what the leader looked at last */
};

static bool votes(const struct world *w, const struct member *c)
{
    const struct machine *m = &w->m[c->host];
    return !c->learner && m->up && m->disk == c->id && m->ready_ms <= sim_now(w->sim);
}

static size_t count(const struct world *w, size_t *ret_voting)
{
    size_t n = 0;
    *ret_voting = 0;
    for (size_t i = 0; i < w->n_members; i++) {
        n += !w->members[i].learner;
        *ret_voting += votes(w, &w->members[i]);
    }
    return n;
}

static bool has_quorum(const struct world *w)
{
    size_t voting, n = count(w, &voting);
    return voting >= members_quorum(n);
}

static struct member *find(struct world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n_members; i++)
        if (w->members[i].id == id)
            return &w->members[i];
    return NULL;
}

/* etcd 3.4, --strict-reconfig-check: one that is away may go, one that votes only if enough stay. */
static bool etcd_lets_go(const struct world *w, const struct member *c)
{
    size_t voting, n = count(w, &voting);
    return !w->strict || c->learner || !votes(w, c) || voting - 1 >= members_quorum(n - 1);
}

/* ---- the leader ---- */

static void look(struct world *w)
{
    for (unsigned i = 0; i < HOSTS; i++) {
        struct machine *m = &w->m[i];
        struct members_host *h = &w->seen[i];
        *h = (struct members_host){.name = m->name,
            .peer_url = m->url,
            .declared = m->declared,
            .joined = true,
            .heard = m->up,
            .running = m->up && m->disk && m->ready_ms <= sim_now(w->sim),
            .has_unit = m->disk != 0};
        for (size_t k = 0; k < w->n_members; k++)
            if (w->members[k].host == i)
                h->fresh = m->told && m->told != w->members[k].id;
    }
}

static void act(struct world *w, const struct members_step *s)
{
    struct member *c = find(w, s->id);
    unsigned host = s->host ? (unsigned)(s->host - w->seen) : 0;
    struct machine *m = &w->m[host];
    sim_trace(w->sim, "step %d %s %s", s->kind, s->host ? s->host->name : "-", s->why);
    if (s->kind == MEMBERS_ADD && has_quorum(w) && w->n_members < HOSTS) {
        w->members[w->n_members++] =
            (struct member){.id = ++w->ids, .host = host, .learner = true};
    } else if (s->kind == MEMBERS_START && m->up && c) {
        m->disk = m->told = c->id;
        m->ready_ms = sim_now(w->sim) + sim_between(w->sim, 0, CATCH_UP_MS);
        c->started = true;
    } else if (s->kind == MEMBERS_PROMOTE && c && has_quorum(w)) {
        struct machine *own = &w->m[c->host];
        if (own->up && own->disk == c->id && own->ready_ms <= sim_now(w->sim)) /* in sync */
            c->learner = false;
    } else if (s->kind == MEMBERS_REMOVE && c && has_quorum(w) && etcd_lets_go(w, c)) {
        *c = w->members[--w->n_members];
    } else if (s->kind == MEMBERS_STOP && m->up) {
        m->disk = 0;
    }
}

static void on_step(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    struct members_actual actual[HOSTS];
    struct members_step s;
    bool before = has_quorum(w);
    if (!w->strict || w->calm || sim_chance(w->sim, 70)) /* else: the picture from before */
        look(w);
    for (size_t i = 0; i < w->n_members; i++)
        actual[i] = (struct members_actual){.id = w->members[i].id,
            .peer_url = w->m[w->members[i].host].url,
            .started = w->members[i].started,
            .learner = w->members[i].learner};
    struct members_input in = {w->seen, HOSTS, actual, w->n_members};
    if (w->careless) /* the guard off: whoever is declared or lost is believed to be well */
        for (unsigned i = 0; i < HOSTS; i++)
            w->seen[i].heard = w->seen[i].running = true;
    members_next(&in, &s);
    act(w, &s);
    if (before && !has_quorum(w))
        sim_fail(w->sim, "step %d of %s cost the quorum", s.kind, s.host ? s.host->name : "-");
    if (!w->n_members)
        sim_fail(w->sim, "no member is left");
    sim_at(w->sim, sim_now(w->sim) + STEP_MS, on_step, w, 0);
}

/* ---- what happens to it ---- */

/* A disk is lost only where enough others hold the data: what is lost beyond is for a person. */
static bool may_lose_disk(struct world *w, unsigned host)
{
    size_t n = 0, whole = 0;
    for (size_t i = 0; i < w->n_members; i++) {
        const struct member *c = &w->members[i];
        if (c->learner)
            continue;
        n++;
        whole += c->host != host && w->m[c->host].disk == c->id;
    }
    return whole >= members_quorum(n) + 1 || (whole >= members_quorum(n) && n > 2);
}

static void on_fault(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    unsigned i = (unsigned)sim_between(w->sim, 0, HOSTS - 1);
    struct machine *m = &w->m[i];
    if (w->calm)
        return;
    switch (sim_between(w->sim, 0, 3)) {
    case 0:
        m->up = !m->up;
        break;
    case 1:
        m->up = true;
        break;
    case 2:
        if (may_lose_disk(w, i)) {
            m->disk = 0;
            m->told = UINT64_MAX;
            m->up = true;
        }
        break;
    default:
        m->declared = !m->declared;
        if (i == 0)
            m->declared = true; /* somebody is always declared */
    }
    sim_trace(w->sim, "%s up=%d declared=%d disk=%d", m->name, m->up, m->declared, (int)m->disk);
    sim_at(w->sim, sim_now(w->sim) + sim_between(w->sim, 500, 20000), on_fault, w, 0);
}

static void on_calm(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    w->calm = true;
    for (unsigned i = 0; i < HOSTS; i++)
        w->m[i].up = true;
}

static void check_end(struct world *w)
{
    size_t declared = 0;
    for (unsigned i = 0; i < HOSTS; i++) {
        bool is_member = false;
        for (size_t k = 0; k < w->n_members; k++)
            is_member |= w->members[k].host == i && votes(w, &w->members[k]);
        declared += w->m[i].declared;
        if (w->m[i].declared != is_member)
            sim_fail(w->sim, "%s is%s declared and is%s a member at the end", w->m[i].name,
                w->m[i].declared ? "" : " not", is_member ? "" : " not");
    }
    if (declared != w->n_members)
        sim_fail(w->sim, "%zu declared, %zu members", declared, w->n_members);
}

static char *run_with(uint64_t seed, bool trace, bool careless)
{
    struct world w = {.sim = sim_new(seed, trace), .careless = careless};
    for (unsigned i = 0; i < HOSTS; i++) {
        struct machine *m = &w.m[i];
        m->up = true;
        m->declared = i < 3;
        snprintf(m->name, sizeof m->name, "h%u", i);
        snprintf(m->url, sizeof m->url, "https://10.0.0.%u:2380", i + 1);
    }
    w.strict = !careless && sim_chance(w.sim, 50);
    size_t first = sim_chance(w.sim, 30) ? 1 : 3; /* a platform that grows, or one that stands */
    for (unsigned i = 0; i < first; i++) {
        w.members[w.n_members++] = (struct member){++w.ids, i, true, false};
        w.m[i].disk = w.ids;
    }
    look(&w);
    sim_at(w.sim, STEP_MS, on_step, &w, 0);
    sim_at(w.sim, 1000, on_fault, &w, 0);
    sim_at(w.sim, FAULTS_MS, on_calm, &w, 0);
    sim_run(w.sim, END_MS);
    if (!sim_failure(w.sim))
        check_end(&w);
    char *why = sim_failure(w.sim) ? xstrdup(sim_failure(w.sim)) : NULL;
    sim_free(w.sim);
    return why;
}

static char *run(uint64_t seed, bool trace)
{
    return run_with(seed, trace, false);
}

static unsigned extra(unsigned *failed)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        _cleanup_free_ char *why = run_with(seed, false, true);
        if (why && strstr(why, "cost the quorum")) {
            printf("caution off: seed %llu fails, as it must: %s\n", (unsigned long long)seed, why);
            return 1;
        }
    }
    printf("FAILED: nobody notices that the leader looks at nobody's health\n");
    (*failed)++;
    return 0;
}

int main(int argc, char **argv)
{
    const struct sim_suite suite = {"members", run, extra};
    return sim_main(argc, argv, &suite);
}
