/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of a platform: those that platform.yaml declares, and the built-in ones, which every
 * platform has for what it runs: databases that do not answer, lag behind or do not replicate,
 * failover that would not come, routes that answer with errors, disks, certificates, silent hosts,
 * drills that are overdue. Built-in rules have dots in their names, so no declared one is called
 * the same; they are told to every `notify:` that wants them. Pure. */
#pragma once

#include "domain/alarm/alarm.h"
#include "domain/model/model.h"

struct alarm_rules {
    struct alarm_rule *v;
    size_t n, cap;
};

/* Borrows from the model. */
void alarm_rules_init(struct alarm_rules *r, const struct model *m);
void alarm_rules_done(struct alarm_rules *r);
const struct alarm_rule *alarm_rules_find(const struct alarm_rules *r, const char *name);
