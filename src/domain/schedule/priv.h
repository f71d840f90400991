/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside domain/schedule: the documents as structs, and one step's view of the world. */
#pragma once

#include "base/digest/digest.h"
#include "base/str/str.h"
#include "domain/schedule/schedule.h"

#define NAME_SIZE 64 /* of regions, hosts, modules and instances, all at most 47 bytes */
#define REASON_SIZE 256
#define WEIGHT_FULL 100

struct instance {
    json_t *json; /* as read, for members that this version does not know; NULL: new */
    char name[NAME_SIZE], module[NAME_SIZE], host[NAME_SIZE];
    char spec[DIGEST_SIZE];    /* its generation */
    bool drain, standby, gone; /* gone: leaves the document with this step */
    int weight;
    int64_t since_ms;
    int64_t drain_seq;  /* of the write that said "drain"; 0: the one being made */
    uint64_t drain_due; /* boot ms; 0: not counted yet by this leader */
    char reason[REASON_SIZE];
};

struct placement { /* of one region */
    char region[NAME_SIZE];
    json_t *json; /* as in the state store; NULL: not written yet */
    int64_t seq;
    json_t *specs; /* generation -> unit spec */
    json_t *lacks; /* [{module, count, reason}]: what no host can take */
    struct instance *v;
    size_t n, cap;
};

struct schedule {
    struct placement *places;
    size_t n_places, cap_places;
};

struct load { /* of a host, by the declared limits of what is placed on it */
    uint64_t memory_bytes;
    uint64_t cpu_milli;
};

struct host_view { /* one of the model's hosts */
    const struct model_host *model;
    const struct schedule_host *seen; /* NULL: the caller says nothing of it */
    json_t *units;                    /* name -> unit as reported; NULL: unknown */
    struct load load;
};

struct generation { /* of one of the model's modules */
    json_t *spec;
    char id[DIGEST_SIZE];
};

struct step {
    struct schedule *s;
    const struct schedule_input *in;
    uint64_t now;
    int64_t wall;
    struct schedule_actions *out;
    struct host_view *hosts;        /* by the model's index */
    struct generation *generations; /* by the model's order of modules */
};

/* doc.c */
void instance_done(struct instance *i);
struct placement *placement_find(struct schedule *s, const char *region);
struct placement *placement_get(struct schedule *s, const char *region); /* makes it */
void placement_done(struct placement *p);
MUST_CHECK int placement_parse(struct placement *p, const json_t *doc, struct err *e);
/* Drops what is gone; tells what has to be written, NULL: nothing. New reference. */
json_t *placement_write(struct placement *p, const struct step *st);
const json_t *placement_spec(const struct placement *p, const char *generation);

/* place.c */
enum { READY_NO, READY_YES, READY_UNKNOWN };
struct host_view *step_host(const struct step *st, const char *name); /* NULL: not declared */
bool host_lost(const struct step *st, const struct placement *p, const char *host);
const json_t *step_unit(const struct step *st, const struct instance *i); /* NULL: not reported */
int step_ready(const struct step *st, const struct instance *i);
void step_loads(struct step *st);
/* The host of the region for one more instance; NULL: none can take it, `why` says so. */
struct host_view *step_place(const struct step *st, const struct placement *p,
    const struct model_module *m, const char *generation, char why[REASON_SIZE]);
/* A new instance; the name is the lowest free one. */
struct instance *step_create(struct step *st, struct placement *p, const struct model_module *m,
    const char *generation, bool standby, char why[REASON_SIZE]);

/* region.c: one module in one region */
void step_module_region(struct step *st, struct placement *p, const struct model_module *m,
    const struct model_instances *wanted, const struct generation *goal);
void step_note(struct step *st, const char *subject, const char *cause, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void step_due(struct step *st, uint64_t at_ms);
