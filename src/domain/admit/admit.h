/* SPDX-License-Identifier: Apache-2.0 */
/* Which region takes the calls of a module that has standbys. A standby is placed, started and ready
 * like any other instance, and not admitted: nobody calls it, and it calls nobody. One document of
 * the state store a module, changed by compare-and-swap alone, says who is:
 *
 *   admit/<module>  {"format":1, "epoch":N, "region":"ap-seoul", "from":"ap-hongkong",
 *      "standbys":true, "why":"promotion"|"module"|"failback", "database":"trade",
 *      "database_epoch":E, "by":"…", "at_ms": wall ms}
 *
 * No document: as declared, active instances take calls and standbys do not. With one, `region` is
 * admitted, its standbys too if "standbys" says so, and `from` has lost it. The epoch is the
 * document's own and rises with each change. What has lost it:
 *
 *   an exclusive module (it consumes events, or nobody comes to it from outside) takes nothing and calls
 *     nobody: never two regions under one epoch;
 *   one with routes goes on where it is active: clients come there until answers have moved them.
 *
 * A consumer also stops where the state store was not read for ADMIT_FRESH_MS: it may have been
 * admitted elsewhere meanwhile, and an order handled twice is worse than one handled later. And
 * where it was admitted it begins ADMIT_SETTLE_MS after this host learned of it: by then whoever does not
 * know of it has stopped for that reason. No host has to hear another for this.
 *
 * Pure. Documents that do not parse count for none. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/model/model.h"

#define ADMIT_FRESH_MS 10000u
#define ADMIT_SETTLE_MS 13000u /* and what it takes to notice, to tell a mesh and to end connections */
#define ADMIT_OLD_MS 60000     /* by the wall clock: long over, wherever a control begins anew */

enum admit_answer {
    ADMIT_TAKES,
    ADMIT_WAITS, /* a standby */
    ADMIT_LOST,  /* another region has it */
    ADMIT_BLIND, /* a consumer, and the state store was not read for long */
    ADMIT_SOON,  /* a consumer, and the region before may not know yet */
};

struct admit_case {
    const struct model_module *module;
    const char *region;
    bool standby;    /* as its instance is placed */
    const json_t *doc; /* NULL: none */
    bool fresh;      /* documents were read within ADMIT_FRESH_MS */
    bool settling;   /* this document is not known for ADMIT_SETTLE_MS yet */
};

enum admit_answer admit_judge(const struct admit_case *c);
/* "" for ADMIT_TAKES; else why not, for people and for the instance that is refused. */
const char *admit_words(enum admit_answer a);

bool admit_consumes(const struct model_module *m); /* events, of any database's outbox */
/* At most one region at a time. */
bool admit_is_exclusive(const struct model_module *m);
bool admit_has_standby(const struct model_module *m, const char *region); /* NULL: anywhere */
/* Where it is active: the main region if it is there, else the first declared. NULL: nowhere. */
const struct model_region *admit_main(const struct model *m, const struct model_module *module);
/* Standbys of the region are admitted: they count as active ones there. */
bool admit_has_moved_to(const json_t *doc, const char *region);

/* ---- changes, for who edits the document: a new reference, or `old` itself increased when nothing
 * is to be done. */

struct admit_wish {
    const char *region, *from;
    const char *why, *by;
    const char *database; /* promotion; NULL: none */
    int64_t database_epoch;
    int64_t wall_ms;
};

/* The standbys of `region` are admitted, `from` loses it. An older epoch of the same database changes
 * nothing. */
json_t *admit_move(json_t *old, const struct admit_wish *w);
/* Back to how it is declared; what was admitted meanwhile loses it. */
json_t *admit_back(json_t *old, const char *by, int64_t wall_ms);

/* ---- a module that fails alone (watch.c) */

#define ADMIT_DOWN_MS 15000u   /* none ready in its main region for so long */
#define ADMIT_READY_MS 60000u  /* ready again for so long: it may go back */
#define ADMIT_SETTLED_MS 120000u /* placed for so long: it should have been ready by now */

struct admit_seen { /* what the leader sees of one module */
    const struct model_module *module;
    const char *main, *standby; /* regions; standby: where it would be admitted */
    const json_t *doc;
    unsigned main_ready, standby_ready; /* instances */
    uint64_t placed_ms; /* the oldest of the main ones is placed for so long; 0: none is */
    bool source_lives;  /* no database with its source in the main region is silent */
    bool source_back;   /* the source of the promoted database is in the main region */
    bool rolls_out;     /* its rollout is under way */
};

struct admit_watch { /* of one module, in memory of the leader */
    bool was_ready;
    uint64_t down_since_ms, up_since_ms; /* boot; 0: it is not */
    bool told_lack, told_ready;
};

enum admit_act { ADMIT_NOTHING, ADMIT_MOVE, ADMIT_BACK };

struct admit_action {
    enum admit_act act;
    char note[200]; /* for the timeline, once; "" */
};

void admit_watch_step(struct admit_watch *w, const struct admit_seen *seen, uint64_t now_ms,
    struct admit_action *ret);
