/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/replication/status.h"

#include "domain/replication/doc.h"

/* Passed on as reported; null where a member says nothing of it. */
static const char *const figures[] = {"lag_ms", "ship_ms", "apply_ms", "lag_p50_ms", "lag_p95_ms",
    "lag_max_ms", "late_ms", "uncertain", "gtid", "io_gtid", "read_only", "io", "sql", "ladder", "sessions",
    "writes_per_s", "version", "disk", "binlog", "backup", "vault", "findings", "check",
    "seed"};

static json_t *member_json(const struct replication_doc *d, const struct replication_member *m,
    const json_t *report)
{
    json_t *j = json_pack("{s:s,s:s,s:s,s:I,s:s,s:s}", "host", m->host, "region", m->region, "duty",
        m == d->source ? "source" : "replica", "delay_ms", (json_int_t)m->delay_ms, "state",
        report ? json_opt_str(report, "state", "?") : "not-heard", "why",
        report ? json_opt_str(report, "why", "")
               : "its host is not heard, or its data role is restarting");
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        json_t *v = json_object_get(report, figures[i]);
        json_object_set_new(j, figures[i], v ? json_deep_copy(v) : json_null());
    }
    if (!report)
        json_object_set_new(j, "uncertain", json_true());
    return j;
}

json_t *replication_status(
    const char *database, const json_t *doc, replication_report_fn report, void *ctx)
{
    struct replication_doc d;
    struct err ignored;
    if (replication_doc_parse(doc, &d, &ignored) < 0)
        return NULL;
    json_t *members = json_array(), *replicas = json_array(), *source = NULL;
    for (size_t i = 0; i < d.n_members; i++) {
        const struct replication_member *m = &d.members[i];
        json_t *j = member_json(&d, m, report(ctx, m->host, database));
        json_array_append(members, j);
        if (m == d.source)
            source = j;
        else
            json_array_append(replicas, j);
        json_decref(j);
    }
    json_t *all = json_pack("{s:s,s:I,s:s,s:s,s:s,s:s,s:O?,s:o,s:o}", "name", database, "epoch",
        (json_int_t)d.epoch, "source", d.source->host, "source_region", d.source->region, "state",
        json_opt_str(source, "state", ""), "why", json_opt_str(source, "why", ""), "change",
        d.change, "members", members, "replicas", replicas);
    ASSERT(all);
    if (!d.change)
        json_object_set_new(all, "change", json_null());
    return all;
}
