/* SPDX-License-Identifier: Apache-2.0 */
/* OCI image and runtime documents, as texts in and plain structs out, and back: image-spec v1 (index, manifest,
 * configuration; Docker's schema 2 types are taken too) and the runtime-spec config.json of one module instance.
 * Pure: no file is opened, digests are compared by who has the bytes. Everything parsed lives in the caller's arena;
 * counts and sizes are limited. */
#pragma once

#include "base/arena/arena.h"
#include "base/digest/digest.h"
#include "base/json/json.h"

#define OCI_DOCUMENT_MAX                                                                           \
    (4u * 1024 * 1024)      /* image-spec: registries must take manifests of 4 MiB */
#define OCI_LAYERS_MAX 127u /* what overlayfs and Docker allow */
#define OCI_WORDS_MAX 1024u /* of an entrypoint, a command, an environment */
#define OCI_LAYER_BYTES_MAX (16ll << 30)

enum oci_media {
    OCI_INDEX,
    OCI_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_TAR,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
};

struct oci_descriptor {
    enum oci_media media;
    char digest[DIGEST_SIZE];
    int64_t size;
};

struct oci_manifest {
    struct oci_descriptor config;
    struct oci_descriptor *layers; /* bottom first */
    size_t n_layers;
};

struct oci_image {
    const char *user;              /* "" is root */
    const char *const *env;        /* "NAME=value", NULL-terminated, never NULL */
    const char *const *entrypoint; /* NULL: none */
    const char *const *cmd;        /* NULL: none */
    const char *cwd;               /* "/" unless given */
    int stop_signal;               /* SIGTERM unless given */
    const char *const
        *diff_ids; /* digests of the uncompressed layers, bottom first, NULL-terminated */
    size_t n_layers;
};

/* The entry of a layout's index.json that carries the tag (org.opencontainers.image.ref.name); NULL: the only entry,
 * else "latest". The entry may be an index again: look there with oci_index_platform(). */
MUST_CHECK int oci_index_find(
    const char *text, size_t len, const char *tag, struct oci_descriptor *ret, struct err *e);
/* The manifest of a nested index for linux and the machine that this runs on. */
MUST_CHECK int oci_index_platform(
    const char *text, size_t len, struct oci_descriptor *ret, struct err *e);
MUST_CHECK int oci_manifest_parse(
    struct arena *a, const char *text, size_t len, struct oci_manifest *ret, struct err *e);
MUST_CHECK int oci_image_parse(
    struct arena *a, const char *text, size_t len, struct oci_image *ret, struct err *e);

/* A configuration's User ("", "name", "uid", "name:group", "uid:gid") through the image's own /etc/passwd and
 * /etc/group (NULL: the image has none; numbers still work). Ids over 65535 are ERR_LIMIT: a unit has no more. */
struct oci_user {
    uint32_t uid, gid;
    char home[256]; /* "/" when unknown */
};
MUST_CHECK int oci_user_resolve(const char *user, const struct str *passwd, const struct str *group,
    struct oci_user *ret, struct err *e);

struct oci_runtime {
    const char *rootfs;      /* absolute path */
    const char *const *args; /* NULL-terminated */
    const char *const *env;  /* NULL-terminated */
    const char *cwd;
    const char *hostname;
    uint32_t uid, gid;     /* inside */
    uint32_t uid_base;     /* outside, of 65,536 */
    const char *cgroup;    /* path below each controller */
    uint64_t memory_bytes; /* 0: no limit, as the next two */
    bool limit_swap;       /* the kernel counts swap: allow none */
    unsigned cpu_milli, pids;
    const char *platform; /* a folder, bound read-only to /run/mcp; NULL: none */
    const char *secrets; /* a folder, bound read-only to /run/secrets; NULL: none */
    const char *sysfs; /* a sysfs of the unit's own network namespace, bound to /sys */
};

/* config.json of runtime-spec 1.0: read-only root, tmpfs on /tmp, /run and /dev/shm, the network namespace of
 * whoever runs the runtime, new ones of everything else, no capabilities, no new privileges, the seccomp list. */
json_t *oci_runtime_format(const struct oci_runtime *r);
/* The default system call list: what unprivileged programs need, and nothing that makes or enters namespaces. */
json_t *oci_seccomp_format(void);
/* "SIGTERM", "TERM", "15" -> 15; 0: unknown */
int oci_signal_parse(const char *text);
