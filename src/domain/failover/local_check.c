/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/failover/local_check.h"

/* Both ends of the window were seen as they were: neither we nor the machine slept in between. */
static bool in_time(const struct local_check *c, const struct local_check_sample *s)
{
    bool prompt = s->ended_ms >= s->began_ms && s->ended_ms - s->began_ms <= LOCAL_CHECK_GAP_MS;
    return prompt
           && (!c->misses
               || (s->began_ms >= c->last.ended_ms
                   && s->began_ms - c->last.ended_ms <= LOCAL_CHECK_GAP_MS));
}

static bool has_moved(const struct local_check_sample *a, const struct local_check_sample *b)
{
    return a->steps != b->steps || a->threads != b->threads;
}

static void forget(struct local_check *c)
{
    *c = (struct local_check){.known = c->known};
}

static enum local_verdict missed(struct local_check *c, const struct local_check_sample *s)
{
    bool moved = c->still && has_moved(&c->last, s);
    bool lives = s->runnable || s->on_disk;
    c->misses++;
    c->still = lives ? 0 : moved ? 1 : c->still + 1;
    c->last = *s;
    if (lives || moved)
        return LOCAL_SLOW;
    return c->misses >= LOCAL_CHECK_MISSES && c->still >= LOCAL_CHECK_MISSES ? LOCAL_DEAD
                                                                             : LOCAL_SILENT;
}

enum local_verdict local_check_step(struct local_check *c, const struct local_check_sample *s)
{
    if (s->answered) {
        *c = (struct local_check){.known = true};
        return LOCAL_ANSWERS;
    }
    if (!in_time(c, s))
        forget(c);
    if (!c->known || !s->seen || !s->threads || s->ended_ms - s->began_ms > LOCAL_CHECK_GAP_MS) {
        forget(c);
        return LOCAL_UNJUDGED;
    }
    return missed(c, s);
}
