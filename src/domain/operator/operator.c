/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/operator/operator.h"

#include "base/str/str.h"

#define LOOK(method, action)                                                                       \
    {                                                                                              \
        method, "mcp:" action, OPERATOR_VIEWER, false, NULL                                        \
    }
#define CHANGE(method, action, role, subject)                                                      \
    {                                                                                              \
        method, "mcp:" action, OPERATOR_##role, true, subject                                      \
    }

/* By area. exec and logs show and touch what modules hold: exec is a change, logs are not a
 * viewer's by accident but because an incident needs them. */
static const struct operator_action actions[] = {
    LOOK("status", "Status"),
    LOOK("revision", "Revision"),
    LOOK("revisions", "Revisions"),
    LOOK("explain.dns", "ExplainDns"),
    LOOK("steer.list", "SteerList"),
    LOOK("explain.failover", "ExplainFailover"),
    LOOK("functions.list", "FunctionsList"),
    LOOK("drill.status", "DrillStatus"),
    LOOK("logs", "Logs"),
    LOOK("timeline", "Timeline"),
    LOOK("deploy.status", "DeployStatus"),
    LOOK("host.list", "HostList"),
    LOOK("image.list", "ImageList"),
    LOOK("image.missing", "ImageList"),
    LOOK("secret.list", "SecretList"),
    LOOK("secret.history", "SecretList"),
    LOOK("ca.status", "CaStatus"),
    LOOK("state.status", "StateStatus"),
    LOOK("data.switchover.status", "DataStatus"),
    LOOK("data.status", "DataStatus"),
    LOOK("data.look", "DataStatus"),
    LOOK("alarms.list", "Alarms"),
    LOOK("alarms.values", "Alarms"),
    LOOK("upgrade.status", "UpgradeStatus"),
    LOOK("upgrade.plan", "UpgradeStatus"),
    LOOK("operator.list", "OperatorList"),
    LOOK("operator.self", "OperatorSelf"),
    {"image.put", "mcp:ImagePut", OPERATOR_DEPLOYER, false, NULL}, /* bytes; apply names them */
    {"image.stage", "mcp:ImagePut", OPERATOR_DEPLOYER, false, NULL},
    {"audit", "mcp:Audit", OPERATOR_ADMIN, false, NULL},
    CHANGE("apply", "Apply", DEPLOYER, "note"),
    CHANGE("deploy", "Deploy", DEPLOYER, "module"),
    CHANGE("rollback", "Rollback", DEPLOYER, "module"),
    CHANGE("functions.run", "FunctionsRun", ADMIN, "function"),
    CHANGE("steer.away", "SteerAway", ADMIN, "region"),
    CHANGE("steer.back", "SteerBack", ADMIN, "region"),
    CHANGE("failback", "Failback", ADMIN, "module"),
    CHANGE("host.drain", "HostDrain", ADMIN, "host"),
    CHANGE("image.gc", "ImageGc", ADMIN, NULL),
    CHANGE("exec", "Exec", ADMIN, "module"),
    CHANGE("host.token", "HostToken", ADMIN, "host"),
    CHANGE("host.remove", "HostRemove", ADMIN, "host"),
    CHANGE("state.backup", "StateBackup", ADMIN, NULL),
    CHANGE("state.restore", "StateRestore", ADMIN, "confirm"),
    CHANGE("state.move", "StateMove", ADMIN, "to"),
    CHANGE("state.recover", "StateRecover", ADMIN, "confirm"),
    CHANGE("ca.rotate", "CaRotate", ADMIN, "kind"),
    CHANGE("secret.set", "SecretSet", ADMIN, "name"),
    CHANGE("secret.rotate", "SecretRotate", ADMIN, "name"),
    CHANGE("secret.grant", "SecretGrant", ADMIN, "name"),
    CHANGE("secret.remove", "SecretRemove", ADMIN, "name"),
    CHANGE("data.checksum", "DataChecksum", ADMIN, "database"),
    CHANGE("backup.run", "BackupRun", ADMIN, "database"),
    CHANGE("backup.verify", "BackupVerify", ADMIN, "database"),
    CHANGE("backup.restore", "BackupRestore", ADMIN, "database"),
    CHANGE("data.seed", "DataSeed", ADMIN, "database"),
    CHANGE("data.resume", "DataResume", ADMIN, "database"),
    CHANGE("data.switchover", "DataSwitchover", ADMIN, "database"),
    CHANGE("alarms.ack", "AlarmsAck", DEPLOYER, "name"),
    CHANGE("alarms.silence", "AlarmsSilence", DEPLOYER, "name"),
    CHANGE("data.arm", "DataArm", ADMIN, "database"),
    CHANGE("failover", "Failover", ADMIN, "to"),
    CHANGE("failover.pause", "FailoverPause", ADMIN, "database"),
    CHANGE("failover.resume", "FailoverResume", ADMIN, "database"),
    CHANGE("failover.ack", "FailoverAck", ADMIN, "database"),
    CHANGE("drill.begin", "DrillBegin", ADMIN, "drill"),
    CHANGE("drill.end", "DrillEnd", ADMIN, "id"),
    CHANGE("upgrade.start", "Upgrade", ADMIN, "version"),
    CHANGE("upgrade.rollback", "UpgradeRollback", ADMIN, "host"),
    CHANGE("operator.add", "OperatorAdd", ADMIN, "name"),
    CHANGE("operator.remove", "OperatorRemove", ADMIN, "name"),
};

const struct operator_action *operator_action_of(const char *method)
{
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        if (!strcmp(actions[i].method, method))
            return &actions[i];
    return NULL;
}

void operator_subject(const struct operator_action *a, const json_t *params, char *out, size_t size)
{
    const json_t *v = a->subject ? json_object_get(params, a->subject) : NULL;
    if (json_is_string(v))
        snprintf(out, size, "%.*s", (int)str_utf8_cut(json_string_value(v), size - 1),
            json_string_value(v));
    else if (json_is_integer(v))
        snprintf(out, size, "%lld", (long long)json_integer_value(v));
    else
        str_copy(out, size, "");
}

static const char *const roles[] = {"viewer", "deployer", "admin"};

const char *operator_role_name(enum operator_role role)
{
    ASSERT((size_t)role < ARRAY_SIZE(roles));
    return roles[role];
}

bool operator_role_parse(const char *name, enum operator_role *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
        if (!strcmp(roles[i], name)) {
            *ret = (enum operator_role)i;
            return true;
        }
    return false;
}

bool operator_name_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.");
    return n > 0 && n <= OPERATOR_NAME_MAX && !name[n] && name[0] != '-' && name[0] != '.';
}
