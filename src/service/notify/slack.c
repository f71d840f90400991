/* SPDX-License-Identifier: Apache-2.0 */
/* https://api.slack.com/messaging/webhooks and /reference/messaging/attachments: `text` is what a
 * phone shows, the attachment carries colour and details. Others that take this form (Mattermost,
 * Rocket.Chat, Discord's /slack) read the same members. */
#include "service/notify/notify.h"

#include "base/json/json.h"

#include <string.h>

/* Three characters are Slack's: everything else is text to it. */
static char *escaped(const char *text)
{
    struct str out = STR_INIT;
    for (; *text; text++)
        switch (*text) {
        case '&':
            str_add(&out, "&amp;");
            break;
        case '<':
            str_add(&out, "&lt;");
            break;
        case '>':
            str_add(&out, "&gt;");
            break;
        default:
            str_add_ch(&out, *text);
        }
    return str_steal(&out);
}

static const char *colour(const struct notify_message *m)
{
    if (!strcmp(m->what, "cleared"))
        return "good";
    if (!strcmp(m->severity, "critical"))
        return "danger";
    return !strcmp(m->severity, "warning") ? "warning" : "#439fe0";
}

static json_t *field(const char *title, const char *value)
{
    return json_pack("{s:s,s:s,s:b}", "title", title, "value", value, "short", 1);
}

char *notify_slack_body(const struct notify_message *m)
{
    static const char *const verbs[] = {"raised", "fires", "still", "still fires"};
    const char *verb = !strcmp(m->what, "cleared") ? "is over" : verbs[!strcmp(m->what, "still") * 2 + 1];
    _cleanup_free_ char *why = escaped(m->why), *when = escaped(m->when);
    _cleanup_free_ char *text =
        xasprintf("[%s] %s: alarm %s %s", m->platform, m->severity, m->alarm, verb);
    json_t *fields = json_pack("[o,o,o]", field("severity", m->severity),
        field("platform", m->platform), field("told by", m->host));
    _cleanup_json_ json_t *body = json_pack("{s:s,s:[{s:s,s:s,s:s,s:s,s:o,s:s,s:I}]}", "text", text,
        "attachments", "fallback", text, "color", colour(m), "title", when, "text", why, "fields",
        fields, "footer", m->alarm, "ts", (json_int_t)(m->at_ms / 1000));
    ASSERT(body);
    if (*m->delivery)
        json_object_set_new(json_array_get(json_object_get(body, "attachments"), 0), "callback_id",
            json_sprintf("%s-%s", m->platform, m->delivery));
    if (m->channel)
        json_object_set_new(body, "channel", json_string(m->channel));
    if (m->username)
        json_object_set_new(body, "username", json_string(m->username));
    return json_text(body);
}
