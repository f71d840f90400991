/* SPDX-License-Identifier: Apache-2.0 */
/* The check of a source on its own host (domain/failover/local_check.h): asks it on a thread of its own, looks at
 * the process's threads when no answer came. What is killed is the process behind the pidfd, whoever has its
 * number by then. */
#include "service/data/lease.h"
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/str/str.h"

#include <dirent.h>

#define THREADS_MAX 4096u
#define STATUS_MAX 8192u
#define LIBRARY_ERRORS 2000u /* up to 2999, and from 5000 on: no server said so */
#define SERVER_ERRORS 3000u
#define CONNECTOR_ERRORS 5000u
#define TELL_EACH_MS 60000u

struct check_job {
    struct db *db;
    pid_t pid;
    uint64_t began_ms;
};

/* ---- its threads */

static uint64_t number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static bool see_thread(struct local_check_sample *s, const char *dir, const char *tid)
{
    struct err ignored;
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *path = xasprintf("%s/%s/status", dir, tid);
    const char *state = file_read(path, STATUS_MAX, &text, &ignored) < 0
                            ? NULL
                            : strstr(str_cstr(&text), "\nState:\t");
    if (!state)
        return false;
    char letter = state[strlen("\nState:\t")];
    s->threads++;
    s->runnable += letter == 'R';
    s->on_disk += letter == 'D';
    s->steps += number_after(state, "\nvoluntary_ctxt_switches:")
                + number_after(state, "\nnonvoluntary_ctxt_switches:");
    return true;
}

/* One that ends meanwhile has moved. */
void data_see_threads(pid_t pid, struct local_check_sample *s)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    s->seen = d != NULL;
    for (const struct dirent *t; d && (t = readdir(d)) && s->threads < THREADS_MAX;)
        if (*t->d_name != '.' && !see_thread(s, path, t->d_name))
            s->runnable++;
    if (d)
        closedir(d);
}

/* ---- the check */

static int run_check(void *ctx, struct sql_conn *c, struct sql_stop *stop, struct err *e)
{
    _cleanup_str_ struct str one = STR_INIT;
    return sql_value(c, "SELECT 1", &one, e);
}

/* "Too many connections" is an answer. */
static bool is_answer(unsigned number)
{
    return number && (number < LIBRARY_ERRORS || number >= SERVER_ERRORS)
           && number < CONNECTOR_ERRORS;
}

static void judge(struct db *db, const struct local_check_sample *s)
{
    struct db_lease *l = &db->lease;
    enum local_verdict v = local_check_step(&l->check, s);
    uint64_t now = clock_boot_ms();
    bool slow = v == LOCAL_SLOW && l->check.misses == LOCAL_CHECK_MISSES;
    if (slow && (!l->slow_ms || now - l->slow_ms >= TELL_EACH_MS)) {
        l->slow_ms = now;
        data_note(db->owner, db, "data", "the server is slow to answer",
            s->on_disk ? "it waits for its disk" : "its process gets on");
    }
    if (v == LOCAL_DEAD)
        db_lease_stands_still(db);
}

static void on_checked(void *ctx, int result, unsigned number, const struct err *e)
{
    struct check_job *j = ctx;
    struct db *db = j->db;
    struct local_check_sample s = {.began_ms = j->began_ms,
        .ended_ms = clock_boot_ms(),
        .answered = !e || is_answer(number)};
    bool cancelled = e && e->code == ERR_CANCELED;
    db->lease.checking = false;
    if (!db->closing && !cancelled && db_lease_pid(db) == j->pid) {
        if (!s.answered)
            data_see_threads(j->pid, &s);
        judge(db, &s);
    }
    free(j);
}

static bool have_worker(struct db *db)
{
    struct db_lease *l = &db->lease;
    struct err ignored;
    if (l->checker)
        return true;
    struct sql_target *t = data_target_new(&db->want, NULL, NULL, "mcp-check");
    if (sql_worker_new(db->owner->config.loop, t, &l->checker, &ignored) >= 0)
        db->open_handles++;
    sql_target_free(t);
    return l->checker != NULL;
}

void db_lease_check(struct db *db)
{
    struct db_lease *l = &db->lease;
    uint64_t now = clock_boot_ms();
    pid_t pid = db_lease_pid(db);
    if (!pid || l->checking || now - l->checked_ms < LOCAL_CHECK_EACH_MS || !have_worker(db))
        return;
    struct check_job *j = xcalloc(1, sizeof *j);
    *j = (struct check_job){.db = db, .pid = pid, .began_ms = now};
    l->checking = true;
    l->checked_ms = now;
    sql_worker_run(l->checker, LOCAL_CHECK_LIMIT_MS, run_check, on_checked, j);
}
