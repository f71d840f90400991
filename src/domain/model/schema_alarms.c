/* SPDX-License-Identifier: Apache-2.0 */
/* What platform.yaml may say of alarms, and of whom they tell. */
#include "domain/alarm/alarm.h"
#include "domain/model/priv.h"

#define DAY_MS (24ull * 3600 * 1000)

static const char *const severities[] = {"info", "warning", "critical", NULL}; /* alarm_severity */

const struct schema_row decl_alarm_name = {"NAME", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row notify_ref = {"NAME", SCHEMA_NAME, .max = MODEL_NAME_MAX};

static const struct schema_row alarm_rows[] = {
    {"when", SCHEMA_STRING, offsetof(struct decl_alarm, when), .min = 1, .max = ALARM_TEXT_MAX,
        .required = true, .example = "\"data.trade.answering == false\"",
        .prose = "What is compared with what: VALUE == != < <= > >= a word, a number, a duration, "
                 "a share or a size, joined by `and`, `or`, `not` and parentheses. `mcp alarms "
                 "values` lists the values and what they are now. What is not known neither raises "
                 "an alarm nor clears it."},
    {"clear", SCHEMA_STRING, offsetof(struct decl_alarm, clear), .min = 1, .max = ALARM_TEXT_MAX,
        .example = "\"route.api.error_rate < 1%\"",
        .prose = "What ends it, where that is not merely the contrary of `when`: an alarm that is "
                 "raised above 5 % may be cleared below 1 %."},
    {"for", SCHEMA_DURATION, offsetof(struct decl_alarm, for_ms), .max = DAY_MS, .def = "0s",
        .example = "10s", .prose = "How long it must have been so without a break."},
    {"clear_for", SCHEMA_DURATION, offsetof(struct decl_alarm, clear_for_ms), .max = DAY_MS,
        .def = "0s", .example = "30s",
        .prose = "How long it must have been over before it is cleared: what flaps is one alarm."},
    {"severity", SCHEMA_ENUM, offsetof(struct decl_alarm, severity), .words = severities,
        .def = "warning", .prose = "How bad it is."},
    {"repeat", SCHEMA_DURATION, offsetof(struct decl_alarm, repeat_ms), .max = 30 * DAY_MS,
        .def = "0s", .example = "4h",
        .prose = "Told again after this time while it lasts and nobody has said `mcp alarms ack`; "
                 "0s: once."},
    {"notify", SCHEMA_LIST, offsetof(struct decl_alarm, notify), .one = true, .item = &notify_ref,
        .item_size = sizeof(struct schema_text), .max = ALARM_NOTIFY_MAX, .example = "[ops]",
        .prose = "Who is told, by the names of `notify`. The timeline has it in any case."},
    {"run", SCHEMA_NAME, offsetof(struct decl_alarm, run), .max = MODEL_NAME_MAX,
        .example = "page-oncall", .prose = "A function that is started once when it is raised."},
    {0},
};
const struct schema_row decl_alarm_item = {"ALARM", SCHEMA_STRUCT, .rows = alarm_rows,
    .example = "{when: \"data.trade.answering == false\", for: 10s, notify: ops}"};

static const struct schema_row slack_rows[] = {
    {"url_secret", SCHEMA_STRING, offsetof(struct decl_slack, url_secret),
        .check = model_check_secret, .max = MODEL_SECRET_NAME_MAX, .required = true,
        .example = "slack_webhook",
        .prose = "The secret that holds the webhook's URL: who has it may write there."},
    {"channel", SCHEMA_STRING, offsetof(struct decl_slack, channel), .min = 1, .max = 128,
        .example = "\"#ops\"",
        .prose = "Instead of the channel that the webhook belongs to, where it allows that."},
    {"username", SCHEMA_STRING, offsetof(struct decl_slack, username), .min = 1, .max = 64,
        .example = "mcp", .prose = "As whom it writes, where the webhook allows that."},
    {0},
};
static const struct schema_row notify_rows[] = {
    {"slack", SCHEMA_STRUCT, offsetof(struct decl_notify, slack), .rows = slack_rows,
        .required = true, .example = "{url_secret: slack_webhook, channel: \"#ops\"}",
        .prose = "An incoming webhook that takes Slack's JSON, as Mattermost's and others' do."},
    {"builtin", SCHEMA_BOOL, offsetof(struct decl_notify, builtin), .def = "true",
        .prose = "Whether it is told of built-in alarms too."},
    {"severity", SCHEMA_ENUM, offsetof(struct decl_notify, severity), .words = severities,
        .def = "warning", .prose = "The least severity of built-in alarms that it is told of."},
    {0},
};
const struct schema_row decl_notify_item = {"NOTIFY", SCHEMA_STRUCT, .rows = notify_rows,
    .example = "{slack: {url_secret: slack_webhook}}"};
