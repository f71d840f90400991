/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of service/mesh. */
#pragma once

#include "service/mesh/mesh.h"

#include "base/metrics/metrics.h"
#include "base/tls/tls.h"
#include "domain/mesh/mesh.h"
#include "net/splice/splice.h"
#include "proto/mesh/mesh.h"
#include "service/gate/gate.h"

#include <pthread.h>

#define IDENTITY_MAX 80 /* "module/NAME" */
#define BAD_SLOTS 256   /* per thread: targets that failed lately */
#define SESSION_SLOTS 512
#define LOAD_SLOTS 4096
#define FLOWS_PER_CALLER 2048 /* per thread */
#define REFUSED_SLOTS 256
#define REFUSED_EVERY_MS 60000u

enum tag_kind { TAG_CALL, TAG_LINK, TAG_PROXY };

struct identity {
    char id[IDENTITY_MAX];
    SSL_CTX *client; /* holds certificate, chain and key for the server side too */
};

#define ASKS_MAX 256       /* questions under way, per thread */
#define ASK_TRIES 3        /* a second each */
#define ASK_ADDRESSES_MAX 4
#define OUT_NAME_MAX 254

struct keys { /* counted; immutable */
    _Atomic unsigned refs;
    uint64_t number; /* no two sets have the same */
    SSL_CTX *server;
    struct identity *v; /* by id */
    size_t n;
};

struct view { /* counted; immutable */
    _Atomic unsigned refs;
    struct mesh_view *v;
    struct keys *keys; /* NULL: none yet */
};

struct flow {
    struct view *view;
    const struct mesh_module *module; /* the called one */
    const struct mesh_target *order[MESH_ORDER_MAX];
    size_t n_order, at;
    const struct identity *identity;  /* of the caller, for other hosts */
    char caller[IDENTITY_MAX];
    uint32_t load_key; /* 0: not counted */
    struct ip_addr from; /* the unit that calls; family 0: none */
    enum tag_kind kind;
    bool again; /* a link: not the first call of its connection */
    SSL *ssl;   /* then: that connection's */
    char target_id[TLS_ID_MAX + 1];
    struct early { /* a link to what is not known here yet */
        char name[MESH_NAME_MAX + 1], unit[MESH_NAME_MAX + 1];
        uint64_t until_ms; /* 0: it has not begun to wait */
    } early;
    struct way_in { /* to a database */
        const struct mesh_database *database; /* NULL: it is no such flow */
        const struct mesh_place *places[MESH_ORDER_MAX];
        size_t n_places, at;
        bool write, joined;
        bool dialled;          /* an attempt is under way */
        bool answered;         /* a link was told that it may speak; a unit, why it may not */
        enum mesh_status said; /* by the host tried last */
        uint64_t give_up_ms;   /* 0: it has not begun to wait */
        struct gate_session gate; /* to the member here */
    } data;
    struct outside { /* of TAG_PROXY */
        const struct mesh_module *caller;
        char name[OUT_NAME_MAX];
        uint16_t port, ask; /* slot + 1 of the question */
        bool connect;       /* else plain HTTP */
        bool inside;        /* it has addresses, none of them outside */
        unsigned tries;
        struct ip_addr addresses[ASK_ADDRESSES_MAX];
        size_t n_addresses;
    } out;
};

struct bad { /* a target that refused lately */
    uint64_t key, until_ms;
    unsigned failures;
};

struct session { /* to go on from */
    uint64_t key;
    uint64_t keys; /* their number */
    SSL_SESSION *session;
};

struct load {
    uint32_t key, flows;
};

struct ask { /* of the resolver */
    struct splice_flow *f; /* NULL: free */
    uint16_t id, type;
};

struct worker { /* of one thread */
    struct mesh *m;
    struct view *view; /* pinned */
    unsigned seen;
    unsigned next; /* turns among equals */
    uint64_t now_ms;
    struct bad bad[BAD_SLOTS];
    struct session sessions[SESSION_SLOTS];
    struct load load[LOAD_SLOTS];
    struct splice_source answers;
    int resolver; /* socket; -1: not opened yet */
    struct ask asks[ASKS_MAX];
    struct metric_set *metrics;
};

enum mesh_metric {
    M_CALLS,         /* of units, allowed */
    M_LINKS,         /* of other hosts, allowed */
    M_REFUSED_NEEDS, /* by cause */
    M_REFUSED_STRANGER,
    M_REFUSED_LOAD,
    M_REFUSED_STANDBY, /* units that are not admitted */
    M_REFUSED_PROOF,
    M_NO_IDENTITY,
    M_OUT,
    M_REFUSED_EGRESS,
    M_REFUSED_INSIDE,
    M_NOT_RESOLVED,
    M_DATA_CALLS,  /* of units, to a database */
    M_DATA_LINKS,  /* of other hosts, to a member here */
    M_DATA_HELD,   /* that waited for the source to move */
    M_DATA_CLOSED, /* because the source has moved */
    M_DATA_DOWN,   /* refused, by cause */
    M_DATA_SLOW,
    M_DATA_UNREACHABLE,
    M_DATA_MOVED,
    M_COUNT
};

struct refusal {
    uint64_t key, at_ms;
};

struct open_listen {
    struct ip_addr address;
    uint16_t port;
    bool wanted;
    bool served; /* the engine has it; else it waits for a view */
    int fd;
};

struct gates { /* of one database */
    struct gates *next;
    char *database;
    struct gate *rw, *ro;
    _Atomic unsigned breaks; /* how often what was under way at rw was broken off */
    unsigned seen[SPLICE_THREADS_MAX]; /* of them, each thread's own */
    /* The rest is the main thread's. */
    int64_t held_epoch, begun_epoch, released_epoch;
    uint64_t hold_until_ms, begun_ms;
    int64_t lease_epoch; /* that a lease was told of; 0: none yet */
    uint64_t lease_until_ms;
    bool holds;
};

struct mesh {
    struct mesh_config config;
    struct splice_server *splice;
    struct worker *workers;
    pthread_mutex_t lock; /* current */
    struct view *current;
    _Atomic unsigned generation;
    json_t *doc, *identities; /* as set last */
    bool view_dirty, identities_dirty;
    struct keys *keys;
    struct open_listen *listens;
    size_t n_listens, cap_listens;
    char warning[256];       /* of the start */
    char listen_warning[256];
    struct refusal refused[REFUSED_SLOTS];
    pthread_mutex_t refused_lock;
    struct gates *_Atomic gates;
    struct metric_set *metrics; /* of what is read, not counted */
};

/* keys.c */
MUST_CHECK int keys_new(const json_t *doc, struct keys **ret, struct err *e);
void keys_unref(struct keys *k);
const struct identity *keys_find(const struct keys *k, const char *id);
/* The session of the last connection to there, and where the next is kept. */
void keys_resume(struct worker *w, const struct keys *k, uint64_t key, SSL *ssl);
void keys_forget(struct worker *w);

/* view.c */
struct view *view_ref(struct view *v);
void view_unref(struct view *v);
MUST_CHECK int view_new(json_t *doc, struct keys *keys, struct view **ret, struct err *e);
void view_publish(struct mesh *m, struct view *v); /* takes it */
bool view_pin(struct worker *w); /* true: it is another */

/* listen.c */
/* At the end: those that host does not hold for the next mesh. That one takes what comes to the others. */
void listen_close_unkept(struct mesh *m);
void listen_follow(struct mesh *m, const struct mesh_view *v);
/* Goes on with sockets that a predecessor listened on, until the first view says which are wanted. */
void listen_adopt(struct mesh *m, const int *fds, size_t n);

/* refused.c */
void refused_tell(struct mesh *m, uint64_t now_ms, const char *subject, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* call.c: of units, and of this host's edge */
enum splice_verdict call_accepted(
    struct worker *w, struct splice_flow *f, uint32_t key, const struct ip_addr *from);
bool call_dial(struct worker *w, struct splice_flow *f, struct splice_dial *d);
bool call_proven(struct worker *w, struct splice_flow *f, SSL *ssl);
bool call_answered(struct splice_flow *f, const uint8_t *p, size_t len);
void call_joined(struct worker *w, struct splice_flow *f);
bool load_take(struct worker *w, struct flow *flow, uint32_t key);
void load_give(struct worker *w, struct flow *flow);
const struct mesh_caller *call_caller(
    struct worker *w, struct flow *flow, const struct ip_addr *from, const char *wanted);
/* The unit of this flow is not admitted (any more), by the newest view. */
bool call_waits(const struct worker *w, const struct flow *flow);
uint64_t hash_text(uint64_t h, const char *text);
/* Fails for a while: not the first to be asked. */
bool bad_is(const struct worker *w, uint64_t key);
void bad_note(struct worker *w, uint64_t key);
void bad_clear(struct worker *w, uint64_t key);
enum splice_verdict call_refuse(struct worker *w, enum mesh_metric why);
void call_name(struct flow *flow, const char *kind, const char *name); /* who calls: "module", "api" */
/* To the mesh of another host, as whom the flow's caller names. False: no certificate. */
struct call_to {
    const char *host;
    const struct ip_addr *address;
    const char *server_name; /* picks the certificate that answers */
};
bool call_link(struct worker *w, struct flow *flow, const struct call_to *to,
    const struct mesh_hello *hello, struct splice_dial *d);

/* ends.c: of units to databases, and of other hosts to the member here */
enum splice_verdict ends_accepted(struct worker *w, struct splice_flow *f,
    const struct mesh_listen *l, const struct ip_addr *from);
/* SPLICE_DIAL, or SPLICE_REPLY when it was answered. */
enum splice_verdict ends_linked(
    struct worker *w, struct splice_flow *f, const struct mesh_hello *hello);
enum splice_verdict ends_dial(struct worker *w, struct splice_flow *f, struct splice_dial *d);
enum splice_verdict ends_waited(struct worker *w, struct splice_flow *f);
bool ends_answered(struct flow *flow, enum mesh_status s);
void ends_joined(struct worker *w, struct splice_flow *f);
void ends_failed(struct worker *w, struct splice_flow *f);
void ends_left(struct flow *flow); /* its flow has ended */
void ends_view_changed(struct worker *w); /* the pinned view is another */

/* gates.c */
void gates_follow(struct mesh *m, const struct mesh_view *v);
struct gate *gates_find(struct mesh *m, const char *database, bool write);
void gates_turn(struct mesh *m, unsigned thread);
uint64_t gates_due_ms(struct mesh *m, unsigned thread);
json_t *gates_status(const struct mesh *m);
void gates_collect(struct mesh *m);
void gates_free(struct mesh *m);

/* link.c: of other hosts' meshes */
enum splice_verdict link_accepted(struct worker *w, struct splice_flow *f, SSL **ssl);
enum splice_verdict link_secured(struct worker *w, struct splice_flow *f, SSL *ssl);
enum splice_verdict link_again(struct worker *w, struct splice_flow *f, SSL *ssl);
enum splice_verdict link_head(
    struct worker *w, struct splice_flow *f, const char *p, size_t len, size_t *used);
enum splice_verdict link_waited(struct worker *w, struct splice_flow *f);
bool link_dial(struct worker *w, struct splice_flow *f, struct splice_dial *d);
void link_answer(struct splice_flow *f, enum mesh_status s);
bool link_is_secured_as(const struct flow *flow, const char *name); /* NAME.mcp.internal */

/* metrics.c */
void mesh_metrics_open(struct mesh *m);
void mesh_metrics_close(struct mesh *m);

/* proxy.c: of units, to the outside */
enum splice_verdict proxy_accepted(
    struct worker *w, struct splice_flow *f, const struct ip_addr *from);
enum splice_verdict proxy_head(
    struct worker *w, struct splice_flow *f, const char *p, size_t len, size_t *used);
enum splice_verdict proxy_waited(struct worker *w, struct splice_flow *f);
/* The resolver has answered. */
enum splice_verdict proxy_resolved(struct worker *w, struct splice_flow *f);
bool proxy_dial(struct worker *w, struct splice_flow *f, struct splice_dial *d);
void proxy_joined(struct splice_flow *f);
void proxy_failed(struct splice_flow *f);

/* resolve.c */
/* proxy_resolved() follows, or nothing. False: cannot be asked now. */
bool resolve_ask(struct worker *w, struct splice_flow *f);
void resolve_forget(struct worker *w, struct flow *flow);
void resolve_close(struct worker *w);
