/* gRPC's content types, deadlines, statuses; base64 of gRPC-Web, at every split. */
#include "fgw/grpc.h"
#include "support.h"
#include <stdlib.h>

static int kind(const char *text) { return fgw_grpc_kind_of(guard_after(text, strlen(text)), strlen(text)); }

static void test_kinds(void) {
    CHECK_EQ(kind("application/grpc"), FGW_GRPC_PLAIN);
    CHECK_EQ(kind("application/grpc+proto"), FGW_GRPC_PLAIN);
    CHECK_EQ(kind("Application/GRPC;charset=x"), FGW_GRPC_PLAIN);
    CHECK_EQ(kind("application/grpc ; a=b"), FGW_GRPC_PLAIN);
    CHECK_EQ(kind("application/grpc-web"), FGW_GRPC_WEB);
    CHECK_EQ(kind("application/grpc-web+proto"), FGW_GRPC_WEB);
    CHECK_EQ(kind("application/grpc-web;x"), FGW_GRPC_WEB);
    CHECK_EQ(kind("application/grpc-web-text"), FGW_GRPC_WEB_TEXT);
    CHECK_EQ(kind("application/grpc-Web-Text+proto"), FGW_GRPC_WEB_TEXT);
    const char *others[] = {"",           "application/grp",         "application/grpcx",         "application/grpc-we",
                            "text/plain", "application/grpc-webby",  "application/grpc-web-tex",  "application/json+grpc",
                            "grpc",       "application/grpc-web-",   "application/grpc-web-textx"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        CHECK_EQ(kind(others[i]), FGW_GRPC_NOT);
}

static int64_t timeout(const char *text) { return fgw_grpc_timeout_ms(guard_after(text, strlen(text)), strlen(text)); }

static void test_timeouts(void) {
    CHECK_EQ(timeout("1H"), 3600000);
    CHECK_EQ(timeout("99999999H"), 359999996400000);
    CHECK_EQ(timeout("2M"), 120000);
    CHECK_EQ(timeout("10S"), 10000);
    CHECK_EQ(timeout("00000005m"), 5);
    CHECK_EQ(timeout("1u"), 1);
    CHECK_EQ(timeout("1001u"), 2);
    CHECK_EQ(timeout("1000000n"), 1);
    CHECK_EQ(timeout("1000001n"), 2);
    CHECK_EQ(timeout("0S"), 0);
    const char *bad[] = {"", "S", "1", "1s", "-1S", "1.5S", " 1S", "1 S", "123456789S", "1h", "+1S", "1SS"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(timeout(bad[i]), -1);
}

static int status(const char *text) { return fgw_grpc_status_of(guard_after(text, strlen(text)), strlen(text)); }

static void test_statuses(void) {
    CHECK_EQ(status("0"), 0);
    CHECK_EQ(status("16"), 16);
    CHECK_EQ(status("07"), 7);
    CHECK(status("") == -1 && status("17") == -1 && status("x") == -1 && status("-1") == -1 && status("014") == -1);
    CHECK(fgw_grpc_status_of_http(400) == 13 && fgw_grpc_status_of_http(401) == 16 && fgw_grpc_status_of_http(403) == 7);
    CHECK(fgw_grpc_status_of_http(404) == 12 && fgw_grpc_status_of_http(429) == 14 && fgw_grpc_status_of_http(502) == 14);
    CHECK(fgw_grpc_status_of_http(503) == 14 && fgw_grpc_status_of_http(504) == 14 && fgw_grpc_status_of_http(500) == 2);
    CHECK(strcmp(fgw_grpc_status_name(0, 1), "OK") == 0 && strcmp(fgw_grpc_status_name(16, 0), "UNAUTHENTICATED") == 0);
    CHECK(strcmp(fgw_grpc_status_name(4, 1), "DeadlineExceeded") == 0);
    CHECK(fgw_grpc_status_name(17, 0) == NULL && fgw_grpc_status_name(-1, 1) == NULL);
}

static void test_messages(void) {
    char out[64];
    CHECK(fgw_grpc_message("a %\r\n\x7f\xc3\xa9~", 9, out) == 21);
    CHECK(memcmp(out, "a %25%0D%0A%7F%C3%A9~", 21) == 0);
}

static size_t decode(const char *text, size_t n, size_t cut, char *out) {
    fgw_base64 d = {0};
    long a = fgw_base64_decode(&d, guard_after(text, cut), cut, out);
    long b = a < 0 ? -1 : fgw_base64_decode(&d, guard_after(text + cut, n - cut), n - cut, out + a);
    return a < 0 || b < 0 ? SIZE_MAX : !fgw_base64_complete(&d) ? SIZE_MAX - 1 : (size_t)(a + b);
}

static void check_decoded(const char *text, size_t want_len, const char *want) {
    char out[64];
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        size_t got = decode(text, strlen(text), cut, out);
        CHECK_EQ(got, want_len);
        CHECK(want == NULL || memcmp(out, want, want_len) == 0);
    }
}

static void test_decoding(void) {
    check_decoded("", 0, "");
    check_decoded("Zm9vYmFy", 6, "foobar");
    check_decoded("Zm8=YmE=cg==", 5, "fobar");
    check_decoded("Zm9", SIZE_MAX - 1, NULL);
    const char *bad[] = {"Zm9*", "Z===", "====", "Zm8=Z=", "Zm=v", "Zm9=", "Zh==", "Zm9v YmFy", "Zm9v\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_decoded(bad[i], SIZE_MAX, NULL);
}

/* Messages of these sizes: the text of each alone, one after the other; and decoded it is the same again. */
static void check_encoded(const size_t *sizes, size_t count, size_t piece) {
    static char plain[4096], text[16384], back[8192];
    size_t n = 0, at = 0;
    uint64_t seed = 7;
    for (size_t i = 0; i < count; i++) {
        char prefix[5] = {0, 0, 0, (char)(sizes[i] >> 8), (char)sizes[i]};
        memcpy(plain + n, prefix, 5);
        n += 5;
        for (size_t k = 0; k < sizes[i]; k++)
            plain[n++] = (char)next_random(&seed);
    }
    fgw_grpc_text e = {0};
    for (size_t from = 0; from < n; from += piece) {
        size_t len = n - from < piece ? n - from : piece;
        size_t wrote = fgw_grpc_text_encode(&e, guard_after(plain + from, len), len, text + at);
        CHECK(wrote <= FGW_GRPC_TEXT_ROOM(len));
        at += wrote;
    }
    size_t want = 0;
    for (size_t i = 0; i < count; i++)
        want += (sizes[i] + 5 + 2) / 3 * 4;
    CHECK_EQ(at, want);
    fgw_base64 d = {0};
    CHECK_EQ(fgw_base64_decode(&d, text, at, back), n);
    CHECK(fgw_base64_complete(&d) && memcmp(back, plain, n) == 0);
}

static void test_encoding(void) {
    const size_t sizes[] = {0, 1, 2, 3, 4, 0, 0, 255, 256, 300, 1};
    for (size_t piece = 1; piece < 40; piece++)
        check_encoded(sizes, sizeof sizes / sizeof sizes[0], piece);
    check_encoded(sizes, sizeof sizes / sizeof sizes[0], 4096);
}

int main(void) {
    test_kinds();
    test_timeouts();
    test_statuses();
    test_messages();
    test_decoding();
    test_encoding();
    return test_result("grpc");
}
