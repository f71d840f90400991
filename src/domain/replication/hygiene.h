/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a server of a database, judged from what was found out about it: does it refuse
 * writes where it must, can it serve, who replicates from whom and who writes, are tables made for
 * replication, what holds up applying, can its clock be trusted, how long do its certificates last.
 * Pure: the facts come from service/data.
 *
 * Facts, each part as it was found last or missing:
 *   "canary":  {"writes": true | false | null, "read_only": as it was, "closed": the second write was
 *              refused, "number", "error", "powerful": ["'x'@'%': READ_ONLY ADMIN", ...], "at_ms"}
 *   "serving": {"error", "max_connections", "event_scheduler", "at_ms"}
 *   "survey":  {"replicas": [{"id", "host"}], "feeds": [{"user", "host"}], "sessions": [{"user",
 *              "host"}], "named": [{"name", "host"}], "writers": [server ids that are writing now]}
 *   "tables":  ["trade.x", ...] without a primary key
 *   "apply":   {"state", "table", "blocker": {"id", "user", "seconds", "statement"}}
 *   "semisync": {"on", "active", "clients"} */
#pragma once

#include "domain/replication/findings.h"
#include "domain/replication/node.h"

#define HYGIENE_SURVEY_MS 10000u
#define HYGIENE_APPLY_MS 3000u    /* what was received waits for so long: slow */
#define HYGIENE_CLOCKS_MS 90000u  /* not compared for so long after a start: told */

struct hygiene_input {
    const char *database;
    enum replication_duty duty;
    uint32_t self;
    const char *self_host;
    const char *source_host, *source_address; /* by the document */
    uint16_t source_port;
    const json_t *members;  /* of the snapshot */
    const json_t *accounts; /* of the snapshot; NULL or null: not known */
    const json_t *facts;
    uint64_t now_ms, check_ms;
    bool semi_sync;
    bool reached; /* the server answers: the five below are of now */
    bool read_only, attached;
    const char *follows; /* address of whom it replicates from */
    uint16_t follows_port;
    bool receiving;
    int64_t source_connections; /* max_connections there; 0: not known */
    uint64_t waiting_ms;        /* how long what was received waits to be applied */
    uint64_t objective_ms, delay_ms;
    bool clock_jumped; /* and was not measured since */
    uint64_t clock_unknown_ms; /* the offset to the source is not known well enough since; 0: it is */
    int64_t cert_left_ms, cert_life_ms; /* life 0: no certificate yet */
    bool refused; /* the source refuses its login */
    unsigned refused_number, tries;
    const char *refused_text;
    uint64_t next_ms; /* until the next try */
};

/* Appends what it finds to a list (findings.h). */
void hygiene_judge(const struct hygiene_input *in, json_t *list);
