/* SPDX-License-Identifier: Apache-2.0 */
/* The file: a search tree (two records a node), 16 zero bytes, the data section, a marker, the
 * metadata. Read through a mapping of the descriptor alone: a role that is locked in may not open
 * the file by its path. */
#include "driver/mmdb/priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILE_MAX ((off_t)1 << 30)
#define METADATA_MAX (128u * 1024) /* the format looks for the marker in that much of the end */
#define SEPARATOR 16u
/* Records are shared by thousands of networks: the countries of those seen last, by offset. */
#define CACHE_SIZE 1024u

struct cached {
    size_t offset_plus_1;
    char country[3];
};

struct mmdb {
    const uint8_t *file;
    size_t size;
    struct mmdb_bytes data;
    uint32_t node_count;
    unsigned record_bits, max_bits; /* 24, 28 or 32; 32 or 128 */
    uint64_t built;
    char type[64];
    uint32_t ipv4; /* record where ::/96 begins: its own node if it has one */
    struct cached cache[CACHE_SIZE];
};

/* --- the tree --- */

static uint32_t record(const struct mmdb *m, uint32_t node, unsigned side)
{
    const uint8_t *p = m->file + (size_t)node * m->record_bits / 4;
    switch (m->record_bits) {
    case 24:
        p += 3 * side;
        return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
    case 28: /* the middle byte holds the highest four bits of both */
        return side ? (uint32_t)(p[3] & 0x0f) << 24 | (uint32_t)p[4] << 16 | (uint32_t)p[5] << 8
                          | p[6]
                    : (uint32_t)(p[3] >> 4) << 24 | (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8
                          | p[2];
    default:
        p += 4 * side;
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
}

/* Of a record that is no node: its place in the data section. False: empty, or outside. */
static bool data_offset(const struct mmdb *m, uint32_t rec, size_t *ret)
{
    if (rec < m->node_count + SEPARATOR)
        return false;
    *ret = rec - m->node_count - SEPARATOR;
    return *ret < m->data.len;
}

/* --- opening --- */

static size_t find_marker(const uint8_t *file, size_t size)
{
    static const char marker[] = "\xab\xcd\xefMaxMind.com";
    size_t len = sizeof marker - 1, from = size > METADATA_MAX ? size - METADATA_MAX : 0;
    for (size_t at = size >= len ? size - len + 1 : 0; at-- > from;) /* the last one counts */
        if (!memcmp(file + at, marker, len))
            return at;
    return SIZE_MAX;
}

static bool read_metadata(struct mmdb *m, size_t marker)
{
    struct mmdb_bytes meta = {m->file + marker + 14, m->size - marker - 14};
    struct mmdb_value root, type;
    uint64_t nodes, bits, version, major;
    if (!mmdb_read(&meta, 0, &root) || !mmdb_find_uint(&meta, &root, "node_count", &nodes)
        || !mmdb_find_uint(&meta, &root, "record_size", &bits)
        || !mmdb_find_uint(&meta, &root, "ip_version", &version)
        || !mmdb_find_uint(&meta, &root, "binary_format_major_version", &major) || major != 2)
        return false;
    if ((bits != 24 && bits != 28 && bits != 32) || (version != 4 && version != 6) || !nodes)
        return false;
    if (nodes > UINT32_MAX - SEPARATOR || nodes * bits / 4 > marker
        || marker - nodes * bits / 4 < SEPARATOR)
        return false;
    m->node_count = (uint32_t)nodes;
    m->record_bits = (unsigned)bits;
    m->max_bits = version == 4 ? 32 : 128;
    size_t tree = (size_t)nodes * m->record_bits / 4;
    m->data = (struct mmdb_bytes){m->file + tree + SEPARATOR, marker - tree - SEPARATOR};
    mmdb_find_uint(&meta, &root, "build_epoch", &m->built);
    if (mmdb_find(&meta, &root, "database_type", &type) && type.type == MMDB_STRING)
        snprintf(
            m->type, sizeof m->type, "%.*s", (int)MIN(type.size, sizeof m->type), meta.p + type.at);
    return true;
}

static uint32_t find_ipv4(const struct mmdb *m)
{
    uint32_t rec = 0;
    for (unsigned bit = 0; m->max_bits == 128 && bit < 96 && rec < m->node_count; bit++)
        rec = record(m, rec, 0);
    return rec;
}

int mmdb_open_fd(int fd, struct mmdb **ret, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, "cannot read the country database");
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > FILE_MAX)
        return err_set(
            e, ERR_INVALID, "not a country database: a file of 1 byte to 1 GiB is expected");
    void *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED)
        return err_errno(e, errno, "cannot map the country database");
    struct mmdb *m = xcalloc(1, sizeof *m);
    m->file = file;
    m->size = (size_t)st.st_size;
    size_t marker = find_marker(m->file, m->size);
    if (marker == SIZE_MAX || !read_metadata(m, marker)) {
        mmdb_close(m);
        return err_set(e, ERR_INVALID, "not a country database in MaxMind's format");
    }
    m->ipv4 = find_ipv4(m);
    *ret = m;
    return 0;
}

int mmdb_open(const char *path, struct mmdb **ret, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? err_errno(e, errno, "cannot open the country database %s", path)
                   : mmdb_open_fd(fd, ret, e);
    if (r < 0 && fd >= 0)
        err_wrap(e, "%s", path);
    if (r < 0)
        err_fix(e,
            "`make setup` fetches one into geo/country.mmdb; or name an mmdb file of your own "
            "as routing.geo.database");
    return r;
}

void mmdb_close(struct mmdb *m)
{
    if (!m)
        return;
    munmap((void *)(uintptr_t)m->file, m->size);
    free(m);
}

/* --- records --- */

static bool is_code(const struct mmdb *m, const struct mmdb_value *v, char ret[3])
{
    if (v->type != MMDB_STRING || v->size != 2)
        return false;
    memcpy(ret, m->data.p + v->at, 2);
    ret[2] = '\0';
    return ret[0] >= 'A' && ret[0] <= 'Z' && ret[1] >= 'A' && ret[1] <= 'Z';
}

static bool read_country(const struct mmdb *m, size_t offset, char ret[3])
{
    static const char *const nested[] = {"country", "registered_country"};
    struct mmdb_value root, map, v;
    if (!mmdb_read(&m->data, offset, &root))
        return false;
    if (mmdb_find(&m->data, &root, "country_code", &v) && is_code(m, &v, ret))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(nested); i++)
        if (mmdb_find(&m->data, &root, nested[i], &map) && mmdb_find(&m->data, &map, "iso_code", &v)
            && is_code(m, &v, ret))
            return true;
    return false;
}

static const char *cached_country(struct mmdb *m, size_t offset)
{
    struct cached *c = &m->cache[(uint32_t)offset * 2654435761u >> 22];
    if (c->offset_plus_1 != offset + 1) {
        c->offset_plus_1 = offset + 1;
        if (!read_country(m, offset, c->country))
            c->country[0] = '\0';
    }
    return c->country;
}

/* --- all networks --- */

struct each {
    struct mmdb *m;
    mmdb_network_fn fn;
    void *ctx;
    struct err *e;
    uint8_t bytes[16];
    uint32_t visited;
};

static bool in_ipv4_range(const struct each *s, unsigned bits)
{
    static const uint8_t zero[12];
    return s->m->max_bits == 32 || (bits >= 96 && !memcmp(s->bytes, zero, sizeof zero));
}

static int emit(struct each *s, size_t offset, unsigned bits)
{
    const char *country = cached_country(s->m, offset);
    if (!*country)
        return 0;
    struct ip_prefix p = {.addr.family = 6, .bits = (uint8_t)bits};
    memcpy(p.addr.bytes, s->bytes, 16);
    if (in_ipv4_range(s, bits)) {
        unsigned skip = s->m->max_bits == 32 ? 0 : 12;
        p = (struct ip_prefix){.addr.family = 4, .bits = (uint8_t)(bits - skip * 8)};
        memcpy(p.addr.bytes, s->bytes + skip, 4);
    }
    return s->fn(s->ctx, &p, country, s->e);
}

/* The IPv4 tree once more, under another prefix. */
static bool is_alias(const struct each *s, uint32_t node, unsigned bits)
{
    return s->m->max_bits == 128 && node == s->m->ipv4 && !in_ipv4_range(s, bits);
}

/* Depth first. Each node is met once: a damaged tree that leads in circles, or many ways to one
 * node, ends when more are met than there are. */
static int walk(struct each *s, uint32_t node, unsigned bits)
{
    const struct mmdb *m = s->m;
    int r = 0;
    if (bits >= m->max_bits || s->visited++ >= m->node_count)
        return err_set(s->e, ERR_INVALID, "the country database's tree is damaged");
    for (unsigned side = 0; side < 2 && r >= 0; side++) {
        uint32_t rec = record(m, node, side);
        size_t offset;
        if (side)
            s->bytes[bits / 8] |= (uint8_t)(0x80u >> bits % 8);
        if (rec < m->node_count)
            r = is_alias(s, rec, bits + 1) ? 0 : walk(s, rec, bits + 1);
        else if (rec > m->node_count) /* equal: nothing is known of it */
            r = data_offset(m, rec, &offset)
                    ? emit(s, offset, bits + 1)
                    : err_set(s->e, ERR_INVALID, "the country database's tree is damaged");
    }
    s->bytes[bits / 8] &= (uint8_t) ~(0x80u >> bits % 8);
    return r;
}

int mmdb_each(struct mmdb *m, mmdb_network_fn fn, void *ctx, struct err *e)
{
    struct each s = {.m = m, .fn = fn, .ctx = ctx, .e = e};
    int r = walk(&s, 0, 0);
    /* A file mapping: the pages come back from the file when explain asks. */
    madvise((void *)(uintptr_t)m->file, m->size, MADV_DONTNEED);
    return r;
}

bool mmdb_country(
    struct mmdb *m, const struct ip_addr *a, char ret_country[3], struct ip_prefix *ret_network)
{
    unsigned bits = 0, max = a->family == 4 ? 32 : 128;
    uint32_t rec = a->family == 4 ? m->ipv4 : 0;
    size_t offset;
    if (!a->family || max > m->max_bits)
        return false;
    for (; bits < max && rec < m->node_count; bits++)
        rec = record(m, rec, (a->bytes[bits / 8] >> (7 - bits % 8)) & 1);
    if (rec < m->node_count || !data_offset(m, rec, &offset)
        || !read_country(m, offset, ret_country))
        return false;
    if (!ret_network)
        return true;
    *ret_network = (struct ip_prefix){.addr = *a, .bits = (uint8_t)bits};
    for (unsigned i = bits; i < max; i++)
        ret_network->addr.bytes[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    return true;
}

const char *mmdb_type(const struct mmdb *m)
{
    return m->type;
}

uint64_t mmdb_built(const struct mmdb *m)
{
    return m->built;
}
