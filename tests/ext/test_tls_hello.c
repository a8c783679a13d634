/* ClientHellos built by hand: the cases of requirements G2 and G3, each fed at every split. */
#include "fgw/tls_hello.h"
#include "support.h"
#include <stdlib.h>

typedef struct bytes {
    size_t n;
    unsigned char p[70000];
} bytes;

static void add(bytes *b, const void *p, size_t n) {
    if (n != 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void add_number(bytes *b, unsigned value, int size) {
    while (size-- > 0)
        b->p[b->n++] = (unsigned char)(value >> (8 * size));
}

static void add_extension(bytes *b, unsigned type, const void *p, size_t n) {
    add_number(b, type, 2);
    add_number(b, (unsigned)n, 2);
    add(b, p, n);
}

static void add_sni(bytes *b, const char *name, size_t n) {
    static bytes ext;
    ext.n = 0;
    add_number(&ext, (unsigned)n + 3, 2);
    add_number(&ext, 0, 1);
    add_number(&ext, (unsigned)n, 2);
    add(&ext, name, n);
    add_extension(b, 0, ext.p, ext.n);
}

/* A handshake message; extensions == NULL: the old form without the block. */
static void make_message(bytes *b, const bytes *extensions) {
    b->n = 0;
    add_number(b, 1, 1);
    add_number(b, 0, 3);
    add_number(b, 0x0303, 2);
    for (int i = 0; i < 32; i++)
        add_number(b, (unsigned)i, 1);
    add_number(b, 0, 1);             /* session id */
    add(b, "\0\4\x13\1\xfa\xfa", 6); /* cipher suites, one GREASE */
    add(b, "\1\0", 2);               /* compression */
    if (extensions != NULL) {
        add_number(b, (unsigned)extensions->n, 2);
        add(b, extensions->p, extensions->n);
    }
    size_t body = b->n - 4;
    b->p[1] = (unsigned char)(body >> 16);
    b->p[2] = (unsigned char)(body >> 8);
    b->p[3] = (unsigned char)body;
}

/* The message in records of at most `size` bytes. */
static void make_records(bytes *b, const bytes *message, size_t size, unsigned version) {
    b->n = 0;
    for (size_t at = 0; at < message->n; at += size) {
        size_t n = message->n - at < size ? message->n - at : size;
        add_number(b, 22, 1);
        add_number(b, version, 2);
        add_number(b, (unsigned)n, 2);
        add(b, message->p + at, n);
    }
}

static fgw_hello hello;
static bytes extensions, message, records;

/* The answer to all of the input; every shorter part must ask for more or refuse for the same reason. */
static long peek(const bytes *b) {
    long whole = fgw_tls_hello_peek(guard_after(b->p, b->n), b->n, &hello);
    fgw_hello part;
    size_t end = whole > 0 ? (size_t)whole : b->n;
    for (size_t at = 0; at<end; at += end> 3000 ? 101 : 1) {
        long answer = fgw_tls_hello_peek(guard_after(b->p, at), at, &part);
        CHECK(answer == 0 || (answer == whole && whole < 0));
    }
    return whole;
}

static long peek_extensions(size_t record_size) {
    make_message(&message, &extensions);
    make_records(&records, &message, record_size, 0x0301);
    return peek(&records);
}

/* The hello ends where its records end. */
static int peeks_all(size_t record_size) {
    long used = peek_extensions(record_size);
    return used == (long)records.n;
}

static void start(void) { extensions.n = 0; }

static void test_plain(void) {
    start();
    add_sni(&extensions, "A.Test", 6);
    add_extension(&extensions, 16, "\0\014\2h2\010http/1.1", 14);
    add_extension(&extensions, 43, "\6\x9a\x9a\3\4\3\3", 7);
    add_extension(&extensions, 0x2a2a, "", 0);
    CHECK(peeks_all(16384));
    CHECK(hello.has_sni && hello.sni_len == 6 && memcmp(hello.sni, "a.test", 7) == 0);
    CHECK(hello.has_alpn && hello.alpn_len == 12 && memcmp(hello.alpn, "\2h2\010http/1.1", 12) == 0);
    CHECK(hello.max_version == 0x0304 && hello.legacy_version == 0x0303 && hello.record_version == 0x0301);
    add(&records, "\x17\3\3\0\1x", 6); /* early data follows */
    CHECK_EQ(peek(&records), records.n - 6);
    static const size_t sizes[] = {1, 2, 3, 4, 5, 10, 60, 75};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK(peeks_all(sizes[i]));
        CHECK(hello.has_sni && memcmp(hello.sni, "a.test", 7) == 0 && hello.alpn_len == 12);
    }
}

static void test_without_names(void) {
    start();
    CHECK(peek_extensions(16384) > 0 && !hello.has_sni && !hello.has_alpn && hello.max_version == 0x0303);
    make_message(&message, NULL);
    make_records(&records, &message, 16384, 0x0304);
    CHECK(peek(&records) > 0 && !hello.has_sni);
}

static void test_large(void) {
    static const size_t sizes[] = {2000, 9000, 15000};
    static const char filler[16400];
    for (size_t i = 0; i < 3; i++) {
        start();
        add_extension(&extensions, 51, filler, sizes[i]);
        add_sni(&extensions, "a.test", 6);
        CHECK(peek_extensions(16384) > 0 && hello.has_sni);
    }
    start();
    add_extension(&extensions, 21, filler, 16384);
    CHECK_EQ(peek_extensions(16384), -FGW_R_HELLO_TOO_LARGE);
    records.n = 0;
    add(&records, "\x16\3\1\0\4\1\xff\xff\xff", 9);
    CHECK_EQ(peek(&records), -FGW_R_HELLO_TOO_LARGE);
}

static void test_not_tls(void) {
    static const char *const first[] = {"GET / HTTP/1.1\r\n", "\x15\3\1\0\2\2\50", "\x14\3\3\0\1\1", "\x80\x2e\1\3\1", "SSH-2.0"};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        CHECK_EQ(fgw_tls_hello_peek(first[i], 1, &hello), -FGW_R_NOT_TLS);
        CHECK_EQ(fgw_tls_hello_peek(first[i], 5, &hello), -FGW_R_NOT_TLS);
    }
    CHECK_EQ(fgw_tls_hello_peek("\x16\5", 2, &hello), -FGW_R_NOT_TLS);
    CHECK_EQ(fgw_tls_hello_peek("\x16\3\1\0\0", 5, &hello), -FGW_R_HELLO_MALFORMED);
    CHECK_EQ(fgw_tls_hello_peek("\x16\3\1\x40\1", 5, &hello), -FGW_R_HELLO_MALFORMED);
    CHECK_EQ(fgw_tls_hello_peek("\x16\3\1\0\4\2", 6, &hello), -FGW_R_HELLO_MALFORMED);
    CHECK_EQ(fgw_tls_hello_peek("", 0, &hello), 0);
}

static void malformed(void) { CHECK_EQ(peek_extensions(16384), -FGW_R_HELLO_MALFORMED); }

static void test_bad_sni(void) {
    static const char *const names[] = {"", "a b", "a.test\1", "a/b", "a:1", "\xc3\xa9.test"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        start();
        add_sni(&extensions, names[i], strlen(names[i]));
        malformed();
    }
    start();
    add_sni(&extensions, "a\0b", 3);
    malformed();
    char name[300];
    memset(name, 'a', sizeof name);
    start();
    add_sni(&extensions, name, 256);
    malformed();
    start();
    add_sni(&extensions, name, 255);
    CHECK(peek_extensions(16384) > 0 && hello.sni_len == 255 && hello.sni[255] == '\0');
    start();
    add_sni(&extensions, "a.test", 6);
    add_sni(&extensions, "b.test", 6);
    malformed();
    static const struct {
        const char *p;
        size_t n;
    } bodies[] = {
        {"\0\14\0\0\3a.b\0\0\3c.d", 14}, /* two names */
        {"\0\6\1\0\3a.b", 8},            /* another type */
        {"\0\7\0\0\3a.b", 8},            /* list longer than the extension */
        {"\0\6\0\0\4a.b", 8},            /* name longer than the list */
        {"\0\6\0\0\3a.bx", 9},           /* bytes after the list */
        {"", 0},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        start();
        add_extension(&extensions, 0, bodies[i].p, bodies[i].n);
        malformed();
    }
}

static void test_bad_lengths(void) {
    start();
    add_extension(&extensions, 0x2a2a, "", 0);
    add_extension(&extensions, 0x2a2a, "", 0);
    malformed();
    start();
    add_number(&extensions, 5, 2);
    add_number(&extensions, 9, 2);
    malformed();
    start();
    add_extension(&extensions, 16, "\0\3\2h2\0", 6);
    malformed();
    start();
    add_extension(&extensions, 16, "\0\1\0", 3);
    malformed();
    start();
    add_extension(&extensions, 43, "\3\3\4\3", 4);
    malformed();
    start();
    make_message(&message, &extensions);
    add(&message, "junk", 4); /* in the same record, after the message */
    make_records(&records, &message, 16384, 0x0301);
    CHECK_EQ(peek(&records), -FGW_R_HELLO_MALFORMED);
    message.p[3] = (unsigned char)(message.p[3] + 4); /* inside the message, after the extensions */
    make_records(&records, &message, 16384, 0x0301);
    CHECK_EQ(peek(&records), -FGW_R_HELLO_MALFORMED);
    make_message(&message, &extensions);
    make_records(&records, &message, 10, 0x0301);
    records.p[15] = 23; /* application data between the handshake records */
    CHECK_EQ(peek(&records), -FGW_R_HELLO_MALFORMED);
}

static void test_long_alpn(void) {
    start();
    bytes *list = &message;
    list->n = 0;
    add_number(list, 400, 2);
    for (int i = 0; i < 4; i++) {
        add_number(list, 99, 1);
        memset(list->p + list->n, 'a' + i, 99);
        list->n += 99;
    }
    add_extension(&extensions, 16, list->p, list->n);
    CHECK(peek_extensions(16384) > 0 && hello.alpn_len == 200 && hello.alpn[100] == 99);
}

/* One byte changed: any answer, but no touch of a guard page and no disagreement between splits. */
static void test_mutations(void) {
    uint64_t random = 6;
    start();
    add_sni(&extensions, "a.test", 6);
    add_extension(&extensions, 16, "\0\014\2h2\010http/1.1", 14);
    add_extension(&extensions, 43, "\4\3\4\3\3", 5);
    make_message(&message, &extensions);
    for (int i = 0; i < 6000; i++) {
        make_records(&records, &message, 1 + next_random(&random) % 200, 0x0303);
        records.p[next_random(&random) % records.n] = (unsigned char)next_random(&random);
        long whole = fgw_tls_hello_peek(guard_after(records.p, records.n), records.n, &hello);
        size_t at = next_random(&random) % records.n;
        fgw_hello part;
        long answer = fgw_tls_hello_peek(guard_after(records.p, at), at, &part);
        CHECK(answer == 0 || answer == whole);
    }
}

int main(void) {
    test_plain();
    test_without_names();
    test_large();
    test_not_tls();
    test_bad_sni();
    test_bad_lengths();
    test_long_alpn();
    test_mutations();
    return test_result("tls_hello");
}
