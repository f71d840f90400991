/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/profile.h"

#include "base/file/file.h"
#include "base/str/str.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#define FORMAT 1
#define FILE_MAX (256u * 1024)

static char *folder(void)
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (xdg && *xdg)
        return xasprintf("%s/mcp", xdg);
    return xasprintf("%s/.config/mcp", home && *home ? home : "/root");
}

static char *path_of(const char *platform)
{
    _cleanup_free_ char *dir = folder();
    return xasprintf("%s/%s.json", dir, platform);
}

void profile_done(struct profile *p)
{
    json_decref(p->json);
    p->json = NULL;
}

static int check_mode(const char *path, struct err *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_errno(e, errno, "%s", path);
    if (!(st.st_mode & 077) && (st.st_uid == geteuid() || geteuid() == 0))
        return 0;
    err_set(e, ERR_DENIED, "%s holds a login and others may read it", path);
    err_fix(e, "chmod 600 %s, and ask for a new token if somebody may have read it", path);
    return ERR_DENIED;
}

static int parse(struct profile *p, struct err *e)
{
    const char *address;
    int64_t format, port;
    int r = json_get_int(p->json, "format", 1, FORMAT, &format, e);
    if (r >= 0)
        r = json_get_str(p->json, "platform", &p->peer.platform, e);
    if (r >= 0)
        r = json_get_str(p->json, "root", &p->peer.root_pem, e);
    if (r >= 0)
        r = json_get_str(p->json, "token", &p->peer.token, e);
    if (r >= 0)
        r = json_get_str(p->json, "address", &address, e);
    if (r >= 0)
        r = json_get_int(p->json, "port", 0, 65535, &port, e);
    if (r >= 0 && !ip_parse(address, &p->peer.address))
        r = err_set(e, ERR_INVALID, "'%s' is no address", address);
    if (r >= 0)
        p->peer.port = (uint16_t)port;
    return r;
}

int profile_load(const char *platform, struct profile *ret, struct err *e)
{
    struct profile p = {0};
    if (strchr(platform, '/') || platform[0] == '.')
        return err_set(e, ERR_NOT_FOUND, "'%s' is no platform's name", platform);
    _cleanup_free_ char *path = path_of(platform);
    if (!file_exists(path))
        return err_set(e, ERR_NOT_FOUND, "there is no login to %s here", platform);
    int r = check_mode(path, e);
    if (r >= 0)
        r = json_read_file(path, FILE_MAX, &p.json, e);
    if (r >= 0)
        r = parse(&p, e);
    if (r < 0) {
        profile_done(&p);
        return err_wrap(e, "%s", path);
    }
    *ret = p;
    return 0;
}

int profile_save(const struct remote_peer *peer, const char *operator_name, struct err *e)
{
    char address[IP_TEXT_SIZE];
    _cleanup_free_ char *dir = folder(), *path = path_of(peer->platform);
    ip_format(&peer->address, address);
    _cleanup_json_ json_t *j = json_pack("{s:i,s:s,s:s,s:s,s:i,s:s,s:s}", "format", FORMAT,
        "platform", peer->platform, "operator", operator_name, "address", address, "port",
        (int)peer->port, "root", peer->root_pem, "token", peer->token);
    _cleanup_free_ char *text = json_text_pretty(j);
    int r = file_mkdirs(dir, 0700, e);
    return r < 0 ? r : file_write_durable(path, text, strlen(text), 0600, e);
}

int profile_remove(const char *platform, struct err *e)
{
    _cleanup_free_ char *path = path_of(platform);
    if (strchr(platform, '/') || platform[0] == '.' || (unlink(path) < 0 && errno == ENOENT))
        return err_set(e, ERR_NOT_FOUND, "there is no login to %s here", platform);
    return file_exists(path) ? err_errno(e, errno, "remove %s", path) : 0;
}

bool profile_only(char *ret, size_t size)
{
    _cleanup_free_ char *dir = folder();
    DIR *d = opendir(dir);
    size_t n = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char name[256];
        if (entry->d_name[0] == '.' || !str_ends(entry->d_name, ".json"))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(strlen(entry->d_name) - strlen(".json")),
            entry->d_name);
        n += str_copy(ret, size, name);
    }
    if (d)
        closedir(d);
    return n == 1;
}
