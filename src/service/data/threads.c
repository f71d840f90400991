/* SPDX-License-Identifier: Apache-2.0 */
/* More applying threads for a replica that falls behind although it gets on: many small transactions
 * are what they help with. Until the server's next start; its configuration is as it was. */
#include "service/data/priv.h"

#include <inttypes.h>

#define THREADS_MAX 16u

static uint64_t threads_now(struct sql_conn *c, struct err *e)
{
    _cleanup_sql_rows_ struct sql_rows rows = {0};
    uint64_t n = 0;
    if (sql_query(c, "SELECT @@slave_parallel_threads AS n", NULL, &rows, e) < 0 || !rows.n
        || !sql_u64(&rows.v[0], "n", &n))
        return THREADS_MAX;
    return n;
}

uint64_t data_more_threads(struct sql_conn *c)
{
    struct err e = {0};
    uint64_t now = threads_now(c, &e), more = MIN(MAX(now, 1) * 2, THREADS_MAX);
    if (now >= THREADS_MAX || sql_stop(c, SQL_THREAD_SQL, &e) < 0)
        return 0;
    int set = sql_execf(c, &e, "SET GLOBAL slave_parallel_threads=%" PRIu64, more);
    int started = sql_start(c, SQL_THREAD_SQL, &e); /* else the ladder does, as after a crash */
    return set < 0 || started < 0 ? 0 : more;
}
