/* SPDX-License-Identifier: Apache-2.0 */
/* `mcp host init`: this machine becomes the first host of a new platform. Its certificate authority
 * is made in a folder that the operator takes away; the host keeps the issuing keys sealed to
 * itself. The declaration is kept beside (first.json) for control, which makes it revision 1 when
 * it runs, and with it the first token. Everything is durable, the boot record last: killed before
 * that, the same command goes on. Blocks; as root. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"
#include "domain/enrol/token.h"

#define ENROL_FIRST "first.json" /* in control's folder */
#define ENROL_BACKUP "restore.mcp"

struct model;

struct enrol_init {
    const struct model *model;
    const json_t *files; /* of service/files */
    const char *file;    /* the declaration, absolute */
    const char *host;    /* NULL: the one whose address this machine has */
    const char *ca_dir;  /* where the authority is made, or lies already */
    const char *by;
    const char *backup; /* state to be put back once control runs: its text's file; NULL: none */
};

struct enrol_inited {
    char host[64];
    bool done_before;
    char token[TOKEN_TEXT_SIZE];
    int64_t expires_ms;
    size_t others; /* hosts that are yet to join */
};

MUST_CHECK int enrol_init(const struct enrol_init *in, struct enrol_inited *ret, struct err *e);
