/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a country database: opened, walked whole, asked for single addresses. */
#include "driver/mmdb/mmdb.h"

#include "base/file/file.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *ctx, const struct ip_prefix *p, const char *country, struct err *e)
{
    ASSERT(strlen(country) == 2 && p->bits <= (p->addr.family == 4 ? 32 : 128));
    *(size_t *)ctx += 1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const addresses[] = {
        "0.0.0.0", "203.113.0.1", "255.255.255.255", "::", "2001:db8::1"};
    struct err e = {0};
    struct mmdb *m;
    size_t n = 0;
    int fd = memfd_create("mmdb", MFD_CLOEXEC);
    ASSERT(fd >= 0 && file_write_fd(fd, data, size, &e) >= 0);
    int r = mmdb_open_fd(fd, &m, &e);
    close(fd);
    if (r < 0)
        return 0;
    if (mmdb_each(m, count, &n, &e) >= 0)
        ASSERT(n <= size);
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct ip_addr a;
        struct ip_prefix p;
        char country[3];
        ASSERT(ip_parse(addresses[i], &a));
        if (mmdb_country(m, &a, country, &p))
            ASSERT(ip_prefix_contains(&p, &a));
    }
    mmdb_close(m);
    return 0;
}
