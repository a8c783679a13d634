/* Looking for fields by their names: of what id, in any case, and which of them may be seen. */
#include "fgw/fields.h"

#include "support.h"

static const char HEAD[] = "Cookie: a\r\nX-First: b\r\nx-firsT: c\r\nX-Envoy-One: d\r\n";

static void make_fields(fgw_field *f) {
    f[0] = (fgw_field){.name_off = 0, .name_len = 6, .value_off = 8, .value_len = 1, .id = FGW_HDR_COOKIE};
    f[1] = (fgw_field){.name_off = 11, .name_len = 7, .value_off = 20, .value_len = 1};
    f[2] = (fgw_field){.name_off = 23, .name_len = 7, .value_off = 32, .value_len = 1};
    f[3] = (fgw_field){.name_off = 35, .name_len = 11, .value_off = 48, .value_len = 1, .id = FGW_HDR_X_ENVOY};
}

static void test_find(void) {
    fgw_field f[4];
    const char *base = guard_after(HEAD, sizeof HEAD - 1);
    make_fields(f);
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_COOKIE, "cookie", 6) == &f[0]);
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_OTHER, "x-first", 7) == &f[1]);
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_X_ENVOY, "x-envoy-one", 11) == &f[3]);
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_X_ENVOY, "x-envoy-two", 11) == NULL);
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_OTHER, "x-firs", 6) == NULL);
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_OTHER, "cookie", 6) == NULL);
    CHECK(fgw_find_field(base, f, 0, FGW_HDR_COOKIE, "cookie", 6) == NULL);
    f[1].flags = FGW_FIELD_HIDDEN;
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_OTHER, "x-first", 7) == &f[2]);
    f[2].flags = FGW_FIELD_LISTED;
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_OTHER, "x-first", 7) == NULL);
    f[2].flags = FGW_FIELD_DROP; /* not relayed, but seen */
    CHECK(fgw_find_field(base, f, 4, FGW_HDR_OTHER, "x-first", 7) == &f[2]);
}

static void test_hide(void) {
    fgw_field f[4];
    make_fields(f);
    fgw_hide_fields(HEAD, f, 4, FGW_HDR_OTHER, "x-first", 7);
    CHECK_EQ(f[0].flags, 0);
    CHECK_EQ(f[1].flags, FGW_FIELD_DROP | FGW_FIELD_HIDDEN);
    CHECK_EQ(f[2].flags, FGW_FIELD_DROP | FGW_FIELD_HIDDEN);
    CHECK_EQ(f[3].flags, 0);
}

int main(void) {
    test_find();
    test_hide();
    return test_result("fields");
}
