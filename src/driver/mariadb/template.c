/* SPDX-License-Identifier: Apache-2.0 */
/* The data folder that every new database begins as: no user but root and ours, both by the socket
 * alone, no test schema, nothing in any log. */
#include "driver/mariadb/priv.h"

#include "base/file/file.h"
#include "base/spawn/spawn.h"
#include "base/str/str.h"

#include <ctype.h>
#include <errno.h>
#include <unistd.h>

#define INSTALL_MS 300000u /* one second on an idle machine */

static const char *find(const char *const *paths, struct err *e)
{
    for (; *paths; paths++)
        if (access(*paths, X_OK) == 0)
            return *paths;
    err_set(e, ERR_NOT_FOUND, "MariaDB is not installed on this host");
    err_fix(e, "apt-get install mariadb-server mariadb-backup");
    return NULL;
}

const char *mariadb_server(struct err *e)
{
    static const char *const paths[] = {
        "/usr/local/sbin/mariadbd", "/usr/sbin/mariadbd", "/usr/libexec/mariadbd", NULL};
    return find(paths, e);
}

/* "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for ...": what stands behind Ver. */
static int version_of(const char *server, char *out, size_t size, struct err *e)
{
    _cleanup_str_ struct str text = STR_INIT;
    const char *const argv[] = {server, "--no-defaults", "--version", NULL};
    int r = spawn_check(argv, NULL, &text, e);
    if (r < 0)
        return r;
    const char *ver = strstr(str_cstr(&text), "Ver ");
    ver = ver ? ver + strlen("Ver ") : "";
    size_t n = 0;
    while (isalnum((unsigned char)ver[n]) || (ver[n] && strchr("._-+", ver[n])))
        n++;
    if (n && n < size)
        snprintf(out, size, "%.*s", (int)n, ver);
    return n && n < size ? 0 : err_set(e, ERR_INVALID, "%s does not tell its version", server);
}

static int install(const char *dir, struct err *e)
{
    static const char *const paths[] = {
        "/usr/local/bin/mariadb-install-db", "/usr/bin/mariadb-install-db", NULL};
    const char *program = find(paths, e);
    if (!program)
        return e->code;
    _cleanup_free_ char *datadir = xasprintf("--datadir=%s/data", dir);
    _cleanup_free_ char *tmpdir = xasprintf("TMPDIR=%s", dir);
    _cleanup_free_ char *tmp = xasprintf("--tmpdir=%s", dir);
    const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", tmpdir, NULL};
    /* The log file is small: the server gives it its size at the first start. */
    const char *const argv[] = {program, "--no-defaults", datadir, tmp,
        "--auth-root-authentication-method=socket", "--auth-root-socket-user=mysql",
        "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=4M", NULL};
    struct spawn_opts opts = {.env = env, .dir = "/", .timeout_ms = INSTALL_MS};
    return spawn_check(argv, &opts, NULL, e);
}

int template_get(const char *templates, char **ret, struct err *e)
{
    char version[128];
    const char *server = mariadb_server(e);
    int r = server ? version_of(server, version, sizeof version, e) : e->code;
    if (r < 0)
        return r;
    _cleanup_free_ char *whole = xasprintf("%s/mariadb-%s", templates, version);
    _cleanup_free_ char *temp = xasprintf("%s/new-%d", templates, (int)getpid());
    if (!file_exists(whole)) {
        r = file_mkdirs(temp, 0700, e);
        if (r >= 0)
            r = install(temp, e);
        /* Somebody else may have been quicker: then ours is one too many. */
        if (r >= 0 && rename(temp, whole) < 0 && errno != ENOTEMPTY && errno != EEXIST)
            r = err_errno(e, errno, "rename to %s", whole);
        struct err ignored;
        if (file_remove_tree(temp, &ignored) < 0 && r >= 0)
            r = 0;
        if (r < 0)
            return err_wrap(e, "make a data folder of MariaDB");
    }
    *ret = xasprintf("%s/data", whole);
    return 0;
}
