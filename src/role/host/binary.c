/* SPDX-License-Identifier: Apache-2.0 */
#include "role/host/binary.h"

#include "base/file/file.h"
#include "base/json/json.h"
#include "base/rpc/rpc.h"
#include "base/spawn/spawn.h"
#include "base/str/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define STATE BINARY_ROOT "/state.json"
#define CURRENT BINARY_ROOT "/current"
#define STATE_MAX 65536u
#define PROBE_MS 5000u
#define COPY_BYTES 65536u
#define FILES_ROOT "/var/lib/mcp/images/files/sha256/" /* driver/image/blob.h */

static const char *hex_of(const char *digest)
{
    return digest + strlen("sha256:");
}

static char *path_of(const char *digest)
{
    return xasprintf(BINARY_ROOT "/%s/mcp", hex_of(digest));
}

/* ---- state ---- */

static void take_digest(const json_t *j, const char *key, char out[DIGEST_SIZE])
{
    const char *text = json_opt_str(j, key, "");
    str_copy(out, DIGEST_SIZE, digest_valid(text) ? text : "");
}

void binary_state_read(struct binary_state *ret)
{
    _cleanup_json_ json_t *j = NULL;
    struct err ignored;
    *ret = (struct binary_state){0};
    if (json_read_file(STATE, STATE_MAX, &j, &ignored) < 0)
        return;
    take_digest(j, "current", ret->current);
    take_digest(j, "previous", ret->previous);
    take_digest(j, "base", ret->base);
    ret->trial = json_opt_bool(j, "trial", false);
    ret->tries = (unsigned)json_opt_int(j, "tries", 0);
    take_digest(j, "failed", ret->failed);
    str_copy(ret->reason, sizeof ret->reason, json_opt_str(j, "reason", ""));
    ret->failed_ms = json_opt_int(j, "failed_ms", 0);
}

static void relink(const char *digest)
{
    unlink(CURRENT);
    /* for people; what counts is the state */
    if (*digest && symlink(hex_of(digest), CURRENT) < 0)
        return;
}

int binary_state_write(const struct binary_state *s, struct err *e)
{
    _cleanup_json_ json_t *j = NULL;
    struct err ignored;
    if (json_read_file(STATE, STATE_MAX, &j, &ignored) < 0)
        j = json_object();
    _cleanup_json_ json_t *mine = json_pack("{s:i,s:s,s:s,s:s,s:b,s:i,s:s,s:s,s:I}", "format", 1,
        "current", s->current, "previous", s->previous, "base", s->base, "trial", s->trial, "tries",
        (int)s->tries, "failed", s->failed, "reason", s->reason, "failed_ms",
        (json_int_t)s->failed_ms);
    ASSERT(mine);
    json_object_update(j, mine);
    _cleanup_free_ char *text = json_text_pretty(j);
    int r = file_mkdirs(BINARY_ROOT, 0755, e);
    if (r >= 0)
        r = file_write_durable(STATE, text, strlen(text), 0644, e);
    if (r >= 0)
        relink(s->current);
    return r;
}

/* ---- files ---- */

int binary_own(char ret[DIGEST_SIZE], struct err *e)
{
    return digest_file("/proc/self/exe", ret, e);
}

static int copy(int from, int to, char ret[DIGEST_SIZE], struct err *e)
{
    char buf[COPY_BYTES];
    struct digest_stream *d = digest_stream_new();
    ssize_t n;
    while ((n = read(from, buf, sizeof buf)) > 0) {
        digest_stream_add(d, buf, (size_t)n);
        if (write(to, buf, (size_t)n) != n) {
            n = -1;
            break;
        }
    }
    int error = errno;
    digest_stream_end(d, ret);
    return n < 0 ? err_errno(e, error, "copy") : 0;
}

static int place(int from, const char *digest, struct err *e)
{
    _cleanup_free_ char *dir = xasprintf(BINARY_ROOT "/%s", hex_of(digest));
    _cleanup_free_ char *path = path_of(digest), *tmp = xasprintf("%s/mcp.new", dir);
    char is[DIGEST_SIZE];
    int r = file_mkdirs(dir, 0755, e);
    if (r < 0)
        return r;
    unlink(tmp);
    _cleanup_close_ int to = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0700);
    if (to < 0)
        return err_errno(e, errno, "open %s", tmp);
    r = copy(from, to, is, e);
    if (r >= 0 && !str_eq(is, digest))
        r = err_set(e, ERR_INVALID, "it is %s", is);
    if (r >= 0 && (fchmod(to, 0755) < 0 || fsync(to) < 0 || rename(tmp, path) < 0))
        r = err_errno(e, errno, "%s", path);
    if (r < 0)
        unlink(tmp);
    return r;
}

static int install_from(const char *source, int flags, const char *digest, struct err *e)
{
    _cleanup_free_ char *path = NULL;
    struct err ignored;
    if (binary_verify(digest, &path, &ignored) >= 0)
        return 0;
    _cleanup_close_ int from = open(source, O_RDONLY | O_CLOEXEC | flags);
    if (from < 0)
        return err_errno(e, errno, "open %s", source);
    int r = place(from, digest, e);
    return r < 0 ? err_wrap(e, "install %s", digest) : 0;
}

int binary_keep_own(const char *own, struct err *e)
{
    return install_from("/proc/self/exe", 0, own, e);
}

int binary_install(const char *digest, struct err *e)
{
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "no digest");
    _cleanup_free_ char *source = xasprintf(FILES_ROOT "%s", hex_of(digest));
    return install_from(source, O_NOFOLLOW, digest, e);
}

int binary_verify(const char *digest, char **ret_path, struct err *e)
{
    struct stat st;
    char is[DIGEST_SIZE];
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "no digest");
    _cleanup_free_ char *path = path_of(digest);
    if (lstat(path, &st) < 0)
        return err_errno(e, errno, "%s", path);
    if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022) || !(st.st_mode & 0100))
        return err_set(e, ERR_DENIED, "%s is not a program of root alone", path);
    int r = digest_file(path, is, e);
    if (r < 0)
        return r;
    if (!str_eq(is, digest))
        return err_set(e, ERR_DENIED, "%s is %s", path, is);
    *ret_path = util_steal_ptr(&path);
    return 0;
}

int binary_probe(const char *digest, struct err *e)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_str_ struct str out = STR_INIT;
    _cleanup_json_ json_t *j = NULL;
    int r = binary_verify(digest, &path, e);
    if (r < 0)
        return r;
    const char *const argv[] = {path, "version", "--json", NULL};
    const struct spawn_opts opts = {.timeout_ms = PROBE_MS, .max_output = STATE_MAX, .dir = "/"};
    r = spawn_check(argv, &opts, &out, e);
    if (r < 0)
        return err_wrap(e, "it does not run");
    if (json_parse(str_cstr(&out), out.len, &j, e) < 0)
        return err_set(e, ERR_INVALID, "it is no mcp: `version --json` prints no JSON");
    const json_t *range = json_object_get(j, "protocol");
    json_int_t min = json_integer_value(json_array_get(range, 0)),
               max = json_integer_value(json_array_get(range, 1));
    if (min > RPC_PROTOCOL_MAX || max < RPC_PROTOCOL_MIN) {
        err_set(e, ERR_PROTOCOL,
            "it speaks protocol %lld to %lld, this host %d to %d: they have none in common",
            (long long)min, (long long)max, RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX);
        err_fix(e, "upgrade to a release between the two first");
        return ERR_PROTOCOL;
    }
    return 0;
}
