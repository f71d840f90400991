/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "domain/model/decl.h"

/* Checks of single texts, for the tables: NULL when fine, else what is expected. */
const char *model_check_country(const char *text);
const char *model_check_path(const char *text);
const char *model_check_image(const char *text);
const char *model_check_env_name(const char *text);
const char *model_check_prefix(const char *text);
const char *model_check_egress(const char *text);
const char *model_check_may(const char *text);
const char *model_check_wave(const char *text);
const char *model_check_secret(const char *text);
const char *model_check_database(const char *text);
const char *model_check_table(const char *text);
const char *model_check_schedule(const char *text);
const char *model_check_disk_full(const char *text);
const char *model_check_directory(const char *text);

/* An account's name in MariaDB has 80 characters, in MySQL 32; ours are both's. */
#define MODEL_ACCOUNT_MAX 32

/* What the cross checks share. Lists that are maps in the file are sorted by key before. */
struct checker {
    const struct decl *d;
    struct problems *p;
    struct arena *arena; /* for what one check remembers for another; dies with the parse */
};

void decl_sort(struct decl *d);
const void *decl_find(const struct schema_list *list, size_t item_size, const char *key);
const struct decl_region *decl_find_region(const struct decl *d, const char *name);
const struct decl_host *decl_find_host(const struct decl *d, const char *name);
/* The host that holds a region's public addresses, NULL: users cannot be sent there. */
const struct decl_host *decl_public_host(const struct decl *d, const struct decl_region *region);
/* "main" and the like; -1: no duty. */
int decl_duty(const char *word);

void decl_check(struct checker *c);         /* regions, hosts, state, lab */
void decl_check_routing(struct checker *c); /* lists, records, geo */
void decl_check_modules(struct checker *c);
void decl_check_data(struct checker *c);
void decl_check_alarms(struct checker *c);
/* Each of these names is a declared function's. */
void decl_check_functions_exist(struct checker *c, const struct schema_list *list);
void decl_check_functions(struct checker *c);
/* Where a database's member of that region stands; NULL: the region has no host. */
const struct decl_host *decl_database_host(
    const struct decl *d, const struct decl_database *db, const char *region);
/* An unknown name: "unknown region "x"", with the nearest of the list's keys. */
void decl_unknown(struct checker *c, const char *what, const struct schema_text *word,
    const struct schema_list *known, size_t item_size);
/* Which region of a routing list: an error if it exists and cannot be routed to. */
void decl_check_routable(
    struct checker *c, const struct schema_text *ref, const struct decl_region *region);

/* A name as it is served: lower case, without the trailing dot. */
char *decl_lower_name(struct arena *a, const char *name);
bool decl_in_domain(const char *fqdn, const char *domain);
/* The owner of a record: lower case, absolute, no trailing dot. NULL: not a name in the domain. */
char *decl_record_fqdn(struct arena *a, const char *name, const char *domain);
/* The presentation form with every name absolute and every text quoted, NULL with *expected
 * (static) when the value does not fit the type. */
char *decl_record_value(struct arena *a, const char *type, const char *value, const char *domain,
    const char **expected);

char *model_route_path(
    struct arena *a, const char *path); /* without a trailing slash, unless it is "/" */

extern const char *const model_record_types[];  /* by decl_record.type */
extern const char *const model_rollout_words[]; /* by enum rollout_strategy */
extern const char *const model_secret_modes[]; /* by decl_secret.mode */
extern const char *const model_secret_signals[]; /* by decl_secret.signal */

/* After all checks: cannot fail. */
void decl_build(const struct decl *d, struct model *m);
void decl_build_data(const struct decl *d, struct model *m); /* after regions and hosts */
void decl_build_alarms(const struct decl *d, struct model *m);
const struct model_function *const *decl_build_functions_of(
    const struct model *m, const struct schema_list *list); /* NULL-terminated */
void decl_build_grants(const struct decl_module *from, struct model *m, struct model_module *to);
