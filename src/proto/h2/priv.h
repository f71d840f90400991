/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "proto/h2/h2.h"

struct meter { /* of one kind of frame: a burst, then a rate */
    uint64_t at_ms;
    uint32_t left; /* thousandths of a frame */
};

enum h2_kind { KIND_RESET, KIND_PING, KIND_SETTINGS, KIND_EMPTY, KIND_WINDOW, KIND_OTHER, KINDS };

struct h2 {
    nghttp2_session *session;
    const struct h2_calls *calls;
    void *ctx;
    uint64_t now_ms;
    struct meter meters[KINDS];
    struct http_out *out; /* within h2_give() */
    bool calm;            /* the client was told to calm down: it is not read any more */
    bool leaving;
};

/* meter.c: false: the client was told to calm down. */
void h2_meters_init(struct h2 *h);
void h2_meter(struct h2 *h, enum h2_kind kind);
void h2_meter_earn(struct h2 *h, enum h2_kind kind, uint32_t frames);
void h2_calm(struct h2 *h, enum h2_event why);

/* answer.c */
ssize_t h2_on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
    nghttp2_data_source *source, void *ctx);
int h2_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
    nghttp2_data_source *source, void *ctx);
