/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *path;
static struct account account;
static bool known;
static struct stat seen; /* of the file that was read; st_ino 0: of none */

void account_init(const char *file)
{
    path = file;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool parse(struct span text, struct account *ret)
{
    struct json_object in;
    if (json_parse(text, &in) < 0)
        return false;
    const char *user = json_text(&in, "user", sizeof(ret->user) - 1);
    const char *password = json_text(&in, "password", sizeof(ret->password) - 1);
    const char *database = json_text(&in, "database", sizeof(ret->database) - 1);
    if (!user || !password || !database)
        return false;
    snprintf(ret->user, sizeof(ret->user), "%s", user);
    snprintf(ret->password, sizeof(ret->password), "%s", password);
    snprintf(ret->database, sizeof(ret->database), "%s", database);
    return true;
}

/* A file that is not there, or not whole: what we knew stays, it may be replaced this moment. */
static bool read_file(void)
{
    char text[2048];
    struct account next = {0}; /* all of it is compared */
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = fstat(fd, &status) == 0 ? read(fd, text, sizeof(text)) : -1;
    close(fd);
    if (n <= 0 || !parse((struct span){text, (size_t)n}, &next))
        return false;
    bool changed = !known || memcmp(&next, &account, sizeof(next)) != 0;
    seen = status;
    known = true;
    account = next;
    return changed;
}

bool account_refresh(bool reread)
{
    struct stat now;
    if (!reread && seen.st_ino && stat(path, &now) == 0 && same_file(&now, &seen))
        return false;
    return read_file();
}

const struct account *account_get(void)
{
    return known ? &account : NULL;
}
