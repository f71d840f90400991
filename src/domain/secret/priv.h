/* SPDX-License-Identifier: Apache-2.0 */
/* Inside domain/secret. */
#pragma once

#include "domain/secret/secret.h"

/* Takes `what`; doc is a copy that the caller made. */
void secret_history_add(json_t *doc, const struct secret_change_note *note, json_t *what);
