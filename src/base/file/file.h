/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files and folders, with limits and durability in one place: file_write_durable() is temp,
 * fsync, rename, fsync of the directory; after a crash the old or the new content is there, never a
 * mixture. */
#pragma once

#include "base/err/err.h"
#include "base/str/str.h"

#include <sys/types.h>

/* Reads at most max_bytes; a longer file is ERR_LIMIT. Appends to *out. */
MUST_CHECK int file_read(const char *path, size_t max_bytes, struct str *out, struct err *e);
/* Same from where an open file stands, which stays open; errors call it `path`. */
MUST_CHECK int file_read_fd(
    int fd, const char *path, size_t max_bytes, struct str *out, struct err *e);
MUST_CHECK int file_write_durable(
    const char *path, const void *data, size_t len, mode_t mode, struct err *e);
/* Same without the fsyncs: for /run and other memory file systems. */
MUST_CHECK int file_write(
    const char *path, const void *data, size_t len, mode_t mode, struct err *e);
/* mkdir -p; existing folders keep their mode. */
MUST_CHECK int file_mkdirs(const char *path, mode_t mode, struct err *e);
/* rm -rf without following links, staying on one file system. A missing path is success. */
MUST_CHECK int file_remove_tree(const char *path, struct err *e);
MUST_CHECK int file_fsync_dir(const char *path, struct err *e);
bool file_exists(const char *path);
/* Writes all of it, whatever write(2) returns in between. */
MUST_CHECK int file_write_fd(int fd, const void *data, size_t len, struct err *e);
