/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mesh/mesh.h"

#include "base/str/str.h"

static const uint8_t magic[4] = {'M', 'C', 'P', 'M'};

static bool is_label(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool inner = i > 0 && i + 1 < len;
        if (!(p[i] >= 'a' && p[i] <= 'z') && !(p[i] >= '0' && p[i] <= '9')
            && !(p[i] == '-' && inner))
            return false;
    }
    return len > 0 && len <= MESH_NAME_MAX;
}

bool mesh_is_name(const char *text)
{
    return is_label(text, strnlen(text, MESH_NAME_MAX + 1));
}

static size_t put_name(uint8_t *out, const char *name)
{
    size_t n = strlen(name);
    out[0] = (uint8_t)n;
    memcpy(out + 1, name, n);
    return n + 1;
}

static size_t format_database(const struct mesh_hello *h, uint8_t *out)
{
    ASSERT(h->epoch >= 0);
    size_t n = put_name(out, h->name);
    out[n++] = h->write ? 'w' : 'r';
    for (int shift = 56; shift >= 0; shift -= 8)
        out[n++] = (uint8_t)((uint64_t)h->epoch >> shift);
    return n;
}

size_t mesh_hello_format(const struct mesh_hello *h, uint8_t out[MESH_HELLO_MAX])
{
    ASSERT(mesh_is_name(h->name));
    memcpy(out, magic, sizeof magic);
    size_t n = sizeof magic;
    out[n++] = (uint8_t)h->kind;
    if (h->kind == MESH_TO_DATABASE)
        return n + format_database(h, out + n);
    ASSERT(!*h->unit || mesh_is_name(h->unit));
    n += put_name(out + n, h->name);
    return n + put_name(out + n, h->unit);
}

/* Bytes taken, 0 for more, -1. */
static int take_name(const uint8_t *p, size_t len, bool may_be_empty, char ret[MESH_NAME_MAX + 1])
{
    if (!len)
        return 0;
    size_t n = p[0];
    if (n > MESH_NAME_MAX || (!n && !may_be_empty))
        return -1;
    if (len < n + 1)
        return 0;
    memcpy(ret, p + 1, n);
    ret[n] = '\0';
    return n && !is_label(ret, n) ? -1 : (int)n + 1;
}

/* The end and the epoch. */
static int take_end(const uint8_t *p, size_t len, struct mesh_hello *ret)
{
    if (len && p[0] != 'r' && p[0] != 'w')
        return -1;
    if (len > 1 && p[1] & 0x80)
        return -1;
    if (len < 9)
        return 0;
    uint64_t epoch = 0;
    for (size_t i = 1; i < 9; i++)
        epoch = epoch << 8 | p[i];
    ret->write = p[0] == 'w';
    ret->epoch = (int64_t)epoch;
    return 9;
}

int mesh_hello_parse(const uint8_t *p, size_t len, struct mesh_hello *ret)
{
    if (memcmp(p, magic, MIN(len, sizeof magic)) != 0)
        return -1;
    size_t at = sizeof magic;
    if (len <= at)
        return 0;
    if (p[at] != MESH_TO_MODULE && p[at] != MESH_TO_DATABASE)
        return -1;
    *ret = (struct mesh_hello){.kind = (enum mesh_hello_kind)p[at++]};
    int n = take_name(p + at, len - at, false, ret->name);
    if (n <= 0)
        return n;
    at += (size_t)n;
    n = ret->kind == MESH_TO_DATABASE ? take_end(p + at, len - at, ret)
                                      : take_name(p + at, len - at, true, ret->unit);
    return n <= 0 ? n : (int)at + n;
}

void mesh_answer_format(enum mesh_status s, uint8_t out[MESH_ANSWER_SIZE])
{
    out[0] = 'M';
    out[1] = (uint8_t)s;
}

bool mesh_answer_parse(const uint8_t *p, size_t len, enum mesh_status *ret)
{
    if (len != MESH_ANSWER_SIZE || p[0] != 'M' || p[1] >= MESH_STATUSES)
        return false;
    *ret = (enum mesh_status)p[1];
    return true;
}

const char *mesh_status_text(enum mesh_status s)
{
    static const char *const texts[] = {[MESH_OK] = "joined",
        [MESH_DENIED] = "denied there",
        [MESH_UNKNOWN] = "not known there",
        [MESH_UNAVAILABLE] = "does not answer there",
        [MESH_MOVED] = "is not the source any more",
        [MESH_DOWN] = "is down: it takes no connection",
        [MESH_SLOW] = "is slow: it took a connection and says nothing"};
    return s < MESH_STATUSES ? texts[s] : "?";
}
