/* What the C programs of the benchmark share: sockets that never block, and one epoll set. Benchmark code: it trusts its peers. */
#ifndef BENCH_ENDPOINT_H
#define BENCH_ENDPOINT_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_EVENTS = 256, BUFFER_BYTES = 65536 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void set_nodelay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline int listen_on(const char *port) {
    struct sockaddr_in address = loopback(port);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind");
    if (listen(fd, 1024) < 0)
        die("listen");
    return fd;
}

static inline void watch(int poller, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data = {.fd = fd}};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

/* Accept all that wait and watch them, edge-triggered. */
static inline void accept_all(int poller, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        set_nodelay(fd);
        watch(poller, fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
    }
}

static inline uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* How long things took, in slots of ten microseconds. */
enum { LATENCY_SLOT_US = 10, LATENCY_SLOTS = 200000 };

static inline void note_latency(uint32_t *slots, uint64_t us) {
    uint64_t slot = us / LATENCY_SLOT_US;
    slots[slot < LATENCY_SLOTS ? slot : LATENCY_SLOTS - 1]++;
}

/* The latency that a share of all stayed below, in milliseconds. */
static inline double latency_ms(const uint32_t *slots, double share) {
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < LATENCY_SLOTS; i++)
        all += slots[i];
    for (int i = 0; i < LATENCY_SLOTS; i++) {
        seen += slots[i];
        if (all && (double)seen >= share * (double)all)
            return i * LATENCY_SLOT_US / 1e3;
    }
    return 0;
}

#endif
