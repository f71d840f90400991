/* SPDX-License-Identifier: Apache-2.0 */
/* The client/server protocol of MariaDB and MySQL (version 10), as far as one who stands between them
 * must understand it: where a command begins and its answer ends, when the login has ended, whether a
 * transaction is open. Two streams of bytes go in, one a direction; what comes out says of the bytes
 * in front whether they may go on. Nothing is copied and nothing kept but this struct: what must be
 * seen whole (a packet's first bytes) is asked for until it is there, all else passes as it comes.
 *
 * What always holds: no command passes before the login has ended, none is passed twice, each answer
 * belongs to the oldest command that has none; whatever is not understood is MYSQL_BAD and ends the
 * session. Changed are only bits of what each side says it can do, in place: TLS, compression, files
 * of the client, query attributes, optional metadata and several commands a packet are taken out of
 * the server's greeting, and out of the client's reply whatever the greeting did not offer.
 *
 * A login in several steps (auth switch, more data, caching_sha2_password by RSA, ed25519, dialog)
 * passes packet by packet, strictly in turn, told by sequence numbers; a password in the clear is
 * something clients send under TLS only, so it is never seen here.
 *
 * Pure. Sources: dev.mysql.com "Client/Server Protocol" (page_protocol_connection_phase,
 * page_protocol_command_phase), mariadb.com/kb "clientserver-protocol". */
#pragma once

#include "base/util/util.h"

#define MYSQL_HEADER 4u
#define MYSQL_PACKET_MAX 0xffffffu /* a payload of that length goes on in the next packet */
#define MYSQL_PIPELINE 64u         /* commands without an answer; more wait */
#define MYSQL_TEXT_LOOK 192u       /* of a statement, to see what it begins with */
#define MYSQL_LOOK_MAX 1100u       /* the most that must be there at once: a server's greeting */
#define MYSQL_ERR_MAX 256u
#define MYSQL_USER_MAX 80u /* of the server's, with accounts of its own */

/* What the sides say they can do; those of 32 and above are MariaDB's. */
#define MYSQL_CAN_MYSQL (UINT64_C(1) << 0) /* set: without MariaDB's */
#define MYSQL_CAN_COMPRESS (UINT64_C(1) << 5)
#define MYSQL_CAN_LOCAL_FILES (UINT64_C(1) << 7)
#define MYSQL_CAN_PROTOCOL_41 (UINT64_C(1) << 9)
#define MYSQL_CAN_TLS (UINT64_C(1) << 11)
#define MYSQL_CAN_DEPRECATE_EOF (UINT64_C(1) << 24)
#define MYSQL_CAN_OPTIONAL_METADATA (UINT64_C(1) << 25)
#define MYSQL_CAN_ZSTD (UINT64_C(1) << 26)
#define MYSQL_CAN_QUERY_ATTRIBUTES (UINT64_C(1) << 27)
#define MYSQL_CAN_COM_MULTI (UINT64_C(1) << 33)
#define MYSQL_CAN_CACHE_METADATA (UINT64_C(1) << 36)

#define MYSQL_STATUS_IN_TRANS 0x0001u
#define MYSQL_STATUS_AUTOCOMMIT 0x0002u
#define MYSQL_STATUS_MORE_RESULTS 0x0008u
#define MYSQL_STATUS_CURSOR 0x0040u

enum mysql_com {
    MYSQL_COM_QUIT = 0x01,
    MYSQL_COM_INIT_DB = 0x02,
    MYSQL_COM_QUERY = 0x03,
    MYSQL_COM_FIELD_LIST = 0x04,
    MYSQL_COM_STATISTICS = 0x09,
    MYSQL_COM_PROCESS_INFO = 0x0a,
    MYSQL_COM_PING = 0x0e,
    MYSQL_COM_CHANGE_USER = 0x11,
    MYSQL_COM_STMT_PREPARE = 0x16,
    MYSQL_COM_STMT_EXECUTE = 0x17,
    MYSQL_COM_STMT_SEND_LONG_DATA = 0x18,
    MYSQL_COM_STMT_CLOSE = 0x19,
    MYSQL_COM_STMT_RESET = 0x1a,
    MYSQL_COM_SET_OPTION = 0x1b,
    MYSQL_COM_STMT_FETCH = 0x1c,
    MYSQL_COM_RESET_CONNECTION = 0x1f,
    MYSQL_COM_STMT_BULK_EXECUTE = 0xfa,
};

enum mysql_phase {
    MYSQL_GREETING, /* the server's first packet */
    MYSQL_REPLY,    /* the client's answer to it */
    MYSQL_AUTH,     /* until the server says OK; also of COM_CHANGE_USER */
    MYSQL_COMMANDS,
    MYSQL_ENDED, /* by COM_QUIT, or by an error in place of greeting or login */
};

enum mysql_word {
    MYSQL_MORE,    /* more bytes are needed */
    MYSQL_PASS,    /* these go on */
    MYSQL_DROP,    /* these do not: of a refused command */
    MYSQL_WAIT,    /* nothing before the other side has said more */
    MYSQL_COMMAND, /* here begins a command: admit it, or refuse it */
    MYSQL_REFUSED, /* the refused command has been dropped, it is its turn: the error goes out now */
    MYSQL_BAD,     /* not the protocol, or a part of it that is not spoken here */
};

enum mysql_why {
    MYSQL_WHY_NONE,
    MYSQL_WHY_COMMAND,  /* a command that is not for applications */
    MYSQL_WHY_LOAD,     /* LOAD DATA or LOAD XML */
    MYSQL_WHY_TLS,      /* the client begins TLS */
    MYSQL_WHY_COMPRESS, /* the client wants compression */
    MYSQL_WHY_OLD,      /* protocol of before 4.1 */
    MYSQL_WHY_FILE,     /* the server asks for a file of the client */
    MYSQL_WHY_ORDER,    /* a packet out of its turn, or with a wrong sequence number */
    MYSQL_WHY_SHAPE,    /* a packet that is not what must stand here */
    MYSQL_WHYS,
};

struct mysql_said { /* of the bytes in front */
    enum mysql_word word;
    enum mysql_why why; /* MYSQL_BAD; MYSQL_COMMAND: that should be refused, and why */
    size_t len;         /* MYSQL_PASS, MYSQL_DROP: how many; greater than 0 */
};

struct mysql_stream {
    uint32_t left; /* of the packet that passes */
    bool goes_on;  /* its payload is the longest: the next packet belongs to it */
    uint8_t seq;   /* of the packet seen last */
};

enum mysql_expect { /* of the answer that comes */
    MYSQL_EXPECT_FIRST,
    MYSQL_EXPECT_COLUMNS,
    MYSQL_EXPECT_COLUMNS_END,
    MYSQL_EXPECT_ROWS,
    MYSQL_EXPECT_SKIP, /* `columns` packets, then it ends */
};

struct mysql { /* zeroed: a new session */
    enum mysql_phase phase;
    struct mysql_stream up, down; /* from the client, from the server */
    uint64_t can;                 /* what both can; until MYSQL_AUTH: what was offered */
    uint16_t status;              /* what the server said last */
    bool changing;                /* the login is that of COM_CHANGE_USER */
    bool turn;                    /* of the client, in MYSQL_AUTH */
    uint8_t auth_rounds;
    char user[MYSQL_USER_MAX + 1]; /* who logs in, cut; of the first login */
    uint32_t plugin;               /* a hash: what the password is proven by */
    bool second_try; /* the server asked for the same proof again: the password is not its newest */
    uint8_t command; /* that is being passed, or was last */
    bool dropping, refused;
    bool begun;                      /* the oldest command's answer has */
    bool finishing;                  /* and ends with the packet that passes */
    uint8_t waiting[MYSQL_PIPELINE]; /* ring of commands without their answer */
    uint8_t first, n_waiting;
    enum mysql_expect expect;
    uint64_t columns;
    uint64_t commands, answers, errors; /* so far; errors are answers */
};

/* What the client has sent. Bytes that are not passed or dropped must come again in front of the next
 * call. MYSQL_COMMAND comes again until one of the two below is called. */
struct mysql_said mysql_up(struct mysql *m, uint8_t *p, size_t len);
/* After MYSQL_COMMAND. p: as given then. */
void mysql_admit(struct mysql *m, const uint8_t *p);
/* It is dropped; then comes MYSQL_REFUSED, until the error was made by mysql_refusal(). */
void mysql_refuse(struct mysql *m, const uint8_t *p);
struct mysql_said mysql_down(struct mysql *m, uint8_t *p, size_t len);

/* The error that is the answer of the refused command. Returns its length; the text is cut. */
size_t mysql_refusal(struct mysql *m, uint16_t code, const char *state, const char *text,
    uint8_t out[MYSQL_ERR_MAX]);
/* An error that is the last thing said: in place of the greeting, of the next step of a login, or of
 * a command's answer. 0: in the middle of an answer none can be said. */
size_t mysql_last_error(const struct mysql *m, uint16_t code, const char *state, const char *text,
    uint8_t out[MYSQL_ERR_MAX]);
size_t mysql_err_format(
    uint8_t seq, uint16_t code, const char *state, const char *text, uint8_t out[MYSQL_ERR_MAX]);

/* A command has not been passed whole or not been answered whole. */
static inline bool mysql_busy(const struct mysql *m)
{
    return m->n_waiting || m->up.left || m->up.goes_on || m->down.left || m->down.goes_on
           || (m->phase == MYSQL_AUTH && m->changing);
}

static inline bool mysql_in_transaction(const struct mysql *m)
{
    return m->status & MYSQL_STATUS_IN_TRANS;
}

/* Between two packets of who receives: an error of ours may stand there. */
static inline bool mysql_down_between(const struct mysql *m)
{
    return !m->down.left && !m->down.goes_on;
}

const char *mysql_why_text(enum mysql_why why);
/* What a statement begins with, behind blanks and comments. */
bool mysql_is_load(const char *text, size_t len);
