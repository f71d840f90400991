/* SPDX-License-Identifier: Apache-2.0 */
/* When the functions of `after` of a module are due: once a deployment of it is done. Journaled like
 * the steps of a failover, in the document after/<module>: that they are due is written before they
 * are run, so whoever leads when the deployment ends, or next, runs them. They are run at least once,
 * always under the same name, which the functions get as `run`.
 *
 *   {"format": 1, "id": 7, "state": "due"|"done"|"failed", "since_ms", "tries", "next_ms", "error"}
 *
 * `id` is the last deployment (deploy/<module>) that was looked at to its end. Where there is no
 * document yet, deployments that have ended are of the time before. Pure; times are wall clock. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define AFTER_FORMAT 1
#define AFTER_TRIES_MAX 6u /* 5, 10, 20, 40, 80 s between them: hosts that can run them come back */

/* deploy NULL: there was none. A new document, or the very same pointer (increased; NULL for NULL)
 * when nothing is to be written: then *ret_run says whether they are to be run now. */
json_t *after_step(const json_t *doc, const json_t *deploy, int64_t wall_ms, bool *ret_run);
/* They ran for that deployment. Only what never began (ERR_UNAVAILABLE) is tried again. */
json_t *after_ran(const json_t *doc, int64_t id, const struct err *e, int64_t wall_ms);
