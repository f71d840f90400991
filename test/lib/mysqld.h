/* SPDX-License-Identifier: Apache-2.0 */
/* Real MySQL servers for the optional peer run, as mariadb.h has MariaDB's: in the chroot that tools/integ_mysql.sh made,
 * each with a folder of its own that is seen in there as /srv, ready when the server says so. */
#pragma once

#include "mariadb.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

struct test_mysql {
    struct test_mariadb m; /* folder, socket, address, port, process */
    char root[256];        /* of the chroot */
    char srv[280], proc_dir[280], dev[280];
    uid_t uid;
    gid_t gid;
};

/* In the child, async-signal-safe: mounts of its own, the chroot, the user, an end with its parent. */
static inline int mysql_enter(void *ctx)
{
    const struct test_mysql *s = ctx;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0
        || mount("/dev", s->dev, NULL, MS_BIND | MS_REC, NULL) < 0
        || mount("proc", s->proc_dir, "proc", 0, NULL) < 0
        || mount(s->m.dir, s->srv, NULL, MS_BIND, NULL) < 0 || chroot(s->root) < 0 || chdir("/") < 0
        || setgroups(0, NULL) < 0 || setgid(s->gid) < 0 || setuid(s->uid) < 0
        || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return errno;
    return 0;
}

static inline void mysql_run(struct test_mysql *s)
{
    char notify[128];
    int fd = mariadb_notify_socket(&s->m, notify);
    const char *const argv[] = {"/usr/sbin/mysqld", "--defaults-file=/srv/my.cnf", NULL};
    const char *const env[] = {
        "NOTIFY_SOCKET=/srv/notify", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    struct spawn_opts o = {
        .path = "/usr/sbin/mysqld", .env = env, .setup = mysql_enter, .setup_ctx = s};
    struct err e = {0};
    if (spawn_start(argv, &o, &s->m.proc, &e) < 0)
        fail_msg("%s", e.message);
    s->m.running = true;
    mariadb_await_ready(&s->m, fd);
    close(fd);
}

static inline void mysql_write_config(const struct test_mysql *s, const char *extra)
{
    char path[96];
    struct str text = STR_INIT;
    struct err e = {0};
    snprintf(path, sizeof path, "%s/my.cnf", s->m.dir);
    str_addf(&text,
        "[mysqld]\ndatadir=/srv/data\nsocket=/srv/socket\nbind-address=%s\nport=%u\nmysqlx=0\n"
        "server-id=%u\nlog-error=/srv/log.err\npid-file=/srv/pid\nskip-name-resolve\nlog-bin=bin\n"
        "gtid-mode=ON\nenforce-gtid-consistency=ON\nskip-replica-start\nrelay-log=relay\n"
        "relay-log-recovery=1\nreplica-net-timeout=10\ninnodb-redo-log-capacity=8M\n"
        "innodb-buffer-pool-size=32M\nmax-connections=100\n%s\n",
        s->m.address, s->m.port, s->m.id, extra ? extra : "");
    if (file_write(path, text.buf, text.len, 0644, &e) < 0)
        fail_msg("%s", e.message);
    str_done(&text);
}

static inline void mysql_find_user(struct test_mysql *s)
{
    char path[280];
    snprintf(path, sizeof path, "%s/etc/passwd", s->root);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    for (struct passwd *p; (p = fgetpwent(f));)
        if (!strcmp(p->pw_name, "mysql")) {
            s->uid = p->pw_uid;
            s->gid = p->pw_gid;
        }
    fclose(f);
    assert_true(s->uid != 0);
}

/* cache: sid/ and template.tar. A new server. */
static inline void mysql_start(
    struct test_mysql *s, const char *cache, unsigned id, const char *extra)
{
    *s = (struct test_mysql){.m.id = id};
    snprintf(s->root, sizeof s->root, "%s/sid", cache);
    snprintf(s->srv, sizeof s->srv, "%s/srv", s->root);
    snprintf(s->proc_dir, sizeof s->proc_dir, "%s/proc", s->root);
    snprintf(s->dev, sizeof s->dev, "%s/dev", s->root);
    snprintf(s->m.dir, sizeof s->m.dir, "/tmp/mcp-mysql-XXXXXX");
    assert_non_null(mkdtemp(s->m.dir));
    snprintf(s->m.socket, sizeof s->m.socket, "%s/socket", s->m.dir);
    char data[96], template[300], owner[32], uuid[128];
    snprintf(data, sizeof data, "%s/data", s->m.dir);
    snprintf(template, sizeof template, "%s/template.tar", cache);
    assert_int_equal(mkdir(data, 0700), 0);
    const char *const unpack[] = {"tar", "-xf", template, "-C", data, NULL};
    mariadb_check_run(unpack);
    snprintf(uuid, sizeof uuid, "%s/auto.cnf", data); /* each its own */
    (void)unlink(uuid);
    mariadb_address(&s->m);
    mysql_find_user(s);
    mysql_write_config(s, extra);
    snprintf(owner, sizeof owner, "%u:%u", (unsigned)s->uid, (unsigned)s->gid);
    const char *const own[] = {"chown", "-R", owner, s->m.dir, NULL};
    mariadb_check_run(own);
    assert_int_equal(chmod(s->m.dir, 0755), 0);
    mysql_run(s);
}
