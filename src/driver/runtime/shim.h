/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim does for its unit outside its own loop: network, root file system, the runtime's calls. Called by
 * role/shim alone, in order: the shim's process changes its own namespaces. */
#pragma once

#include "driver/runtime/runtime.h"

struct shim_spec {
    json_t *json;
    const char *unit, *run_dir, *cgroup;
    uint64_t incarnation;
    bool oci;
    int stop_signal;
    struct runtime_log log;
    struct cgroup_layout cgroups;
    /* oci */
    const char *runtime, *state;
    const char *input; /* a file; NULL: none */
    const char **layers; /* bottom first */
    size_t n_layers;
    uint32_t uid_base;
    unsigned slot;
    struct ip_addr address, gateway;
    unsigned bits;
    /* exec */
    const char **argv, **env;
    uid_t uid;
    gid_t gid;
    const char *cwd;
    struct cgroup_limits limits;
};

MUST_CHECK int shim_spec_read(const char *run_dir, struct shim_spec *ret, struct err *e);
/* Enters a new network namespace with one end of a cable whose other end hangs on the bridge. *ret_outer is a netlink
 * socket of the namespace that was left, for shim_network_remove(). */
MUST_CHECK int shim_network_make(const struct shim_spec *s, int *ret_outer, struct err *e);
void shim_network_remove(const struct shim_spec *s, int outer);
/* Enters a new mount namespace with the unit's root file system and sysfs in its run folder. */
MUST_CHECK int shim_rootfs_make(const struct shim_spec *s, struct err *e);
/* Argument vectors for spawning; static storage is the caller's. */
#define SHIM_ARGV_MAX 16
void shim_run_argv(
    const struct shim_spec *s, const char *argv[SHIM_ARGV_MAX], char *buf, size_t size);
/* The last error line of the runtime's JSON log. */
void shim_runtime_error(const struct shim_spec *s, char *out, size_t size);
/* Kills and removes what a previous shim of this unit left. */
MUST_CHECK int shim_clean(const struct shim_spec *s, struct err *e);
