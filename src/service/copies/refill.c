/* SPDX-License-Identifier: Apache-2.0 */
#include "service/copies/priv.h"

#include "base/str/str.h"

#include <unistd.h>

struct refill {
    const char *socket, *user, *scratch;
    struct sql_stop *stop;
};

/* The statements carry domain, server and number of each transaction: in the server's own log it is
 * what it was. */
static int apply(const struct refill *f, const char *reached, struct err *e)
{
    _cleanup_free_ char *from = xasprintf("--start-position=%s", reached),
                        *socket = xasprintf("--socket=%s", f->socket),
                        *user = xasprintf("--user=%s", f->user);
    /* Not strict: a domain that ends before where we begin is fine, the way was looked at already. */
    const char *read[6] = {"mariadb-binlog", "--no-defaults", "--skip-gtid-strict-mode", f->scratch};
    const char *const write[] = {"mariadb", "--no-defaults", socket, user, "--binary-mode", NULL};
    if (*reached)
        read[4] = from;
    return copies_pipe(read, write, -1, -1, f->stop, e);
}

static int apply_all(const struct refill *f, const struct copies_log *v,
    const struct copies_route *way, char gtid[COPIES_GTID_MAX], struct err *e)
{
    for (size_t i = 0; i < way->n; i++) {
        const struct copies_log *log = &v[way->logs[i]];
        int r = copies_log_unpack(log, f->scratch, f->stop, e);
        if (r >= 0)
            r = apply(f, gtid, e);
        unlink(f->scratch);
        if (r >= 0)
            r = copies_union(gtid, log->to, e);
        if (r < 0)
            return err_wrap(e, "apply %s", log->path);
    }
    return 0;
}

int copies_refill(const char *vault, const char *socket, const char *user, const char *begin,
    const char *scratch, struct sql_stop *stop, char gtid[COPIES_GTID_MAX], struct err *e)
{
    const struct refill f = {socket, user, scratch, stop};
    _cleanup_free_ struct copies_log *v = NULL;
    _cleanup_free_ struct copies_route *way = xcalloc(1, sizeof *way);
    size_t n = 0;
    if (!str_copy(gtid, COPIES_GTID_MAX, begin))
        return err_set(e, ERR_LIMIT, "a GTID position of %zu bytes", strlen(begin));
    int r = copies_vault_list(vault, &v, &n, e);
    if (r >= 0)
        r = copies_route_find(v, n, begin, NULL, scratch, stop, way, e);
    if (r >= 0 && !way->n)
        r = err_set(e, ERR_NOT_FOUND, "no log of the vault goes on from %s", begin);
    return r < 0 ? r : apply_all(&f, v, way, gtid, e);
}
