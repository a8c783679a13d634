/* Path normalisation and host:port. */
#include "fgw/uri.h"
#include "support.h"
#include <stdlib.h>

static char out[300];

/* The length of the answer or minus a reason, with the input and the output at guard pages. */
static long normalize(const char *path, int mode) {
    size_t n = strlen(path);
    char *room = malloc(n + 1);
    long len = fgw_path_normalize(guard_after(path, n), n, mode, room, n + 1);
    if (len > 0) {
        memcpy(out, room, (size_t)len);
        out[len] = '\0';
    }
    free(room);
    return len;
}

static void becomes(const char *path, int mode, const char *wanted) {
    CHECK(normalize(path, mode) > 0);
    if (strcmp(out, wanted) != 0) {
        failures++;
        fprintf(stderr, "%s in mode %d became %s, not %s\n", path, mode, out, wanted);
    }
    if (mode == FGW_PATH_BASE)
        CHECK_EQ(fgw_path_is_normal(guard_after(path, strlen(path)), strlen(path)), strcmp(path, wanted) == 0);
}

static void test_base(void) {
    static const char *const pairs[][2] = {
        {"", "/"},
        {"/", "/"},
        {"/a/../b", "/b"},
        {"/a/./b", "/a/b"},
        {"/a/..", "/"},
        {"/a/.", "/a/"},
        {"/a/b/..", "/a/"},
        {"/a/%2e%2E/b", "/b"},
        {"/a/.%2e/b", "/b"},
        {"/%2e", "/"},
        {"/a/..;/b", "/a/..;/b"},
        {"/a/...", "/a/..."},
        {"/a%2fb", "/a%2fb"},
        {"/a%2F..%2Fb", "/a%2F..%2Fb"},
        {"/a%5cb", "/a%5cb"},
        {"/a\\b", "/a/b"},
        {"\\a", "/a"},
        {"/a\\..\\b", "/b"},
        {"/%41%7a%30%2D%5f%7E", "/Az0-_~"},
        {"/%20%e9%25", "/%20%e9%25"},
        {"/%252e%252e", "/%252e%252e"},
        {"//a", "//a"},
        {"/a//b", "/a//b"},
        {"//..", "/"},
        {"/a//../b", "/a/b"},
        {"/.a", "/.a"},
        {"/..a/b.", "/..a/b."},
        {"/a/../..b", "/..b"},
        {"/%2e%2e%2e", "/..."},
        {"/a/b/c/../../d/.", "/a/d/"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        becomes(pairs[i][0], FGW_PATH_BASE, pairs[i][1]);
}

static void test_other_modes(void) {
    becomes("/a//b/../c", FGW_PATH_NONE, "/a//b/../c");
    becomes("/a//b///c", FGW_PATH_MERGE_SLASHES, "/a/b/c");
    becomes("//a//..//b//", FGW_PATH_MERGE_SLASHES, "/b/");
    becomes("/a%2f%2Fb", FGW_PATH_MERGE_SLASHES, "/a%2f%2Fb");
    becomes("/a%2f%5C../b%252f", FGW_PATH_DECODE_AND_MERGE, "/b%252f");
    becomes("/a%2fb", FGW_PATH_DECODE_AND_MERGE, "/a/b");
    becomes("", FGW_PATH_NONE, "/");
}

static void test_refused(void) {
    static const char *const above[] = {"/..", "/../a", "/a/../..", "/%2e%2e", "/a/../../b", "/./..", "\\.."};
    static const char *const escapes[] = {"/%", "/a%2", "/%zz", "/%0g", "/%00", "/a%00b", "/%%41"};
    for (size_t i = 0; i < sizeof above / sizeof above[0]; i++)
        CHECK_EQ(normalize(above[i], FGW_PATH_BASE), -FGW_R_PATH_ABOVE_ROOT);
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        for (int mode = FGW_PATH_NONE; mode <= FGW_PATH_DECODE_AND_MERGE; mode++)
            CHECK_EQ(normalize(escapes[i], mode), -FGW_R_BAD_ESCAPE);
        CHECK(!fgw_path_is_normal(escapes[i], strlen(escapes[i])));
    }
    CHECK_EQ(normalize("a", FGW_PATH_BASE), -FGW_R_BAD_TARGET);
    CHECK_EQ(fgw_path_normalize("/ab", 3, FGW_PATH_BASE, out, 3), -FGW_R_TARGET_TOO_LONG);
}

/* Random paths: the answer is normal, normalising it again changes nothing, and is_normal says the truth. */
static void test_properties(void) {
    static const char *const parts[] = {"/", "/", ".", "..", "%2e", "%2F", "%41", "a", "\\", "//", "%25", "b.c", "%5c"};
    uint64_t random = 5;
    for (int i = 0; i < 30000; i++) {
        char path[120] = "/", first[120];
        for (uint64_t n = next_random(&random) % 12; n > 0; n--)
            strcat(path, parts[next_random(&random) % (sizeof parts / sizeof parts[0])]);
        if (normalize(path, FGW_PATH_BASE) < 0)
            continue;
        strcpy(first, out);
        CHECK(fgw_path_is_normal(first, strlen(first)));
        CHECK_EQ(fgw_path_is_normal(path, strlen(path)), strcmp(path, first) == 0);
        becomes(first, FGW_PATH_BASE, first);
        CHECK(strstr(first, "/../") == NULL && strstr(first, "/./") == NULL && strchr(first, '\\') == NULL);
    }
}

static void splits(const char *text, size_t host_len, uint32_t port) {
    fgw_span host = {9, 9};
    uint32_t got = 9;
    size_t n = strlen(text);
    CHECK_EQ(fgw_authority_split(guard_after(text, n), n, &host, &got), host_len == 0 ? -FGW_R_BAD_HOST : (long)n);
    if (host_len != 0)
        CHECK(host.off == 0 && host.len == host_len && got == port);
}

static void test_authorities(void) {
    static const char *const refused[] = {
        "",
        ":80",
        "a:",
        "a:x",
        "a:80:81",
        "a:65536",
        "a:000080",
        "a:-1",
        "a b",
        "a,b",
        "a/b",
        "a@b",
        "a\"",
        "a\x80",
        "a%41",
        "[",
        "[]",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[1:2:3:4:5:6:7]",
        "[1:2:3:4:5:6:7:8:9]",
        "[1::2::3]",
        "[:1]",
        "[1:]",
        "[12345::]",
        "[::g]",
        "[::1%25eth0]",
        "[v1.a]",
        "[::1.2.3]",
        "[::1.2.3.256]",
        "[::01.2.3.4]",
        "[1:2:3:4:5:6:7:1.2.3.4]",
        "[1.2.3.4]",
        "[:::]",
        "[1:2:3:4:5:6:7:8::]",
    };
    splits("webapp.test", 11, 0);
    splits("Web_app-1.test.:8080", 15, 8080);
    splits("10.0.0.1:65535", 8, 65535);
    splits("[::]", 4, 0);
    splits("[::1]:443", 5, 443);
    splits("[1:2:3:4:5:6:7:8]", 17, 0);
    splits("[1:2:3:4:5:6:7::]", 17, 0);
    splits("[fe80::abcd:0:FFFF]", 19, 0);
    splits("[::ffff:192.168.0.1]", 20, 0);
    splits("[1:2:3:4:5:6:1.2.3.4]", 21, 0);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        splits(refused[i], 0, 0);
    char name[257];
    memset(name, 'a', 256);
    name[256] = '\0';
    splits(name, 0, 0);
    splits(name + 1, 255, 0);
}

int main(void) {
    test_base();
    test_other_modes();
    test_refused();
    test_properties();
    test_authorities();
    return test_result("uri");
}
