/* The chunked decoder: every input whole and at every split, against one list of verdicts. */
#include "fgw/chunked.h"
#include "fgw/http1.h"
#include "support.h"
#include <stdlib.h>

typedef struct decoded {
    int answer; /* FGW_CHUNK_END, FGW_CHUNK_MORE or minus a reason */
    size_t used, len, trailers_len;
    char body[GUARDED_MAX];
    char trailers[GUARDED_MAX];
} decoded;

/* One call after the other until the part is used up, the body ends or is refused. */
static void feed(fgw_chunked *st, decoded *d, const char *p, size_t n) {
    size_t at = 0;
    do {
        size_t used, off, len;
        d->answer = fgw_chunked_decode(st, p + at, n - at, &used, &off, &len);
        CHECK(used <= n - at && off + len <= used);
        CHECK(d->answer != FGW_CHUNK_DATA || len != 0);
        CHECK(d->answer >= 0 || len == 0);
        if (d->answer == FGW_CHUNK_DATA) {
            memcpy(d->body + d->len, p + at + off, len);
            d->len += len;
        } else {
            memcpy(d->trailers + d->trailers_len, p + at + off, len);
            d->trailers_len += len;
        }
        at += used;
    } while (d->answer == FGW_CHUNK_DATA);
    d->used += at;
}

static void decode_split(decoded *d, const char *p, size_t n, size_t at) {
    fgw_chunked st = {0};
    d->used = d->len = d->trailers_len = 0;
    feed(&st, d, guard_after(p, at), at);
    if (d->answer == FGW_CHUNK_MORE)
        feed(&st, d, guard_after(p + at, n - at), n - at);
}

static void decode_bytes(decoded *d, const char *p, size_t n) {
    fgw_chunked st = {0};
    d->used = d->len = d->trailers_len = 0;
    d->answer = FGW_CHUNK_MORE;
    for (size_t at = 0; at < n && d->answer == FGW_CHUNK_MORE; at++)
        feed(&st, d, guard_after(p + at, 1), 1);
}

static decoded whole, other;

/* Of a body that is refused half of the section may have been given already. */
static int trailers_agree(void) {
    return whole.answer < 0 ||
           (whole.trailers_len == other.trailers_len && memcmp(whole.trailers, other.trailers, whole.trailers_len) == 0);
}

static int agree(void) {
    return whole.answer == other.answer && whole.used == other.used && whole.len == other.len &&
           memcmp(whole.body, other.body, whole.len) == 0 && trailers_agree();
}

static int decode(const char *p, size_t n) {
    decode_split(&whole, p, n, 0);
    for (size_t at = 1; at <= n; at += n > 3000 ? n / 97 : 1) {
        decode_split(&other, p, n, at);
        CHECK(agree());
    }
    decode_bytes(&other, p, n);
    CHECK(agree());
    return whole.answer;
}

static int decode_text(const char *text) { return decode(text, strlen(text)); }

static void test_accepted(void) {
    CHECK_EQ(decode_text("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /"), FGW_CHUNK_END);
    CHECK(whole.len == 11 && memcmp(whole.body, "hello world", 11) == 0 && whole.used == 26);
    CHECK_EQ(decode_text("A;a=b ; c = \"d;\\\"\r \" ;e\r\n"), -FGW_R_BAD_CHUNK_EXTENSION);
    CHECK_EQ(decode_text("A;a=b ; c = \"d;\\\"\t \" ;e \t\r\n0123456789\r\n0;x\r\n\r\n"), FGW_CHUNK_END);
    CHECK_EQ(decode_text("005 \t\r\nhello\r\n000\r\nX-A: b\r\nY:\r\n\r\n"), FGW_CHUNK_END);
    CHECK_EQ(decode_text("5\r\nhello\r\n0\r\n"), FGW_CHUNK_MORE);
    CHECK_EQ(decode_text("4000000000000000\r\nabc"), FGW_CHUNK_MORE);
}

static void check_trailers(const char *text, const char *section) {
    CHECK_EQ(decode_text(text), FGW_CHUNK_END);
    CHECK(whole.trailers_len == strlen(section) && memcmp(whole.trailers, section, whole.trailers_len) == 0);
}

static void test_trailers(void) {
    check_trailers("0\r\n\r\nX: 1\r\n\r\n", "");
    check_trailers("5\r\nhello\r\n0;a=b\r\nX-A: b\r\nY:\r\n\r\nGET /", "X-A: b\r\nY:\r\n\r\n");
    fgw_field fields[4];
    fgw_limits limits = {.fields = 2};
    uint32_t count;
    const char *text = "X-A: \tb c \r\nY:\r\n\r\n";
    CHECK_EQ(fgw_parse_trailers(text, strlen(text), &limits, fields, 4, &count), (long)strlen(text));
    CHECK(count == 2 && fields[0].name_len == 3 && fields[0].value_off == 6 && fields[0].value_len == 3);
    CHECK(fields[1].name_off == 12 && fields[1].name_len == 1 && fields[1].value_len == 0);
    CHECK_EQ(fgw_parse_trailers(text, strlen(text) - 2, &limits, fields, 4, &count), -FGW_R_BAD_TRAILER);
    limits.fields = 1;
    CHECK_EQ(fgw_parse_trailers(text, strlen(text), &limits, fields, 4, &count), -FGW_R_TRAILER_TOO_LARGE);
    limits = (fgw_limits){.head_bytes = 17, .leniency = FGW_LENIENT_LF_IN_HEAD};
    CHECK_EQ(fgw_parse_trailers(text, strlen(text), &limits, fields, 4, &count), -FGW_R_TRAILER_TOO_LARGE);
    limits.head_bytes = 0;
    CHECK_EQ(fgw_parse_trailers("X: 1\n\r\n", 8, &limits, fields, 4, &count), -FGW_R_BARE_LF);
    CHECK_EQ(fgw_parse_trailers("grpc-status: 0\r\na_b: 1\r\n\r\n", 26, &limits, fields, 4, &count), 26);
    CHECK(fields[0].id == FGW_HDR_GRPC_STATUS && fields[1].flags == FGW_FIELD_UNDERSCORE);
}

static void test_refused(void) {
    static const struct {
        const char *text;
        int reason;
    } cases[] = {
        {"\r\n", FGW_R_BAD_CHUNK_SIZE},
        {" 5\r\n", FGW_R_BAD_CHUNK_SIZE},
        {"5\n", FGW_R_BARE_LF},
        {"5\rx", FGW_R_BARE_CR},
        {"0x5\r\n", FGW_R_BAD_CHUNK_SIZE},
        {"-1\r\n", FGW_R_BAD_CHUNK_SIZE},
        {"5_0\r\n", FGW_R_BAD_CHUNK_SIZE},
        {"5 5\r\n", FGW_R_BAD_CHUNK_SIZE},
        {"4000000000000001\r\n", FGW_R_CHUNK_SIZE_OVERFLOW},
        {"10000000000000005\r\n", FGW_R_CHUNK_SIZE_OVERFLOW},
        {"000000000000000000000000000000005\r\n", FGW_R_CHUNK_SIZE_OVERFLOW},
        {"5;\r\n", FGW_R_BAD_CHUNK_EXTENSION},
        {"5;a=\r\n", FGW_R_BAD_CHUNK_EXTENSION},
        {"5;a=\"b\r\n", FGW_R_BAD_CHUNK_EXTENSION},
        {"5;a\n", FGW_R_BARE_LF},
        {"5;a=\"\n", FGW_R_BARE_LF},
        {"5;a=b=c\r\n", FGW_R_BAD_CHUNK_EXTENSION},
        {"5;a=\"b\"c\r\n", FGW_R_BAD_CHUNK_EXTENSION},
        {"5;a=\"\\\x01\"\r\n", FGW_R_BAD_CHUNK_EXTENSION},
        {"3\r\nhello\r\n", FGW_R_BAD_CHUNK_END},
        {"3\r\nabc\n", FGW_R_BAD_CHUNK_END},
        {"3\r\nabc\rx", FGW_R_BAD_CHUNK_END},
        {"0\r\nX : b\r\n\r\n", FGW_R_BAD_TRAILER},
        {"0\r\n X: b\r\n\r\n", FGW_R_BAD_TRAILER},
        {"0\r\nX: b\n\r\n", FGW_R_BARE_LF},
        {"0\r\nX: b\r\r\n", FGW_R_BARE_CR},
        {"0\r\nnocolon\r\n\r\n", FGW_R_BAD_TRAILER},
        {"0\r\n: b\r\n\r\n", FGW_R_BAD_TRAILER},
        {"0\r\nX: a\x01\r\n\r\n", FGW_R_BAD_TRAILER},
        {"0\r\n\rx", FGW_R_BARE_CR},
        {"0\r\n\n", FGW_R_BARE_LF},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_EQ(decode_text(cases[i].text), -cases[i].reason);
}

/* `count` times "<before><fill x 'a'><after>", then `tail`. */
static int decode_repeated(int count, const char *before, size_t fill, const char *after, const char *tail) {
    static char text[GUARDED_MAX];
    size_t n = 0;
    for (int i = 0; i < count; i++) {
        n += (size_t)sprintf(text + n, "%s", before);
        memset(text + n, 'a', fill);
        n += fill;
        n += (size_t)sprintf(text + n, "%s", after);
    }
    n += (size_t)sprintf(text + n, "%s", tail);
    return decode(text, n);
}

static void test_limits(void) {
    CHECK_EQ(decode_repeated(1, "1;", 4000, "\r\nx\r\n", "0\r\n\r\n"), FGW_CHUNK_END);
    CHECK_EQ(decode_repeated(1, "1;", 4200, "\r\nx\r\n", "0\r\n\r\n"), -FGW_R_CHUNK_EXTENSION_TOO_LONG);
    CHECK_EQ(decode_repeated(4, "1;", 4000, "\r\nx\r\n", "0\r\n\r\n"), FGW_CHUNK_END);
    CHECK_EQ(decode_repeated(5, "1;", 4000, "\r\nx\r\n", "0\r\n\r\n"), -FGW_R_CHUNK_EXTENSION_TOO_LONG);
    CHECK_EQ(decode_repeated(1, "0\r\nX: ", 61000, "\r\n", "\r\n"), FGW_CHUNK_END);
    CHECK_EQ(decode_repeated(1, "0\r\nX: ", 62000, "\r\n", "\r\n"), -FGW_R_TRAILER_TOO_LARGE);
    char trailers[1000] = "0\r\n";
    for (int i = 0; i < 101; i++)
        strcat(trailers, "X: y\r\n");
    CHECK_EQ(decode_text(trailers), -FGW_R_TRAILER_TOO_LARGE);
    trailers[3 + 100 * 6] = '\0';
    strcat(trailers, "\r\n");
    CHECK_EQ(decode_text(trailers), FGW_CHUNK_END);
}

static void test_chunk_head(void) {
    static const uint64_t sizes[] = {0, 1, 9, 15, 16, 255, 256, 4095, 65536, UINT32_MAX, UINT64_MAX};
    char out[18], wanted[32];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = fgw_chunk_head(out, sizes[i]);
        CHECK_EQ(n, snprintf(wanted, sizeof wanted, "%llx\r\n", (unsigned long long)sizes[i]));
        CHECK(memcmp(out, wanted, n) == 0);
    }
}

static void test_mutations(void) {
    static const char seed[] = "5;a=\"b\\c\" ;d\r\nhello\r\n1a\r\n01234567890123456789012345\r\n0\r\nX-A: b\r\n\r\nGET";
    static const char odd[] = "\r\n\t ;=\"\\0fFg:\x80\x01";
    uint64_t random = 4;
    for (int i = 0; i < 3000; i++) {
        char copy[sizeof seed];
        memcpy(copy, seed, sizeof seed);
        for (uint64_t changes = 1 + next_random(&random) % 3; changes > 0; changes--)
            copy[next_random(&random) % (sizeof seed - 1)] = odd[next_random(&random) % (sizeof odd - 1)];
        int answer = decode(copy, sizeof seed - 1);
        CHECK(answer == FGW_CHUNK_END || answer == FGW_CHUNK_MORE || answer < 0);
    }
}

int main(void) {
    test_accepted();
    test_trailers();
    test_refused();
    test_limits();
    test_chunk_head();
    test_mutations();
    return test_result("chunked");
}
