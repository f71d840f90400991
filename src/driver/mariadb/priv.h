/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "driver/mariadb/mariadb.h"

/* A data folder of the installed server, at *ret (the caller's): made if there is none yet. */
MUST_CHECK int template_get(const char *templates, char **ret, struct err *e);
/* Copies a tree of folders and files, sharing blocks where the file system can; on disk when it
 * returns. `to` must not exist. Anything else than folders and files is refused. */
MUST_CHECK int tree_copy(const char *from, const char *to, struct err *e);
