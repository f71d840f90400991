/* SPDX-License-Identifier: Apache-2.0 */
/* build/mcp-sim: runs seeds of a simulated platform (world.h), as many as are wanted or until there were so many
 * failovers; finds the least faults that make a failing one fail, and proves that it notices controllers whose guards
 * are off. */
#include "world.h"

#include "base/str/str.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define SETTLE_MS 200000u
#define PERSON_MS 25000u /* what the platform mends by itself it has mended by then */
#define STEP_MS 2000u
#define JOBS_MAX 16
#define FAILURES_PRINTED 5u
#define MUTATION_SEEDS 1000u
#define SCENARIO_SEEDS 25u

/* ---- the world */

void world_keep(struct world *w, json_t *doc)
{
    *GROW(w->kept, w->n_kept, w->cap_kept) = json_incref(doc);
}

static void make_hosts(struct world *w, struct rnd *r)
{
    int drift = rnd_below(r, 4) ? 100 : 8000;
    for (unsigned h = 0; h < HOSTS; h++) {
        struct host *k = &w->h[h];
        k->powered = true;
        k->boot_ms = BOOT_MS + rnd_below(r, 1000000);
        k->ppm = (int)rnd_below(r, 2 * (uint64_t)drift + 1) - drift;
        for (unsigned p = 0; p < PROCESSES; p++)
            k->p[p] = (struct process_state){.up = p != P_SERVER || h != SG, .life = 1};
        k->server = (struct server){.read_only = true, .attached = NOBODY, .pid = 1};
        for (unsigned o = 0; o < h; o++)
            w->delay_ms[h][o] = w->delay_ms[o][h] = 3 + rnd_below(r, 70);
    }
}

static void make_documents(struct world *w)
{
    static const struct replication_member members[] = {
        {.host = "hk1", .region = "ap-hongkong", .address = "10.0.0.1", .port = 3306},
        {.host = "kr1", .region = "ap-seoul", .address = "10.0.0.2", .port = 3306},
    };
    json_t *notes = failover_doc_new();
    w->store.doc = replication_doc_new(members, ARRAY_SIZE(members));
    w->store.notes = failover_doc_arm(notes, FINGERPRINT, "rehearsed", WALL_MS - 1000);
    json_decref(notes);
    world_keep(w, w->store.doc);
    world_keep(w, w->store.notes);
    json_decref(w->store.doc);
    json_decref(w->store.notes);
    w->store.doc_rev = w->store.notes_rev = w->store.revs = 1;
    w->epoch = 1;
    w->epochs[1].host = HK;
}

static void on_client(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    unsigned source = w->epochs[w->epoch].host;
    unsigned from = (unsigned)sim_between(w->sim, 0, HOSTS - 1);
    client_write(w, from, sim_chance(w->sim, 80) ? source : HK + KR - source);
    sim_at(
        w->sim, sim_now(w->sim) + sim_between(w->sim, 100, w->calm ? 900 : 400), on_client, w, 0);
}

/* Somebody looks at what was stopped for good: mends rows, seeds what has diverged (what it had on its own is kept
 * aside), says go on. */
static void on_person(void *ctx, uint64_t arg)
{
    struct world *w = ctx;
    unsigned source = w->epochs[w->epoch].host;
    bool comes = w->calm && sim_now(w->sim) - w->calm_ms > PERSON_MS;
    for (unsigned h = 0; h < HOSTS; h++) {
        enum replication_state s = w->h[h].role.node.state;
        bool stuck = s == REPLICATION_FROZEN || s == REPLICATION_BROKEN;
        if (!w->has_db[h] || h == source || !stuck || !comes
            || w->h[h].role.node.op != REPLICATION_NOTHING)
            continue;
        w->h[h].server.differs = false;
        if (s == REPLICATION_BROKEN && server_answers(w, h) && server_answers(w, source))
            server_seed(w, h, source);
        role_follow(w, h);
    }
    if (comes)
        w->h[source].server.differs = false;
    sim_at(w->sim, sim_now(w->sim) + 7000, on_person, w, 0);
}

static void on_said(void *ctx, uint64_t arg)
{
    struct job *j = ctx;
    struct world *w = j->w;
    enum person what = (enum person)j->kind;
    int64_t id = json_opt_int(w->store.doc, "changes", 0),
            acked = json_opt_int(w->store.notes, "acked_id", 0);
    bool done = what == PERSON_PAUSE ? w->paused : what == PERSON_RESUME ? !w->paused : acked >= id;
    if (done || j->ms-- == 0) {
        job_free(j);
        return;
    }
    json_t *new = what == PERSON_PAUSE
                      ? failover_doc_pause(w->store.notes, "op", "to see what happens", WALL_MS)
                  : what == PERSON_RESUME ? failover_doc_resume(w->store.notes)
                                          : failover_doc_ack(w->store.notes, id, "op", WALL_MS);
    store_send(w, &(struct request){.kind = REQUEST_NOTES,
                      .purpose = FOR_PERSON,
                      .host = KR,
                      .notes_rev = w->store.notes_rev,
                      .json = new});
    json_decref(new);
    job_in(j, 700, on_said);
}

void person_says(struct world *w, enum person what)
{
    struct job *j = job_new(w);
    j->kind = (int)what;
    j->ms = w->calm ? 100 : 10;
    on_said(j, 0);
}

static void on_calm(void *ctx, uint64_t arg)
{
    faults_calm(ctx);
}

static void world_init(struct world *w, const struct options *o)
{
    struct rnd r;
    rnd_seed(&r, o->seed * 2654435761u + 77);
    w->o = *o;
    w->sim = sim_new(o->seed, o->trace);
    w->has_db[HK] = w->has_db[KR] = true;
    w->semi_sync = !o->scenario && rnd_below(&r, 4) == 0;
    w->automatic = o->scenario || rnd_below(&r, 12) != 0;
    make_hosts(w, &r);
    make_documents(w);
    faults_make(w, &r);
    w->small_disks = !o->scenario && rnd_below(&r, 8) == 0;
    w->sacrifice = w->small_disks && rnd_below(&r, 2) == 0;
    store_start(w);
    hosts_start(w);
    controls_start(w);
    servers_start(w);
    retain_start(w);
    faults_start(w);
    sim_at(w->sim, 50, on_client, w, 0);
    sim_at(w->sim, 9000, on_person, w, 0);
    sim_at(w->sim, FAULTS_END_MS, on_calm, w, 0);
}

static void world_done(struct world *w)
{
    jobs_done(w);
    for (size_t i = 0; i < w->n_kept; i++)
        json_decref(w->kept[i]);
    free(w->kept);
    sim_free(w->sim);
}

#define TOOK_STEP_MS 100u
#define TOOK_STEPS 600u

struct tally {
    uint64_t runs, failovers, epochs, acked, promised, lost, purged;
    uint64_t took
        [TOOK_STEPS]; /* how often it took so long from the first fault to the next acknowledged write */
};

/* NULL, or what failed (heap). */
static char *run(const struct options *o, struct world *ret, struct tally *tally)
{
    struct world *w = ret;
    memset(w, 0, sizeof *w);
    world_init(w, o);
    sim_run(w->sim, FAULTS_END_MS + STEP_MS);
    uint64_t end = FAULTS_END_MS + SETTLE_MS;
    for (uint64_t t = FAULTS_END_MS + STEP_MS; t < end && !sim_failure(w->sim); t += STEP_MS) {
        sim_run(w->sim, t);
        if (!sim_failure(w->sim) && check_settled(w, false))
            break;
    }
    if (!sim_failure(w->sim))
        check_settled(w, true);
    if (!sim_failure(w->sim) && o->scenario && o->scenario->expect)
        o->scenario->expect(w);
    char *why = sim_failure(w->sim) ? xstrdup(sim_failure(w->sim)) : NULL;
    tally->failovers += w->failovers;
    tally->epochs += w->epoch - 1;
    tally->acked += w->acked;
    tally->promised += w->promised;
    tally->purged += w->purged;
    if (w->took_ms)
        tally->took[MIN(w->took_ms / TOOK_STEP_MS, (uint64_t)TOOK_STEPS - 1)]++;
    for (uint64_t e = 1; e <= w->epoch && e < EPOCHS_MAX; e++)
        tally->lost += w->epochs[e].lost_to != 0;
    world_done(w);
    return why;
}

/* ---- shrinking */

/* Leaves out every fault without which it still fails, until none is left. */
static char *shrink(struct options *o, struct world *w, char *why)
{
    struct tally ignored = {0};
    bool again = true;
    while (again) {
        again = false;
        size_t n = w->n_faults;
        for (size_t i = 0; i < n; i++) {
            if (o->left_out >> i & 1)
                continue;
            o->left_out |= 1u << i;
            char *less = run(o, w, &ignored);
            if (!less) {
                o->left_out &= ~(1u << i);
                continue;
            }
            free(why);
            why = less;
            again = true;
        }
    }
    return why;
}

static void print_faults(const struct world *w, uint32_t left_out)
{
    for (size_t i = 0; i < w->n_faults; i++) {
        char text[128];
        fault_text(&w->faults[i], text, sizeof text);
        if (!(left_out >> i & 1))
            printf("    %s\n", text);
    }
}

/* ---- many seeds */

static const struct mutation {
    const char *name, *about;
    unsigned lease, failover, node;
    bool no_holders;
} mutations[] = {
    {"no-self-fence", "neither data role nor watchdog heeds the deadline", LEASE_OFF_SELF_FENCE, 0,
        REPLICATION_OFF_LEASE},
    {"no-epoch-check", "nobody looks whose epoch it is", LEASE_OFF_EPOCH, 0, REPLICATION_OFF_EPOCH},
    {"no-margin", "the lease counts from the answer on, and ends for others without a margin",
        LEASE_OFF_MARGIN, 0, 0},
    {"no-ack-gate", "answers pass after the deadline", LEASE_OFF_ACK_GATE, 0, 0},
    {"no-fencing", "promotes without proof", 0, FAILOVER_OFF_FENCING, 0},
    {"no-rules", "asks no rule but that of fencing", 0, FAILOVER_OFF_RULES, 0},
    {"no-holders", "logs go by their age, whoever needs them", 0, 0, 0, true},
};

static void describe(const struct options *o, uint64_t seed)
{
    printf("again: build/mcp-sim --seeds %llu..%llu --trace", (unsigned long long)seed,
        (unsigned long long)seed);
    if (o->scenario)
        printf(" --scenario %s", o->scenario->name);
    printf("\n");
}

struct plan {
    uint64_t from, to;  /* seeds */
    uint64_t failovers; /* promotions: no more seeds when there were so many; 0: all seeds */
    unsigned jobs;      /* 0: one a core */
};

struct shared { /* by the workers: each takes the next seed when it has done one */
    _Atomic uint64_t next, failovers, failed;
};

static bool is_over(const struct plan *p, struct shared *s)
{
    return p->failovers && (s->failovers >= p->failovers || s->failed >= FAILURES_PRINTED);
}

static void run_share(
    const struct options *all, const struct plan *p, struct shared *s, FILE *out)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct tally t = {0};
    uint64_t seed;
    while (!is_over(p, s) && (seed = s->next++) <= p->to) {
        struct options o = *all;
        uint64_t before = t.epochs;
        o.seed = seed;
        _cleanup_free_ char *why = run(&o, w, &t);
        if (why)
            fprintf(out, "F %llu %s\n", (unsigned long long)seed, why);
        t.runs++;
        s->failed += why != NULL;
        s->failovers += t.epochs - before;
    }
    fprintf(out, "T %llu %llu %llu %llu %llu %llu %llu\n", (unsigned long long)t.runs,
        (unsigned long long)t.failovers, (unsigned long long)t.epochs, (unsigned long long)t.acked,
        (unsigned long long)t.promised, (unsigned long long)t.lost, (unsigned long long)t.purged);
    for (unsigned k = 0; k < TOOK_STEPS; k++)
        if (t.took[k])
            fprintf(out, "R %u %llu\n", k, (unsigned long long)t.took[k]);
    fflush(out);
    free(w);
}

struct result {
    uint64_t failed, first_failed;
    struct tally t;
};

static void read_share(FILE *in, struct result *ret, bool quiet)
{
    char line[4096];
    while (fgets(line, sizeof line, in)) {
        unsigned long long v[7] = {0};
        if (line[0] == 'T'
            && sscanf(line + 2, "%llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
                   &v[4], &v[5], &v[6])
                   == 7) {
            ret->t.runs += v[0];
            ret->t.failovers += v[1];
            ret->t.epochs += v[2];
            ret->t.acked += v[3];
            ret->t.promised += v[4];
            ret->t.lost += v[5];
            ret->t.purged += v[6];
        } else if (line[0] == 'R' && sscanf(line + 2, "%llu %llu", &v[0], &v[1]) == 2
                   && v[0] < TOOK_STEPS) {
            ret->t.took[v[0]] += v[1];
        } else if (line[0] == 'F') {
            char *end;
            uint64_t seed = strtoull(line + 2, &end, 10);
            if (ret->failed++ < FAILURES_PRINTED && !quiet)
                printf("FAILED seed %llu:%s", (unsigned long long)seed, end);
            if (!ret->first_failed || seed < ret->first_failed)
                ret->first_failed = seed;
        }
    }
}

static struct result run_seeds(const struct options *o, const struct plan *p, bool quiet)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t wanted = p->jobs ? p->jobs : (uint64_t)MAX(cores, 1);
    uint64_t jobs = MIN(MIN(wanted, (uint64_t)JOBS_MAX), p->to - p->from + 1);
    FILE *outs[JOBS_MAX];
    pid_t pids[JOBS_MAX];
    struct result ret = {0};
    struct shared *s =
        mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(s != MAP_FAILED);
    s->next = p->from;
    fflush(stdout);
    for (uint64_t k = 0; k < jobs; k++) {
        outs[k] = tmpfile();
        ASSERT(outs[k]);
        pids[k] = fork();
        if (pids[k] == 0) {
            run_share(o, p, s, outs[k]);
            _exit(0);
        }
    }
    for (uint64_t k = 0; k < jobs; k++) {
        int status = 1;
        waitpid(pids[k], &status, 0);
        rewind(outs[k]);
        read_share(outs[k], &ret, quiet);
        fclose(outs[k]);
        if (status == 0)
            continue;
        printf("FAILED: a worker of seeds ended with status %d\n", status);
        ret.failed++;
    }
    munmap(s, sizeof *s);
    return ret;
}

/* Prints what fails in it, with as few faults as it takes. */
static void explain(const struct options *all, uint64_t seed)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct tally ignored = {0};
    struct options o = *all;
    o.seed = seed;
    char *why = run(&o, w, &ignored);
    if (why) {
        why = shrink(&o, w, why);
        printf("seed %llu, with the least faults: %s\n", (unsigned long long)seed, why);
        print_faults(w, o.left_out);
        describe(all, seed);
    }
    if (all->trace) {
        o.trace = true;
        free(run(&o, w, &ignored));
    }
    free(why);
    free(w);
}

/* Of all runs in which a write was acknowledged at another epoch: in how long, at most, in so many
 * of 1,000. */
static unsigned took_ms(const struct tally *t, unsigned permille)
{
    uint64_t all = 0, n = 0;
    for (unsigned k = 0; k < TOOK_STEPS; k++)
        all += t->took[k];
    for (unsigned k = 0; k < TOOK_STEPS; k++) {
        n += t->took[k];
        if (n && n * 1000 >= all * permille)
            return (k + 1) * TOOK_STEP_MS;
    }
    return 0;
}

static bool report(const struct options *o, const struct result *r, const char *what)
{
    printf(
        "%s: %llu runs, %llu failovers begun, %llu promotions (%llu with writes to report), %llu promises of all, "
        "%llu writes acknowledged, %llu logs forgotten, %llu violations\n",
        what, (unsigned long long)r->t.runs, (unsigned long long)r->t.failovers,
        (unsigned long long)r->t.epochs, (unsigned long long)r->t.lost,
        (unsigned long long)r->t.promised, (unsigned long long)r->t.acked,
        (unsigned long long)r->t.purged, (unsigned long long)r->failed);
    if (o->scenario && r->t.epochs)
        printf(
            "    from the fault to the next acknowledged write: half in %u ms, 95 of 100 in %u ms, all in %u ms\n",
            took_ms(&r->t, 500), took_ms(&r->t, 950), took_ms(&r->t, 1000));
    if (r->first_failed)
        explain(o, r->first_failed);
    return r->failed == 0;
}

/* ---- all that CI wants to know */

static bool run_mutation(const struct options *all, const struct mutation *m)
{
    struct options o = *all;
    o.lease_off = m->lease;
    o.failover_off = m->failover;
    o.node_off = m->node;
    o.no_holders = m->no_holders;
    for (uint64_t from = 1; from <= MUTATION_SEEDS; from += 100) {
        struct result r = run_seeds(&o, &(struct plan){.from = from, .to = from + 99}, true);
        if (!r.failed)
            continue;
        struct world *w = xcalloc(1, sizeof *w);
        struct tally ignored = {0};
        o.seed = r.first_failed;
        _cleanup_free_ char *why = run(&o, w, &ignored);
        printf("%s: seed %llu fails, as it must: %s\n", m->name, (unsigned long long)r.first_failed,
            why ? why : "?");
        free(w);
        return true;
    }
    printf("FAILED %s: nobody notices in %u seeds\n", m->name, MUTATION_SEEDS);
    return false;
}

static int run_check(uint64_t seeds)
{
    unsigned passed = 0, failed = 0;
    struct options o = {0};
    struct result r = run_seeds(&o, &(struct plan){.from = 1, .to = seeds}, false);
    *(report(&o, &r, "any") ? &passed : &failed) += 1;
    for (size_t i = 0; i < n_scenarios; i++) {
        o.scenario = &scenarios[i];
        r = run_seeds(&o, &(struct plan){.from = 1, .to = SCENARIO_SEEDS}, false);
        *(report(&o, &r, scenarios[i].name) ? &passed : &failed) += 1;
    }
    o.scenario = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(mutations); i++)
        *(run_mutation(&o, &mutations[i]) ? &passed : &failed) += 1;
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? 1 : 0;
}

/* ---- the command */

static int usage(const char *why, const char *what)
{
    fprintf(stderr, "mcp-sim: %s%s\n", why, what);
    fprintf(stderr,
        "usage: mcp-sim [--controller failover] [--seeds A..B | --failovers N] [--jobs J] [--mutate NAME]\n"
        "               [--scenario NAME] [--trace]\n"
        "       mcp-sim --check SEEDS\n");
    for (size_t i = 0; i < ARRAY_SIZE(mutations); i++)
        fprintf(stderr, "  --mutate %-36s %s\n", mutations[i].name, mutations[i].about);
    for (size_t i = 0; i < n_scenarios; i++)
        fprintf(stderr, "  --scenario %-34s %s\n", scenarios[i].name, scenarios[i].about);
    return 2;
}

static bool parse_seeds(const char *text, uint64_t *ret_from, uint64_t *ret_to)
{
    char *end;
    errno = 0;
    *ret_from = *ret_to = strtoull(text, &end, 10);
    if (strncmp(end, "..", 2) == 0)
        *ret_to = strtoull(end + 2, &end, 10);
    return errno == 0 && *end == '\0' && *ret_from > 0 && *ret_to >= *ret_from;
}

static bool find_mutation(const char *name, struct options *o)
{
    for (size_t i = 0; i < ARRAY_SIZE(mutations); i++)
        if (str_eq(mutations[i].name, name)) {
            o->lease_off = mutations[i].lease;
            o->failover_off = mutations[i].failover;
            o->node_off = mutations[i].node;
            o->no_holders = mutations[i].no_holders;
            return true;
        }
    return false;
}

static bool find_scenario(const char *name, struct options *o)
{
    for (size_t i = 0; i < n_scenarios; i++)
        if (str_eq(scenarios[i].name, name))
            o->scenario = &scenarios[i];
    return o->scenario != NULL;
}

struct command {
    struct options o;
    struct plan plan;
    uint64_t check; /* seeds; 0: no --check */
};

static bool parse_count(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *ret > 0;
}

/* 0, or what usage() returned. */
static int parse_option(struct command *c, const char *name, const char *value)
{
    uint64_t n = 0;
    if (str_eq(name, "--controller"))
        return str_eq(value, "failover") ? 0 : usage("no such controller: ", value);
    if (str_eq(name, "--seeds"))
        return parse_seeds(value, &c->plan.from, &c->plan.to) ? 0 : usage("--seeds wants A..B: ", value);
    if (str_eq(name, "--mutate"))
        return find_mutation(value, &c->o) ? 0 : usage("no such mutation: ", value);
    if (str_eq(name, "--scenario"))
        return find_scenario(value, &c->o) ? 0 : usage("no such scenario: ", value);
    if (!str_eq(name, "--failovers") && !str_eq(name, "--jobs") && !str_eq(name, "--check"))
        return usage("what is ", name);
    if (!parse_count(value, &n))
        return usage("this wants a number: ", name);
    if (str_eq(name, "--failovers")) {
        c->plan.failovers = n;
        c->plan.to = UINT64_MAX - JOBS_MAX;
    } else if (str_eq(name, "--jobs")) {
        c->plan.jobs = (unsigned)MIN(n, (uint64_t)JOBS_MAX);
    } else {
        c->check = n;
    }
    return 0;
}

static void trace_seed(const struct command *c)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct tally ignored = {0};
    struct options o = c->o;
    o.trace = true;
    o.seed = c->plan.from;
    free(run(&o, w, &ignored));
    free(w);
}

int main(int argc, char **argv)
{
    struct command c = {.plan = {.from = 1, .to = 1000}};
    bool trace = false, seeds = false;
    for (int i = 1; i < argc; i++) {
        if (str_eq(argv[i], "--trace")) {
            trace = true;
            continue;
        }
        seeds |= str_eq(argv[i], "--seeds");
        int wrong = parse_option(&c, argv[i], i + 1 < argc ? argv[i + 1] : "");
        if (wrong)
            return wrong;
        i++;
    }
    if (c.check)
        return run_check(c.check);
    if (trace && !seeds) /* one run can be read */
        c.plan = (struct plan){.from = 1, .to = 1};
    struct result r = run_seeds(&c.o, &c.plan, false);
    bool well = report(&c.o, &r, c.o.scenario ? c.o.scenario->name : "any");
    if (trace && c.plan.from == c.plan.to)
        trace_seed(&c);
    if (c.plan.failovers) { /* one claim: so many without a violation */
        well = well && r.t.epochs >= c.plan.failovers;
        printf("%d passed, %d failed\n", well, !well);
    } else {
        printf("%llu passed, %llu failed\n",
            (unsigned long long)(r.t.runs - MIN(r.failed, r.t.runs)), (unsigned long long)r.failed);
    }
    return well ? 0 : 1;
}
