/* TLS load: one thread, one epoll set, TLS 1.3 with X25519 and AES-128-GCM only, certificates unchecked.
 *
 *   tls_load keepalive PORT NAME PATH CONNECTIONS SECONDS   requests on connections that stay
 *   tls_load full      PORT NAME PATH CONNECTIONS SECONDS   a full handshake and one request, over and over
 *   tls_load resumed   PORT NAME PATH CONNECTIONS SECONDS   the same, each handshake resumed by the ticket of the one before
 *   tls_load idle      PORT NAME PATH CONNECTIONS           one request on each connection; all stay until standard input ends
 *
 * The counts go to standard output as one line of JSON. Anything but a whole answer with 2xx, or a handshake of the other sort, is
 * an error and ends the run. What the client spends is the machine's, not the proxy's: it does the least that is a real handshake.
 */
#include "endpoint.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

enum mode { KEEPALIVE, FULL, RESUMED, IDLE };
enum state { CONNECTING, HANDSHAKE, ANSWER, RESTING };
enum { CONNECT_AT_ONCE = 64, CONNECTIONS_PER_SOURCE = 20000 };

struct connection {
    SSL *ssl;
    SSL_SESSION *ticket;
    uint64_t began_us;
    size_t got, wanted; /* bytes of the answer; wanted is 0 until its head is whole */
    int fd;
    enum state state;
    char head[2048];
};

static enum mode mode;
static struct sockaddr_in target;
static const char *server_name;
static char request[1024];
static int request_length;
static SSL_CTX *context;
static struct connection *connections;
static int poller;
static uint64_t units, handshakes;
static uint32_t latency[LATENCY_SLOTS];
static int measuring = 1, resting;

static void fail(const char *what, const struct connection *c) {
    fprintf(stderr, "tls_load: %s (connection %ld, %s)\n", what, (long)(c - connections), strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void count(struct connection *c) {
    note_latency(latency, now_us() - c->began_us);
    units++;
}

static void watch_for(struct connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data = {.ptr = c}};
    if (epoll_ctl(poller, operation, c->fd, &event) < 0)
        fail("epoll_ctl", c);
}

/* A source address of loopback for each 20,000 connections, so that no range of ports runs out. */
static void begin(struct connection *c) {
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)((c - connections) / CONNECTIONS_PER_SOURCE));
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket", c);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    set_nodelay(c->fd);
    if (bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0)
        fail("bind", c);
    c->began_us = now_us();
    c->state = CONNECTING;
    c->got = c->wanted = 0;
    if (connect(c->fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS)
        fail("connect", c);
    watch_for(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void end(struct connection *c) {
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    close(c->fd);
}

static void ask(struct connection *c) {
    if (SSL_write(c->ssl, request, request_length) != request_length)
        fail("the request could not be sent", c);
    c->state = ANSWER;
    c->got = c->wanted = 0;
}

/* The newest ticket replaces the one before. */
static int keep_ticket(SSL *ssl, SSL_SESSION *session) {
    struct connection *c = SSL_get_app_data(ssl);
    SSL_SESSION_free(c->ticket);
    c->ticket = session;
    return 1;
}

/* Goes on with the handshake; true when it is done and the request is sent. */
static int shake(struct connection *c) {
    if (c->state == CONNECTING) {
        c->ssl = SSL_new(context);
        SSL_set_app_data(c->ssl, c);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_tlsext_host_name(c->ssl, server_name);
        if (mode == RESUMED && c->ticket != NULL)
            SSL_set_session(c->ssl, c->ticket);
        c->state = HANDSHAKE;
        watch_for(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    int done = SSL_connect(c->ssl);
    if (done != 1) {
        if (SSL_get_error(c->ssl, done) != SSL_ERROR_WANT_READ)
            fail("handshake", c);
        return 0;
    }
    if ((mode == RESUMED && c->ticket != NULL) != SSL_session_reused(c->ssl))
        fail("not the sort of handshake that was asked for", c);
    handshakes++;
    if (mode == KEEPALIVE)
        c->began_us = now_us();
    ask(c);
    return 1;
}

/* How long the answer is, from its head; 0 when the head is not whole. */
static size_t answer_length(struct connection *c) {
    c->head[c->got < sizeof c->head ? c->got : sizeof c->head - 1] = 0;
    char *close_of_head = strstr(c->head, "\r\n\r\n");
    if (close_of_head == NULL)
        return 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strncmp(c->head, "HTTP/1.1 2", 10) != 0 || length == NULL || length > close_of_head)
        fail("not an answer with 2xx and a length", c);
    return (size_t)(close_of_head + 4 - c->head) + strtoul(length + 17, NULL, 10);
}

static void finished(struct connection *c) {
    if (mode != RESUMED || SSL_session_reused(c->ssl))
        count(c);
    if (mode == KEEPALIVE) {
        c->began_us = now_us();
        ask(c);
    } else if (mode == IDLE) {
        c->state = RESTING;
        resting++;
    } else {
        end(c);
        if (measuring)
            begin(c);
        else
            resting++;
    }
}

static void on_events(struct connection *c) {
    if (c->state < ANSWER && !shake(c))
        return;
    while (c->state == ANSWER) {
        char rest[16384];
        int in_head = c->got < sizeof c->head - 1;
        int n =
            SSL_read(c->ssl, in_head ? c->head + c->got : rest, in_head ? (int)(sizeof c->head - 1 - c->got) : (int)sizeof rest);
        if (n <= 0) {
            if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
                fail("the connection ended before the answer", c);
            return;
        }
        c->got += (size_t)n;
        if (c->wanted == 0)
            c->wanted = answer_length(c);
        if (c->wanted != 0 && c->got >= c->wanted) {
            finished(c);
            return;
        }
    }
    if (c->state == RESTING) {
        char byte;
        int n = SSL_read(c->ssl, &byte, 1);
        if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ)
            fail("an idle connection was closed", c);
    }
}

static void report(uint64_t took_us) {
    printf("{\"units\": %llu, \"handshakes\": %llu, \"duration_us\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
           (unsigned long long)units, (unsigned long long)handshakes, (unsigned long long)took_us, latency_ms(latency, 0.5),
           latency_ms(latency, 0.99));
    fflush(stdout);
}

static void make_context(void) {
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set1_groups_list(context, "X25519");
    SSL_CTX_set1_sigalgs_list(context, "ECDSA+SHA256");
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, mode != IDLE);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context,
                                   mode == RESUMED ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
    if (mode == RESUMED)
        SSL_CTX_sess_set_new_cb(context, keep_ticket);
}

static enum mode mode_named(const char *name) {
    static const char *const NAMES[] = {"keepalive", "full", "resumed", "idle"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, NAMES[i]) == 0)
            return (enum mode)i;
    fprintf(stderr, "tls_load: unknown mode %s\n", name);
    exit(2);
}

int main(int argc, char **argv) {
    struct epoll_event events[MAX_EVENTS];
    if (argc < 6) {
        fprintf(stderr, "usage: tls_load keepalive|full|resumed|idle PORT NAME PATH CONNECTIONS [SECONDS]\n");
        return 2;
    }
    mode = mode_named(argv[1]);
    target = loopback(argv[2]);
    server_name = argv[3];
    request_length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[4], argv[3]);
    int wanted = atoi(argv[5]), started = 0;
    double seconds = argc > 6 ? atof(argv[6]) : 1e6;
    connections = calloc((size_t)wanted, sizeof *connections);
    poller = epoll_create1(EPOLL_CLOEXEC);
    make_context();
    uint64_t began = now_us(), stop_at = began + (uint64_t)(seconds * 1e6);
    while (resting < wanted) {
        /* a crowd comes a few at a time, so that no listening queue is overrun */
        while (started < wanted && (mode != IDLE || started - resting < CONNECT_AT_ONCE))
            begin(&connections[started++]);
        int n = epoll_wait(poller, events, MAX_EVENTS, 1000);
        for (int i = 0; i < n; i++)
            on_events(events[i].data.ptr);
        if (measuring && now_us() >= stop_at) {
            measuring = 0;
            if (mode == KEEPALIVE)
                break;
        }
    }
    report(now_us() - began);
    if (mode == IDLE)
        while (getchar() != EOF)
            continue;
    return 0;
}
