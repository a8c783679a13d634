/* Response heads: the wire cases, framing, the twins on mutated input. */
#define HEAD fgw_response
#define PARSE fgw_parse_response
#define PARSE_SCALAR fgw_parse_response_scalar
#include "heads.h"

static parsed got;

static long parse(const char *text) {
    limits = (fgw_limits){0};
    return parse_everywhere(text, strlen(text), &got);
}

static void test_status_lines(void) {
    CHECK(parse("HTTP/1.1 200\r\n\r\n") > 0 && got.head.status == 200 && got.head.reason_phrase.len == 0);
    CHECK(parse("HTTP/1.1 200 \r\n\r\n") > 0 && got.head.reason_phrase.len == 0);
    CHECK(parse("HTTP/1.0 404 Not  \xe9 Found\r\n\r\n") > 0 && got.head.reason_phrase.len == 12);
    CHECK(got.head.flags == FGW_MSG_CLOSE && got.head.minor == 0);
    CHECK_EQ(parse("HTTP/1.1 099 X\r\n\r\n"), -FGW_R_BAD_STATUS);
    CHECK_EQ(parse("HTTP/1.1 600 X\r\n\r\n"), -FGW_R_BAD_STATUS);
    CHECK_EQ(parse("HTTP/1.1 20x X\r\n\r\n"), -FGW_R_BAD_STATUS);
    CHECK_EQ(parse("HTTP/1.1  200 X\r\n\r\n"), -FGW_R_BAD_STATUS);
    CHECK_EQ(parse("HTTP/1.2 200 X\r\n\r\n"), -FGW_R_BAD_VERSION);
    CHECK_EQ(parse("HTTP/2 200\r\n\r\n"), -FGW_R_BAD_STATUS);
    CHECK_EQ(parse("\r\nHTTP/1.1 200 X\r\n\r\n"), -FGW_R_BAD_STATUS);
    CHECK_EQ(parse("HTTP/1.1 200 X\x01\r\n\r\n"), -FGW_R_BAD_FIELD_VALUE);
    CHECK_EQ(parse("HTTP/1.1 200 X\n\r\n"), -FGW_R_BARE_LF);
}

static int framing_for(const char *text, int method) {
    CHECK(parse(text) > 0);
    return fgw_response_framing(&got.head, method);
}

static void test_framing(void) {
    const char *length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    CHECK_EQ(framing_for(length, FGW_METHOD_GET), FGW_FRAMING_LENGTH);
    CHECK_EQ(framing_for(length, FGW_METHOD_HEAD), FGW_FRAMING_NONE);
    CHECK_EQ(framing_for(length, FGW_METHOD_CONNECT), FGW_FRAMING_NONE);
    CHECK_EQ(framing_for("HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", FGW_METHOD_GET), FGW_FRAMING_NONE);
    CHECK_EQ(framing_for("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", FGW_METHOD_GET), FGW_FRAMING_NONE);
    CHECK_EQ(framing_for("HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n", FGW_METHOD_GET), FGW_FRAMING_NONE);
    CHECK_EQ(framing_for("HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n", FGW_METHOD_GET), FGW_FRAMING_CHUNKED);
    CHECK_EQ(framing_for("HTTP/1.1 200 OK\r\n\r\n", FGW_METHOD_GET), FGW_FRAMING_CLOSE);
    CHECK_EQ(parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
             -FGW_R_CONTENT_LENGTH_AND_TRANSFER_ENCODING);
    CHECK_EQ(parse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), -FGW_R_TRANSFER_ENCODING_IN_HTTP10);
    CHECK_EQ(parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"), -FGW_R_DUPLICATE_CONTENT_LENGTH);
}

static void test_connection(void) {
    CHECK(parse("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n") > 0);
    CHECK_EQ(got.head.flags, FGW_MSG_UPGRADE | FGW_MSG_LISTED_FIELDS);
    CHECK(parse("HTTP/1.1 200 X\r\nConnection: close, set-cookie\r\nSet-Cookie: a=b\r\n\r\n") > 0);
    CHECK(got.head.flags == FGW_MSG_CLOSE && got.fields[1].flags == 0);
    CHECK(parse("HTTP/1.0 200 X\r\nConnection: keep-alive\r\n\r\n") > 0 && got.head.flags == FGW_MSG_KEEP_ALIVE);
}

static void test_mutations(void) {
    static const char *const seeds[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 302 Found\r\nServer: nginx/1.22.1\r\nDate: Sat, 22 Nov 2025 06:00:00 GMT\r\nContent-Type: text/html; "
        "charset=utf-8\r\nLocation: https://webapp.test/login?next=%2F\r\nSet-Cookie: session=0123456789abcdef0123456789abcdef; "
        "Path=/; HttpOnly\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x_b\r\nX_B: c\r\n\r\n0\r\n\r\n",
    };
    uint64_t random = 2;
    limits = (fgw_limits){0};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
        check_mutations(seeds[i], strlen(seeds[i]), &random, 10000);
}

int main(void) {
    CHECK(each_case("responses", check_case) > 20);
    test_status_lines();
    test_framing();
    test_connection();
    test_mutations();
    return test_result("http1_response");
}
