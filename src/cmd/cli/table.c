/* SPDX-License-Identifier: Apache-2.0 */
/* In the order in which people read them: `mcp --help` and mcp(1) keep it. */
#include "cmd/cli/cmd.h"

extern const struct cmd cmd_alarms;
extern const struct cmd cmd_alarms_ack;
extern const struct cmd cmd_alarms_list;
extern const struct cmd cmd_alarms_show;
extern const struct cmd cmd_alarms_silence;
extern const struct cmd cmd_alarms_values;
extern const struct cmd cmd_apply;
extern const struct cmd cmd_audit;
extern const struct cmd cmd_backup_list;
extern const struct cmd cmd_backup_restore;
extern const struct cmd cmd_backup_run;
extern const struct cmd cmd_backup_verify;
extern const struct cmd cmd_ca_rotate;
extern const struct cmd cmd_ca_status;
extern const struct cmd cmd_complete_words;
extern const struct cmd cmd_completion;
extern const struct cmd cmd_data_status;
extern const struct cmd cmd_data_lag;
extern const struct cmd cmd_data_checksum;
extern const struct cmd cmd_data_preflight;
extern const struct cmd cmd_data_errant;
extern const struct cmd cmd_data_missing;
extern const struct cmd cmd_data_resume;
extern const struct cmd cmd_data_seed;
extern const struct cmd cmd_data_switchover;
extern const struct cmd cmd_data_gate;
extern const struct cmd cmd_data_vault;
extern const struct cmd cmd_deploy;
extern const struct cmd cmd_deploy_status;
extern const struct cmd cmd_down;
extern const struct cmd cmd_drill_guard;
extern const struct cmd cmd_drill_list;
extern const struct cmd cmd_drill_plan;
extern const struct cmd cmd_drill_report;
extern const struct cmd cmd_drill_run;
extern const struct cmd cmd_explain_dns;
extern const struct cmd cmd_failback;
extern const struct cmd cmd_ack;
extern const struct cmd cmd_data_arm;
extern const struct cmd cmd_explain_failover;
extern const struct cmd cmd_failover;
extern const struct cmd cmd_pause;
extern const struct cmd cmd_resume;
extern const struct cmd cmd_host;
extern const struct cmd cmd_host_init;
extern const struct cmd cmd_host_join;
extern const struct cmd cmd_host_list;
extern const struct cmd cmd_image_list;
extern const struct cmd cmd_image_gc;
extern const struct cmd cmd_host_remove;
extern const struct cmd cmd_host_token;
extern const struct cmd cmd_host_drain;
extern const struct cmd cmd_host_undrain;
extern const struct cmd cmd_upgrade;
extern const struct cmd cmd_init;
extern const struct cmd cmd_lab_as;
extern const struct cmd cmd_lab_cut;
extern const struct cmd cmd_lab_exec;
extern const struct cmd cmd_lab_heal;
extern const struct cmd cmd_lab_kill;
extern const struct cmd cmd_lab_list;
extern const struct cmd cmd_lab_mend;
extern const struct cmd cmd_lab_role;
extern const struct cmd cmd_lab_slow;
extern const struct cmd cmd_lab_wipe;
extern const struct cmd cmd_login;
extern const struct cmd cmd_logout;
extern const struct cmd cmd_man;
extern const struct cmd cmd_operator_add;
extern const struct cmd cmd_operator_list;
extern const struct cmd cmd_operator_rm;
extern const struct cmd cmd_plan;
extern const struct cmd cmd_revisions;
extern const struct cmd cmd_role;
extern const struct cmd cmd_rollback;
extern const struct cmd cmd_schema;
extern const struct cmd cmd_secret_grant;
extern const struct cmd cmd_secret_history;
extern const struct cmd cmd_secret_list;
extern const struct cmd cmd_secret_rm;
extern const struct cmd cmd_secret_rotate;
extern const struct cmd cmd_secret_set;
extern const struct cmd cmd_edge_serve;
extern const struct cmd cmd_exec;
extern const struct cmd cmd_logs;
extern const struct cmd cmd_engine_files;
extern const struct cmd cmd_shim;
extern const struct cmd cmd_watchdog;
extern const struct cmd cmd_state_backup;
extern const struct cmd cmd_state_move;
extern const struct cmd cmd_state_recover;
extern const struct cmd cmd_state_restore;
extern const struct cmd cmd_state_status;
extern const struct cmd cmd_status;
extern const struct cmd cmd_timeline;
extern const struct cmd cmd_traffic;
extern const struct cmd cmd_traffic_compare;
extern const struct cmd cmd_functions_list;
extern const struct cmd cmd_functions_run;
extern const struct cmd cmd_steer_away;
extern const struct cmd cmd_steer_back;
extern const struct cmd cmd_steer_list;
extern const struct cmd cmd_up;
extern const struct cmd cmd_version;

const struct cmd *const cmd_table[] = {
    /* Declare and apply. */
    &cmd_init,
    &cmd_plan,
    &cmd_apply,
    &cmd_revisions,
    &cmd_deploy,
    &cmd_deploy_status,
    &cmd_rollback,
    /* Look. */
    &cmd_status,
    &cmd_timeline,
    &cmd_alarms,
    &cmd_alarms_list,
    &cmd_alarms_show,
    &cmd_alarms_values,
    &cmd_alarms_ack,
    &cmd_alarms_silence,
    &cmd_audit,
    &cmd_operator_add,
    &cmd_operator_list,
    &cmd_operator_rm,
    &cmd_login,
    &cmd_logout,
    &cmd_explain_dns,
    &cmd_steer_away,
    &cmd_steer_back,
    &cmd_steer_list,
    &cmd_explain_failover,
    /* Functions. */
    &cmd_functions_list,
    &cmd_functions_run,
    /* Hosts. */
    &cmd_host_init,
    &cmd_host_token,
    &cmd_host_join,
    &cmd_host_list,
    &cmd_host_remove,
    /* The state store. */
    &cmd_state_status,
    &cmd_state_backup,
    &cmd_state_restore,
    &cmd_state_move,
    &cmd_state_recover,
    &cmd_host_drain,
    &cmd_host_undrain,
    &cmd_failback,
    &cmd_upgrade,
    /* Databases. */
    &cmd_data_status,
    &cmd_data_lag,
    &cmd_data_preflight,
    &cmd_data_checksum,
    &cmd_data_errant,
    &cmd_data_missing,
    &cmd_data_resume,
    &cmd_data_seed,
    &cmd_data_switchover,
    &cmd_failover,
    &cmd_pause,
    &cmd_resume,
    &cmd_ack,
    &cmd_data_arm,
    &cmd_data_gate,
    &cmd_data_vault,
    &cmd_backup_run,
    &cmd_backup_list,
    &cmd_backup_verify,
    &cmd_backup_restore,
    /* Certificates. */
    &cmd_ca_status,
    &cmd_ca_rotate,
    /* Secrets. */
    &cmd_secret_set,
    &cmd_secret_list,
    &cmd_secret_rotate,
    &cmd_secret_grant,
    &cmd_secret_history,
    &cmd_secret_rm,
    /* Images and files by digest. */
    &cmd_image_list,
    &cmd_image_gc,
    /* A lab on this machine. */
    &cmd_up,
    &cmd_down,
    &cmd_lab_list,
    &cmd_lab_as,
    &cmd_lab_exec,
    &cmd_lab_kill,
    &cmd_lab_heal,
    &cmd_lab_cut,
    &cmd_lab_slow,
    &cmd_lab_mend,
    &cmd_lab_wipe,
    &cmd_traffic,
    &cmd_traffic_compare,
    &cmd_drill_list,
    &cmd_drill_plan,
    &cmd_drill_run,
    &cmd_drill_report,
    /* Parts of it alone, without a platform. */
    &cmd_edge_serve,
    /* About the command line itself. */
    &cmd_schema,
    &cmd_completion,
    &cmd_version,
    /* Not for people: hidden. */
    &cmd_host,
    &cmd_role,
    &cmd_drill_guard,
    &cmd_logs,
    &cmd_exec,
    &cmd_engine_files,
    &cmd_shim,
    &cmd_watchdog,
    &cmd_lab_role,
    &cmd_man,
    &cmd_complete_words,
    NULL,
};
