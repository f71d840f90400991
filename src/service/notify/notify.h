/* SPDX-License-Identifier: Apache-2.0 */
/* Tells people of an alarm by a webhook in Slack's form: one POST of JSON, answered 2xx. Whoever has
 * the URL may write there, so it is a secret: it is in no log, no argument, no error of ours.
 * Nothing is repeated here; alarms do that (domain/alarm). On the loop, nothing blocks. */
#pragma once

#include "base/err/err.h"
#include "base/secret/secret.h"

#include <uv.h>

#define NOTIFY_TIMEOUT_MS 10000

struct notify;

struct notify_message {
    const char *channel, *username; /* NULL: as the webhook has it */
    const char *platform, *alarm;
    const char *severity; /* "info", "warning", "critical" */
    const char *what;     /* "raised", "still", "cleared" */
    const char *when;     /* the expression */
    const char *why;
    const char *host; /* that tells */
    const char *delivery; /* names this message for good: the same when it is sent again; "": none */
    int64_t id, at_ms;
};

/* e NULL: it was taken. Once, from the loop; ERR_CANCELED from within notify_free(). */
typedef void (*notify_done_fn)(void *ctx, const struct err *e);

MUST_CHECK int notify_new(uv_loop_t *loop, struct notify **ret, struct err *e);
void notify_free(struct notify *n); /* NULL is fine */
/* url: whole, blanks around it are left out. ERR_INVALID at once: it is none. */
MUST_CHECK int notify_send(struct notify *n, struct secret *url,
    const struct notify_message *m, notify_done_fn done, void *ctx, struct err *e);

/* The delivery goes along twice, as the header Idempotency-Key and as the attachment's callback_id,
 * so that a receiver can drop what it has had. The JSON that is sent. Slack's own marks (&, <, >) in
 * texts are written as text. */
char *notify_slack_body(const struct notify_message *m);
