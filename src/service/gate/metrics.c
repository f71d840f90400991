/* SPDX-License-Identifier: Apache-2.0 */
#include "service/gate/priv.h"

#define REFUSED(cause)                                                                             \
    {                                                                                              \
        "mcp_gate_refused_total", "Connections and statements refused.", METRIC_COUNTER,           \
            "cause=\"" cause "\""                                                                  \
    }

static const struct metric_def worker_defs[M_COUNT] = {
    [M_SESSIONS] = {"mcp_gate_sessions_total", "Connections that were let in.", METRIC_COUNTER},
    [M_STATEMENTS] = {"mcp_gate_statements_total", "Commands that were forwarded.", METRIC_COUNTER},
    [M_LATE] = {"mcp_gate_late_total",
        "Answers that came after the deadline and were not passed; their connections were broken.",
        METRIC_COUNTER},
    [M_HELD] = {"mcp_gate_held_total", "Connections and statements that waited for a switchover.",
        METRIC_COUNTER},
    [M_SLOW] = {"mcp_gate_slow_total", "Statements that were slow to be answered.", METRIC_COUNTER},
    [M_SERVER_BROKE] = {"mcp_gate_server_broke_total",
        "Connections that the server ended in the middle.", METRIC_COUNTER},
    [M_UNREACHABLE] = {"mcp_gate_unreachable_total", "Connections that the server did not take.",
        METRIC_COUNTER},
    [M_REFUSED_MOVED] = REFUSED("moved"),
    [M_REFUSED_CONNECTIONS] = REFUSED("connections"),
    [M_REFUSED_CALLER] = REFUSED("caller"),
    [M_REFUSED_RATE] = REFUSED("rate"),
    [M_REFUSED_HOLD] = REFUSED("hold"),
    [M_REFUSED_COMMAND] = REFUSED("command"),
    [M_REFUSED_HANDSHAKE] = REFUSED("handshake"),
    [M_REFUSED_PROTOCOL] = REFUSED("protocol"),
    [M_IDLE] = {"mcp_gate_idle_total", "Connections ended because nobody used them.",
        METRIC_COUNTER},
    [M_ANSWER_SECONDS] = {"mcp_gate_answer_seconds",
        "From forwarding a statement to the end of its answer.", METRIC_HISTOGRAM, .lo = 1000},
};

enum { G_SESSIONS, G_BUSY, G_WAITING, G_SLOW, G_COUNT };

static const struct metric_def gauge_defs[G_COUNT] = {
    [G_SESSIONS] = {"mcp_gate_sessions", "Connections that are open.", METRIC_GAUGE},
    [G_BUSY] = {"mcp_gate_busy", "Of them with a statement under way or a transaction open.",
        METRIC_GAUGE},
    [G_WAITING] = {"mcp_gate_waiting", "Connections and statements that a switchover keeps.",
        METRIC_GAUGE},
    [G_SLOW] = {"mcp_gate_slow", "Statements that wait for longer than they should.", METRIC_GAUGE},
};

void gate_metrics_open(struct gate *g, struct metrics *m, const char *name, const char *kind)
{
    const struct metric_label labels[] = {{"database", name}, {"endpoint", kind}};
    g->gauges = metrics_set_new(m, gauge_defs, G_COUNT, labels, ARRAY_SIZE(labels));
    for (unsigned i = 0; i < g->n_workers; i++)
        g->workers[i].metrics =
            metrics_set_new(m, worker_defs, M_COUNT, labels, ARRAY_SIZE(labels));
}

void gate_collect(struct gate *g)
{
    struct gate_counts n = gate_counts(g);
    metric_set_value(g->gauges, G_SESSIONS, n.sessions);
    metric_set_value(g->gauges, G_BUSY, n.busy);
    metric_set_value(g->gauges, G_WAITING, n.waiting);
    metric_set_value(g->gauges, G_SLOW, n.slow);
}

void gate_metrics_close(struct gate *g)
{
    metrics_set_free(g->gauges);
    for (unsigned i = 0; i < g->n_workers; i++)
        metrics_set_free(g->workers[i].metrics);
}
