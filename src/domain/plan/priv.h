/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/arena/arena.h"
#include "domain/model/model.h"
#include "domain/plan/plan.h"

/* Both sides; `old` is an empty model where nothing runs. */
struct differ {
    struct plan *plan;
    struct arena *scratch;
    const struct model *old, *new;
    const json_t *old_files, *new_files, *sources;
    struct str reason; /* of the action being made: "a: 1 → 2, b: x → y" */
};

/* One pass over two arrays sorted by compare: each gets both where the keys are equal, else one and
 * NULL. */
typedef int (*plan_compare_fn)(const void *a, const void *b);
typedef void (*plan_each_fn)(struct differ *d, const void *old, const void *new);
void plan_merge(struct differ *d, const void *old, size_t n_old, const void *new, size_t n_new,
    size_t size, plan_compare_fn compare, plan_each_fn each);
int plan_by_name(const void *a, const void *b); /* structs that start with their name */

/* The action takes the reason gathered so far and starts a new one. subject and impact are copied.
 * */
void plan_add(struct differ *d, enum plan_verb verb, const char *group, const char *impact,
    const char *fmt, ...) PRINTF_LIKE(5, 6);
void plan_note(struct differ *d, const char *fmt, ...)
    PRINTF_LIKE(2, 3); /* adds to the reason, after ", " */
/* Adds "what old → new" if they differ (NULL is "none"); returns whether they do. */
bool plan_changed(struct differ *d, const char *what, const char *old, const char *new);
bool plan_changed_ms(struct differ *d, const char *what, uint64_t old, uint64_t new);
bool plan_changed_count(struct differ *d, const char *what, uint64_t old, uint64_t new);
const char *plan_addresses(struct arena *a, const struct model_addrs *list);
const char *plan_regions(struct arena *a, const struct model_region_list *list);

void plan_diff_hosts(struct differ *d, bool removals); /* regions, hosts, state members */
void plan_diff_modules(struct differ *d, bool removals);
void plan_diff_functions(struct differ *d, bool removals);
void plan_diff_routes(struct differ *d, bool removals);
void plan_diff_calls(struct differ *d, bool removals); /* needs, egress */
void plan_diff_data(struct differ *d, bool removals);
void plan_diff_alarms(struct differ *d);
void plan_diff_routing(struct differ *d);
void plan_diff_lab(struct differ *d);
