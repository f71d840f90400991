/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of this folder. images.c: what is wanted and how far it is. fetch.c: one blob
 * on its way. calls.c: what control asks. */
#pragma once

#include "base/str/str.h"
#include "service/images/images.h"

enum want_by { BY_UNITS = 1, BY_CONTROL = 2, BY_CALL = 4 };
enum want_state { W_NEW, W_CHECKING, W_FETCHING, W_WAITING, W_READY, W_BAD };

struct part { /* a blob that a want lacks */
    struct blob blob;
    enum { P_OPEN, P_HERE, P_FAILED } state;
};

struct want {
    struct want *next;
    struct images *owner;
    enum bulk_kind kind;
    char digest[DIGEST_SIZE];
    unsigned by;
    enum want_state state;
    bool again; /* look anew when the present look is over */
    struct part *parts;
    size_t n_parts;
    int64_t have, total; /* bytes at the last look; total 0: not known */
    unsigned failures;
    uint64_t retry_ms;
    char reason[IMAGES_TEXT_SIZE];
    uint64_t told_ms;
    unsigned jobs;
};

struct fetch {
    struct fetch *next;
    struct images *owner;
    struct blob blob;
    enum { F_QUEUED, F_PULLING, F_FINISHING } state;
    uint64_t not_before_ms;
    int fd;
    int64_t have;
    bool from_start;
    bool tried; /* asked for before: without a hint then */
    char from[64];
    struct fetch **call; /* what the answer of control finds it by; NULL: none is awaited */
    struct err why;      /* of the job */
};

struct shunned { /* sent wrong bytes */
    char digest[DIGEST_SIZE], host[64];
};

struct images {
    struct images_config cfg;
    char *root;
    struct want *wants;
    struct fetch *fetches;
    char last_from[64]; /* who sent the last blob: likely to have the next */
    struct shunned *shunned;
    size_t n_shunned, cap_shunned;
    struct ensure *ensures;
    struct put *puts;
    uv_timer_t *timer;
    unsigned jobs;
    bool closed;
};

uint64_t images_now(struct images *im);
void images_arm(struct images *im, uint64_t at_ms); /* images_turn() at that time or before */
void images_turn(struct images *im);
struct want *images_find(const struct images *im, enum bulk_kind kind, const char *digest);
struct want *images_want(struct images *im, enum bulk_kind kind, const char *digest, unsigned by);
void images_look(struct want *w);
/* A blob came (e NULL), or did not: every want that lacks it goes on. */
void images_blob_ended(struct images *im, const struct blob *b, const struct err *e);
void images_want_text(const struct want *w, char text[IMAGES_TEXT_SIZE]);
void images_progress(struct images *im, const struct blob *b);

/* fetch.c */
struct fetch *fetch_find(const struct images *im, const char *digest);
void fetch_want(struct images *im, const struct blob *b);
void fetch_run(struct images *im); /* starts what may start */
void fetch_done(struct images *im);

/* calls.c */
void calls_changed(struct images *im); /* wants have moved: whoever waits may be answered */
void calls_done(struct images *im);

/* keep.c */
void call_gc(struct images *im, struct rpc_req *req, json_t *params, int *fd);
void call_list(struct images *im, struct rpc_req *req, json_t *params, int *fd);

/* Work on a worker thread, the rest on the loop; both get ctx. */
struct images_job {
    uv_work_t work;
    struct images *owner;
    void (*run)(void *ctx);
    void (*after)(void *ctx);
    void *ctx;
};
void images_job(struct images *im, void (*run)(void *ctx), void (*after)(void *ctx), void *ctx);
