/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/sql/priv.h"

#include "base/clock/clock.h"

#include <stdatomic.h>
#include <sys/eventfd.h>

struct sql_stop {
    int fd; /* readable while raised */
    atomic_bool raised;
    _Atomic uint64_t deadline_ms;
};

struct sql_stop *sql_stop_new(void)
{
    struct sql_stop *s = xcalloc(1, sizeof *s);
    s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT(s->fd >= 0);
    return s;
}

void sql_stop_free(struct sql_stop *s)
{
    if (!s)
        return;
    close(s->fd);
    free(s);
}

void sql_stop_raise(struct sql_stop *s)
{
    atomic_store(&s->raised, true);
    ASSERT(eventfd_write(s->fd, 1) == 0);
}

bool sql_stop_raised(const struct sql_stop *s)
{
    return atomic_load(&s->raised);
}

void sql_stop_clear(struct sql_stop *s)
{
    eventfd_t n;
    atomic_store(&s->raised, false);
    (void)eventfd_read(s->fd, &n); /* EAGAIN: it was not raised */
}

void sql_stop_set_deadline(struct sql_stop *s, uint64_t boot_ms)
{
    atomic_store(&s->deadline_ms, boot_ms);
}

int sql_stop_fd(const struct sql_stop *s)
{
    return s ? s->fd : -1;
}

uint64_t sql_stop_deadline(const struct sql_stop *s)
{
    return s ? atomic_load(&s->deadline_ms) : 0;
}

int sql_stop_check(const struct sql_stop *s, struct err *e)
{
    if (!s)
        return 0;
    if (sql_stop_raised(s))
        return err_set(e, ERR_CANCELED, "cancelled");
    uint64_t deadline = sql_stop_deadline(s);
    if (deadline && clock_boot_ms() >= deadline)
        return err_set(e, ERR_TIMEOUT, "past its deadline");
    return 0;
}
