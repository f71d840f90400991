/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder alone. */
#pragma once

#include "service/steer/steer.h"

#include "base/metrics/metrics.h"

struct asked;
struct journal_file;

struct steer_service {
    struct steer_service_options o;
    char host[48], region[48];
    struct steer *steer;
    const struct model *model;
    struct prober *own_prober; /* of o.prober == NULL */
    struct steer_prober prober;
    void *prober_ctx;
    struct asked *asked; /* probes in flight */
    size_t reference;    /* the next one to try */
    uv_timer_t timer;
    struct journal_file *journal;
    struct steer_actions actions;
    uint64_t health_seq;
    struct metric_set *metrics;
    struct metric_set **targets; /* a set a target, of the current plan */
    size_t n_targets;
    bool stepping;
};

/* journal.c: the journal on disk, written by a worker thread, never two at a time. */
struct journal_file *steer_journal_file_new(uv_loop_t *loop, const char *path);
/* *ret NULL when there is none. ERR_INVALID: torn; the file is set aside as PATH.bad. */
MUST_CHECK int steer_journal_file_read(const char *path, json_t **ret, struct err *e);
/* Takes j. The newest wins when several come while one is written. */
void steer_journal_file_save(struct journal_file *f, json_t *j);
/* Writes what waits, now. */
void steer_journal_file_free(struct journal_file *f);

/* metrics.c */
void steer_metrics_new(struct steer_service *s);
void steer_metrics_plan(struct steer_service *s);
void steer_metrics_probe(struct steer_service *s, size_t target, const struct probe_result *r);
void steer_metrics_view(struct steer_service *s);
void steer_metrics_entry(struct steer_service *s, const struct timeline_draft *d);
void steer_metrics_done(struct steer_service *s);
