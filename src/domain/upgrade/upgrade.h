/* SPDX-License-Identifier: Apache-2.0 */
/* An upgrade of the platform, host by host, as ONE pure step over the document `upgrade/current`:
 * {"format": 1, "state": running|done|failed, "to", "version", "by", "reason", "started_ms",
 *  "hosts": [{"name", "to", "kept", "from", "state", "since_ms", "pids": {unit: pid}, "reason"}]}
 *
 * One host at a time, in the order of the list (DR regions first, main ones last). A host is
 * switched, then must be well for a while (heard, roles up, every unit that was ready before is
 * ready with the same process), then it is confirmed. What is not well in time goes back, and the
 * upgrade stops there with the reason: hosts before it keep the new binary, hosts after it the old.
 *
 * Whoever leads calls the step whenever something changed and once a second, writes the document
 * that it returns by compare and swap and carries out the action: actions are repeated until the
 * host's report shows their effect, so a leader that dies is followed by one that goes on. Members
 * that this version does not know stay. No I/O, no clock. */
#pragma once

#include "base/err/err.h"
#include "base/json/json.h"

#define UPGRADE_SWITCH_MS 180000 /* to fetch, install, replace all roles */
#define UPGRADE_WELL_MS 60000    /* to be well after that */
#define UPGRADE_STEADY_MS 3000   /* and to stay so */
#define UPGRADE_BACK_MS 60000
#define UPGRADE_SILENT_MS 60000 /* a host that is not heard when its turn comes */

enum upgrade_act { UPGRADE_NOTHING, UPGRADE_SWITCH, UPGRADE_CONFIRM, UPGRADE_BACK };

struct upgrade_host { /* what is known of one; `report` as it goes from control to control */
    const char *name;
    bool heard;
    const json_t *report;
};

struct upgrade_action {
    enum upgrade_act act;
    char host[64], digest[72], reason[256];
    bool kept; /* the binary is on the host already */
};

struct upgrade_target {
    const char *host, *digest;
    bool kept;
};

/* `base`: "to", "version", "by" ... of the new document (borrowed). */
json_t *upgrade_new(
    const json_t *base, const struct upgrade_target *targets, size_t n, int64_t now_ms);
/* A new reference to what the document shall be; the very same (increased) when nothing changes. */
json_t *upgrade_step(json_t *doc, const struct upgrade_host *hosts, size_t n, int64_t now_ms,
    struct upgrade_action *ret);
/* That host's switch was refused, or could not be done: why. */
json_t *upgrade_refused(json_t *doc, const char *host, const char *reason, int64_t now_ms);
bool upgrade_running(const json_t *doc);
/* It is that host's turn: it has been told to switch, and is neither confirmed nor given up. */
bool upgrade_has_turn(const json_t *doc, const char *host);
