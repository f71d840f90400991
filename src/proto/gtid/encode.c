/* SPDX-License-Identifier: Apache-2.0 */
/* A MySQL set as COM_BINLOG_DUMP_GTID carries it. Format: MySQL 8 internals, Gtid_set::encode():
 * numbers of 8 bytes, little-endian; how many servers; of each its 16 bytes, how many intervals, and
 * of each its first number and the one after its last. */
#include "proto/gtid/priv.h"

static void add64(struct str *out, uint64_t v)
{
    char p[8];
    for (int i = 0; i < 8; i++)
        p[i] = (char)(v >> 8 * i);
    str_add_mem(out, p, sizeof p);
}

/* How many from `i` on are of the same server. */
static size_t run_of(const struct gtid_set *s, size_t i)
{
    size_t n = 1;
    while (i + n < s->n && !memcmp(s->ranges[i + n].uuid, s->ranges[i].uuid, 16))
        n++;
    return n;
}

int gtid_set_encode(const struct gtid_set *s, struct str *out, struct err *e)
{
    uint64_t servers = 0;
    ASSERT(s->flavour == GTID_MYSQL);
    for (size_t i = 0; i < s->n; i += run_of(s, i)) {
        servers++;
        for (size_t j = i; j < i + run_of(s, i); j++)
            if (*s->ranges[j].tag)
                return err_set(e, ERR_REFUSED, "transactions with a tag (%s) cannot be asked for", s->ranges[j].tag);
    }
    add64(out, servers);
    for (size_t i = 0, n; i < s->n; i += n) {
        n = run_of(s, i);
        str_add_mem(out, (const char *)s->ranges[i].uuid, 16);
        add64(out, n);
        for (size_t j = i; j < i + n; j++) {
            add64(out, s->ranges[j].from);
            add64(out, s->ranges[j].to + 1);
        }
    }
    return 0;
}
