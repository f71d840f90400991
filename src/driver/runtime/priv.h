/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the two runtimes; see runtime.h. */
#pragma once

#include "driver/runtime/runtime.h"

/* Writes shim.json (which it takes), removes the records of the incarnation before, spawns the shim. */
MUST_CHECK int runtime_spawn_shim(const struct runtime_host *h, const struct runtime_unit *u,
    json_t *doc, pid_t *ret_pid, struct err *e);
/* The members of shim.json that both kinds have. */
json_t *runtime_shim_doc(const struct runtime_unit *u, const char *kind);
json_t *runtime_words(const char *const *list);
/* env of the image and of the spec: the latter wins by name. NULL-terminated; list and texts in the arena. */
const char *const *runtime_env_merge(
    struct arena *a, const char *const *under, const char *const *over);
