/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a database beside its server: backups by their schedule, and on the host of a
 * replica the source's binary logs (service/vault). Replicas make backups, in the order of the
 * document, and the source when none does; what others have they tell through control ("world"). */
#include "service/data/priv.h"

#include "base/clock/clock.h"
#include "base/str/str.h"
#include "domain/replication/archive.h"
#include "domain/replication/findings.h"
#include "service/copies/serve.h"
#include "service/vault/vault.h"

#include <sys/statvfs.h>

#define TURN_MS 2000u
#define LOOK_MS 20000u   /* others change the folder, too */
#define SETTLE_MS 20000u /* a server that has just begun has other things to do */
#define RETRY_MS (10 * 60000u) /* after one that failed */
#define KEEP_MS (14 * 86400000ll)
#define DIRECTORY "/var/backups/mcp"
#define VAULT_ID 1000000000u /* added to a member's server id: who asks for logs is told apart */
#define VAULT_SHARE 4        /* of the file system: a quarter is the most that logs of others take */
#define VAULT_LATE_MS 60000u /* without the source for so long: told */

struct db_keep {
    struct db *db;
    uv_timer_t timer;
    struct copies_job *job; /* a backup that is due, under way */
    uint64_t looked_ms;     /* when the folder was looked into; 0: to be done now */
    uint64_t well_ms;       /* since when it is; 0: it is not */
    int64_t newest_ms;      /* of this host's; 0: none */
    char newest[ARCHIVE_ID_SIZE];
    uint64_t retry_ms;      /* boot time; 0: at once */
    char error[256];
    struct vault *vault;    /* NULL: no member followed anybody yet */
    uint64_t unfollowed_ms; /* boot time since when; 0: it follows, or has nobody to */
    void (*closed)(uv_handle_t *h);
};

static const json_t *settings(const struct db *db)
{
    return json_object_get(db->want.json, "backup");
}

static struct copies_host host_of(struct db *db)
{
    return (struct copies_host){.loop = db->owner->config.loop,
        .database = db->name,
        .host = db->owner->config.host,
        .dir = db->want.dir,
        .directory = json_opt_str(settings(db), "directory", DIRECTORY),
        .user = DATA_USER,
        .keep_ms = json_opt_int(settings(db), "keep_ms", KEEP_MS),
        .server = db->want.self.id};
}

bool db_keep_call(struct db *db, struct rpc_req *req, const char *method, json_t *params)
{
    const struct copies_host h = host_of(db);
    return copies_serve(&h, req, method, params);
}

/* ---- whose turn it is ---- */

/* The replicas in the order of the document, the source after them. */
static unsigned rank_of(const struct db *db)
{
    size_t i;
    json_t *m;
    unsigned rank = 0;
    const json_t *members = json_object_get(db->want.json, "members");
    json_array_foreach (members, i, m) {
        const char *host = json_opt_str(m, "host", "");
        if (db->want.duty != REPLICATION_SOURCE && str_eq(host, db->want.self.host))
            return rank;
        rank += !str_eq(host, db->want.source.host);
    }
    return rank;
}

static int64_t newest_of_all(const struct db *db)
{
    int64_t newest = db->keep->newest_ms;
    const char *host;
    json_t *member;
    json_t *of = json_object_get(json_object_get(db->owner->world, "positions"), db->name);
    json_object_foreach (of, host, member)
        newest = MAX(newest, json_opt_int(member, "backup_ms", 0));
    return newest;
}

static bool is_well(const struct db *db)
{
    return db->node.state == REPLICATION_WRITABLE || db->node.state == REPLICATION_REPLICATING;
}

static bool is_settled(struct db *db)
{
    struct db_keep *k = db->keep;
    uint64_t now = clock_boot_ms();
    k->well_ms = !is_well(db) ? 0 : k->well_ms ? k->well_ms : now;
    return k->well_ms && now - k->well_ms >= SETTLE_MS;
}

static void look(struct db *db)
{
    struct db_keep *k = db->keep;
    const struct copies_host h = host_of(db);
    const struct copies_place p = {
        .directory = h.directory, .database = db->name, .host = h.host, .keep_ms = h.keep_ms};
    struct copies_backup *v = NULL;
    size_t n = 0;
    struct err e;
    k->looked_ms = clock_boot_ms();
    k->newest_ms = 0;
    k->newest[0] = '\0';
    if (copies_store_list(&p, &v, &n, &e) < 0)
        return;
    for (size_t i = 0; i < n && !k->newest_ms; i++)
        if (v[i].whole) {
            k->newest_ms = v[i].begun_ms;
            str_copy(k->newest, sizeof k->newest, v[i].id);
        }
    free(v);
}

static void on_made(void *ctx, const json_t *result, const struct err *e)
{
    struct db_keep *k = ctx;
    struct db *db = k->db;
    k->job = NULL;
    k->looked_ms = 0;
    k->error[0] = '\0';
    if (db->closing)
        return;
    if (e) {
        k->retry_ms = clock_boot_ms() + RETRY_MS;
        snprintf(k->error, sizeof k->error, "%.*s", (int)str_utf8_cut(e->message, 255), e->message);
        data_note(db->owner, db, "alarm", "a backup failed", e->message);
    } else {
        k->retry_ms = 0;
        data_note(db->owner, db, "data", "a backup was made", json_opt_str(result, "id", ""));
    }
    data_report_soon(db->owner);
}

static void turn(struct db *db)
{
    struct db_keep *k = db->keep;
    const char *schedule = json_opt_str(settings(db), "schedule", NULL);
    int64_t now = clock_wall_ms(), due = archive_due(schedule, now);
    struct err e;
    uint64_t boot = clock_boot_ms();
    if (!k->looked_ms || boot - k->looked_ms > LOOK_MS)
        look(db);
    if (due && k->newest_ms >= due) { /* somebody made it by hand */
        k->retry_ms = 0;
        k->error[0] = '\0';
    }
    if (!is_settled(db) || !due || k->job || boot < k->retry_ms)
        return;
    if (!archive_turn(due, newest_of_all(db), rank_of(db), now))
        return;
    const struct copies_host h = host_of(db);
    k->job = copies_run(&h, on_made, k, &e);
    if (!k->job)
        on_made(k, NULL, &e);
}

/* ---- the vault ---- */

static uint64_t share_of(const char *dir)
{
    struct statvfs fs;
    return statvfs(dir, &fs) < 0 ? 0 : (uint64_t)fs.f_blocks * fs.f_frsize / VAULT_SHARE;
}

static void on_vault(void *ctx)
{
    data_report_soon(((struct db_keep *)ctx)->db->owner);
}

static bool open_vault(struct db *db)
{
    struct db_keep *k = db->keep;
    struct err e;
    _cleanup_free_ char *dir = xasprintf("%s/vault", db->want.dir);
    _cleanup_free_ char *tls = xasprintf("%s/tls", db->want.dir);
    const struct vault_config c = {.loop = db->owner->config.loop,
        .dir = dir,
        .tls = tls,
        .user = DATA_REPL,
        .server_id = VAULT_ID + db->want.self.id,
        .changed = on_vault,
        .ctx = k};
    if (k->vault)
        return true;
    if (vault_new(&c, &k->vault, &e) >= 0)
        return true;
    data_note(db->owner, db, "alarm", "no vault is kept", e.message);
    return false;
}

/* Whoever is not the source keeps its logs. */
static void follow(struct db *db)
{
    struct db_keep *k = db->keep;
    bool replica = db->want.duty == REPLICATION_REPLICA
                   && (db->want.tls_ready || db->owner->identity);
    const struct vault_source s = {db->want.source.id, db->want.source.address, db->want.source.port};
    const struct vault_limits l = {(int64_t)db->want.retention_ms, share_of(db->want.dir)};
    if ((!k->vault && !replica) || !open_vault(db))
        return;
    vault_follow(k->vault, replica ? &s : NULL, &l);
    _cleanup_json_ json_t *j = vault_json(k->vault);
    const char *state = json_opt_str(j, "state", "");
    if (str_eq(state, "following") || str_eq(state, "idle"))
        k->unfollowed_ms = 0;
    else if (!k->unfollowed_ms)
        k->unfollowed_ms = clock_boot_ms();
}

static void on_timer(uv_timer_t *t)
{
    struct db *db = t->data;
    if (db->closing || db->want.external) /* its files are on no host of ours */
        return;
    turn(db);
    follow(db);
    db_retain_turn(db);
}

/* ---- told ---- */

void db_keep_report(const struct db *db, json_t *report)
{
    const struct db_keep *k = db->keep;
    json_object_set_new(report, "backup",
        json_pack("{s:s,s:I,s:b,s:s}", "newest", k->newest, "newest_ms", (json_int_t)k->newest_ms,
            "running", k->job != NULL, "error", k->error));
    if (k->vault)
        json_object_set_new(report, "vault", vault_json(k->vault));
}

void db_keep_findings(const struct db *db, json_t *list)
{
    const struct db_keep *k = db->keep;
    if (*k->error)
        data_finding(list, "backup", "error",
            "`mcp backup run` tries it again at once; by itself it is tried every ten minutes",
            "the backup that was due failed: %s", k->error);
    if (!k->vault)
        return;
    _cleanup_json_ json_t *j = vault_json(k->vault);
    if (k->unfollowed_ms && clock_boot_ms() - k->unfollowed_ms > VAULT_LATE_MS)
        data_finding(list, "vault", "warning",
            "it goes on by itself as soon as the source answers; until then a restore ends there",
            "the vault does not get the source's binary logs: %s", json_opt_str(j, "why", ""));
    if (json_opt_bool(j, "short", false))
        data_finding(list, "vault-short", "warning",
            "a larger disk, or a shorter `replication.binlog_retention`",
            "the vault has had to drop logs before their time: it takes a quarter of the disk");
}

/* ---- life ---- */

void db_keep_open(struct db *db)
{
    struct db_keep *k = db->keep = xcalloc(1, sizeof *k);
    k->db = db;
    uv_timer_init(db->owner->config.loop, &k->timer);
    k->timer.data = db;
    uv_timer_start(&k->timer, on_timer, TURN_MS, TURN_MS);
}

static void on_vault_closed(void *ctx)
{
    struct db_keep *k = ctx;
    uv_close((uv_handle_t *)&k->timer, k->closed);
}

void db_keep_close(struct db *db, void (*closed)(uv_handle_t *h))
{
    struct db_keep *k = db->keep;
    k->closed = closed;
    if (k->job)
        copies_job_cancel(k->job);
    if (k->vault)
        vault_close(k->vault, on_vault_closed, k);
    else
        on_vault_closed(k);
}

void db_keep_free(struct db *db)
{
    free(db->keep);
}
