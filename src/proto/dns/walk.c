/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/dns/dns.h"

bool dns_walk_init(struct dns_walk *w, const uint8_t *msg, size_t len)
{
    *w = (struct dns_walk){.msg = msg, .len = len, .offset = DNS_HEADER_SIZE};
    if (len < DNS_HEADER_SIZE)
        return false;
    for (unsigned i = 0; i < 4; i++)
        w->left[i] = dns_get16(msg + 4 + 2 * i);
    return true;
}

int dns_walk_next(struct dns_walk *w, struct dns_rr *ret, enum dns_section *ret_section)
{
    unsigned section = DNS_QUESTION;
    while (section <= DNS_ADDITIONAL && !w->left[section])
        section++;
    if (section > DNS_ADDITIONAL)
        return 0;
    size_t fixed = section == DNS_QUESTION ? 4 : 10;
    if (!dns_name_read(w->msg, w->len, &w->offset, ret->name, &ret->name_size)
        || w->len - w->offset < fixed)
        return -1;
    const uint8_t *p = w->msg + w->offset;
    ret->type = dns_get16(p);
    ret->class = dns_get16(p + 2);
    ret->ttl = section == DNS_QUESTION ? 0 : dns_get32(p + 4);
    ret->ttl_offset = w->offset + 4;
    ret->rdata_size = section == DNS_QUESTION ? 0 : dns_get16(p + 8);
    w->offset += fixed;
    ret->rdata_offset = w->offset;
    if (w->len - w->offset < ret->rdata_size)
        return -1;
    w->offset += ret->rdata_size;
    w->left[section]--;
    *ret_section = (enum dns_section)section;
    return 1;
}
