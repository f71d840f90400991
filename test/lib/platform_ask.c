/* SPDX-License-Identifier: Apache-2.0 */
/* ask METHOD PATH BODY: what a function's image does with /run/mcp/platform.sock. Prints the status
 * and the body; ends with 0 whatever the status is. Static, so that an image needs nothing else. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/run/mcp/platform.sock"};
    char text[8192] = "";
    size_t len = 0;
    ssize_t n;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (argc != 4 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        perror("ask");
        return 2;
    }
    int out = snprintf(text, sizeof text,
        "%s %s HTTP/1.1\r\nHost: platform\r\nContent-Length: %zu\r\n\r\n%s", argv[1], argv[2],
        strlen(argv[3]), argv[3]);
    if (write(fd, text, (size_t)out) != out)
        return 2;
    while (len < sizeof text - 1 && (n = read(fd, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    char *body = strstr(text, "\r\n\r\n");
    printf("%.3s %s", strlen(text) > 12 ? text + 9 : "???", body ? body + 4 : "\n");
    return 0;
}
