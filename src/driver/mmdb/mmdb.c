/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/mmdb/mmdb.h"

#include <errno.h>
#include <maxminddb.h>
#include <sys/mman.h>

/* Records are shared by thousands of networks: the countries of those seen last, by offset. */
#define CACHE_SIZE 1024

struct cached {
    uint32_t offset_plus_1;
    char country[3];
};

struct mmdb {
    MMDB_s db;
    struct cached cache[CACHE_SIZE];
};

static int open_path(const char *path, struct mmdb **ret, struct err *e)
{
    struct mmdb *m = xcalloc(1, sizeof *m);
    errno = 0;
    int status = MMDB_open(path, MMDB_MODE_MMAP, &m->db);
    if (status == MMDB_SUCCESS) {
        *ret = m;
        return 0;
    }
    int saved = errno;
    free(m);
    if (status == MMDB_FILE_OPEN_ERROR && saved)
        return err_errno(e, saved, "cannot open the country database %s", path);
    return err_set(e, ERR_INVALID, "%s is not a country database: %s", path, MMDB_strerror(status));
}

int mmdb_open(const char *path, struct mmdb **ret, struct err *e)
{
    int r = open_path(path, ret, e);
    if (r < 0)
        err_fix(e,
            "`make setup` fetches one into geo/country.mmdb; or name an mmdb file of your own "
            "as routing.geo.database");
    return r;
}

int mmdb_open_fd(int fd, struct mmdb **ret, struct err *e)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open_path(path, ret, e);
}

void mmdb_close(struct mmdb *m)
{
    if (!m)
        return;
    MMDB_close(&m->db);
    free(m);
}

static bool read_code(MMDB_entry_s *entry, const char *const *path, char ret[3])
{
    MMDB_entry_data_s data;
    if (MMDB_aget_value(entry, &data, path) != MMDB_SUCCESS || !data.has_data ||
        data.type != MMDB_DATA_TYPE_UTF8_STRING || data.data_size != 2)
        return false;
    memcpy(ret, data.utf8_string, 2);
    ret[2] = '\0';
    return ret[0] >= 'A' && ret[0] <= 'Z' && ret[1] >= 'A' && ret[1] <= 'Z';
}

static bool read_country(MMDB_entry_s *entry, char ret[3])
{
    static const char *const flat[] = {"country_code", NULL};
    static const char *const geoip2[] = {"country", "iso_code", NULL};
    static const char *const registered[] = {"registered_country", "iso_code", NULL};
    return read_code(entry, flat, ret) || read_code(entry, geoip2, ret) ||
           read_code(entry, registered, ret);
}

static const char *cached_country(struct mmdb *m, MMDB_entry_s *entry)
{
    struct cached *c = &m->cache[entry->offset * 2654435761u >> 22];
    if (c->offset_plus_1 != entry->offset + 1) {
        c->offset_plus_1 = entry->offset + 1;
        if (!read_country(entry, c->country))
            c->country[0] = '\0';
    }
    return c->country;
}

struct each {
    struct mmdb *m;
    mmdb_network_fn fn;
    void *ctx;
    struct err *e;
    unsigned max_bits;
    uint8_t bytes[16];
};

static bool in_ipv4_range(const struct each *s, unsigned bits)
{
    static const uint8_t zero[12];
    return s->max_bits == 32 || (bits >= 96 && !memcmp(s->bytes, zero, sizeof zero));
}

static int emit(struct each *s, MMDB_entry_s *entry, unsigned bits)
{
    const char *country = cached_country(s->m, entry);
    if (!*country)
        return 0;
    struct ip_prefix p = {.addr.family = 6, .bits = (uint8_t)bits};
    memcpy(p.addr.bytes, s->bytes, 16);
    if (in_ipv4_range(s, bits)) {
        unsigned skip = s->max_bits == 32 ? 0 : 12;
        p = (struct ip_prefix){.addr.family = 4, .bits = (uint8_t)(bits - skip * 8)};
        memcpy(p.addr.bytes, s->bytes + skip, 4);
    }
    return s->fn(s->ctx, &p, country, s->e);
}

static bool is_alias(const struct each *s, uint32_t node, unsigned bits)
{
    const MMDB_s *db = &s->m->db;
    return s->max_bits == 128 && node == db->ipv4_start_node.node_value &&
           db->ipv4_start_node.netmask == 96 && !in_ipv4_range(s, bits);
}

/* Depth first, at most max_bits deep: a database with a loop in its tree ends there. */
static int walk(struct each *s, uint32_t node, unsigned bits)
{
    MMDB_search_node_s n;
    if (bits >= s->max_bits || MMDB_read_node(&s->m->db, node, &n) != MMDB_SUCCESS)
        return err_set(s->e, ERR_INVALID, "the country database's tree is damaged");
    int r = 0;
    for (unsigned side = 0; side < 2 && r >= 0; side++) {
        uint8_t type = side ? n.right_record_type : n.left_record_type;
        uint64_t record = side ? n.right_record : n.left_record;
        if (side)
            s->bytes[bits / 8] |= (uint8_t)(0x80u >> bits % 8);
        if (type == MMDB_RECORD_TYPE_DATA)
            r = emit(s, side ? &n.right_record_entry : &n.left_record_entry, bits + 1);
        else if (type == MMDB_RECORD_TYPE_SEARCH_NODE && !is_alias(s, (uint32_t)record, bits + 1))
            r = walk(s, (uint32_t)record, bits + 1);
        else if (type == MMDB_RECORD_TYPE_INVALID)
            r = err_set(s->e, ERR_INVALID, "the country database's tree is damaged");
    }
    s->bytes[bits / 8] &= (uint8_t) ~(0x80u >> bits % 8);
    return r;
}

int mmdb_each(struct mmdb *m, mmdb_network_fn fn, void *ctx, struct err *e)
{
    struct each s = {.m = m, .fn = fn, .ctx = ctx, .e = e};
    s.max_bits = m->db.metadata.ip_version == 4 ? 32 : 128;
    int r = walk(&s, 0, 0);
    /* A file mapping: the pages come back from the file when explain asks. */
    madvise((void *)(uintptr_t)m->db.file_content, (size_t)m->db.file_size, MADV_DONTNEED);
    return r;
}

bool mmdb_country(
    struct mmdb *m, const struct ip_addr *a, char ret_country[3], struct ip_prefix *ret_network)
{
    struct sockaddr_storage sa;
    socklen_t sa_len;
    int status;
    ip_to_sockaddr(a, 0, &sa, &sa_len);
    MMDB_lookup_result_s found =
        MMDB_lookup_sockaddr(&m->db, (const struct sockaddr *)&sa, &status);
    if (status != MMDB_SUCCESS || !found.found_entry || !read_country(&found.entry, ret_country))
        return false;
    if (!ret_network)
        return true;
    unsigned bits = found.netmask;
    if (a->family == 4 && m->db.metadata.ip_version == 6)
        bits = bits > 96 ? bits - 96 : 0;
    *ret_network = (struct ip_prefix){.addr = *a, .bits = (uint8_t)bits};
    for (unsigned i = bits; i < (a->family == 4 ? 32u : 128u); i++)
        ret_network->addr.bytes[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
    return true;
}

const char *mmdb_type(const struct mmdb *m)
{
    return m->db.metadata.database_type;
}

uint64_t mmdb_built(const struct mmdb *m)
{
    return m->db.metadata.build_epoch;
}
