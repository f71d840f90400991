/* SPDX-License-Identifier: Apache-2.0 */
/* DNS on the wire: names, strict parsing of queries, EDNS(0) with client subnet, writing of
 * responses with compression, records from their presentation form, walking of a peer's message.
 * Bytes in, structs out: no allocation, no I/O, no clock. Every function takes (pointer, length)
 * and never reads or writes past it.
 *
 * Names are wire form (length-prefixed labels, closing 0), uncompressed unless said otherwise.
 * Sources: RFC 1035 (format), 2181, 3597, 4343 (case), 6891 (EDNS), 7871 (client subnet), 9619 (one
 * question), 8906. */
#pragma once

#include "base/err/err.h"
#include "base/ip/ip.h"

#define DNS_HEADER_SIZE 12
#define DNS_NAME_MAX 255 /* wire bytes with the closing 0 */
#define DNS_LABEL_MAX 63
#define DNS_LABELS_MAX 127
#define DNS_NAME_TEXT_MAX 1024 /* every byte escaped, and the NUL */
#define DNS_UDP_MIN 512        /* what every client takes */
#define DNS_UDP_MAX 1232       /* never fragmented on a path of 1280: RFC 9715 */
#define DNS_MESSAGE_MAX 65535

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_HINFO = 13,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_OPT = 41,
    DNS_TKEY = 249,
    DNS_TSIG = 250,
    DNS_IXFR = 251,
    DNS_AXFR = 252,
    DNS_MAILB = 253,
    DNS_MAILA = 254,
    DNS_ANY = 255,
    DNS_CAA = 257,
};

enum dns_class { DNS_IN = 1, DNS_CH = 3 };

enum dns_opcode { DNS_QUERY = 0 };

enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5,
    DNS_BADVERS = 16, /* in OPT only */
};

enum dns_flag { /* of the header's second word */
    DNS_QR = 0x8000,
    DNS_OPCODE = 0x7800,
    DNS_AA = 0x0400,
    DNS_TC = 0x0200,
    DNS_RD = 0x0100,
    DNS_RA = 0x0080,
    DNS_RCODE = 0x000f,
};

enum dns_option { DNS_OPTION_NSID = 3, DNS_OPTION_ECS = 8, DNS_OPTION_KEEPALIVE = 11 };

static inline uint16_t dns_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t dns_get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void dns_put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void dns_put32(uint8_t *p, uint32_t v)
{
    dns_put16(p, v >> 16);
    dns_put16(p + 2, v & 0xffff);
}

/* Bytes of the uncompressed name at p including its closing 0; 0 when it is malformed, compressed
 * or cut off. */
size_t dns_name_size(const uint8_t *p, size_t len);
/* Lower-cased copy (ASCII letters only, RFC 4343); dst has room for `size` bytes. */
void dns_name_lower(uint8_t *dst, const uint8_t *src, size_t size);
bool dns_name_eq(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size); /* any case */
/* `name` is `zone` or lies below it. */
bool dns_name_under(const uint8_t *name, size_t size, const uint8_t *zone, size_t zone_size);
/* Presentation form with escapes (\. \\ \DDD), a closing dot allowed; "." and "@" are the caller's.
 * Keeps case. */
bool dns_name_parse(const char *text, uint8_t out[DNS_NAME_MAX], size_t *ret_size);
void dns_name_format(const uint8_t *name, size_t size,
    char out[DNS_NAME_TEXT_MAX]); /* no closing dot; root is "." */
/* Reads a name that may be compressed at msg[*offset] into out, and moves *offset behind it.
 * Pointers must go strictly backwards, so that a loop cannot be written. */
bool dns_name_read(
    const uint8_t *msg, size_t len, size_t *offset, uint8_t out[DNS_NAME_MAX], size_t *ret_size);

const char *dns_type_name(uint16_t type, char buf[16]); /* "A", "TYPE65280" */
bool dns_type_parse(const char *name, uint16_t *ret);   /* any case, also TYPEn */
const char *dns_rcode_name(unsigned rcode);             /* "NOERROR" .. "BADVERS", else "OTHER" */

/* --- queries --- */

struct dns_ecs {         /* EDNS Client Subnet, RFC 7871 */
    struct ip_addr addr; /* bits behind source_bits are zero; family 0: the option of family 0 and
                            no address */
    uint8_t source_bits;
};

struct dns_query {
    uint16_t id;
    uint16_t flags;      /* as received */
    const uint8_t *name; /* into the packet, as received; NULL when no question could be read */
    uint8_t name_size;
    uint16_t type, class;
    uint16_t question_end; /* offset behind the question: what a response repeats; 12 without one */
    bool edns;             /* an OPT was there */
    bool dnssec_ok;
    bool has_ecs, want_nsid, want_keepalive;
    uint16_t udp_size; /* what the client takes over UDP, at least 512 */
    struct dns_ecs ecs;
    unsigned rcode; /* of DNS_PARSE_ERROR */
};

enum dns_parse {
    DNS_PARSE_OK,
    DNS_PARSE_DROP,  /* not a query: too short for a header, or a response. Answering would make
                        loops */
    DNS_PARSE_ERROR, /* answer with q->rcode: FORMERR, NOTIMP or BADVERS; the fields that were read
                        are set */
};

enum dns_parse dns_query_parse(const uint8_t *msg, size_t len, struct dns_query *ret);

/* --- writing --- */

enum dns_section { DNS_QUESTION, DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL };

#define DNS_WRITER_NAMES 48

struct dns_writer { /* plain; overflow is remembered and nothing is written after it */
    uint8_t *buf;
    size_t cap, len;
    uint16_t counts[4];
    uint16_t names[DNS_WRITER_NAMES]; /* offsets of label sequences that later names may point to */
    unsigned n_names;
    bool owners_only; /* set after the question: only owners are compressed, only to the question */
    bool overflow;
};

void dns_writer_init(struct dns_writer *w, uint8_t *buf, size_t cap, uint16_t id, uint16_t flags);
void dns_write_question(
    struct dns_writer *w, const uint8_t *name, size_t size, uint16_t type, uint16_t class);
/* `rdata` with uncompressed names; those of NS, CNAME, SOA, PTR and MX are compressed (RFC 3597 §4
 * forbids others). Sections in order. */
void dns_write_rr(struct dns_writer *w, enum dns_section section, const uint8_t *owner,
    size_t owner_size, uint16_t type, uint32_t ttl, const uint8_t *rdata, size_t rdata_size);
/* OPT with the upper bits of the rcode; `options` is their ready wire form. */
void dns_write_opt(struct dns_writer *w, unsigned rcode, uint16_t udp_size, bool dnssec_ok,
    const uint8_t *options, size_t options_size);
/* Fills the header's counts in. Returns the length, 0 after an overflow. */
size_t dns_writer_finish(struct dns_writer *w);

/* The client-subnet option in wire form, at most 24 bytes (RFC 7871 §6). Returns its size. */
size_t dns_ecs_write(const struct dns_ecs *ecs, uint8_t scope_bits, uint8_t *out);

/* --- records --- */

/* A record's value from presentation form: A, AAAA, NS, CNAME, PTR, SOA, MX, TXT, CAA, SRV. Names
 * are absolute with a closing dot; without one they are relative to `origin` when they are one
 * label or "@", and an error otherwise (in a zone file "mail.example.com" would silently become
 * mail.example.com.<origin>). */
MUST_CHECK int dns_rdata_parse(uint16_t type, const char *text, const uint8_t *origin,
    size_t origin_size, uint8_t *out, size_t cap, size_t *ret_size, struct err *e);
/* The same back, for people and tests: types it does not know as \# N HEX (RFC 3597). `msg` is the
 * message that holds the rdata (names in it may be compressed). Truncates to cap. */
void dns_rdata_format(uint16_t type, const uint8_t *msg, size_t len, size_t rdata_offset,
    size_t rdata_size, char *out, size_t cap);

/* --- walking a message --- */

struct dns_rr {
    uint8_t name[DNS_NAME_MAX];
    size_t name_size;
    uint16_t type, class;
    uint32_t ttl;
    size_t ttl_offset;
    size_t rdata_offset, rdata_size;
};

struct dns_walk {
    const uint8_t *msg;
    size_t len, offset;
    uint16_t left[4]; /* records still to come, by section; [0] is questions */
};

bool dns_walk_init(struct dns_walk *w, const uint8_t *msg, size_t len); /* false: no header */
/* 1 and the next record with its section, 0 at the end, -1 malformed. A question is a record
 * without ttl and rdata. */
int dns_walk_next(struct dns_walk *w, struct dns_rr *ret, enum dns_section *ret_section);

/* --- answers --- */

#define DNS_ANSWER_ADDRESSES 8

struct dns_asked {
    uint16_t id, type; /* DNS_A or DNS_AAAA */
    uint8_t name[DNS_NAME_MAX];
    size_t name_size;
};

struct dns_answer {
    unsigned rcode;
    bool truncated;
    struct ip_addr addresses[DNS_ANSWER_ADDRESSES]; /* of the name, or of what it is an alias of */
    size_t n;
    uint32_t ttl; /* seconds: the least of the records that were used; without an address, of the
                     SOA; 0 without either */
};

/* A peer's message as the answer to a question. False: it is not, or does not parse. */
bool dns_answer_read(
    const uint8_t *msg, size_t len, const struct dns_asked *asked, struct dns_answer *ret);
