/* SPDX-License-Identifier: Apache-2.0 */
/* What a role that an attacker owns may send to host, which is root. */
#include "role/frame/channel.h"

#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct channel_msg m;
    struct err e;
    int pair[2];
    ASSERT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    if (size && send(pair[1], data, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size) {
        int r = channel_recv(pair[0], CHANNEL_TO_HOST_MAX, &m, &e);
        ASSERT(r == 1 || r == ERR_PROTOCOL);
        if (r == 1) {
            ASSERT(size <= CHANNEL_TO_HOST_MAX && m.method && json_is_object(m.params));
            channel_msg_done(&m);
        }
    }
    close(pair[0]);
    close(pair[1]);
    return 0;
}
