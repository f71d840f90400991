/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside domain/schedule: the documents as structs, and one step's view of the world. */
#pragma once

#include "base/digest/digest.h"
#include "base/str/str.h"
#include "domain/schedule/schedule.h"

#define NAME_SIZE 64 /* of regions, hosts, modules and instances, all at most 47 bytes */
#define REASON_SIZE 256
#define WEIGHT_FULL 100
#define WEIGHT_MAX 1000u /* what an edge takes */

enum instance_kind {
    KIND_GOOD,    /* runs the generation that the module shall have here */
    KIND_OLD,     /* runs another one */
    KIND_LEAVING, /* on a host that is being drained */
    KIND_LOST,    /* on a host that is silent or no longer of this region */
    KIND_DRAIN,
    KIND_STANDBY,
};

struct instance {
    json_t *json; /* as read, for members that this version does not know; NULL: new */
    char name[NAME_SIZE], module[NAME_SIZE], host[NAME_SIZE];
    char spec[DIGEST_SIZE];    /* its generation */
    bool drain, standby, gone; /* gone: leaves the document with this step */
    int weight;
    int64_t since_ms;
    int64_t drain_seq;  /* of the write that said "drain"; 0: the one being made */
    uint64_t drain_due; /* boot ms; 0: not counted yet by this leader */
    uint64_t ready_at;  /* seen ready since, boot ms; 0: it is not */
    char reason[REASON_SIZE];
    /* of this step */
    enum instance_kind kind;
    int ready;   /* as its agent says */
    bool proven; /* ready for good, as far as one can know */
    int next;    /* of the same module in p->v; -1: the last */
};

struct placement { /* of one region */
    char region[NAME_SIZE];
    json_t *json;   /* as in the state store; NULL: not written yet */
    uint64_t print; /* of what it says, to see a change without making the document */
    int64_t seq;
    json_t *specs; /* generation -> unit spec */
    json_t *lacks; /* [{module, count, reason}]: what no host can take */
    struct instance *v;
    size_t n, cap;
};

struct tally {            /* what one step saw of a module in a region */
    unsigned good, ready; /* ready: of the good, in service */
    unsigned old, leaving, draining, lost, lacking;
    bool awaited;             /* something has to become ready, or to find a host */
    bool silent;              /* no host of the region is heard: nothing was done */
    bool failing;             /* a good instance fails again and again: `reason` */
    char reason[REASON_SIZE]; /* of what fails, or of what is awaited */
    bool done;                /* as it shall be */
};

enum part_state { PART_WAITING, PART_CANARY, PART_RUNNING, PART_DONE };

struct part { /* a rollout in one region */
    char region[NAME_SIZE];
    enum part_state state;
    unsigned ready, wanted;
    uint64_t canary_at; /* canaries are ready together since, boot ms; 0: they are not */
    struct tally tally; /* of this step */
};

enum deploy_state {
    DEPLOY_RUNNING,
    DEPLOY_DONE,
    DEPLOY_ROLLING_BACK,
    DEPLOY_ROLLED_BACK,
    DEPLOY_FAILED
};

struct deploy {   /* the last rollout of a module */
    json_t *json; /* as in the state store; NULL: not written yet */
    uint64_t print;
    char module[NAME_SIZE];
    int64_t id, revision;
    char from[DIGEST_SIZE], to[DIGEST_SIZE]; /* from "": there is no way back */
    char by[128];
    enum rollout_strategy strategy;
    enum deploy_state state;
    int64_t started_ms, deadline_ms, ended_ms; /* wall; 0: not yet, or not counting */
    uint64_t due;                              /* the deadline, boot ms; 0: not counting */
    unsigned progress; /* most instances that were ready at once, in all its regions */
    char step[REASON_SIZE], reason[REASON_SIZE];
    bool retry; /* an operator asks again for what failed */
    json_t *specs, *refused;
    struct part *parts;
    size_t n_parts, cap_parts;
    bool gone;
};

struct generation { /* of a module */
    const json_t *spec;
    char id[DIGEST_SIZE];
};

struct schedule {
    struct placement *places;
    size_t n_places, cap_places;
    struct deploy *deploys;
    size_t n_deploys, cap_deploys;
    bool guard_off[SCHEDULE_GUARDS];
    /* The generations of the revision seen last: a digest a module is a lot for every step. */
    struct generation *generations;
    size_t n_generations;
    const struct model *of_model;
    const json_t *of_files;
    int64_t of_revision;
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

struct module_view { /* one module: declared, or still there */
    const struct model_module *model;
    struct model_module undeclared; /* what model points to when the revision has it no longer */
    struct generation wanted;       /* spec NULL: undeclared */
    struct deploy *deploy;          /* NULL: it never changed */
    bool held;                      /* may not begin a rollout now: others have to end first */
    int first;                      /* its first instance in the region at hand; -1: none */
};

struct step {
    struct schedule *s;
    const struct schedule_input *in;
    uint64_t now;
    int64_t wall;
    struct schedule_actions *out;
    struct host_view *hosts;     /* by the model's index */
    struct module_view *modules; /* the model's, then those that are no longer declared */
    size_t n_modules, cap_modules;
};

struct aim { /* what shall become of a module in a region */
    struct module_view *m;
    unsigned active, standby;
    unsigned marked; /* of the active, those that are marked standby: they are admitted here */
    struct generation goal;
    struct generation fill; /* what takes the place of a lost old one; spec NULL: none */
    enum rollout_strategy strategy;
    bool canary;           /* in the canary phase */
    bool back;             /* a way back: at once, and without phases */
    const json_t *refused; /* generations that count for nothing unless they are ready */
};

/* doc.c */
void instance_done(struct instance *i);
struct placement *placement_find(struct schedule *s, const char *region);
struct placement *placement_get(struct schedule *s, const char *region); /* makes it */
void placement_done(struct placement *p);
MUST_CHECK int placement_parse(struct placement *p, const json_t *doc, struct err *e);
/* Drops what is gone; tells what has to be written, NULL: nothing. New reference. */
json_t *placement_write(struct placement *p, const struct step *st);
/* FNV-1a, to tell whether something changed; begin with 0. */
uint64_t doc_print(uint64_t print, const void *data, size_t len);
uint64_t doc_print_text(uint64_t print, const char *text);
uint64_t doc_print_number(uint64_t print, int64_t n);
MUST_CHECK int doc_check_format(const json_t *doc, struct err *e);
MUST_CHECK int doc_text(const json_t *j, const char *key, char *out, size_t size, struct err *e);

/* deploy.c: deploy/<module> */
struct deploy *deploy_find(struct schedule *s, const char *module);
void deploy_done(struct deploy *d);
MUST_CHECK int deploy_parse(struct deploy *d, const json_t *doc, struct err *e);
json_t *deploy_write(struct deploy *d);
struct part *deploy_find_part(struct deploy *d, const char *region); /* NULL: none yet */
struct part *deploy_part(struct deploy *d, const char *region);      /* makes it */
void deploy_clear_parts(struct deploy *d);
bool deploy_live(const struct deploy *d); /* running or rolling back */

/* place.c */
enum { READY_NO, READY_YES, READY_UNKNOWN };
struct host_view *step_host(const struct step *st, const char *name); /* NULL: not declared */
bool host_lost(const struct step *st, const struct placement *p, const char *host);
const json_t *step_unit(const struct step *st, const struct instance *i); /* NULL: not reported */
int step_ready(const struct step *st, const struct instance *i);
void step_loads(struct step *st);
/* A new instance on the best host; the name is the lowest free one. -1: no host can take it, `why`
 * says so. */
int step_create(struct step *st, struct placement *p, struct module_view *m,
    const struct generation *g, bool standby, char why[REASON_SIZE]);

/* region.c: one module in one region */
void step_module_region(
    struct step *st, struct placement *p, const struct aim *aim, struct tally *ret);

/* victims.c: who leaves */
void step_drain_victims(
    struct step *st, struct placement *p, const struct aim *aim, struct tally *t);
bool aim_refused(const struct aim *aim, const char *generation);
void step_finish_drains(struct step *st, struct placement *p, const struct aim *aim);

/* rollout.c: what each module shall be, and what became of it */
void rollout_decide(struct step *st, struct module_view *m);
void rollout_gate(struct step *st, struct module_view *m);
void rollout_aim(
    struct step *st, struct module_view *m, const struct model_region *r, struct aim *ret);
void rollout_conclude(struct step *st, struct module_view *m);

/* step.c */
const struct model_instances *module_wanted(
    const struct model_module *m, const struct model_region *r); /* never NULL */
bool region_silent(const struct step *st, const char *region);
bool step_is_admitted(const struct step *st, const char *module, const char *region);
void step_note(struct step *st, const char *module, const char *cause, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void step_due(struct step *st, uint64_t at_ms);
