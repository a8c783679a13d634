/* The origin behind the relays: on each port it answers every message of BYTES with one of BYTES, whatever is in it.
 *
 *   stream_origin PORT:BYTES[:close]...      with :close it ends the connection after its answer
 *
 * It throws away what it receives without copying it, and sends pages of a memory file, so that the relay has the core's time. */
#include "endpoint.h"
#include <sys/mman.h>
#include <sys/sendfile.h>

enum { PORTS_AT_MOST = 8 };

struct listener {
    size_t bytes;
    int fd, closes;
};

static struct listener listeners[PORTS_AT_MOST];
static struct {
    const struct listener *from;
    size_t received, unsent;
} connections[MAX_FDS];
static int poller, message_file, listener_count;

static struct listener *listener_of(int fd) {
    for (int i = 0; i < listener_count; i++)
        if (listeners[i].fd == fd)
            return &listeners[i];
    return NULL;
}

static void welcome(const struct listener *from) {
    for (;;) {
        int fd = accept4(from->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= MAX_FDS)
            die("too many connections");
        set_nodelay(fd);
        connections[fd].from = from;
        connections[fd].received = connections[fd].unsent = 0;
        watch(poller, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    }
}

/* Sends what it owes; false when the connection is gone. */
static int answer(int fd) {
    const struct listener *from = connections[fd].from;
    while (connections[fd].unsent > 0) {
        off_t at = (off_t)(connections[fd].unsent % from->bytes ? from->bytes - connections[fd].unsent % from->bytes : 0);
        size_t left = from->bytes - (size_t)at;
        ssize_t n = sendfile(fd, message_file, &at, left);
        if (n < 0)
            return errno == EAGAIN;
        connections[fd].unsent -= (size_t)n;
        if (connections[fd].unsent == 0 && from->closes)
            return 0;
    }
    return 1;
}

static void serve(int fd) {
    const struct listener *from = connections[fd].from;
    ssize_t n;
    while ((n = recv(fd, NULL, 1 << 20, MSG_TRUNC)) > 0) {
        connections[fd].received += (size_t)n;
        for (; connections[fd].received >= from->bytes; connections[fd].received -= from->bytes)
            connections[fd].unsent += from->bytes;
    }
    if (n == 0 || errno != EAGAIN || !answer(fd))
        close(fd);
}

int main(int argc, char **argv) {
    struct epoll_event events[MAX_EVENTS];
    size_t longest = 0;
    if (argc < 2 || argc - 1 > PORTS_AT_MOST) {
        fprintf(stderr, "usage: stream_origin PORT:BYTES[:close]...\n");
        return 2;
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 1; i < argc; i++) {
        struct listener *made = &listeners[listener_count++];
        made->fd = listen_on(strtok(argv[i], ":"));
        made->bytes = strtoul(strtok(NULL, ":"), NULL, 10);
        made->closes = strtok(NULL, ":") != NULL;
        longest = made->bytes > longest ? made->bytes : longest;
        watch(poller, made->fd, EPOLLIN);
    }
    message_file = memfd_create("message", MFD_CLOEXEC);
    if (message_file < 0 || ftruncate(message_file, (off_t)longest) < 0)
        die("memfd");
    for (;;) {
        int n = epoll_wait(poller, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct listener *from = listener_of(events[i].data.fd);
            if (from != NULL)
                welcome(from);
            else
                serve(events[i].data.fd);
        }
    }
}
