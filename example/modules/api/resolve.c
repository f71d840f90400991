/* SPDX-License-Identifier: Apache-2.0 */
#include "priv.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct question {
    const char *host;
    bool wanted;
    int result; /* 1 answered, -1 no address, 0 not yet */
    char address[NI_MAXHOST];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wanted = PTHREAD_COND_INITIALIZER;
static struct question questions[DB_SIDES];
static int answered = -1;

static int ask(const char *host, char address[NI_MAXHOST])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return -1;
    int e = getnameinfo(found->ai_addr, found->ai_addrlen, address, NI_MAXHOST, NULL, 0,
        NI_NUMERICHOST);
    freeaddrinfo(found);
    return e == 0 ? 1 : -1;
}

static struct question *next_question(void)
{
    for (;;) {
        for (size_t i = 0; i < DB_SIDES; i++)
            if (questions[i].wanted)
                return &questions[i];
        pthread_cond_wait(&wanted, &lock);
    }
}

static void *run(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        struct question *q = next_question();
        const char *host = q->host;
        char address[NI_MAXHOST] = "";
        q->wanted = false;
        pthread_mutex_unlock(&lock);
        int result = ask(host, address);
        pthread_mutex_lock(&lock);
        q->result = result;
        memcpy(q->address, address, sizeof(address));
        (void)eventfd_write(answered, 1);
    }
    return NULL;
}

int resolve_start(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    answered = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (answered < 0)
        return -1;
    /* SIGTERM is the loop's. The C library's resolver keeps a few buffers of 64 KiB on the stack. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 * 1024);
    int e = pthread_create(&thread, &attributes, run, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e == 0 ? pthread_detach(thread) : -1;
}

int resolve_fd(void)
{
    return answered;
}

void resolve_taken(void)
{
    eventfd_t count;
    (void)eventfd_read(answered, &count);
}

void resolve_want(enum db_side side, const char *host)
{
    pthread_mutex_lock(&lock);
    questions[side].host = host;
    questions[side].wanted = true;
    questions[side].result = 0;
    pthread_cond_signal(&wanted);
    pthread_mutex_unlock(&lock);
}

int resolve_get(enum db_side side, char address[NI_MAXHOST])
{
    pthread_mutex_lock(&lock);
    int result = questions[side].result;
    memcpy(address, questions[side].address, NI_MAXHOST);
    pthread_mutex_unlock(&lock);
    return result;
}
