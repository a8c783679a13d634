/* HTTP/2 heads and trailers from decoded fields: the wire cases, what comes out, limits, memory that moves. */
#include "h2_blocks.h"
#include "support.h"

static block got;
static fgw_request request;
static fgw_response response;
static const fgw_limits defaults;

static int request_of(const char *p, size_t n, int options) {
    end_block(&got);
    begin_block(&got, FGW_H2_REQUEST, options, &defaults);
    add_text(&got, p + 1, n - 1);
    return fgw_h2_request(&got.head, *p == '.', &request);
}

static int parse(const char *text) { return request_of(text, strlen(text), 0); }

static void check_case(const char *id, const char *verdict, const char *p, size_t n) {
    const char *answer = fgw_reason_name(request_of(guard_after(p, n), n, 0));
    if (strcmp(answer, verdict) == 0)
        return;
    failures++;
    fprintf(stderr, "case %s: %s instead of %s\n", id, answer, verdict);
}

static int is(fgw_span s, const char *text) { return s.len == strlen(text) && memcmp(got.bytes + s.off, text, s.len) == 0; }

#define REST ":scheme=https|:path=/a/../b?c=d&e|:authority=WebApp.test:8443"

static void test_what_comes_out(void) {
    CHECK_EQ(parse(".:method=GET|" REST "|accept=*/*|cookie=a|cookie=b|x_y=z"), FGW_OK);
    CHECK(is(request.method, "GET") && request.method_id == FGW_METHOD_GET && request.minor == 1);
    CHECK(is(request.target, "/a/../b?c=d&e") && is(request.path, "/a/../b") && is(request.query, "c=d&e"));
    CHECK(request.has_query && is(request.authority, "WebApp.test:8443") && is(request.host, "WebApp.test"));
    CHECK(request.framing == FGW_FRAMING_NONE && request.flags == FGW_MSG_PATH_SPECIAL);
    CHECK_EQ(request.field_count, 5); /* with host */
    CHECK(got.fields[0].id == FGW_HDR_ACCEPT && got.fields[1].id == FGW_HDR_COOKIE && got.fields[4].id == FGW_HDR_HOST);
    CHECK_EQ(got.fields[3].flags, FGW_FIELD_UNDERSCORE);
    CHECK(got.fields[4].value_off == request.authority.off && got.fields[4].value_len == request.authority.len);
    CHECK_EQ(request.head_len, got.head.len);
}

static void test_framing(void) {
    CHECK_EQ(parse("+:method=POST|" REST "|content-length=7|expect=100-continue|te=trailers"), FGW_OK);
    CHECK(request.framing == FGW_FRAMING_LENGTH && request.content_length == 7);
    CHECK_EQ(request.flags, FGW_MSG_PATH_SPECIAL | FGW_MSG_EXPECT_CONTINUE | FGW_MSG_TE_TRAILERS);
    CHECK(parse("+:method=POST|" REST) == FGW_OK && request.framing == FGW_FRAMING_CHUNKED);
    CHECK(parse(".:method=POST|" REST "|content-length=0") == FGW_OK && request.framing == FGW_FRAMING_LENGTH);
    CHECK(parse("+:method=GET|:scheme=http|:path=/|host=a.test") == FGW_OK && is(request.host, "a.test"));
    CHECK_EQ(request.field_count, 1);
}

static void test_extended_connect(void) {
    const char *text = "+:method=CONNECT|:protocol=websocket|" REST "|sec-websocket-version=13";
    CHECK_EQ(request_of(text, strlen(text), FGW_H2_EXTENDED_CONNECT), FGW_OK);
    CHECK(is(request.method, "GET") && request.flags & FGW_MSG_UPGRADE && request.framing == FGW_FRAMING_NONE);
    text = "+:method=CONNECT|:protocol=h2c|" REST;
    CHECK_EQ(request_of(text, strlen(text), FGW_H2_EXTENDED_CONNECT), FGW_R_H2_PROTOCOL);
    text = "+:method=CONNECT|:protocol=websocket|:path=/|:authority=a";
    CHECK_EQ(request_of(text, strlen(text), FGW_H2_EXTENDED_CONNECT), FGW_R_H2_PSEUDO);
    text = ".:method=CONNECT|:protocol=websocket|" REST;
    CHECK_EQ(request_of(text, strlen(text), FGW_H2_EXTENDED_CONNECT), FGW_R_UPGRADE_WITH_BODY);
    text = "+:method=GET|:protocol=websocket|" REST;
    CHECK_EQ(request_of(text, strlen(text), FGW_H2_EXTENDED_CONNECT), FGW_R_H2_PSEUDO);
}

/* Requirement F4: what is dropped counts, and a block that goes on after its refusal is not kept. */
static void test_limits(void) {
    const fgw_limits limits = {.head_bytes = 400, .fields = 3, .target_bytes = 20, .leniency = FGW_LENIENT_ABSOLUTE_HOST};
    end_block(&got);
    begin_block(&got, FGW_H2_REQUEST, 0, &limits);
    add_text(&got, ":method=GET|:path=/|:scheme=http|:authority=a", 45);
    CHECK_EQ(got.head.decoded_bytes, 4 * 32 + 7 + 3 + 5 + 1 + 7 + 4 + 10 + 1);
    uint32_t before = got.head.len;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(add_to_block(&got, "x", 1, "y", 1), FGW_OK);
    CHECK_EQ(add_to_block(&got, "x", 1, "y", 1), FGW_R_TOO_MANY_FIELDS);
    CHECK_EQ(got.head.len, before + 6);
    CHECK_EQ(add_to_block(&got, "x", 1, "y", 1), FGW_R_TOO_MANY_FIELDS);
    CHECK_EQ(got.head.len, before + 6);
    CHECK_EQ(got.head.decoded_fields, 5);
    end_block(&got);
    begin_block(&got, FGW_H2_REQUEST, 0, &limits);
    CHECK_EQ(add_to_block(&got, "x-a", 3, "0123456789", 10), FGW_OK);
    static char large[100000];
    memset(large, 'a', sizeof large);
    CHECK_EQ(fgw_h2_add(&got.head, large, sizeof large, large, sizeof large), FGW_R_HEAD_TOO_LARGE);
    for (int i = 0; i < 100000; i++)
        fgw_h2_add(&got.head, "x", 1, large, sizeof large);
    CHECK_EQ(got.head.decoded_bytes, UINT32_MAX);
    end_block(&got);
    begin_block(&got, FGW_H2_REQUEST, 0, &limits);
    add_text(&got, ":method=GET|:path=/|:scheme=http|:authority=a|host=b", 52);
    CHECK(fgw_h2_request(&got.head, 1, &request) == FGW_OK && request.leniencies == FGW_LENIENT_ABSOLUTE_HOST);
    CHECK(is(request.host, "a"));
}

static int response_of(const char *text, int end_stream) {
    end_block(&got);
    begin_block(&got, FGW_H2_RESPONSE, 0, &defaults);
    add_text(&got, text, strlen(text));
    return fgw_h2_response(&got.head, end_stream, &response);
}

static void test_responses(void) {
    CHECK_EQ(response_of(":status=200|content-type=text/plain|content-length=5", 0), FGW_OK);
    CHECK(response.status == 200 && response.framing == FGW_FRAMING_LENGTH && response.content_length == 5);
    CHECK_EQ(response.field_count, 2);
    CHECK(response_of(":status=304|content-length=5", 1) == FGW_OK && response.framing == FGW_FRAMING_LENGTH);
    CHECK(response_of(":status=204", 1) == FGW_OK && response.framing == FGW_FRAMING_NONE);
    CHECK(response_of(":status=200", 0) == FGW_OK && response.framing == FGW_FRAMING_CHUNKED);
    CHECK(response_of(":status=103|link=x", 0) == FGW_OK && response.status == 103);
    CHECK_EQ(response_of(":status=103", 1), FGW_R_UNEXPECTED_1XX);
    CHECK_EQ(response_of(":status=101", 0), FGW_R_BAD_STATUS);
    CHECK_EQ(response_of(":status=99", 0), FGW_R_BAD_STATUS);
    CHECK_EQ(response_of(":status=0200", 0), FGW_R_BAD_STATUS);
    CHECK_EQ(response_of(":status=2x0", 0), FGW_R_BAD_STATUS);
    CHECK_EQ(response_of(":status=600", 0), FGW_R_BAD_STATUS);
    CHECK_EQ(response_of("content-length=5", 0), FGW_R_H2_PSEUDO);
    CHECK_EQ(response_of(":status=200|:status=200", 0), FGW_R_H2_PSEUDO);
    CHECK_EQ(response_of(":method=GET", 0), FGW_R_H2_PSEUDO);
    CHECK_EQ(response_of(":status=200|connection=close", 0), FGW_R_H2_CONNECTION_FIELD);
    CHECK_EQ(response_of(":status=200|te=trailers", 0), FGW_R_H2_CONNECTION_FIELD);
    CHECK_EQ(response_of(":status=200|X-A=b", 0), FGW_R_H2_UPPER_CASE);
    CHECK_EQ(response_of(":status=200|x-a=b\nc", 0), FGW_R_BAD_FIELD_VALUE);
}

static int trailers_of(const char *text, int end_stream) {
    end_block(&got);
    begin_block(&got, FGW_H2_TRAILERS, 0, &defaults);
    add_text(&got, text, strlen(text));
    return fgw_h2_trailers(&got.head, end_stream);
}

static void test_trailers(void) {
    CHECK(trailers_of("grpc-status=0|grpc-message=", 1) == FGW_OK && got.head.count == 2);
    CHECK_EQ(got.fields[0].id, FGW_HDR_GRPC_STATUS);
    CHECK_EQ(trailers_of("x-a=b|content-length=3|content-length=4", 1), FGW_OK);
    CHECK_EQ(trailers_of("x-a=b", 0), FGW_R_H2_TRAILERS_OPEN);
    CHECK_EQ(trailers_of(":path=/x", 1), FGW_R_H2_PSEUDO);
    CHECK_EQ(trailers_of("te=trailers", 1), FGW_R_H2_CONNECTION_FIELD);
    CHECK_EQ(trailers_of("transfer-encoding=chunked", 1), FGW_R_H2_CONNECTION_FIELD);
    CHECK_EQ(trailers_of("X-A=b", 1), FGW_R_H2_UPPER_CASE);
}

/* A preface of 24 bytes, then frames of 5, 0 and 300 bytes: the same however it is cut. */
static void test_frames(void) {
    char bytes[24 + 3 * 9 + 305] = {0};
    memcpy(bytes + 24, "\0\0\5\x8\1\x80\0\0\1", 9);
    memcpy(bytes + 38, "\0\0\0\4\0\0\0\0\0", 9);
    memcpy(bytes + 47, "\0\1\x2c\0\x8\0\1\2\3", 9);
    for (size_t piece = 1; piece <= sizeof bytes; piece++) {
        fgw_h2_frames st = {.left = 24};
        fgw_h2_frame f, seen[3];
        int count = 0;
        for (size_t at = 0; at < sizeof bytes; at += piece) {
            size_t n = sizeof bytes - at < piece ? sizeof bytes - at : piece, used = 0, from = 0;
            const char *p = guard_after(bytes + at, n);
            while (fgw_h2_next_frame(&st, p + from, n - from, &used, &f)) {
                from += used;
                if (count < 3)
                    seen[count] = f;
                count++;
            }
            CHECK_EQ(from + used, n);
        }
        CHECK_EQ(count, 3);
        CHECK(seen[0].length == 5 && seen[0].type == 8 && seen[0].flags == 1 && seen[0].stream == 1);
        CHECK(seen[1].length == 0 && seen[1].type == 4 && seen[1].stream == 0);
        CHECK(seen[2].length == 300 && seen[2].type == 0 && seen[2].flags == 8 && seen[2].stream == 0x10203);
        CHECK(st.left == 0 && st.got == 0);
    }
}

static void test_malformed(void) {
    CHECK(fgw_h2_malformed(FGW_R_H2_PSEUDO) && fgw_h2_malformed(FGW_R_BAD_FIELD_VALUE));
    CHECK(!fgw_h2_malformed(FGW_R_BAD_HOST) && !fgw_h2_malformed(FGW_R_HEAD_TOO_LARGE) && !fgw_h2_malformed(FGW_OK));
}

int main(void) {
    CHECK(each_case("h2_requests", check_case) > 80);
    test_what_comes_out();
    test_framing();
    test_extended_connect();
    test_limits();
    test_responses();
    test_trailers();
    test_frames();
    test_malformed();
    end_block(&got);
    return test_result("http2_head");
}
