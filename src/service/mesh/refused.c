/* SPDX-License-Identifier: Apache-2.0 */
/* Refusals are told once a minute for the same words: whoever hammers fills no timeline. */
#include "service/mesh/priv.h"

#include <stdarg.h>

uint64_t hash_text(uint64_t h, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        h = (h ^ *p) * UINT64_C(0x100000001b3); /* FNV-1a: to tell apart, not to resist anybody */
    return h;
}

static bool is_new(struct mesh *m, uint64_t key, uint64_t now_ms)
{
    struct refusal *r = &m->refused[key % REFUSED_SLOTS];
    bool told = r->key == key && r->at_ms && r->at_ms + REFUSED_EVERY_MS > now_ms;
    if (!told)
        *r = (struct refusal){key, now_ms};
    return !told;
}

void refused_tell(struct mesh *m, uint64_t now_ms, const char *subject, const char *fmt, ...)
{
    char message[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&m->refused_lock);
    bool tell = is_new(m, hash_text(hash_text(1, subject), message), now_ms);
    pthread_mutex_unlock(&m->refused_lock);
    if (tell)
        m->config.refused(m->config.ctx, subject, message);
}
