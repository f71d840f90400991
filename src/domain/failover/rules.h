/* SPDX-License-Identifier: Apache-2.0 */
/* R1 to R23: what forbids a failover. Each rule looks at the facts (facts.h) and says whether it
 * holds (it forbids), with the value, the limit and a sentence that names the way out. What is not
 * known forbids.
 *
 * A person's order (`mcp failover`) is not bound by rules about the platform's own judgement
 * (BY_HAND); it must accept the loss for others (--accept-loss), and attest that the old source is
 * off where fencing cannot be proven (--attest-source-off). R3, R11 and R22 hold for everybody. Pure. */
#pragma once

#include "base/json/json.h"
#include "domain/failover/facts.h"

#define FAILOVER_RULES 23u
#define FAILOVER_DRAIN_MS 10000u     /* R9: for the target to apply what it has received */
#define FAILOVER_CLOCK_MS 2000u      /* R19: a clock that is off by more */
#define FAILOVER_CLOCK_STEP_MS 60000u /* R19: a jump is of the past after that */
#define FAILOVER_COUNT 3u            /* R14: failovers by themselves within the window */
#define FAILOVER_WINDOW_MS (24u * 3600u * 1000u) /* of that */
#define FAILOVER_ANY_LOSS_MS (7ull * 24u * 3600u * 1000u) /* R8: accepts a lag that is not known */

enum failover_waiver {
    FAILOVER_WAIVE_NEVER,
    FAILOVER_WAIVE_BY_HAND, /* a person's order is not bound by it */
    FAILOVER_WAIVE_LOSS,    /* --accept-loss */
    FAILOVER_WAIVE_LAG,     /* --accept-loss, which is the limit then */
    FAILOVER_WAIVE_ATTEST,  /* --attest-source-off */
};

struct failover_rule {
    char id[4];
    bool holds; /* it forbids */
    bool waived; /* but an order overrules it */
    enum failover_waiver waiver;
    char value[96], limit[96];
    char text[224];
};

typedef bool (*failover_rule_fn)(const struct failover_facts *f, struct failover_rule *ret);

bool failover_r1(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r2(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r3(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r4(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r5(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r6(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r7(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r8(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r9(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r10(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r11(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r12(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r13(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r14(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r15(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r16(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r17(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r18(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r19(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r20(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r21(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r22(const struct failover_facts *f, struct failover_rule *ret);
bool failover_r23(const struct failover_facts *f, struct failover_rule *ret);

/* All of them, in order, with `waived` as f->order has it. */
void failover_rules(const struct failover_facts *f, struct failover_rule ret[FAILOVER_RULES]);
/* The first rule that forbids and is not waived, in *ret; false: it may be done. */
bool failover_forbidden(const struct failover_facts *f, struct failover_rule *ret);
/* Would it act by itself if the source died now? Only rules that do not need the fault to be there
 * are asked: *ret as above. */
bool failover_disarmed(const struct failover_facts *f, struct failover_rule *ret);
/* {"armed", "allowed", "state", "reason", "rules": [{"id", "holds", "waived", "waiver", "value",
 * "limit", "text"}]}. `armed`: no rule that needs no fault forbids; `allowed`: none at all does. */
json_t *failover_explain(const struct failover_facts *f, const char *state, const char *reason);
