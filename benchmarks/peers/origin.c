/* The origin behind every proxy of the benchmark: one canned answer with a 128-byte body for each request head, keep-alive.
 * A head is counted by its closing empty line, which may be cut anywhere; request bodies are not expected. */
#include "endpoint.h"

static const char HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 128\r\n\r\n";
static char answer[sizeof HEAD - 1 + 128];
static unsigned char matched[MAX_FDS]; /* how many bytes of CRLFCRLF a connection has seen last */

static int count_heads(const char *p, ssize_t n, unsigned char *state) {
    static const char END[] = "\r\n\r\n";
    int heads = 0;
    for (ssize_t i = 0; i < n; i++) {
        if (p[i] == END[*state])
            ++*state;
        else
            *state = p[i] == '\r';
        if (*state == 4) {
            heads++;
            *state = 0;
        }
    }
    return heads;
}

/* The common case, one whole head in one read, costs one comparison. */
static int heads_in(const char *p, ssize_t n, unsigned char *state) {
    if (*state == 0 && n >= 18 && memcmp(p + n - 4, "\r\n\r\n", 4) == 0 && memmem(p, (size_t)n - 4, "\r\n\r\n", 4) == NULL)
        return 1;
    return count_heads(p, n, state);
}

static void drop(int fd) {
    matched[fd] = 0;
    close(fd);
}

static void serve(int fd) {
    static char buffer[BUFFER_BYTES];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        drop(fd);
        return;
    }
    for (int heads = heads_in(buffer, n, &matched[fd]); heads > 0; heads--) {
        if (send(fd, answer, sizeof answer, MSG_NOSIGNAL) != (ssize_t)sizeof answer) {
            drop(fd);
            return;
        }
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[MAX_EVENTS];
    if (argc != 2) {
        fprintf(stderr, "usage: origin PORT\n");
        return 2;
    }
    memcpy(answer, HEAD, sizeof HEAD - 1);
    memset(answer + sizeof HEAD - 1, 'x', 128);
    int listener = listen_on(argv[1]);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    watch(poller, listener, EPOLLIN);
    for (;;) {
        int n = epoll_wait(poller, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_all(poller, listener);
            else
                serve(events[i].data.fd);
        }
    }
}
