/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd.h"

extern const struct cmd cmd_up;
extern const struct cmd cmd_down;
extern const struct cmd cmd_lab_as;
extern const struct cmd cmd_lab_cut;
extern const struct cmd cmd_lab_exec;
extern const struct cmd cmd_lab_heal;
extern const struct cmd cmd_lab_kill;
extern const struct cmd cmd_lab_list;
extern const struct cmd cmd_lab_mend;
extern const struct cmd cmd_lab_role;
extern const struct cmd cmd_lab_slow;
extern const struct cmd cmd_apply;
extern const struct cmd cmd_revisions;
extern const struct cmd cmd_explain_dns;
extern const struct cmd cmd_status;
extern const struct cmd cmd_timeline;
extern const struct cmd cmd_host;
extern const struct cmd cmd_role;
extern const struct cmd cmd_shim;
extern const struct cmd cmd_version;
extern const struct cmd cmd_init;
extern const struct cmd cmd_plan;
extern const struct cmd cmd_schema;
extern const struct cmd cmd_completion;
extern const struct cmd cmd_man;
extern const struct cmd cmd_complete_words;

const struct cmd *const cmd_table[] = {
    &cmd_up,
    &cmd_down,
    &cmd_lab_as,
    &cmd_lab_cut,
    &cmd_lab_exec,
    &cmd_lab_heal,
    &cmd_lab_kill,
    &cmd_lab_list,
    &cmd_lab_mend,
    &cmd_lab_role,
    &cmd_lab_slow,
    &cmd_status,
    &cmd_timeline,
    &cmd_explain_dns,
    &cmd_apply,
    &cmd_revisions,
    &cmd_host,
    &cmd_role,
    &cmd_shim,
    &cmd_version,
    &cmd_init,
    &cmd_plan,
    &cmd_schema,
    &cmd_completion,
    &cmd_man,
    &cmd_complete_words,
    NULL,
};
