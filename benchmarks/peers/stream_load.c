/* Load on a relay in front of stream_origin: one thread, one epoll set.
 *
 *   stream_load bulk        PORT BYTES CONNECTIONS SECONDS [FILE]   a message of BYTES each way, over and over, on connections that
 * stay stream_load connections PORT BYTES CONNECTIONS SECONDS [FILE]   the same once a connection, which the origin ends
 *
 * The first bytes of each connection are those of FILE, such as a TLS ClientHello. The counts go to standard output as one line of
 * JSON; bytes are those of both directions. A connection that ends early ends the run. */
#include "endpoint.h"
#include <sys/mman.h>
#include <sys/sendfile.h>

struct connection {
    uint64_t began_us;
    size_t unsent, unread;
    int fd, first; /* first: nothing was sent yet */
};

static int poller, bulk, measuring = 1, ended, message_file;
static struct sockaddr_in target;
static size_t message_bytes, opening_bytes;
static char opening[16384];
static uint64_t units, bytes;
static uint32_t latency[LATENCY_SLOTS];

static void fail(const char *what) {
    fprintf(stderr, "stream_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void begin(struct connection *c) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.ptr = c}};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket");
    set_nodelay(c->fd);
    c->began_us = now_us();
    c->unsent = c->unread = message_bytes;
    c->first = 1;
    if (connect(c->fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS)
        fail("connect");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl");
}

static void send_message(struct connection *c) {
    if (c->first && opening_bytes > 0) {
        ssize_t n = send(c->fd, opening, opening_bytes, MSG_NOSIGNAL | (c->unsent > opening_bytes ? MSG_MORE : 0));
        if (n < 0 && errno == EAGAIN)
            return;
        if (n != (ssize_t)opening_bytes)
            fail("the first bytes could not be sent");
        c->unsent -= opening_bytes;
    }
    c->first = 0;
    while (c->unsent > 0) {
        off_t at = (off_t)(message_bytes - c->unsent);
        ssize_t n = sendfile(c->fd, message_file, &at, c->unsent);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            fail("send");
        c->unsent -= (size_t)n;
    }
}

static void finished(struct connection *c) {
    units++;
    bytes += 2 * message_bytes;
    note_latency(latency, now_us() - c->began_us);
    if (bulk && measuring) {
        c->unsent = c->unread = message_bytes;
        c->began_us = now_us();
        send_message(c);
        return;
    }
    close(c->fd);
    if (measuring)
        begin(c);
    else
        ended++;
}

static void on_events(struct connection *c, uint32_t events) {
    if (events & EPOLLERR)
        fail("the connection was refused or reset");
    if (c->unsent > 0 && (events & EPOLLOUT))
        send_message(c);
    for (;;) {
        ssize_t n = recv(c->fd, NULL, 1 << 20, MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
            return;
        if (n < 0 || (size_t)n > c->unread || (n == 0 && (bulk || c->unread > 0)))
            fail(n == 0 ? "the connection ended early" : "recv");
        c->unread -= (size_t)n;
        if (n == 0 || (bulk && c->unread == 0)) {
            finished(c);
            return;
        }
    }
}

static void read_opening(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        die(path);
    opening_bytes = fread(opening, 1, sizeof opening, file);
    fclose(file);
    if (opening_bytes > message_bytes)
        fail("the file is longer than a message");
}

int main(int argc, char **argv) {
    struct epoll_event events[MAX_EVENTS];
    if (argc < 6) {
        fprintf(stderr, "usage: stream_load bulk|connections PORT BYTES CONNECTIONS SECONDS [FILE]\n");
        return 2;
    }
    bulk = strcmp(argv[1], "bulk") == 0;
    target = loopback(argv[2]);
    message_bytes = strtoul(argv[3], NULL, 10);
    int wanted = atoi(argv[4]);
    if (argc > 6)
        read_opening(argv[6]);
    message_file = memfd_create("message", MFD_CLOEXEC);
    if (message_file < 0 || ftruncate(message_file, (off_t)message_bytes) < 0)
        die("memfd");
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct connection *connections = calloc((size_t)wanted, sizeof *connections);
    uint64_t began = now_us(), stop_at = began + (uint64_t)(atof(argv[5]) * 1e6);
    for (int i = 0; i < wanted; i++)
        begin(&connections[i]);
    while (ended < wanted) {
        int n = epoll_wait(poller, events, MAX_EVENTS, 1000);
        for (int i = 0; i < n; i++)
            on_events(events[i].data.ptr, events[i].events);
        if (now_us() >= stop_at)
            measuring = 0;
    }
    printf("{\"units\": %llu, \"bytes\": %llu, \"duration_us\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
           (unsigned long long)units, (unsigned long long)bytes, (unsigned long long)(now_us() - began), latency_ms(latency, 0.5),
           latency_ms(latency, 0.99));
    return 0;
}
