/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what. Every method of control that a command calls has an action name, and needs a
 * role of at least that rank: viewers look, deployers change modules, admins everything. A method
 * that has no row is refused to everybody: there is no default. Root on a host is an admin.
 *
 * Pure tables; nothing is allocated. */
#pragma once

#include "base/json/json.h"

enum operator_role { OPERATOR_VIEWER, OPERATOR_DEPLOYER, OPERATOR_ADMIN };

struct operator_action {
    const char *method; /* as the command line calls it: "secret.set" */
    const char *action; /* as policies and the audit log name it: "mcp:SecretSet" */
    enum operator_role role;
    bool changes;        /* has an audit entry */
    const char *subject; /* the parameter that says what it is about; NULL: none */
};

const struct operator_action *operator_action_of(const char *method); /* NULL: unknown */
/* What the call is about, cut to size: the text, number or name in its parameters. */
void operator_subject(
    const struct operator_action *a, const json_t *params, char *out, size_t size);
const char *operator_role_name(enum operator_role role);
bool operator_role_parse(const char *name, enum operator_role *ret);
/* An operator's name: a lower-case label of at most OPERATOR_NAME_MAX, for it is a key and is seen
 * in every audit entry. */
#define OPERATOR_NAME_MAX 32
bool operator_name_valid(const char *name);
