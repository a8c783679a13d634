/* The origin behind every proxy of the benchmark: one canned answer with a 128-byte body for each request head, keep-alive.
 * A head is counted by its closing empty line, which may be cut anywhere; request bodies are not expected. Targets that begin with
 * one of the command line's prefixes get a body of another length, or with a length of -1 no answer at all. Several ports are so many
 * endpoints in one process: a proxy that sends to one of them pays for waking a sleeper no more often than with one port. */
#include "endpoint.h"
#include <sys/uio.h>

struct answer {
    const char *prefix; /* of the target; NULL: every other one */
    size_t prefix_length;
    char *bytes;
    size_t length;
};

enum { MAX_ANSWERS = 8 };

static struct answer answers[MAX_ANSWERS]; /* the last is for every other target */
static int answer_count;
static unsigned char listens[MAX_FDS];
static struct iovec unsent[MAX_FDS]; /* the rest of an answer; the next request comes after it */
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

/* By the first head of a read; proxies send one at a time. A head that is continued is of a target like the first. */
static const struct answer *answer_to(const char *p, size_t n) {
    const char *target = memchr(p, ' ', n);
    const struct answer *found = answers;
    if (answer_count == 1 || target == NULL)
        return &answers[answer_count - 1];
    size_t left = n - (size_t)(++target - p);
    while (found->prefix && (left < found->prefix_length || memcmp(target, found->prefix, found->prefix_length) != 0))
        found++;
    return found;
}

static void drop(int fd) {
    matched[fd] = 0;
    unsent[fd].iov_len = 0;
    close(fd);
}

/* What the socket does not take now goes when it can. */
static int send_or_keep(int poller, int fd, const char *p, size_t n) {
    ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
    if (sent == (ssize_t)n)
        return 0;
    if (sent < 0 && errno != EAGAIN)
        return -1;
    size_t done = sent > 0 ? (size_t)sent : 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.fd = fd}};
    unsent[fd] = (struct iovec){.iov_base = (char *)p + done, .iov_len = n - done};
    return epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

static void send_rest(int poller, int fd) {
    struct iovec rest = unsent[fd];
    unsent[fd].iov_len = 0;
    if (send_or_keep(poller, fd, rest.iov_base, rest.iov_len) < 0)
        drop(fd);
}

static void serve(int poller, int fd) {
    static char buffer[BUFFER_BYTES];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        drop(fd);
        return;
    }
    const struct answer *answer = answer_to(buffer, (size_t)n);
    for (int heads = heads_in(buffer, n, &matched[fd]); heads > 0; heads--) {
        if (send_or_keep(poller, fd, answer->bytes, answer->length) < 0) {
            drop(fd);
            return;
        }
    }
}

static void add_answer(const char *prefix, size_t prefix_length, long body_bytes) {
    static const char HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %ld\r\n\r\n";
    struct answer *made = &answers[answer_count++];
    *made = (struct answer){.prefix = prefix, .prefix_length = prefix_length};
    if (body_bytes < 0)
        return;
    made->bytes = malloc(sizeof HEAD + 20 + (size_t)body_bytes);
    int head = sprintf(made->bytes, HEAD, body_bytes);
    memset(made->bytes + head, 'x', (size_t)body_bytes);
    made->length = (size_t)head + (size_t)body_bytes;
}

static void listen_on_all(int poller, char *ports) {
    for (char *port = strtok(ports, ","); port != NULL; port = strtok(NULL, ",")) {
        int fd = listen_on(port);
        listens[fd] = 1;
        watch(poller, fd, EPOLLIN);
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[MAX_EVENTS];
    if (argc < 2 || argc > MAX_ANSWERS + 1) {
        fprintf(stderr, "usage: origin PORT[,PORT...] [PREFIX=BODY_BYTES ...]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals == NULL)
            return 2;
        add_answer(argv[i], (size_t)(equals - argv[i]), atol(equals + 1));
    }
    add_answer(NULL, 0, 128);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    listen_on_all(poller, argv[1]);
    for (;;) {
        int n = epoll_wait(poller, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (listens[events[i].data.fd])
                accept_all(poller, events[i].data.fd);
            else if (unsent[events[i].data.fd].iov_len > 0)
                send_rest(poller, events[i].data.fd);
            else
                serve(poller, events[i].data.fd);
        }
    }
}
