/* Request heads: the wire cases, the limits, the fields of fgw_request, the twins on mutated input. */
#define HEAD fgw_request
#define PARSE fgw_parse_request
#define PARSE_SCALAR fgw_parse_request_scalar
#include "heads.h"

static parsed got;

static long parse(const char *text) {
    limits = (fgw_limits){0};
    return parse_everywhere(text, strlen(text), &got);
}

static int is(const char *text, fgw_span span, const char *wanted) {
    return span.len == strlen(wanted) && memcmp(text + span.off, wanted, span.len) == 0;
}

static void test_spans(void) {
    const char *text = "\r\nGET /a/b?x=1?2 HTTP/1.1\r\nHost:\tWebapp.test:8080 \r\nX_Y:  v \r\n\r\nrest";
    CHECK_EQ(parse(text), strlen(text) - 4);
    const fgw_request *r = &got.head;
    CHECK(is(text, r->method, "GET") && r->method_id == FGW_METHOD_GET && r->minor == 1);
    CHECK(is(text, r->target, "/a/b?x=1?2") && is(text, r->path, "/a/b") && is(text, r->query, "x=1?2"));
    CHECK(is(text, r->authority, "Webapp.test:8080") && is(text, r->host, "Webapp.test"));
    CHECK(r->has_query && r->field_count == 2 && r->framing == FGW_FRAMING_NONE && r->flags == 0);
    CHECK(is(text, (fgw_span){got.fields[1].value_off, got.fields[1].value_len}, "v"));
    CHECK(got.fields[0].id == FGW_HDR_HOST && got.fields[1].flags == FGW_FIELD_UNDERSCORE);
}

static void test_absolute_form(void) {
    const char *text = "GET HTTPS://Webapp.test?q HTTP/1.1\r\nHost: webapp.test:443\r\n\r\n";
    CHECK(parse(text) > 0);
    CHECK(is(text, got.head.host, "Webapp.test") && got.head.path.len == 0 && is(text, got.head.query, "q"));
    CHECK(got.head.flags & FGW_MSG_ABSOLUTE_FORM);
    CHECK_EQ(parse("GET http://webapp.test/ HTTP/1.1\r\nHost: webapp.test:443\r\n\r\n"), -FGW_R_TARGET_HOST_MISMATCH);
    limits.leniency = FGW_LENIENT_ABSOLUTE_HOST;
    const char *other = "GET http://webapp.test/x HTTP/1.1\r\nHost: admin.test\r\n\r\n";
    CHECK(parse_everywhere(other, strlen(other), &got) > 0);
    CHECK(is(other, got.head.host, "webapp.test") && got.head.leniencies == FGW_LENIENT_ABSOLUTE_HOST);
}

static void test_path_special(void) {
    static const struct {
        const char *target;
        int special;
    } cases[] = {
        {"/", 0},
        {"/a/b.c?/../%41", 0},
        {"/a/.b", 1},
        {"/..", 1},
        {"/a%20b", 1},
        {"/a\\b", 1},
        {"/a.b/c..d", 0},
        {"/0123456789012345678901234567890/.", 1},
        {"/012345678901234567890123456789/.a", 1},
        {"/01234567890123456789012345678901234567890123456789012345678901234567890123456789%41", 1},
        {"/0123456789012345678901234567890123456789012345678901234567890123456789?%41/..\\", 0},
    };
    char text[300];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", cases[i].target);
        CHECK(parse(text) > 0);
        CHECK_EQ((got.head.flags & FGW_MSG_PATH_SPECIAL) != 0, cases[i].special);
    }
}

static void test_connection(void) {
    CHECK(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-private , X-Forwarded-For, Host\r\nX-Private: 1\r\n"
                "X-Forwarded-For: 6.6.6.6\r\nx-PRIVATE: 2\r\n\r\n") > 0);
    CHECK_EQ(got.head.flags, FGW_MSG_CLOSE | FGW_MSG_LISTED_FIELDS);
    CHECK(got.fields[2].flags == FGW_FIELD_LISTED && got.fields[4].flags == FGW_FIELD_LISTED);
    CHECK(got.fields[0].flags == 0 && got.fields[3].flags == 0);
    CHECK(parse("GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\nConnection: Keep-Alive\r\n\r\n") > 0);
    CHECK(got.head.flags == (FGW_MSG_KEEP_ALIVE | FGW_MSG_LISTED_FIELDS) && got.fields[1].flags == FGW_FIELD_LISTED);
    CHECK(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") > 0 && got.head.flags == FGW_MSG_KEEP_ALIVE);
    CHECK(parse("GET / HTTP/1.0\r\n\r\n") > 0 && got.head.flags == FGW_MSG_CLOSE && got.head.host.len == 0);
    CHECK_EQ(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n"), -FGW_R_BAD_CONNECTION);
    CHECK(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nConnection: x\r\nUpgrade: h2c, websocket\r\nX: 1\r\n\r\n") >
          0);
    CHECK_EQ(got.head.flags, FGW_MSG_UPGRADE | FGW_MSG_LISTED_FIELDS);
    CHECK(got.fields[4].flags == FGW_FIELD_LISTED);
}

static void test_intentions(void) {
    CHECK(parse("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\n") > 0);
    CHECK(!(got.head.flags & FGW_MSG_UPGRADE) && got.head.content_length == 1);
    CHECK_EQ(parse("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\n"),
             -FGW_R_UPGRADE_WITH_BODY);
    CHECK(parse("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n") > 0);
    CHECK(got.head.flags & FGW_MSG_UPGRADE && got.head.framing == FGW_FRAMING_LENGTH);
    CHECK(parse("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=0.5, Trailers\r\nExpect: 100-Continue\r\n\r\n") > 0);
    CHECK_EQ(got.head.flags, FGW_MSG_TE_TRAILERS | FGW_MSG_EXPECT_CONTINUE);
    CHECK(parse("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n") > 0 && got.head.flags == FGW_MSG_CLOSE);
    CHECK(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n") > 0 && got.head.flags == FGW_MSG_ASTERISK_FORM);
    CHECK_EQ(parse("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), -FGW_R_BAD_TARGET);
    CHECK_EQ(parse("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), -FGW_R_H2_PREFACE);
}

static void test_leniencies(void) {
    const char *lf = "GET /a#b?c HTTP/1.1\nHost: a\nContent-Length: 05\r\nContent-Length: 5\n\n";
    CHECK_EQ(parse(lf), -FGW_R_BARE_LF);
    limits.leniency = FGW_LENIENT_LF_IN_HEAD | FGW_LENIENT_FRAGMENT | FGW_LENIENT_EQUAL_LENGTHS;
    CHECK_EQ(parse_everywhere(lf, strlen(lf), &got), strlen(lf));
    CHECK_EQ(got.head.leniencies, limits.leniency);
    CHECK(is(lf, got.head.path, "/a") && !got.head.has_query && got.head.content_length == 5);
    const char *different = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n";
    CHECK_EQ(parse_everywhere(different, strlen(different), &got), -FGW_R_DUPLICATE_CONTENT_LENGTH);
}

/* A limit is answered when it is reached, not when the head ends (requirement D4). */
static void test_limits(void) {
    char text[600];
    int n = snprintf(text, sizeof text, "GET /%0100d HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n", 0);
    limits = (fgw_limits){.head_bytes = (uint32_t)n, .target_bytes = 101, .fields = 3};
    CHECK_EQ(parse_everywhere(text, (size_t)n, &got), n);
    limits.fields = 2;
    CHECK_EQ(parse_everywhere(text, (size_t)n - 8, &got), 0);
    CHECK_EQ(parse_everywhere(text, (size_t)n - 7, &got), -FGW_R_TOO_MANY_FIELDS);
    limits = (fgw_limits){.head_bytes = (uint32_t)n - 1};
    CHECK_EQ(parse_everywhere(text, (size_t)n - 2, &got), 0);
    CHECK_EQ(parse_everywhere(text, (size_t)n - 1, &got), -FGW_R_HEAD_TOO_LARGE);
    CHECK_EQ(parse_everywhere(text, (size_t)n, &got), -FGW_R_HEAD_TOO_LARGE);
    limits = (fgw_limits){.target_bytes = 100};
    CHECK_EQ(parse_everywhere(text, 104, &got), 0);
    CHECK_EQ(parse_everywhere(text, 105, &got), -FGW_R_TARGET_TOO_LONG);
    for (size_t at = 1; at <= 105; at++) {
        long answer = parse_into(&got, PARSE, guard_after(text, at), at, at - 1);
        CHECK_EQ(answer, at < 105 ? 0 : -FGW_R_TARGET_TOO_LONG);
    }
    CHECK_EQ(parse("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"), -FGW_R_BAD_METHOD);
}

/* The room of the caller's array is a limit, too. */
static void test_small_array(void) {
    const char *text = "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n";
    fgw_field two[2];
    fgw_request r;
    limits = (fgw_limits){0};
    CHECK_EQ(fgw_parse_request(text, strlen(text), 0, &limits, &r, two, 2), strlen(text));
    CHECK_EQ(fgw_parse_request(text, strlen(text), 0, &limits, &r, two, 1), -FGW_R_TOO_MANY_FIELDS);
}

static void test_lengths(void) {
    char text[200];
    static const struct {
        const char *value;
        long answer;
    } cases[] = {
        {"9223372036854775807", 1},
        {"9223372036854775808", -FGW_R_BAD_CONTENT_LENGTH},
        {"00000000000000000000000007", 1},
        {"18446744073709551621", -FGW_R_BAD_CONTENT_LENGTH},
        {"0", 1},
        {"", -FGW_R_BAD_CONTENT_LENGTH},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n", cases[i].value);
        long answer = parse(text);
        CHECK_EQ(answer > 0 ? 1 : answer, cases[i].answer);
        CHECK(answer < 0 || got.head.content_length == strtoull(cases[i].value, NULL, 10));
    }
}

static void test_mutations(void) {
    static const char *const seeds[] = {
        "GET /a/./b?x=1 HTTP/1.1\r\nHost: webapp.test\r\nX_A: b\r\n\r\n",
        "POST http://webapp.test/%41/../b HTTP/1.1\r\nHost: webapp.test:80\r\nContent-Length: 5\r\nConnection: close, x-a\r\n"
        "X-A: 1\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: webapp.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like "
        "Gecko)\r\nAccept: text/html,application/xhtml+xml\r\nX-Envoy-Upstream-Service-Time: 1\r\nCookie: a=b\r\n"
        "Sec-Fetch-Mode: navigate\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    };
    uint64_t random = 1;
    for (uint32_t leniency = 0; leniency < 16; leniency += 5) {
        limits = (fgw_limits){.leniency = leniency};
        for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
            check_mutations(seeds[i], strlen(seeds[i]), &random, 4000);
    }
}

int main(void) {
    printf("scanner: %s\n", fgw_simd_name());
    CHECK(each_case("requests", check_case) > 200);
    test_spans();
    test_absolute_form();
    test_path_special();
    test_connection();
    test_intentions();
    test_leniencies();
    test_limits();
    test_small_array();
    test_lengths();
    test_mutations();
    return test_result("http1_request");
}
