/* SPDX-License-Identifier: Apache-2.0 */
/* A layer's tar stream onto the disk. Every path is resolved by the kernel below the layer's own folder (openat2 with
 * RESOLVE_BENEATH), so that no symlink, "..", or race leads out; what would is an error, not a guess. Layers are
 * unpacked alone, as overlayfs stacks them, never onto each other. */
#include "driver/image/priv.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define BLOCK_BYTES (128u * 1024)
#define ID_MAX 65535 /* a unit's range of user ids */
#define XATTR_BYTES_MAX 65536u

struct unpack {
    int root;
    const struct image_limits *limits;
    uint64_t entries, bytes;
    struct archive *outer, *inner;
    struct digest_stream *digest;
    char *block;
    /* The folder of the entry before: most entries share it. */
    char *parent;
    int parent_fd;
};

static int open_beneath(int root, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

static int refuse(struct err *e, int error, const char *path)
{
    if (error == EXDEV || error == ELOOP || error == ENOTDIR)
        return err_set(e, ERR_INVALID,
            "\"%.200s\" would leave the image's root or passes through a file", path);
    return err_errno(e, error, "%.200s", path);
}

/* "./usr//bin/x" -> "usr/bin/x"; "" is the root itself. ".." is refused wherever it stands. */
static int clean_path(const char *raw, struct str *out, struct err *e)
{
    str_clear(out);
    for (const char *p = raw; *p;) {
        size_t len = strcspn(p, "/");
        bool skip = len == 0 || (len == 1 && p[0] == '.');
        if (len == 2 && p[0] == '.' && p[1] == '.')
            return err_set(e, ERR_INVALID, "\"%.200s\" would leave the image's root", raw);
        if (len > 255 || out->len + len > 4000)
            return err_set(e, ERR_LIMIT, "a path of the layer is too long: %.80s...", raw);
        if (!skip) {
            if (out->len)
                str_add_ch(out, '/');
            str_add_mem(out, p, len);
        }
        p += len;
        p += *p == '/';
    }
    return 0;
}

/* Opens the folder, making what is missing of it. */
static int open_folder(struct unpack *u, const char *path, struct err *e)
{
    int fd = open_beneath(u->root, path, O_RDONLY | O_DIRECTORY);
    if (fd >= 0)
        return fd;
    if (errno != ENOENT)
        return refuse(e, errno, path);
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *above = xasprintf("%.*s", (int)(slash ? slash - path : 0), path);
    _cleanup_close_ int up = open_folder(u, above, e);
    if (up < 0)
        return up;
    if (mkdirat(up, slash ? slash + 1 : path, 0755) < 0 && errno != EEXIST)
        return err_errno(e, errno, "mkdir %.200s", path);
    fd = open_beneath(u->root, path, O_RDONLY | O_DIRECTORY);
    return fd >= 0 ? fd : refuse(e, errno, path);
}

/* The descriptor stays the unpacker's. *ret_name is the last component. */
static int open_parent(struct unpack *u, const char *path, const char **ret_name, struct err *e)
{
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    size_t len = slash ? (size_t)(slash - path) : 0;
    if (u->parent && strlen(u->parent) == len && !memcmp(u->parent, path, len))
        return u->parent_fd;
    char *parent = xasprintf("%.*s", (int)len, path);
    int fd = open_folder(u, parent, e);
    if (fd < 0) {
        free(parent);
        return fd;
    }
    if (u->parent_fd >= 0)
        close(u->parent_fd);
    free(u->parent);
    u->parent = parent;
    u->parent_fd = fd;
    return fd;
}

static void forget_parent(struct unpack *u)
{
    if (u->parent_fd >= 0)
        close(u->parent_fd);
    free(u->parent);
    u->parent = NULL;
    u->parent_fd = -1;
}

/* The later entry of a name wins; a folder that holds something is not replaced by a file. */
static int make_room(struct unpack *u, int dir, const char *name, struct err *e)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno == EISDIR && unlinkat(dir, name, AT_REMOVEDIR) == 0) {
        forget_parent(u); /* it may have been that folder */
        return 0;
    }
    return err_errno(e, errno, "replace %.200s", name);
}

static int check_owner(struct archive_entry *entry, struct err *e)
{
    int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);
    if (uid < 0 || uid > ID_MAX || gid < 0 || gid > ID_MAX)
        return err_set(
            e, ERR_LIMIT, "owner %lld:%lld is over %d", (long long)uid, (long long)gid, ID_MAX);
    return 0;
}

/* Only user.*: file capabilities mean nothing without privileges, and trusted.overlay.* is overlayfs's own. */
static void set_xattrs(int fd, struct archive_entry *entry)
{
    const char *name;
    const void *value;
    size_t size;
    archive_entry_xattr_reset(entry);
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
        if (name && str_starts(name, "user.") && !str_starts(name, "user.overlay.")
            && size <= XATTR_BYTES_MAX && fsetxattr(fd, name, value, size, 0) < 0)
            continue; /* a file system without them: the image works all the same */
}

static int set_attributes(int fd, struct archive_entry *entry, struct err *e)
{
    int r = check_owner(entry, e);
    if (r < 0)
        return r;
    if (fchown(fd, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry)) < 0)
        return err_errno(e, errno, "chown");
    if (fchmod(fd, archive_entry_perm(entry) & 07777) < 0)
        return err_errno(e, errno, "chmod");
    set_xattrs(fd, entry);
    if (archive_entry_mtime_is_set(entry)) {
        struct timespec t = {
            .tv_sec = archive_entry_mtime(entry), .tv_nsec = archive_entry_mtime_nsec(entry)};
        struct timespec both[2] = {t, t};
        if (futimens(fd, both) < 0
            && errno != EINVAL) /* EINVAL: a date the file system cannot hold */
            return err_errno(e, errno, "utimens");
    }
    return 0;
}

static int write_content(struct unpack *u, int fd, struct err *e)
{
    const void *data;
    size_t len;
    la_int64_t at, end = 0;
    for (;;) {
        int a = archive_read_data_block(u->inner, &data, &len, &at);
        if (a == ARCHIVE_EOF)
            break;
        if (a < ARCHIVE_WARN)
            return err_set(e, ERR_INVALID, "%s", archive_error_string(u->inner));
        if (at < 0 || (uint64_t)at + len > u->limits->layer_bytes)
            return err_set(e, ERR_LIMIT, "the layer unpacks to more than %llu bytes",
                (unsigned long long)u->limits->layer_bytes);
        for (size_t done = 0; done < len;) {
            ssize_t n = pwrite(fd, (const char *)data + done, len - done, at + (la_int64_t)done);
            if (n < 0 && errno != EINTR)
                return err_errno(e, errno, "write");
            done += n > 0 ? (size_t)n : 0;
        }
        end = at + (la_int64_t)len;
    }
    /* A sparse file may end in a hole. */
    return ftruncate(fd, end) < 0 ? err_errno(e, errno, "truncate") : 0;
}

static int add_file(
    struct unpack *u, struct archive_entry *entry, int dir, const char *name, struct err *e)
{
    int64_t size = archive_entry_size(entry);
    if (size < 0 || (u->bytes += (uint64_t)size) > u->limits->layer_bytes)
        return err_set(e, ERR_LIMIT, "the layer unpacks to more than %llu bytes",
            (unsigned long long)u->limits->layer_bytes);
    _cleanup_close_ int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, errno, "create");
    int r = write_content(u, fd, e);
    return r < 0 ? r : set_attributes(fd, entry, e);
}

static int add_folder(
    struct unpack *u, struct archive_entry *entry, int dir, const char *name, struct err *e)
{
    if (mkdirat(dir, name, 0755) < 0) {
        struct stat st;
        if (errno != EEXIST)
            return err_errno(e, errno, "mkdir");
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return err_errno(e, errno, "stat");
        if (!S_ISDIR(st.st_mode)) {
            int r = make_room(u, dir, name, e);
            if (r < 0)
                return r;
            if (mkdirat(dir, name, 0755) < 0)
                return err_errno(e, errno, "mkdir");
        }
    }
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, errno, "open");
    return set_attributes(fd, entry, e);
}

static int add_symlink(struct archive_entry *entry, int dir, const char *name, struct err *e)
{
    const char *target = archive_entry_symlink_utf8(entry);
    if (!target)
        target = archive_entry_symlink(entry);
    int r = check_owner(entry, e);
    if (r < 0)
        return r;
    /* Where it points is the container's affair: nothing of ours ever follows it out of the layer. */
    if (!target || !*target || symlinkat(target, dir, name) < 0)
        return err_errno(e, target && *target ? errno : EINVAL, "symlink");
    if (fchownat(dir, name, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry),
            AT_SYMLINK_NOFOLLOW)
        < 0)
        return err_errno(e, errno, "chown");
    return 0;
}

static int add_hardlink(struct unpack *u, const char *raw, int dir, const char *name, struct err *e)
{
    _cleanup_str_ struct str target = STR_INIT;
    int r = clean_path(raw, &target, e);
    if (r < 0)
        return r;
    const char *path = str_cstr(&target), *slash = strrchr(path, '/');
    _cleanup_free_ char *above = xasprintf("%.*s", (int)(slash ? slash - path : 0), path);
    _cleanup_close_ int from = open_beneath(u->root, above, O_RDONLY | O_DIRECTORY);
    if (from < 0)
        return refuse(e, errno, path);
    if (linkat(from, slash ? slash + 1 : path, dir, name, 0) < 0)
        return err_errno(e, errno, "link to %.200s", path);
    return 0;
}

/* image-spec layer.md, "Whiteouts". Returns 1 when the entry was one. */
static int add_whiteout(struct unpack *u, int dir, const char *name, struct err *e)
{
    if (!str_starts(name, ".wh."))
        return 0;
    if (!strcmp(name, ".wh..wh..opq"))
        return fsetxattr(dir, "trusted.overlay.opaque", "y", 1, 0) < 0
                   ? err_errno(e, errno, "mark opaque")
                   : 1;
    const char *hidden = name + 4;
    if (str_starts(hidden, ".wh.")) /* aufs' own files */
        return 1;
    if (!*hidden || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
        return err_set(e, ERR_INVALID, "a whiteout of nothing");
    int r = make_room(u, dir, hidden, e);
    if (r < 0)
        return r;
    return mknodat(dir, hidden, S_IFCHR, makedev(0, 0)) < 0 ? err_errno(e, errno, "whiteout") : 1;
}

static int add_by_type(
    struct unpack *u, struct archive_entry *entry, int dir, const char *name, struct err *e)
{
    const char *link = archive_entry_hardlink_utf8(entry);
    if (!link)
        link = archive_entry_hardlink(entry);
    unsigned type = archive_entry_filetype(entry);
    if (!link && (type == AE_IFCHR || type == AE_IFBLK || type == AE_IFSOCK))
        return 0; /* /dev is the runtime's; a device 0:0 would pass for a whiteout */
    if (!link && type == AE_IFDIR)
        return add_folder(u, entry, dir, name, e);
    int r = make_room(u, dir, name, e);
    if (r < 0)
        return r;
    if (link)
        return add_hardlink(u, link, dir, name, e);
    switch (type) {
    case AE_IFREG:
        return add_file(u, entry, dir, name, e);
    case AE_IFLNK:
        return add_symlink(entry, dir, name, e);
    case AE_IFIFO:
        if (mkfifoat(dir, name, 0600) < 0
            || fchmodat(dir, name, archive_entry_perm(entry) & 0777, 0) < 0)
            return err_errno(e, errno, "fifo");
        return 0;
    default:
        return err_set(e, ERR_INVALID, "entry type %o", type);
    }
}

static int add_entry(struct unpack *u, struct archive_entry *entry, struct err *e)
{
    if (++u->entries > u->limits->layer_entries)
        return err_set(e, ERR_LIMIT, "the layer has more than %llu entries",
            (unsigned long long)u->limits->layer_entries);
    const char *raw = archive_entry_pathname_utf8(entry);
    if (!raw)
        raw = archive_entry_pathname(entry);
    if (!raw)
        return err_set(e, ERR_INVALID, "an entry without a name");
    _cleanup_str_ struct str path = STR_INIT;
    int r = clean_path(raw, &path, e);
    if (r < 0)
        return r;
    if (!path.len) /* "./" */
        return archive_entry_filetype(entry) == AE_IFDIR ? set_attributes(u->root, entry, e) : 0;
    const char *name;
    int dir = open_parent(u, str_cstr(&path), &name, e);
    if (dir < 0)
        return dir;
    r = add_whiteout(u, dir, name, e);
    if (r == 0)
        r = add_by_type(u, entry, dir, name, e);
    return r < 0 ? err_wrap(e, "%.200s", raw) : 0;
}

/* The uncompressed stream, hashed while the tar reader takes it. */
static la_ssize_t read_block(struct archive *a, void *ctx, const void **ret)
{
    struct unpack *u = ctx;
    la_ssize_t n = archive_read_data(u->outer, u->block, BLOCK_BYTES);
    if (n < 0) {
        archive_set_error(a, EIO, "%s", archive_error_string(u->outer));
        return -1;
    }
    digest_stream_add(u->digest, u->block, (size_t)n);
    *ret = u->block;
    return n;
}

static int fail_archive(struct err *e, struct archive *a)
{
    const char *text = archive_error_string(a);
    return err_set(e, archive_errno(a) == ENOMEM ? ERR_SYSTEM : ERR_INVALID, "%s",
        text ? text : "not a layer");
}

static int open_streams(struct unpack *u, const char *blob, enum oci_media media, struct err *e)
{
    struct archive_entry *entry;
    archive_read_support_format_raw(u->outer);
    archive_read_support_format_empty(u->outer);
    if (media == OCI_LAYER_GZIP)
        archive_read_support_filter_gzip(u->outer);
    else if (media == OCI_LAYER_ZSTD)
        archive_read_support_filter_zstd(u->outer);
    if (archive_read_open_filename(u->outer, blob, BLOCK_BYTES) != ARCHIVE_OK
        || archive_read_next_header(u->outer, &entry) != ARCHIVE_OK)
        return fail_archive(e, u->outer);
    archive_read_support_format_tar(u->inner);
    if (archive_read_open(u->inner, u, NULL, read_block, NULL) != ARCHIVE_OK)
        return fail_archive(e, u->inner);
    return 0;
}

static int read_entries(struct unpack *u, struct err *e)
{
    for (;;) {
        struct archive_entry *entry;
        int a = archive_read_next_header(u->inner, &entry);
        if (a == ARCHIVE_EOF)
            break;
        if (a < ARCHIVE_WARN)
            return fail_archive(e, u->inner);
        int r = add_entry(u, entry, e);
        if (r < 0)
            return r;
    }
    /* Padding behind the tar's end belongs to the digest. */
    const void *unused;
    la_ssize_t n;
    while ((n = read_block(u->inner, u, &unused)) > 0)
        ;
    return n < 0 ? fail_archive(e, u->inner) : 0;
}

int layer_unpack(const char *blob, enum oci_media media, const char *diff_id, int dirfd,
    const struct image_limits *limits, struct err *e)
{
    struct unpack u = {.root = dirfd, .limits = limits, .parent_fd = -1};
    u.outer = archive_read_new();
    u.inner = archive_read_new();
    ASSERT(u.outer && u.inner);
    u.block = xmalloc(BLOCK_BYTES);
    u.digest = digest_stream_new();
    int r = open_streams(&u, blob, media, e);
    if (r >= 0)
        r = read_entries(&u, e);
    char digest[DIGEST_SIZE];
    digest_stream_end(u.digest, digest);
    if (r >= 0 && strcmp(digest, diff_id) != 0)
        r = err_set(
            e, ERR_INVALID, "the layer's content is %s, the image says %s", digest, diff_id);
    forget_parent(&u);
    archive_read_free(u.inner);
    archive_read_free(u.outer);
    free(u.block);
    return r;
}
