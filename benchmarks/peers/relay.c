/* The limit that every proxy of the benchmark is compared with: what epoll, recv and send cost when nothing is parsed.
 * One read is taken to be one message. A client's message goes to a pooled upstream connection, the answer goes back, and the
 * upstream connection returns to the pool. No parsing, no routing, no headers, no limits, no time-outs: not a proxy. */
#include "endpoint.h"

static unsigned char is_upstream[MAX_FDS];
static int partner_of[MAX_FDS]; /* 0: none (descriptor 0 is never a connection) */
static int idle[MAX_FDS];
static int idle_count;
static struct sockaddr_in upstream_address;
static int poller;

static void drop(int fd) {
    int partner = partner_of[fd];
    if (partner != 0) {
        is_upstream[partner] = 0;
        partner_of[partner] = 0;
        close(partner);
    } else if (is_upstream[fd]) {
        for (int i = 0; i < idle_count; i++) {
            if (idle[i] == fd) {
                idle[i] = idle[--idle_count];
                break;
            }
        }
    }
    is_upstream[fd] = 0;
    partner_of[fd] = 0;
    close(fd);
}

static int take_upstream(void) {
    if (idle_count > 0)
        return idle[--idle_count];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&upstream_address, sizeof upstream_address) < 0)
        die("connect");
    set_nodelay(fd);
    is_upstream[fd] = 1;
    watch(poller, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
    return fd;
}

static int pair_with_upstream(int client) {
    int upstream = take_upstream();
    partner_of[client] = upstream;
    partner_of[upstream] = client;
    return upstream;
}

static void unpair(int upstream) {
    partner_of[partner_of[upstream]] = 0;
    partner_of[upstream] = 0;
    idle[idle_count++] = upstream;
}

static void relay(int fd) {
    static char buffer[BUFFER_BYTES];
    ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || (is_upstream[fd] && partner_of[fd] == 0)) {
        drop(fd);
        return;
    }
    int to = partner_of[fd];
    if (to == 0)
        to = pair_with_upstream(fd);
    if (send(to, buffer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n)
        drop(fd);
    else if (is_upstream[fd])
        unpair(fd);
}

int main(int argc, char **argv) {
    struct epoll_event events[MAX_EVENTS];
    if (argc != 3) {
        fprintf(stderr, "usage: relay PORT UPSTREAM_PORT\n");
        return 2;
    }
    int listener = listen_on(argv[1]);
    upstream_address = loopback(argv[2]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    watch(poller, listener, EPOLLIN);
    for (;;) {
        int n = epoll_wait(poller, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(poller, listener);
            else
                relay(fd);
        }
    }
}
