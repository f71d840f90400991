/* SPDX-License-Identifier: Apache-2.0 */
/* The builder keeps a tree whose leaves carry a rank besides the list: the prefix length of the
 * entry that set them, overrides above all of the database. An entry takes every leaf of its prefix
 * whose rank is not higher, so the order of entries does not matter. Equal leaves merge on the way
 * up, so the tree stays near its final size while a database of a million nodes streams through it.
 */
#include "domain/geo/priv.h"

#include <sys/mman.h>

#define RANK_OVERRIDE 129u /* above the longest prefix of the database, 128 */

struct node {
    uint32_t child[2]; /* node number, or GEO_LEAF | rank << 16 | list */
};

struct geo_builder {
    struct geo_countries countries;
    struct node *nodes; /* mmap: given back whole, the heap of a small role stays small */
    size_t n, cap;
    uint32_t free_head; /* chained through child[0]; 0: none (node 0 is never used) */
    size_t n_free;
    uint32_t root[2];
};

static uint32_t rank_leaf(unsigned rank, uint16_t list)
{
    return GEO_LEAF | rank << 16 | list;
}

static unsigned leaf_rank(uint32_t ref)
{
    return ref >> 16 & 0x1ff;
}

int geo_country_index(const char *code)
{
    if (!code || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' || code[2])
        return -1;
    return (code[0] - 'A') * 26 + (code[1] - 'A');
}

struct geo_builder *geo_builder_new(const struct geo_countries *countries)
{
    struct geo_builder *b = xcalloc(1, sizeof *b);
    b->countries = *countries;
    b->root[0] = b->root[1] = rank_leaf(0, 0);
    b->n = 1;
    return b;
}

void geo_builder_free(struct geo_builder *b)
{
    if (!b)
        return;
    if (b->nodes)
        munmap(b->nodes, b->cap * sizeof *b->nodes);
    free(b);
}

static int grow(struct geo_builder *b, struct err *e)
{
    size_t cap = b->cap ? b->cap * 2 : 64 * 1024;
    if (cap > GEO_NODES_MAX)
        return err_set(e, ERR_LIMIT, "the geo data needs more than %u tree nodes", GEO_NODES_MAX);
    void *p = b->nodes ? mremap(
                  b->nodes, b->cap * sizeof *b->nodes, cap * sizeof *b->nodes, MREMAP_MAYMOVE)
                       : mmap(NULL, cap * sizeof *b->nodes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return err_set(e, ERR_LIMIT, "no memory for a geo tree of %zu nodes", cap);
    b->nodes = p;
    b->cap = cap;
    return 0;
}

/* Room for the nodes that one entry may add: afterwards node_new() cannot fail. */
static int reserve(struct geo_builder *b, size_t want, struct err *e)
{
    return b->n_free + (b->cap - MIN(b->n, b->cap)) >= want ? 0 : grow(b, e);
}

static uint32_t node_new(struct geo_builder *b, uint32_t both)
{
    uint32_t i = b->free_head;
    if (i) {
        b->free_head = b->nodes[i].child[0];
        b->n_free--;
    } else {
        i = (uint32_t)b->n++;
    }
    b->nodes[i].child[0] = b->nodes[i].child[1] = both;
    return i;
}

static void node_free(struct geo_builder *b, uint32_t i)
{
    b->nodes[i].child[0] = b->free_head;
    b->free_head = i;
    b->n_free++;
}

/* Both children the same leaf: the node is that leaf. */
static uint32_t merged(struct geo_builder *b, uint32_t i)
{
    uint32_t left = b->nodes[i].child[0];
    if (!(left & GEO_LEAF) || left != b->nodes[i].child[1])
        return i;
    node_free(b, i);
    return left;
}

/* Every leaf at or below ref whose rank is not higher becomes `leaf`. Recursion is at most 128
 * deep. */
static uint32_t paint(struct geo_builder *b, uint32_t ref, uint32_t leaf)
{
    if (ref & GEO_LEAF)
        return leaf_rank(ref) <= leaf_rank(leaf) ? leaf : ref;
    for (unsigned side = 0; side < 2; side++) {
        uint32_t child = paint(b, b->nodes[ref].child[side], leaf);
        b->nodes[ref].child[side] = child;
    }
    return merged(b, ref);
}

int geo_builder_add(struct geo_builder *b, enum geo_source source, const struct ip_prefix *prefix,
    const char *country, struct err *e)
{
    unsigned root, skipped;
    const uint8_t *p = geo_bytes_of(&prefix->addr, &root, &skipped);
    if (!prefix->addr.family || prefix->bits < skipped)
        return 0; /* ::/n above the mapped range says nothing of IPv4 */
    unsigned bits = prefix->bits - skipped;
    int index = geo_country_index(country);
    unsigned rank = bits + (source == GEO_OVERRIDE ? RANK_OVERRIDE : 0);
    uint32_t leaf = rank_leaf(rank, index < 0 ? 0 : b->countries.list[index]);
    int r = reserve(b, bits + 1, e);
    if (r < 0)
        return r;

    uint32_t path[128];
    uint32_t ref = b->root[root];
    for (unsigned bit = 0; bit < bits; bit++) {
        if (ref & GEO_LEAF)
            ref = node_new(b, ref);
        path[bit] = ref;
        ref = b->nodes[ref].child[(p[bit / 8] >> (7 - bit % 8)) & 1];
    }
    ref = paint(b, ref, leaf);
    for (unsigned bit = bits; bit-- > 0;) {
        b->nodes[path[bit]].child[(p[bit / 8] >> (7 - bit % 8)) & 1] = ref;
        ref = merged(b, path[bit]);
    }
    b->root[root] = ref;
    return 0;
}

struct copy {
    const struct geo_builder *b;
    struct geo *geo; /* NULL while counting */
    uint32_t n;
};

/* Depth first, so that a walk down stays in neighbouring memory. A node's number is taken before
 * those below it and given back when they turn out to be equal; ranks are gone, so more merges than
 * in the builder. */
static uint32_t compact(struct copy *c, uint32_t ref, unsigned depth)
{
    if (ref & GEO_LEAF)
        return geo_leaf(depth, (uint16_t)ref);
    uint32_t at = c->n++;
    uint32_t left = compact(c, c->b->nodes[ref].child[0], depth + 1);
    uint32_t right = compact(c, c->b->nodes[ref].child[1], depth + 1);
    if (left == right && left & GEO_LEAF) {
        c->n = at;
        return geo_leaf(depth, (uint16_t)left);
    }
    if (c->geo) {
        c->geo->nodes[at][0] = left;
        c->geo->nodes[at][1] = right;
    }
    return at;
}

int geo_builder_finish(const struct geo_builder *b, struct geo **ret, struct err *e)
{
    struct copy c = {.b = b};
    for (unsigned family = 0; family < 2; family++)
        compact(&c, b->root[family], 0);
    struct geo *g = calloc(1, sizeof *g + c.n * sizeof g->nodes[0]);
    if (!g)
        return err_set(e, ERR_LIMIT, "no memory for a geo tree of %u nodes", c.n);
    g->n_nodes = c.n;
    c.geo = g;
    c.n = 0;
    for (unsigned family = 0; family < 2; family++)
        g->root[family] = compact(&c, b->root[family], 0);
    *ret = g;
    return 0;
}

void geo_free(struct geo *g)
{
    free(g);
}
