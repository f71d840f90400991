/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/failover/facts.h"

#include "base/str/str.h"

const char *failover_class_name(enum failover_class c)
{
    static const char *const names[] = {"dead", "slow", "too many sessions",
        "authentication refused", "certificate refused", "name not resolved", "the prober is ill"};
    return (size_t)c < ARRAY_SIZE(names) ? names[c] : "?";
}

/* Texts of the client library and of the server. "Can't create UNIX socket (24)" is said of the
 * client's own descriptors; that it "Can't connect" is not. */
enum failover_class failover_class_of(const char *why)
{
    static const struct {
        const char *text;
        enum failover_class class;
    } known[] = {
        {"oo many connections", FAILOVER_FULL_OF_SESSIONS},
        {"Access denied", FAILOVER_AUTHENTICATION},
        {"ertificate", FAILOVER_CERTIFICATE},
        {"TLS", FAILOVER_CERTIFICATE},
        {"nknown server host", FAILOVER_NAMES},
        {"nknown MySQL server host", FAILOVER_NAMES},
        {"Can't create", FAILOVER_PROBER_ILL},
        {"out of memory", FAILOVER_PROBER_ILL},
        {"oo many open files", FAILOVER_PROBER_ILL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strstr(why, known[i].text))
            return known[i].class;
    return FAILOVER_SLOW;
}

bool failover_clock_look(
    struct failover_clock *k, int64_t wall_ms, uint64_t boot_ms, uint64_t slept_ms)
{
    int64_t ahead_ms = wall_ms - (int64_t)boot_ms, by_ms = ahead_ms - k->ahead_ms;
    bool jumped = by_ms > (int64_t)FAILOVER_JUMP_MS || by_ms < -(int64_t)FAILOVER_JUMP_MS;
    bool slept = slept_ms > k->slept_ms + FAILOVER_JUMP_MS;
    bool stepped = k->looked && (jumped || slept);
    if (stepped)
        k->stepped_ms = boot_ms;
    k->looked = true;
    k->ahead_ms = ahead_ms;
    k->slept_ms = slept_ms;
    return stepped;
}
