/* SPDX-License-Identifier: Apache-2.0 */
/* Where a gate alone listens and where its server is; its policy as a line of text. */
#include "service/gate/priv.h"

#include "base/str/str.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#define BACKLOG 1024
#define PLACE_MAX 300u

static const char *const unix_prefix = "unix:";

int gate_place_parse(const char *text, struct gate_place *ret, struct err *e)
{
    uint64_t port;
    char copy[PLACE_MAX];
    *ret = (struct gate_place){0};
    if (str_starts(text, unix_prefix)) {
        if (text[5] != '/' || !str_copy(ret->path, sizeof ret->path, text + 5))
            return err_set(e, ERR_USAGE, "%s: the path must begin with / and fit a socket", text);
        return 0;
    }
    char *colon = str_copy(copy, sizeof copy, text) ? strrchr(copy, ':') : NULL;
    if (colon)
        *colon = '\0';
    if (!colon || !ip_parse(copy, &ret->address) || !str_to_u64(colon + 1, 65535, &port))
        return err_set(e, ERR_USAGE, "%s: neither unix:PATH nor ADDRESS:PORT", text);
    ret->port = (uint16_t)port;
    return 0;
}

static void to_sockaddr(const struct gate_place *p, struct sockaddr_storage *sa, socklen_t *len)
{
    if (!*p->path) {
        ip_to_sockaddr(&p->address, p->port, sa, len);
        return;
    }
    struct sockaddr_un *un = (struct sockaddr_un *)sa;
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(un->sun_path, p->path, sizeof p->path);
    *len = sizeof *un;
}

int gate_place_listen(struct gate_place *p, struct err *e)
{
    struct sockaddr_storage sa;
    socklen_t len;
    int on = 1;
    to_sockaddr(p, &sa, &len);
    _cleanup_close_ int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0
        || bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, BACKLOG) < 0)
        return err_errno(e, errno, "listen");
    len = sizeof sa;
    if (!*p->path
        && (getsockname(fd, (struct sockaddr *)&sa, &len) < 0
            || !ip_from_sockaddr((struct sockaddr *)&sa, &p->address, &p->port)))
        return err_errno(e, errno, "the address that it listens on");
    return util_steal_fd(&fd);
}

static const struct {
    const char *word;
    enum gate_mode mode;
    size_t numbers; /* epoch, milliseconds to the deadline, to the end of the hold */
} policies[] = {
    {"rw", GATE_RW, 2},
    {"hold", GATE_HOLD, 3},
    {"ro", GATE_RO, 1},
    {"close", GATE_CLOSED, 0},
};

#define NUMBER_MAX (UINT64_C(1) << 62)

int gate_policy_parse(const char *line, uint64_t now_ms, struct gate_policy *ret, struct err *e)
{
    char copy[128], *rest = copy;
    uint64_t n[3] = {0};
    size_t i = 0, k = 0;
    if (!str_copy(copy, sizeof copy, line))
        return err_set(e, ERR_INVALID, "a policy is not that long");
    const char *word = strsep(&rest, " ");
    while (i < ARRAY_SIZE(policies) && !str_eq(word, policies[i].word))
        i++;
    for (const char *number; rest && k < ARRAY_SIZE(n); k++) {
        number = strsep(&rest, " ");
        if (!str_to_u64(number, NUMBER_MAX, &n[k]))
            return err_set(e, ERR_INVALID, "%s: not a number", number);
    }
    if (i == ARRAY_SIZE(policies) || k != policies[i].numbers || rest)
        return err_set(
            e, ERR_INVALID, "%s: none of: rw EPOCH MS; hold EPOCH MS MS; ro EPOCH; close", line);
    *ret = (struct gate_policy){.mode = policies[i].mode, .epoch = n[0]};
    ret->deadline_ms = now_ms + n[1];
    ret->hold_until_ms = k > 2 ? now_ms + n[2] : 0;
    return 0;
}
