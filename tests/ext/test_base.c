/* Reasons, known names, and the writing of fields. */
#include "fgw/http1.h"
#include "support.h"
#include <stdlib.h>

static void test_reasons(void) {
    for (int reason = 0; reason < FGW_R_COUNT; reason++) {
        const char *name = fgw_reason_name(reason);
        int status = fgw_reason_status(reason);
        CHECK(strcmp(name, "unknown") != 0 && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0');
        CHECK(status == 0 || (status >= 400 && status <= 505));
        for (int other = 0; other < reason; other++)
            CHECK(strcmp(name, fgw_reason_name(other)) != 0);
    }
    CHECK(strcmp(fgw_reason_name(-1), "unknown") == 0 && strcmp(fgw_reason_name(FGW_R_COUNT), "unknown") == 0);
    CHECK_EQ(fgw_reason_status(FGW_R_TARGET_TOO_LONG), 414);
    CHECK_EQ(fgw_reason_status(FGW_R_HEAD_TOO_LARGE), 431);
    CHECK_EQ(fgw_reason_status(FGW_R_H2_PREFACE), 0);
}

static const struct {
    const char *name;
    int id;
} known[] = {
    {"host", FGW_HDR_HOST},
    {"content-length", FGW_HDR_CONTENT_LENGTH},
    {"transfer-encoding", FGW_HDR_TRANSFER_ENCODING},
    {"connection", FGW_HDR_CONNECTION},
    {"keep-alive", FGW_HDR_KEEP_ALIVE},
    {"proxy-connection", FGW_HDR_PROXY_CONNECTION},
    {"te", FGW_HDR_TE},
    {"trailer", FGW_HDR_TRAILER},
    {"upgrade", FGW_HDR_UPGRADE},
    {"http2-settings", FGW_HDR_HTTP2_SETTINGS},
    {"expect", FGW_HDR_EXPECT},
    {"proxy", FGW_HDR_PROXY},
    {"x-forwarded-for", FGW_HDR_X_FORWARDED_FOR},
    {"x-forwarded-proto", FGW_HDR_X_FORWARDED_PROTO},
    {"x-forwarded-host", FGW_HDR_X_FORWARDED_HOST},
    {"x-forwarded-port", FGW_HDR_X_FORWARDED_PORT},
    {"x-forwarded-client-cert", FGW_HDR_X_FORWARDED_CLIENT_CERT},
    {"forwarded", FGW_HDR_FORWARDED},
    {"x-real-ip", FGW_HDR_X_REAL_IP},
    {"x-request-id", FGW_HDR_X_REQUEST_ID},
    {"x-envoy-retry-on", FGW_HDR_X_ENVOY},
    {"x-envoy-upstream-service-time", FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME},
    {"x-envoy-overloaded", FGW_HDR_X_ENVOY_OVERLOADED},
    {"x-envoy-attempt-count", FGW_HDR_X_ENVOY_ATTEMPT_COUNT},
    {"x-envoy-external-address", FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS},
    {"x-envoy-peer-metadata", FGW_HDR_X_ENVOY_PEER_METADATA},
    {"x-envoy-peer-metadata-id", FGW_HDR_X_ENVOY_PEER_METADATA},
    {"cookie", FGW_HDR_COOKIE},
    {"set-cookie", FGW_HDR_SET_COOKIE},
    {"user-agent", FGW_HDR_USER_AGENT},
    {"referer", FGW_HDR_REFERER},
    {"origin", FGW_HDR_ORIGIN},
    {"server", FGW_HDR_SERVER},
    {"date", FGW_HDR_DATE},
    {"location", FGW_HDR_LOCATION},
    {"content-type", FGW_HDR_CONTENT_TYPE},
    {"accept", FGW_HDR_ACCEPT},
    {"authorization", FGW_HDR_AUTHORIZATION},
    {"via", FGW_HDR_VIA},
    {"grpc-timeout", FGW_HDR_GRPC_TIMEOUT},
    {"grpc-status", FGW_HDR_GRPC_STATUS},
    {"grpc-message", FGW_HDR_GRPC_MESSAGE},
};

enum { KNOWN = sizeof known / sizeof known[0] };

static int id_of(const char *name, size_t n) { return fgw_header_id_of(guard_after(name, n), n); }

/* All cases of letters, and every neighbour by one byte is no known name. */
static void test_known_names(void) {
    uint64_t covered = 0;
    for (size_t i = 0; i < KNOWN; i++) {
        char name[40];
        size_t n = strlen(known[i].name);
        covered |= UINT64_C(1) << known[i].id;
        for (size_t at = 0; at < n; at++)
            name[at] = (char)(known[i].name[at] >= 'a' && at % 2 ? known[i].name[at] - 32 : known[i].name[at]);
        CHECK_EQ(id_of(known[i].name, n), known[i].id);
        CHECK_EQ(id_of(name, n), known[i].id);
        for (size_t at = 0; at < n; at++) {
            memcpy(name, known[i].name, n);
            name[at] = (char)(name[at] ^ 0x40);
            int id = id_of(name, n);
            CHECK(id == FGW_HDR_OTHER || (id == FGW_HDR_X_ENVOY && strncmp(name, "x-envoy-", 8) == 0));
        }
        memcpy(name, known[i].name, n);
        name[n] = 'q';
        CHECK(id_of(name, n - 1) != known[i].id || known[i].id == FGW_HDR_X_ENVOY);
        CHECK(id_of(name, n + 1) != known[i].id || known[i].id == FGW_HDR_X_ENVOY);
    }
    CHECK_EQ(covered, (UINT64_C(1) << FGW_HDR_COUNT) - 2);
    CHECK(id_of("x", 1) == FGW_HDR_OTHER && id_of("", 0) == FGW_HDR_OTHER && id_of("x-envoy-", 8) == FGW_HDR_OTHER);
}

/* Names and values of every length, with both ends of both buffers guarded. */
static void test_write_fields(void) {
    char text[200], wanted[200];
    for (uint16_t name_len = 1; name_len < 40; name_len++) {
        for (uint32_t value_len = 0; value_len < 40; value_len++) {
            for (unsigned i = 0; i < name_len; i++)
                text[i] = "AzZ-_9aB^~"[i % 10];
            memset(text + name_len, 'V', value_len);
            size_t n = 0;
            for (unsigned i = 0; i < name_len; i++)
                wanted[n++] = "azz-_9ab^~"[i % 10];
            n += (size_t)snprintf(wanted + n, sizeof wanted - n, ": %.*s\r\n", (int)value_len, text + name_len);
            fgw_field fields[3] = {{0, name_len, value_len, name_len, 0, FGW_FIELD_LISTED},
                                   {0, name_len, value_len, name_len, 0, FGW_FIELD_UNDERSCORE},
                                   {0, name_len, value_len, name_len, 0, FGW_FIELD_DROP}};
            size_t size = fgw_fields_size(fields, 3);
            CHECK_EQ(size, n);
            char *out = malloc(size);
            CHECK_EQ(fgw_write_fields(out, guard_after(text, name_len + value_len), fields, 3), n);
            CHECK(memcmp(out, wanted, n) == 0);
            fgw_write_fields(out, guard_before(text, name_len + value_len), fields, 3);
            free(out);
        }
    }
}

int main(void) {
    test_reasons();
    test_known_names();
    test_write_fields();
    return test_result("base");
}
