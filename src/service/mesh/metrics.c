/* SPDX-License-Identifier: Apache-2.0 */
#include "service/mesh/priv.h"

#define FAILED "Attempts to connect to a database that failed."

static const struct metric_def worker_defs[M_COUNT] = {
    [M_CALLS] = {"mcp_mesh_calls_total", "Calls of units of this host that were allowed.",
        METRIC_COUNTER},
    [M_LINKS] = {"mcp_mesh_links_total", "Calls that came from other hosts and were allowed.",
        METRIC_COUNTER},
    [M_REFUSED_NEEDS] = {"mcp_mesh_refused_total", "Connections refused.", METRIC_COUNTER,
        "cause=\"needs\""},
    [M_REFUSED_STRANGER] = {"mcp_mesh_refused_total", "Connections refused.", METRIC_COUNTER,
        "cause=\"stranger\""},
    [M_REFUSED_LOAD] = {"mcp_mesh_refused_total", "Connections refused.", METRIC_COUNTER,
        "cause=\"load\""},
    [M_REFUSED_STANDBY] = {"mcp_mesh_refused_total", "Connections refused.", METRIC_COUNTER,
        "cause=\"standby\""},
    [M_REFUSED_PROOF] = {"mcp_mesh_refused_total", "Connections refused.", METRIC_COUNTER,
        "cause=\"proof\""},
    [M_NO_IDENTITY] = {"mcp_mesh_without_identity_total",
        "Attempts not made for want of the caller's certificate.", METRIC_COUNTER},
    [M_OUT] = {"mcp_mesh_egress_total", "Requests of units to the outside that were allowed.",
        METRIC_COUNTER},
    [M_REFUSED_EGRESS] = {"mcp_mesh_refused_total", "Connections refused.", METRIC_COUNTER,
        "cause=\"egress\""},
    [M_REFUSED_INSIDE] = {"mcp_mesh_refused_total", "Connections refused.", METRIC_COUNTER,
        "cause=\"inside\""},
    [M_NOT_RESOLVED] = {"mcp_mesh_not_resolved_total", "Names outside that have no address now.",
        METRIC_COUNTER},
    [M_DATA_CALLS] = {"mcp_mesh_data_calls_total",
        "Connections of units of this host to databases that were allowed.", METRIC_COUNTER},
    [M_DATA_LINKS] = {"mcp_mesh_data_links_total",
        "Connections of other hosts to databases here that were allowed.", METRIC_COUNTER},
    [M_DATA_HELD] = {"mcp_mesh_data_held_total",
        "Connections to databases that waited for the source to move.", METRIC_COUNTER},
    [M_DATA_CLOSED] = {"mcp_mesh_data_closed_total",
        "Connections ended because the source has moved.", METRIC_COUNTER},
    [M_DATA_DOWN] = {"mcp_mesh_data_failed_total", FAILED, METRIC_COUNTER, "cause=\"down\""},
    [M_DATA_SLOW] = {"mcp_mesh_data_failed_total", FAILED, METRIC_COUNTER, "cause=\"slow\""},
    [M_DATA_UNREACHABLE] = {"mcp_mesh_data_failed_total", FAILED, METRIC_COUNTER,
        "cause=\"unreachable\""},
    [M_DATA_MOVED] = {"mcp_mesh_data_failed_total", FAILED, METRIC_COUNTER, "cause=\"moved\""},
};

static const struct metric_def engine_defs[SPLICE_STATS] = {
    [SPLICE_STAT_ACCEPTED] = {"mcp_mesh_accepted_total", "Connections that came.", METRIC_COUNTER},
    [SPLICE_STAT_OPEN] = {"mcp_mesh_flows", "Connections that are open.", METRIC_GAUGE},
    [SPLICE_STAT_REFUSED] = {"mcp_mesh_closed_at_once_total", "Connections closed at once.",
        METRIC_COUNTER},
    [SPLICE_STAT_JOINED] = {"mcp_mesh_joined_total", "Connections joined with an instance.",
        METRIC_COUNTER},
    [SPLICE_STAT_FAILED] = {"mcp_mesh_failed_total", "Connections that no instance took.",
        METRIC_COUNTER},
    [SPLICE_STAT_DIALS] = {"mcp_mesh_dials_total", "Attempts to reach an instance.", METRIC_COUNTER},
    [SPLICE_STAT_DIAL_FAILURES] = {"mcp_mesh_dial_failures_total", "Attempts that failed.",
        METRIC_COUNTER},
    [SPLICE_STAT_HANDSHAKES] = {"mcp_mesh_handshakes_total", "TLS handshakes.", METRIC_COUNTER},
    [SPLICE_STAT_RESUMED] = {"mcp_mesh_resumed_total", "TLS handshakes that went on from another.",
        METRIC_COUNTER},
    [SPLICE_STAT_KEPT] = {"mcp_mesh_kept", "Connections to other hosts that wait for a call.",
        METRIC_GAUGE},
    [SPLICE_STAT_REUSED] = {"mcp_mesh_reused_total", "Connections that served another call before.",
        METRIC_COUNTER},
    [SPLICE_STAT_BYTES_OUT] = {"mcp_mesh_sent_bytes_total", "Bytes of callers.", METRIC_COUNTER},
    [SPLICE_STAT_BYTES_IN] = {"mcp_mesh_received_bytes_total", "Bytes for callers.", METRIC_COUNTER},
    [SPLICE_STAT_BROKEN] = {"mcp_mesh_broken_total", "Connections that broke.", METRIC_COUNTER},
    [SPLICE_STAT_IDLE] = {"mcp_mesh_idle_total", "Connections ended because nothing moved.",
        METRIC_COUNTER},
};

void mesh_metrics_open(struct mesh *m)
{
    m->metrics =
        metrics_set_new(m->config.metrics, engine_defs, ARRAY_SIZE(engine_defs), NULL, 0);
    for (unsigned i = 0; i < m->config.threads; i++)
        m->workers[i].metrics =
            metrics_set_new(m->config.metrics, worker_defs, ARRAY_SIZE(worker_defs), NULL, 0);
}

void mesh_metrics_collect(struct mesh *m)
{
    gates_collect(m);
    for (size_t i = 0; i < SPLICE_STATS; i++) {
        uint64_t value = splice_stat(m->splice, (enum splice_stat)i);
        if (engine_defs[i].kind == METRIC_GAUGE)
            metric_set_value(m->metrics, i, (double)value);
        else
            metric_add(m->metrics, i, value - metric_get(m->metrics, i));
    }
}

void mesh_metrics_close(struct mesh *m)
{
    metrics_set_free(m->metrics);
    for (unsigned i = 0; m->workers && i < m->config.threads; i++)
        metrics_set_free(m->workers[i].metrics);
}
