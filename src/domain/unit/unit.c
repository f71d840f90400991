/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/unit/unit.h"

#include "base/units/units.h"

static const char *const state_names[UNIT_STATES] = {
    [UNIT_PENDING] = "pending",
    [UNIT_STARTING] = "starting",
    [UNIT_READY] = "ready",
    [UNIT_UNHEALTHY] = "unhealthy",
    [UNIT_STOPPING] = "stopping",
    [UNIT_STOPPED] = "stopped",
    [UNIT_BACKOFF] = "backoff",
    [UNIT_FAILED] = "failed",
};

/* Public events sorted by what they mean now, plus the timers: the columns of the table. */
enum column {
    C_WANT,
    C_UNWANT,
    C_CHANGED,
    C_STARTED,
    C_UNSTARTABLE, /* START_FAILED, permanent */
    C_NOT_STARTED, /* START_FAILED */
    C_PROBE_OK,
    C_PROBE_MISS, /* failed, not often enough */
    C_PROBE_DOWN, /* failed as often as the spec allows */
    C_DIED,       /* EXITED, and it shall run */
    C_ENDED,      /* EXITED, and it shall not (or is being replaced and shall start at once) */
    C_START_LATE,
    C_STOP_LATE,
    C_RETRY,
    C_PROBE_DUE,
    C_HEALTHY,
    C_WAITING,
    C_BEGINS,
    COLUMNS,
};

enum op {
    OP_START = 1 << 0,   /* next incarnation */
    OP_TERM = 1 << 1,    /* and wait stop_timeout */
    OP_KILL = 1 << 2,    /* and wait UNIT_KILL_AGAIN_MS */
    OP_PROBE = 1 << 3,   /* probe now */
    OP_NEXT = 1 << 4,    /* probe again after the interval */
    OP_FAIL = 1 << 5,    /* count a failure */
    OP_RETRY = 1 << 6,   /* arm the back-off */
    OP_HEALTHY = 1 << 7, /* arm the healthy period */
    OP_FORGET = 1 << 8,  /* forget failures */
    OP_LATER = 1 << 9,   /* arm the retry of a failed unit */
    OP_CLEAR = 1 << 10,  /* the reason is over */
    OP_RESUME = 1 << 11, /* start as soon as the last back-off allows */
    OP_HOLD = 1 << 12,   /* disarm the deadline of the start */
    OP_ARM = 1 << 13,    /* arm it anew */
};

struct cell {
    bool used; /* unused: the event means nothing in this state */
    enum unit_state next;
    unsigned ops;
    const char *reason; /* of the new state; NULL keeps what is there or what the event says */
};

#define TO(state, ...)                                                                             \
    {                                                                                              \
        true, UNIT_##state, __VA_ARGS__                                                            \
    }

/* Rows: the state; columns: what happened. An empty cell ignores. */
static const struct cell table[UNIT_STATES][COLUMNS] =
    {
        [UNIT_PENDING] =
            {
                [C_WANT] = TO(BACKOFF, OP_RESUME),
                [C_UNWANT] = TO(STOPPED, 0, "not wanted"),
            },
        [UNIT_STARTING] =
            {
                [C_UNWANT] = TO(STOPPING, OP_TERM, "not wanted any more"),
                [C_CHANGED] = TO(STOPPING, OP_TERM | OP_FORGET, "replaced by a new spec"),
                [C_STARTED] = TO(STARTING, OP_PROBE),
                [C_UNSTARTABLE] = TO(FAILED, OP_FAIL | OP_LATER),
                [C_NOT_STARTED] = TO(BACKOFF, OP_FAIL | OP_RETRY),
                [C_PROBE_OK] = TO(READY, OP_HEALTHY | OP_NEXT | OP_CLEAR),
                [C_PROBE_MISS] = TO(STARTING, OP_NEXT),
                [C_PROBE_DOWN] = TO(STARTING, OP_NEXT),
                [C_PROBE_DUE] = TO(STARTING, OP_PROBE),
                [C_DIED] = TO(BACKOFF, OP_FAIL | OP_RETRY),
                [C_START_LATE] = TO(STOPPING, OP_TERM | OP_FAIL),
                [C_WAITING] = TO(STARTING, OP_HOLD),
                [C_BEGINS] = TO(STARTING, OP_ARM | OP_CLEAR),
            },
        [UNIT_READY] =
            {
                [C_UNWANT] = TO(STOPPING, OP_TERM, "not wanted any more"),
                [C_CHANGED] = TO(STOPPING, OP_TERM | OP_FORGET, "replaced by a new spec"),
                [C_PROBE_OK] = TO(READY, OP_NEXT),
                [C_PROBE_MISS] = TO(READY, OP_NEXT),
                [C_PROBE_DOWN] = TO(UNHEALTHY, OP_NEXT),
                [C_PROBE_DUE] = TO(READY, OP_PROBE),
                [C_DIED] = TO(BACKOFF, OP_FAIL | OP_RETRY),
                [C_HEALTHY] = TO(READY, OP_FORGET),
            },
        [UNIT_UNHEALTHY] =
            {
                [C_UNWANT] = TO(STOPPING, OP_TERM, "not wanted any more"),
                [C_CHANGED] = TO(STOPPING, OP_TERM | OP_FORGET, "replaced by a new spec"),
                [C_PROBE_OK] = TO(READY, OP_HEALTHY | OP_NEXT | OP_CLEAR),
                [C_PROBE_MISS] = TO(UNHEALTHY, OP_NEXT),
                [C_PROBE_DOWN] = TO(STOPPING, OP_TERM | OP_FAIL),
                [C_PROBE_DUE] = TO(UNHEALTHY, OP_PROBE),
                [C_DIED] = TO(BACKOFF, OP_FAIL | OP_RETRY),
            },
        [UNIT_STOPPING] =
            {
                [C_WANT] = TO(STOPPING, 0),
                [C_UNWANT] = TO(STOPPING, 0, "not wanted any more"),
                [C_CHANGED] = TO(STOPPING, OP_FORGET, "replaced by a new spec"),
                [C_STARTED] = TO(STOPPING, 0),
                [C_UNSTARTABLE] = TO(FAILED, OP_LATER),
                [C_NOT_STARTED] = TO(BACKOFF, OP_RETRY),
                [C_DIED] = TO(BACKOFF, OP_RETRY),
                [C_ENDED] = TO(STOPPED, 0, "not wanted"),
                [C_STOP_LATE] = TO(STOPPING, OP_KILL),
            },
        [UNIT_STOPPED] =
            {
                [C_WANT] = TO(BACKOFF, OP_RESUME),
            },
        [UNIT_BACKOFF] =
            {
                [C_UNWANT] = TO(STOPPED, 0, "not wanted"),
                [C_CHANGED] = TO(STARTING, OP_FORGET | OP_START),
                [C_RETRY] = TO(STARTING, OP_START),
            },
        [UNIT_FAILED] =
            {
                [C_UNWANT] = TO(STOPPED, 0, "not wanted"),
                [C_CHANGED] = TO(STARTING, OP_FORGET | OP_START),
                [C_RETRY] = TO(STARTING, OP_START),
            },
};

const char *unit_state_name(enum unit_state s)
{
    return state_names[s];
}

uint64_t unit_backoff_ms(unsigned failures)
{
    if (failures <= 1)
        return 0;
    if (failures >= 8) /* 1 s << 6 is over the cap */
        return UNIT_BACKOFF_CAP_MS;
    return MIN((uint64_t)UNIT_BACKOFF_FIRST_MS << (failures - 2), UNIT_BACKOFF_CAP_MS);
}

/* What is patient is waited for by all the others: for it the minute's rest is an outage. */
static uint64_t backoff_of(const struct unit *u)
{
    uint64_t ms = u->backoff_off ? 0 : unit_backoff_ms(u->failures);
    return u->params.patient ? MIN(ms, UNIT_BACKOFF_PATIENT_MS) : ms;
}

void unit_exit_describe(const struct unit_exit *x, uint64_t memory_bytes, char *out, size_t size)
{
    char limit[UNITS_TEXT_SIZE];
    units_format_size(memory_bytes, limit);
    if (x->oom)
        snprintf(out, size, "out of memory (limit %s)", memory_bytes ? limit : "of the host");
    else if (x->lost)
        snprintf(out, size, "ended unobserved");
    else if (x->signal)
        snprintf(out, size, "killed by signal %d (%s)", x->signal,
            sigabbrev_np(x->signal) ? sigabbrev_np(x->signal) : "?");
    else
        snprintf(out, size, "exit %d", x->code);
}

void unit_init(struct unit *u, const struct unit_params *p, uint64_t now_ms)
{
    *u = (struct unit){.state = UNIT_PENDING, .since_ms = now_ms, .params = *p};
    u->start_due = u->stop_due = u->retry_due = u->probe_due = u->healthy_due = UNIT_NEVER;
}

void unit_set_params(struct unit *u, const struct unit_params *p)
{
    u->params = *p;
}

void unit_params_of(const struct unit_spec *s, struct unit_params *ret)
{
    *ret = (struct unit_params){
        .probe = s->probe.kind,
        .interval_ms = s->probe.interval_ms,
        .start_timeout_ms = s->probe.start_timeout_ms,
        .stop_timeout_ms = s->stop_timeout_ms,
        .failures = s->probe.failures,
        .memory_bytes = s->limits.memory_bytes,
        .patient = s->engine != NULL,
    };
}

uint64_t unit_deadline(const struct unit *u)
{
    const uint64_t due[] = {u->start_due, u->stop_due, u->retry_due, u->probe_due, u->healthy_due};
    uint64_t min = UNIT_NEVER;
    for (size_t i = 0; i < ARRAY_SIZE(due); i++)
        min = MIN(min, due[i]);
    return min;
}

static void act(struct unit_actions *out, enum unit_action_kind kind)
{
    for (size_t i = 0; i < out->n; i++)
        if (out->v[i] == kind)
            return;
    ASSERT(out->n < UNIT_ACTIONS_MAX);
    out->v[out->n++] = kind;
}

static void set_reason(struct unit *u, struct unit_actions *out, const char *text)
{
    if (!strcmp(u->reason, text))
        return;
    str_copy(u->reason, sizeof u->reason, text);
    act(out, UNIT_ACT_REPORT);
}

/* "exit 1, next try in 1 s", "crash loop: exit 1 ×5, next try in 8 s" */
static void describe_backoff(struct unit *u, uint64_t delay_ms, struct unit_actions *out)
{
    char text[2 * UNIT_REASON_SIZE];
    if (u->failures >= 3)
        snprintf(text, sizeof text, "crash loop: %.180s ×%u, next try in %llu s", u->cause,
            u->failures, (unsigned long long)(delay_ms + 999) / 1000);
    else
        snprintf(text, sizeof text, "%.200s, next try in %llu s", u->cause,
            (unsigned long long)(delay_ms + 999) / 1000);
    text[UNIT_REASON_SIZE - 1] = '\0';
    set_reason(u, out, text);
}

static void arm_retry(struct unit *u, uint64_t now_ms, struct rnd *rnd, struct unit_actions *out)
{
    uint64_t base = backoff_of(u);
    uint64_t delay = base + (base ? rnd_below(rnd, base / 4) : 0);
    u->retry_due = u->earliest_start = now_ms + delay;
    describe_backoff(u, delay, out);
}

static void begin(struct unit *u, uint64_t now_ms, struct unit_actions *out)
{
    ASSERT(!u->alive);
    if (u->incarnation++)
        u->restarts++;
    u->alive = true;
    u->misses = 0;
    u->probing = false;
    u->start_due = now_ms + u->params.start_timeout_ms;
    if (*u->cause && u->failures) {
        char text[UNIT_REASON_SIZE + 16];
        snprintf(text, sizeof text, "again after %s", u->cause);
        text[UNIT_REASON_SIZE - 1] = '\0';
        set_reason(u, out, text);
    } else {
        set_reason(u, out, "");
    }
    act(out, UNIT_ACT_START);
}

/* A start is watched closely, so that nobody waits an interval for what is ready already; an exec
 * probe costs a process, so less closely. */
static uint64_t next_probe(const struct unit *u, uint64_t now_ms)
{
    uint64_t interval = u->params.interval_ms;
    if (u->params.probe == PROBE_NONE)
        return UNIT_NEVER;
    if (u->state == UNIT_STARTING)
        interval = MIN(interval,
            u->params.probe == PROBE_EXEC ? UNIT_START_EXEC_PROBE_MS : UNIT_START_PROBE_MS);
    return now_ms + interval;
}

static void run_ops(
    struct unit *u, unsigned ops, uint64_t now_ms, struct rnd *rnd, struct unit_actions *out)
{
    if (ops & OP_FORGET) {
        u->failures = 0;
        u->earliest_start = 0;
    }
    if (ops & OP_FAIL)
        u->failures++;
    if (ops & OP_TERM) {
        act(out, UNIT_ACT_TERM);
        u->stop_due = now_ms + u->params.stop_timeout_ms;
    }
    if (ops & OP_KILL) {
        act(out, UNIT_ACT_KILL);
        u->stop_due = now_ms + UNIT_KILL_AGAIN_MS;
    }
    if (ops & OP_RETRY)
        arm_retry(u, now_ms, rnd, out);
    if (ops & OP_RESUME)
        u->retry_due = MAX(u->earliest_start, now_ms);
    if (ops & OP_LATER) {
        uint64_t delay = MAX(UNIT_FAILED_RETRY_MS, unit_backoff_ms(u->failures));
        u->retry_due = u->earliest_start = now_ms + delay;
        set_reason(u, out, u->cause);
    }
    if (ops & OP_HOLD)
        u->start_due = UNIT_NEVER;
    if (ops & OP_ARM)
        u->start_due = now_ms + u->params.start_timeout_ms;
    if (ops & OP_HEALTHY)
        u->healthy_due = now_ms + UNIT_HEALTHY_MS;
    if (ops & OP_NEXT)
        u->probe_due = next_probe(u, now_ms);
    if (ops & OP_PROBE) {
        u->probing = true;
        act(out, UNIT_ACT_PROBE);
    }
    if (ops & OP_START)
        begin(u, now_ms, out);
}

/* Which timers live in which state; leaving it disarms them. */
static void disarm(struct unit *u)
{
    bool running =
        u->state == UNIT_STARTING || u->state == UNIT_READY || u->state == UNIT_UNHEALTHY;
    if (u->state != UNIT_STARTING)
        u->start_due = UNIT_NEVER;
    if (u->state != UNIT_STOPPING)
        u->stop_due = UNIT_NEVER;
    if (u->state != UNIT_BACKOFF && u->state != UNIT_FAILED)
        u->retry_due = UNIT_NEVER;
    if (u->state != UNIT_READY)
        u->healthy_due = UNIT_NEVER;
    if (!running) {
        u->probe_due = UNIT_NEVER;
        u->probing = false;
    }
}

static void apply(
    struct unit *u, enum column c, uint64_t now_ms, struct rnd *rnd, struct unit_actions *out)
{
    const struct cell *cell = &table[u->state][c];
    if (!cell->used)
        return;
    if (u->state != cell->next) {
        u->state = cell->next;
        u->since_ms = now_ms;
        u->misses = 0;
        act(out, UNIT_ACT_REPORT);
    }
    disarm(u);
    if (cell->ops & OP_CLEAR)
        set_reason(u, out, "");
    if (cell->reason)
        set_reason(u, out, cell->reason);
    run_ops(u, cell->ops, now_ms, rnd, out);
}

static void note_miss(struct unit *u, const char *text, struct unit_actions *out)
{
    char reason[UNIT_REASON_SIZE];
    snprintf(
        reason, sizeof reason, "probe failed ×%u: %.200s", u->misses, text ? text : "no answer");
    str_copy(u->cause, sizeof u->cause, reason);
    if (u->state != UNIT_STARTING)
        set_reason(u, out, reason);
}

/* A replaced process that ends is followed at once; anything else that ends while wanted has died. */
static enum column sort_exit(struct unit *u, const struct unit_event *ev, struct unit_actions *out)
{
    u->alive = false;
    u->last_exit = ev->exit;
    bool asked = u->state == UNIT_STOPPING;
    if (!asked || ev->exit.oom)
        unit_exit_describe(&ev->exit, u->params.memory_bytes, u->cause, sizeof u->cause);
    return u->wanted ? C_DIED : C_ENDED;
}

static enum column sort_probe(struct unit *u, const struct unit_event *ev, struct unit_actions *out)
{
    u->probing = false;
    if (ev->kind == UNIT_EV_PROBE_OK) {
        u->misses = 0;
        if (u->state == UNIT_READY)
            set_reason(u, out, "");
        return C_PROBE_OK;
    }
    u->misses++;
    note_miss(u, ev->text, out);
    bool down = u->misses >= u->params.failures;
    if (u->params.patient && u->state == UNIT_UNHEALTHY)
        down = false;
    return down ? C_PROBE_DOWN : C_PROBE_MISS;
}

/* The column of a public event; COLUMNS: late or meaningless. */
static enum column sort(struct unit *u, const struct unit_event *ev, struct unit_actions *out)
{
    bool of_process = ev->kind >= UNIT_EV_STARTED && ev->kind <= UNIT_EV_BEGINS;
    if (of_process && (ev->incarnation != u->incarnation || !u->alive))
        return COLUMNS;
    switch (ev->kind) {
    case UNIT_EV_WANT:
        u->wanted = true;
        return C_WANT;
    case UNIT_EV_UNWANT:
        u->wanted = false;
        return C_UNWANT;
    case UNIT_EV_CHANGED:
        return C_CHANGED;
    case UNIT_EV_STARTED: /* nothing to probe: running is being ready */
        return u->params.probe == PROBE_NONE ? C_PROBE_OK : C_STARTED;
    case UNIT_EV_START_FAILED:
        u->alive = false;
        str_copy(u->cause, sizeof u->cause, ev->text ? ev->text : "cannot start");
        return !u->wanted ? C_ENDED : ev->permanent ? C_UNSTARTABLE : C_NOT_STARTED;
    case UNIT_EV_PROBE_OK:
    case UNIT_EV_PROBE_FAIL:
        return u->probing ? sort_probe(u, ev, out) : COLUMNS;
    case UNIT_EV_EXITED:
        return sort_exit(u, ev, out);
    case UNIT_EV_WAITING:
        if (u->state == UNIT_STARTING)
            set_reason(u, out, ev->text ? ev->text : "");
        return C_WAITING;
    case UNIT_EV_BEGINS:
        return C_BEGINS;
    default:
        return COLUMNS;
    }
}

static void start_late(struct unit *u, uint64_t now_ms, struct rnd *rnd, struct unit_actions *out)
{
    char limit[UNITS_TEXT_SIZE], text[2 * UNIT_REASON_SIZE];
    units_format_duration(u->params.start_timeout_ms, limit);
    snprintf(text, sizeof text, "not ready within %s%s%.180s", limit, u->misses ? ": " : "",
        u->misses ? u->cause : "");
    str_copy(u->cause, sizeof u->cause, text);
    if (u->params.patient)
        u->start_due = now_ms + u->params.start_timeout_ms;
    else
        apply(u, C_START_LATE, now_ms, rnd, out);
    set_reason(u, out, u->cause);
}

static bool due(uint64_t *deadline, uint64_t now_ms)
{
    if (*deadline > now_ms)
        return false;
    *deadline = UNIT_NEVER;
    return true;
}

static void run_timers(struct unit *u, uint64_t now_ms, struct rnd *rnd, struct unit_actions *out)
{
    if (due(&u->start_due, now_ms))
        start_late(u, now_ms, rnd, out);
    if (due(&u->stop_due, now_ms))
        apply(u, C_STOP_LATE, now_ms, rnd, out);
    if (due(&u->healthy_due, now_ms))
        apply(u, C_HEALTHY, now_ms, rnd, out);
    if (due(&u->probe_due, now_ms))
        apply(u, C_PROBE_DUE, now_ms, rnd, out);
    if (due(&u->retry_due, now_ms))
        apply(u, C_RETRY, now_ms, rnd, out);
}

void unit_step(struct unit *u, const struct unit_event *ev, uint64_t now_ms, struct rnd *rnd,
    struct unit_actions *out)
{
    bool was_unhealthy = u->state == UNIT_UNHEALTHY;
    enum column c = sort(u, ev, out);
    if (c != COLUMNS)
        apply(u, c, now_ms, rnd, out);
    if (was_unhealthy && u->state == UNIT_STOPPING && c == C_PROBE_DOWN)
        set_reason(u, out, u->cause);
    run_timers(u, now_ms, rnd, out);
}
