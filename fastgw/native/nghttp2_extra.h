/* What only some versions and builds of libnghttp2 have. */
#ifndef FASTGW_NGHTTP2_EXTRA_H
#define FASTGW_NGHTTP2_EXTRA_H
#include <nghttp2/nghttp2.h>

/* Limits that distributions have added to older versions; NULL where the library lacks them. Ours are in http2_guard. */
extern void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *option, uint64_t burst, uint64_t rate) __attribute__((weak));
extern void nghttp2_option_set_max_continuations(nghttp2_option *option, size_t n) __attribute__((weak));

static inline void fgw_lift_library_limits(nghttp2_option *option) {
    if (nghttp2_option_set_stream_reset_rate_limit)
        nghttp2_option_set_stream_reset_rate_limit(option, UINT64_C(1) << 40, UINT64_C(1) << 20);
    if (nghttp2_option_set_max_continuations)
        nghttp2_option_set_max_continuations(option, 1 << 20);
}

/* RFC 9218, since 1.50: every stream of a connection gets its turn. */
static inline void fgw_share_fairly(nghttp2_session *session, int32_t stream) {
#if NGHTTP2_VERSION_NUM >= 0x013200
    nghttp2_extpri fair = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
    nghttp2_session_change_extpri_stream_priority(session, stream, &fair, 1);
#else
    (void)session;
    (void)stream;
#endif
}

#if NGHTTP2_VERSION_NUM < 0x013200
enum { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES = 9 };
#endif

#endif
