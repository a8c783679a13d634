/* The gRPC origin of the benchmark: HTTP/2 without TLS, one canned unary answer with trailers for each request that has ended.
 * Requests are not decoded: frames are counted off, a stream that ends is answered. The answer's fields are literals that never
 * enter the dynamic table, so that there is no compression state. Windows are kept: what they do not allow waits in order. */
#include "endpoint.h"

enum { FRAME_HEAD = 9, DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, MESSAGE_BYTES = 105, PREFACE_BYTES = 24, MAX_WAITING = 4096, OUT_BYTES = 1 << 20 };

struct connection {
    long window;                     /* bytes of DATA that the peer takes */
    uint32_t skip;                   /* bytes of payload that are of no interest */
    uint32_t have;                   /* bytes in head and payload */
    uint32_t received;               /* DATA bytes that the peer has not been given back */
    unsigned char preface;           /* bytes of the preface seen */
    unsigned char head[FRAME_HEAD + 8];
    uint32_t first, waiting;         /* a ring of streams that wait for window */
    uint32_t streams[MAX_WAITING];
};

static struct connection *connections[MAX_FDS];
static unsigned char out[OUT_BYTES];
static size_t out_length;

static void put(const void *bytes, size_t n) {
    if (out_length + n > sizeof out) {
        fprintf(stderr, "too much in one turn\n");
        exit(1);
    }
    memcpy(out + out_length, bytes, n);
    out_length += n;
}

static void put_frame(uint32_t length, uint8_t type, uint8_t flags, uint32_t stream, const void *payload) {
    unsigned char head[FRAME_HEAD] = {(unsigned char)(length >> 16), (unsigned char)(length >> 8), (unsigned char)length, type, flags};
    uint32_t id = htonl(stream);
    memcpy(head + 5, &id, 4);
    put(head, sizeof head);
    put(payload, length);
}

/* :status 200; content-type: application/grpc */
static const char FIELDS[] = "\x88\x0f\x10\x10"
                             "application/grpc";
/* grpc-status: 0 */
static const char TRAILERS[] = "\x00\x0bgrpc-status\x01"
                               "0";

static void answer(struct connection *c, uint32_t stream) {
    static unsigned char message[MESSAGE_BYTES] = {0, 0, 0, 0, MESSAGE_BYTES - 5};
    put_frame(sizeof FIELDS - 1, HEADERS, END_HEADERS, stream, FIELDS);
    put_frame(sizeof message, DATA, 0, stream, message);
    put_frame(sizeof TRAILERS - 1, HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS);
    c->window -= MESSAGE_BYTES;
}

static void answer_waiting(struct connection *c) {
    for (; c->waiting > 0 && c->window >= MESSAGE_BYTES; c->waiting--)
        answer(c, c->streams[c->first++ % MAX_WAITING]);
}

static int end_of_stream(struct connection *c, uint32_t stream) {
    if (c->waiting == MAX_WAITING)
        return -1;
    c->streams[(c->first + c->waiting++) % MAX_WAITING] = stream;
    answer_waiting(c);
    return 0;
}

static uint32_t read_u32(const unsigned char *p) {
    uint32_t value;
    memcpy(&value, p, 4);
    return ntohl(value);
}

/* One frame: its head, and of its payload the first eight bytes. Answers -1 when the connection is at its end. */
static int on_frame(struct connection *c, uint32_t length) {
    const unsigned char *payload = c->head + FRAME_HEAD;
    uint8_t type = c->head[3], flags = c->head[4];
    uint32_t stream = read_u32(c->head + 5);
    if (type == DATA && (c->received += length) >= 32768) {
        uint32_t back = htonl(c->received);
        put_frame(4, WINDOW_UPDATE, 0, 0, &back);
        c->received = 0;
    }
    if (type == SETTINGS && !(flags & ACK))
        put_frame(0, SETTINGS, ACK, 0, "");
    if (type == PING && !(flags & ACK))
        put_frame(8, PING, ACK, 0, payload);
    if (type == WINDOW_UPDATE && stream == 0) {
        c->window += read_u32(payload);
        answer_waiting(c);
    }
    if ((type == DATA || type == HEADERS) && (flags & END_STREAM))
        return end_of_stream(c, stream);
    return type == GOAWAY ? -1 : 0;
}

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static int consume(struct connection *c, const unsigned char *p, size_t n) {
    for (; c->preface < PREFACE_BYTES && n > 0; p++, n--)
        c->preface++;
    while (n > 0) {
        uint32_t step, length = 0, wanted = FRAME_HEAD;
        if (c->skip > 0) {
            step = min_u32(c->skip, (uint32_t)n);
            c->skip -= step, p += step, n -= step;
            continue;
        }
        if (c->have >= FRAME_HEAD) {
            length = (uint32_t)c->head[0] << 16 | (uint32_t)c->head[1] << 8 | c->head[2];
            wanted = FRAME_HEAD + min_u32(length, 8);
        }
        step = min_u32(wanted - c->have, (uint32_t)n);
        memcpy(c->head + c->have, p, step);
        c->have += step, p += step, n -= step;
        if (c->have < FRAME_HEAD)
            continue;
        length = (uint32_t)c->head[0] << 16 | (uint32_t)c->head[1] << 8 | c->head[2];
        if (c->have < FRAME_HEAD + min_u32(length, 8))
            continue;
        c->skip = length - min_u32(length, 8);
        c->have = 0;
        if (on_frame(c, length) < 0)
            return -1;
    }
    return 0;
}

static void drop(int fd) {
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

static void flush(int fd) {
    for (size_t sent = 0; sent < out_length;) {
        ssize_t n = send(fd, out + sent, out_length - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else if (errno != EAGAIN)
            break; /* the next read tells */
    }
    out_length = 0;
}

static void serve(int fd) {
    static unsigned char buffer[BUFFER_BYTES];
    struct connection *c = connections[fd];
    if (c == NULL) {
        /* MAX_CONCURRENT_STREAMS 1024 */
        c = connections[fd] = calloc(1, sizeof *c);
        c->window = 65535;
        put_frame(6, SETTINGS, 0, 0, "\x00\x03\x00\x00\x04\x00");
        flush(fd);
    }
    ssize_t n;
    do {
        n = recv(fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0 || consume(c, buffer, (size_t)n) < 0) {
            drop(fd);
            return;
        }
        flush(fd);
    } while (n == (ssize_t)sizeof buffer);
}

int main(int argc, char **argv) {
    struct epoll_event events[MAX_EVENTS];
    if (argc != 2) {
        fprintf(stderr, "usage: grpc_origin PORT\n");
        return 2;
    }
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
