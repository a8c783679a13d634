/* Names and statuses of reasons, and the table of known field names. */
#include "fgw/base.h"
#include "header_names.h"

typedef struct reason_text {
    const char *name;
    int status; /* 0: close without an answer */
} reason_text;

static const reason_text reasons[FGW_R_COUNT] = {
    [FGW_OK] = {"ok", 0},
    [FGW_R_BAD_REQUEST_LINE] = {"bad_request_line", 400},
    [FGW_R_BAD_METHOD] = {"bad_method", 400},
    [FGW_R_BAD_TARGET] = {"bad_target", 400},
    [FGW_R_TARGET_FRAGMENT] = {"target_fragment", 400},
    [FGW_R_TARGET_USERINFO] = {"target_userinfo", 400},
    [FGW_R_TARGET_SCHEME] = {"target_scheme", 400},
    [FGW_R_TARGET_HOST_MISMATCH] = {"target_host_mismatch", 400},
    [FGW_R_BAD_ESCAPE] = {"bad_escape", 400},
    [FGW_R_PATH_ABOVE_ROOT] = {"path_above_root", 400},
    [FGW_R_BAD_VERSION] = {"bad_version", 505},
    [FGW_R_HTTP09] = {"http09", 400},
    [FGW_R_HTTP10] = {"http10", 426},
    [FGW_R_BARE_LF] = {"bare_lf", 400},
    [FGW_R_BARE_CR] = {"bare_cr", 400},
    [FGW_R_TOO_MANY_EMPTY_LINES] = {"too_many_empty_lines", 400},
    [FGW_R_BAD_FIELD_NAME] = {"bad_field_name", 400},
    [FGW_R_SPACE_BEFORE_COLON] = {"space_before_colon", 400},
    [FGW_R_NO_COLON] = {"no_colon", 400},
    [FGW_R_OBS_FOLD] = {"obs_fold", 400},
    [FGW_R_BAD_FIELD_VALUE] = {"bad_field_value", 400},
    [FGW_R_NO_HOST] = {"no_host", 400},
    [FGW_R_DUPLICATE_HOST] = {"duplicate_host", 400},
    [FGW_R_BAD_HOST] = {"bad_host", 400},
    [FGW_R_BAD_CONTENT_LENGTH] = {"bad_content_length", 400},
    [FGW_R_DUPLICATE_CONTENT_LENGTH] = {"duplicate_content_length", 400},
    [FGW_R_CONTENT_LENGTH_AND_TRANSFER_ENCODING] = {"content_length_and_transfer_encoding", 400},
    [FGW_R_BAD_TRANSFER_ENCODING] = {"bad_transfer_encoding", 400},
    [FGW_R_UNKNOWN_TRANSFER_ENCODING] = {"unknown_transfer_encoding", 501},
    [FGW_R_TRANSFER_ENCODING_IN_HTTP10] = {"transfer_encoding_in_http10", 400},
    [FGW_R_BODY_IN_HTTP10] = {"body_in_http10", 400},
    [FGW_R_BAD_EXPECT] = {"bad_expect", 417},
    [FGW_R_BAD_CONNECTION] = {"bad_connection", 400},
    [FGW_R_UPGRADE_WITH_BODY] = {"upgrade_with_body", 400},
    [FGW_R_UPGRADE_NOT_ALLOWED] = {"upgrade_not_allowed", 403},
    [FGW_R_METHOD_NOT_ALLOWED] = {"method_not_allowed", 405},
    [FGW_R_CONNECT_NOT_ALLOWED] = {"connect_not_allowed", 501},
    [FGW_R_H2_PREFACE] = {"h2_preface", 0},
    [FGW_R_UNDERSCORE] = {"underscore", 400},
    [FGW_R_TARGET_TOO_LONG] = {"target_too_long", 414},
    [FGW_R_HEAD_TOO_LARGE] = {"head_too_large", 431},
    [FGW_R_TOO_MANY_FIELDS] = {"too_many_fields", 431},
    [FGW_R_BAD_STATUS] = {"bad_status", 502},
    [FGW_R_UNEXPECTED_1XX] = {"unexpected_1xx", 502},
    [FGW_R_BAD_CHUNK_SIZE] = {"bad_chunk_size", 400},
    [FGW_R_CHUNK_SIZE_OVERFLOW] = {"chunk_size_overflow", 400},
    [FGW_R_BAD_CHUNK_EXTENSION] = {"bad_chunk_extension", 400},
    [FGW_R_CHUNK_EXTENSION_TOO_LONG] = {"chunk_extension_too_long", 400},
    [FGW_R_BAD_CHUNK_END] = {"bad_chunk_end", 400},
    [FGW_R_BAD_TRAILER] = {"bad_trailer", 400},
    [FGW_R_TRAILER_TOO_LARGE] = {"trailer_too_large", 431},
    [FGW_R_BODY_TOO_SHORT] = {"body_too_short", 400},
    [FGW_R_HEAD_TIMEOUT] = {"head_timeout", 408},
    [FGW_R_BODY_TIMEOUT] = {"body_timeout", 408},
    [FGW_R_H2_PSEUDO] = {"h2_pseudo_header", 400},
    [FGW_R_H2_UPPER_CASE] = {"h2_upper_case_name", 400},
    [FGW_R_H2_CONNECTION_FIELD] = {"h2_connection_field", 400},
    [FGW_R_H2_BODY_LENGTH] = {"h2_body_length", 400},
    [FGW_R_H2_TRAILERS_OPEN] = {"h2_trailers_open", 400},
    [FGW_R_H2_PROTOCOL] = {"h2_protocol", 400},
    [FGW_R_H2_BAD_PREFACE] = {"h2_bad_preface", 0},
    [FGW_R_H2_FRAMING] = {"h2_framing", 0},
    [FGW_R_H2_COMPRESSION] = {"h2_compression", 0},
    [FGW_R_H2_HEADER_BOMB] = {"h2_header_bomb", 0},
    [FGW_R_H2_CONTINUATION_FLOOD] = {"h2_continuation_flood", 0},
    [FGW_R_H2_RAPID_RESET] = {"h2_rapid_reset", 0},
    [FGW_R_H2_RESETS_WITHOUT_ANSWER] = {"h2_resets_without_answer", 0},
    [FGW_R_H2_PING_FLOOD] = {"h2_ping_flood", 0},
    [FGW_R_H2_SETTINGS_FLOOD] = {"h2_settings_flood", 0},
    [FGW_R_H2_EMPTY_FRAMES] = {"h2_empty_frames", 0},
    [FGW_R_H2_PRIORITY_FLOOD] = {"h2_priority_flood", 0},
    [FGW_R_H2_WINDOW_UPDATE_FLOOD] = {"h2_window_update_flood", 0},
    [FGW_R_H2_UNKNOWN_FRAMES] = {"h2_unknown_frames", 0},
    [FGW_R_H2_MOSTLY_OVERHEAD] = {"h2_mostly_overhead", 0},
    [FGW_R_H2_STREAM_STALLED] = {"h2_stream_stalled", 0},
    [FGW_R_NOT_TLS] = {"not_tls", 0},
    [FGW_R_HELLO_MALFORMED] = {"hello_malformed", 0},
    [FGW_R_HELLO_TOO_LARGE] = {"hello_too_large", 0},
    [FGW_R_IMAGE_MAGIC] = {"image_magic", 0},
    [FGW_R_IMAGE_VERSION] = {"image_version", 0},
    [FGW_R_IMAGE_SIZE] = {"image_size", 0},
    [FGW_R_IMAGE_BOUNDS] = {"image_bounds", 0},
    [FGW_R_IMAGE_CONTENT] = {"image_content", 0},
};

static const reason_text *find_reason(int reason) {
    static const reason_text unknown = {"unknown", 0};
    int known = reason >= 0 && reason < FGW_R_COUNT && reasons[reason].name != NULL;
    return known ? &reasons[reason] : &unknown;
}

const char *fgw_reason_name(int reason) { return find_reason(reason)->name; }

int fgw_reason_status(int reason) { return find_reason(reason)->status; }

/* The letters are repeated because C has no constant string indexing; a unit test looks every name up. */
#define KNOWN(first, last_but_one, last, name, id)                                                                                 \
    [FGW_NAME_HASH(sizeof(name) - 1, first, last_but_one, last)] = {name, sizeof(name) - 1, id}

const fgw_known_name fgw_known_names[FGW_NAME_SLOTS] = {
    KNOWN('h', 's', 't', "host", FGW_HDR_HOST),
    KNOWN('c', 't', 'h', "content-length", FGW_HDR_CONTENT_LENGTH),
    KNOWN('t', 'n', 'g', "transfer-encoding", FGW_HDR_TRANSFER_ENCODING),
    KNOWN('c', 'o', 'n', "connection", FGW_HDR_CONNECTION),
    KNOWN('k', 'v', 'e', "keep-alive", FGW_HDR_KEEP_ALIVE),
    KNOWN('p', 'o', 'n', "proxy-connection", FGW_HDR_PROXY_CONNECTION),
    KNOWN('t', 't', 'e', "te", FGW_HDR_TE),
    KNOWN('t', 'e', 'r', "trailer", FGW_HDR_TRAILER),
    KNOWN('u', 'd', 'e', "upgrade", FGW_HDR_UPGRADE),
    KNOWN('h', 'g', 's', "http2-settings", FGW_HDR_HTTP2_SETTINGS),
    KNOWN('e', 'c', 't', "expect", FGW_HDR_EXPECT),
    KNOWN('p', 'x', 'y', "proxy", FGW_HDR_PROXY),
    KNOWN('x', 'o', 'r', "x-forwarded-for", FGW_HDR_X_FORWARDED_FOR),
    KNOWN('x', 't', 'o', "x-forwarded-proto", FGW_HDR_X_FORWARDED_PROTO),
    KNOWN('x', 's', 't', "x-forwarded-host", FGW_HDR_X_FORWARDED_HOST),
    KNOWN('x', 'r', 't', "x-forwarded-port", FGW_HDR_X_FORWARDED_PORT),
    KNOWN('x', 'r', 't', "x-forwarded-client-cert", FGW_HDR_X_FORWARDED_CLIENT_CERT),
    KNOWN('f', 'e', 'd', "forwarded", FGW_HDR_FORWARDED),
    KNOWN('x', 'i', 'p', "x-real-ip", FGW_HDR_X_REAL_IP),
    KNOWN('x', 'i', 'd', "x-request-id", FGW_HDR_X_REQUEST_ID),
    KNOWN('x', 'm', 'e', "x-envoy-upstream-service-time", FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME),
    KNOWN('x', 'e', 'd', "x-envoy-overloaded", FGW_HDR_X_ENVOY_OVERLOADED),
    KNOWN('x', 'n', 't', "x-envoy-attempt-count", FGW_HDR_X_ENVOY_ATTEMPT_COUNT),
    KNOWN('x', 's', 's', "x-envoy-external-address", FGW_HDR_X_ENVOY_EXTERNAL_ADDRESS),
    KNOWN('x', 't', 'a', "x-envoy-peer-metadata", FGW_HDR_X_ENVOY_PEER_METADATA),
    KNOWN('x', 'i', 'd', "x-envoy-peer-metadata-id", FGW_HDR_X_ENVOY_PEER_METADATA),
    KNOWN('c', 'i', 'e', "cookie", FGW_HDR_COOKIE),
    KNOWN('s', 'i', 'e', "set-cookie", FGW_HDR_SET_COOKIE),
    KNOWN('u', 'n', 't', "user-agent", FGW_HDR_USER_AGENT),
    KNOWN('r', 'e', 'r', "referer", FGW_HDR_REFERER),
    KNOWN('o', 'i', 'n', "origin", FGW_HDR_ORIGIN),
    KNOWN('s', 'e', 'r', "server", FGW_HDR_SERVER),
    KNOWN('d', 't', 'e', "date", FGW_HDR_DATE),
    KNOWN('l', 'o', 'n', "location", FGW_HDR_LOCATION),
    KNOWN('c', 'p', 'e', "content-type", FGW_HDR_CONTENT_TYPE),
    KNOWN('a', 'p', 't', "accept", FGW_HDR_ACCEPT),
    KNOWN('a', 'o', 'n', "authorization", FGW_HDR_AUTHORIZATION),
    KNOWN('v', 'i', 'a', "via", FGW_HDR_VIA),
    KNOWN('g', 'u', 't', "grpc-timeout", FGW_HDR_GRPC_TIMEOUT),
    KNOWN('g', 'u', 's', "grpc-status", FGW_HDR_GRPC_STATUS),
    KNOWN('g', 'g', 'e', "grpc-message", FGW_HDR_GRPC_MESSAGE),
};

int fgw_header_id_of(const char *name, size_t n) { return fgw_classify_name(name, n); }
