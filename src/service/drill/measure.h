/* SPDX-License-Identifier: Apache-2.0 */
/* What a drill is measured by. Pure: events of the load and of the servers go in, each with its own
 * time (milliseconds of clock_boot_ms()); figures come out.
 *
 * A client is back with its first acknowledgement of an order that was sent after the fault was
 * whole: what was on its way before proves nothing. A client was cached when the answer that it held
 * then named no address of a region that lives; its excess is what it waited beyond that answer's
 * life. One that asks after the injection, and is sent to what is lost all the same, was told again.
 *
 * Two writers: two servers, neither read-only, whose own transactions grew between two looks that
 * lie less than MEASURE_LOOK_MS apart, at overlapping times. */
#pragma once

#include "base/json/json.h"

#include <stdbool.h>

#define MEASURE_CLIENTS_MAX 1024
#define MEASURE_SERVERS_MAX 16
#define MEASURE_LOOK_MS 1000
#define MEASURE_ACKS_MAX 4000000u

struct measure;

/* regions: {name: [address]}; lost: names of those that the fault takes away. Both borrowed. */
struct measure *measure_new(const json_t *regions, const json_t *lost);
void measure_free(struct measure *m);
static inline void measure_free_p(struct measure **m)
{
    measure_free(*m);
}

void measure_event(struct measure *m, const json_t *event);
/* The fault began and was whole at these times. Once. */
void measure_injected(struct measure *m, uint64_t begin_ms, uint64_t whole_ms);

size_t measure_clients(const struct measure *m);
/* Clients with an acknowledgement of an order that was sent at or after that. */
size_t measure_clients_since(const struct measure *m, uint64_t sent_ms);
/* Of the injection: clients that are back, and the first that is whose answer names a living region
 * (its time, 0: none yet). */
size_t measure_back(const struct measure *m);
uint64_t measure_first_ms(const struct measure *m);
bool measure_two_writers(const struct measure *m);

/* An acknowledged order is not there: was it acknowledged after the service was back? Then somebody
 * else took it. */
void measure_lost(struct measure *m, uint64_t seq);

/* How many transactions lie between two positions, in the domains that both name. */
uint64_t measure_missing(const char *from_gtid, const char *to_gtid);

/* The members of the report that are figures (drill.h), "servers" and "series". */
json_t *measure_report(const struct measure *m);
