/* SPDX-License-Identifier: Apache-2.0 */
/* A module that fails alone: who leads looks at it each second. What it remembers is how long
 * something has been so, as it saw it itself; a new leader counts anew. */
#include "domain/admit/admit.h"

#include "base/str/str.h"

static void say(struct admit_action *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void say(struct admit_action *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->note, sizeof a->note, fmt, ap);
    va_end(ap);
}

static void note_time(uint64_t *since_ms, bool so, uint64_t now_ms)
{
    *since_ms = so ? *since_ms ? *since_ms : now_ms : 0;
}

/* Not one that is only being started for the first time, and not while its source's region is in
 * question: then it is the promotion that admits. */
static bool is_down(const struct admit_watch *w, const struct admit_seen *s, uint64_t now_ms)
{
    bool had_time = w->was_ready || s->placed_ms >= ADMIT_SETTLED_MS;
    return w->down_since_ms && now_ms - w->down_since_ms >= ADMIT_DOWN_MS && had_time
           && s->source_lives && !s->rolls_out;
}

static void look_whether_down(struct admit_watch *w, const struct admit_seen *s, uint64_t now_ms,
    struct admit_action *ret)
{
    w->told_ready = false;
    if (!is_down(w, s, now_ms)) {
        w->told_lack = false;
        return;
    }
    if (s->standby_ready) {
        ret->act = ADMIT_MOVE;
        say(ret, "no instance was ready in %s for %u s: the standby in %s is admitted", s->main,
            ADMIT_DOWN_MS / 1000, s->standby);
    } else if (!w->told_lack) {
        w->told_lack = true;
        say(ret, "no instance is ready in %s, and no standby in %s", s->main, s->standby);
    }
}

static void look_whether_back(struct admit_watch *w, const struct admit_seen *s, uint64_t now_ms,
    struct admit_action *ret)
{
    bool ready = w->up_since_ms && now_ms - w->up_since_ms >= ADMIT_READY_MS;
    bool promoted = str_eq(json_opt_str(s->doc, "why", NULL), "promotion");
    if (!ready) {
        w->told_ready = false;
    } else if (promoted && s->source_back) {
        ret->act = ADMIT_BACK;
        say(ret, "its source is in %s again: %s takes over", s->main, s->main);
    } else if (!promoted && !w->told_ready) {
        w->told_ready = true;
        say(ret, "ready in %s again for %u s: `mcp failback %s` brings it back", s->main,
            ADMIT_READY_MS / 1000, s->module->name);
    }
}

void admit_watch_step(struct admit_watch *w, const struct admit_seen *s, uint64_t now_ms,
    struct admit_action *ret)
{
    *ret = (struct admit_action){0};
    w->was_ready = w->was_ready || s->main_ready;
    note_time(&w->down_since_ms, !s->main_ready, now_ms);
    note_time(&w->up_since_ms, s->main_ready > 0, now_ms);
    if (json_opt_bool(s->doc, "standbys", false))
        look_whether_back(w, s, now_ms, ret);
    else
        look_whether_down(w, s, now_ms, ret);
}
