"""ext/include/fgw/image.h, route.h and regex.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastgw.native.base cimport fgw_field, fgw_span


cdef extern from "fgw/image.h" nogil:
    enum:
        FGW_IMAGE_VERSION
        FGW_NONE
        FGW_ACTION_ROUTE
        FGW_ACTION_UNSUPPORTED
        FGW_ACTION_REDIRECT
        FGW_ACTION_DIRECT
        FGW_REWRITE_NONE
        FGW_GRPC_NONE
        FGW_PER_MILLION
        FGW_RETRY_5XX
        FGW_RETRY_GATEWAY_ERROR
        FGW_RETRY_RESET
        FGW_RETRY_RESET_BEFORE_REQUEST
        FGW_RETRY_CONNECT_FAILURE
        FGW_RETRY_RATELIMITED
        FGW_RETRY_RETRIABLE_4XX
        FGW_RETRY_REFUSED_STREAM
        FGW_RETRY_STATUSES
        FGW_STATUS_SETS
        FGW_AVOID_NEVER
        FGW_AVOID_ALWAYS
        FGW_AVOID_UNLESS_HASHED
        FGW_EDIT_REMOVE
        FGW_EDIT_SET
        FGW_EDIT_ADD
        FGW_VALUE_TEXT
        FGW_VALUE_START_TIME
        FGW_VALUE_METHOD
        FGW_VALUE_PATH
        FGW_VALUE_PROTOCOL
        FGW_VALUE_CODE
        FGW_VALUE_FLAGS
        FGW_VALUE_DETAILS
        FGW_VALUE_TERMINATION_DETAILS
        FGW_VALUE_TRANSPORT_FAILURE
        FGW_VALUE_BYTES_RECEIVED
        FGW_VALUE_BYTES_SENT
        FGW_VALUE_DURATION
        FGW_VALUE_UPSTREAM_SERVICE_TIME
        FGW_VALUE_AUTHORITY
        FGW_VALUE_SCHEME
        FGW_VALUE_REQUEST_ID
        FGW_VALUE_REQUEST_HEADER
        FGW_VALUE_RESPONSE_HEADER
        FGW_VALUE_UPSTREAM_HOST
        FGW_VALUE_UPSTREAM_CLUSTER
        FGW_VALUE_UPSTREAM_LOCAL_ADDRESS
        FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS
        FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
        FGW_VALUE_DOWNSTREAM_LOCAL_PORT
        FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_ADDRESS
        FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
        FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_PORT
        FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS
        FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
        FGW_VALUE_DOWNSTREAM_REMOTE_PORT
        FGW_VALUE_ROUTE_NAME
        FGW_VALUE_VIRTUAL_SERVICE
        FGW_VALUE_REJECT_REASON
        FGW_VALUE_ATTEMPTS
        FGW_VALUE_LISTENER
        FGW_VALUE_REQUESTED_SERVER_NAME
        FGW_VALUE_TLS_VERSION
        FGW_VALUE_TLS_CIPHER
        FGW_VALUE_TLS_SESSION_ID
        FGW_VALUE_PEER_SUBJECT
        FGW_VALUE_PEER_ISSUER
        FGW_VALUE_PEER_URI_SAN
        FGW_VALUE_PEER_DNS_SAN
        FGW_VALUE_PEER_SERIAL
        FGW_VALUE_PEER_FINGERPRINT_256
        FGW_VALUE_PEER_FINGERPRINT_1
        FGW_VALUE_PEER_CERT
        FGW_VALUE_PEER_CERT_V_START
        FGW_VALUE_PEER_CERT_V_END
        FGW_VALUE_LOCAL_SUBJECT
        FGW_VALUE_LOCAL_URI_SAN
        FGW_VALUE_LOCAL_DNS_SAN
        FGW_VALUE_GRPC_STATUS
        FGW_VALUE_GRPC_STATUS_SNAKE
        FGW_VALUE_GRPC_STATUS_NUMBER
        FGW_VALUE_COUNT
        FGW_RATE_LIMITS_MAX
        FGW_STICKY_NONE
        FGW_STICKY_COOKIE
        FGW_STICKY_SOURCE_IP
        FGW_DISCOVERY_STATIC
        FGW_DISCOVERY_DNS
        FGW_LB_LEAST_REQUEST
        FGW_LB_ROUND_ROBIN
        FGW_LB_RANDOM
        FGW_LB_RING_HASH
        FGW_LB_MAGLEV
        FGW_HASH_NONE
        FGW_POLICY_OUTLIER
        FGW_POLICY_SPLIT_LOCAL
        FGW_POLICY_GIVES_COOKIE
        FGW_POLICY_KEEPALIVE
        FGW_FAMILY_UNIX
        FGW_FAMILY_NAME
        FGW_FAMILY_IPV4
        FGW_FAMILY_IPV6
        FGW_ENDPOINT_UNHEALTHY
        FGW_CHAIN_HTTP
        FGW_CHAIN_TCP
        FGW_LISTENER_PROXY_PROTOCOL
        FGW_TLS_NONE
        FGW_TLS_TERMINATE
        FGW_TLS_PASSTHROUGH
        FGW_CLIENT_AUTH_NONE
        FGW_CLIENT_AUTH_OPTIONAL
        FGW_CLIENT_AUTH_REQUIRE
        FGW_CLIENT_AUTH_UNVERIFIED
        FGW_CLIENT_AUTH_REQUIRE_UNVERIFIED
        FGW_UPSTREAM_HTTP1
        FGW_UPSTREAM_HTTP2
        FGW_UPSTREAM_TCP
        FGW_UPSTREAM_CLIENT
        FGW_ALPN_HTTP1
        FGW_ALPN_H2
        FGW_ALPN_ISTIO
        FGW_TLS10
        FGW_TLS11
        FGW_TLS12
        FGW_TLS13

    ctypedef struct fgw_table:
        uint32_t off
        uint32_t count

    ctypedef struct fgw_image_header:
        uint64_t magic
        uint32_t version
        uint64_t total_bytes
        uint64_t generation
        fgw_table listeners
        fgw_table chains
        fgw_table tls_contexts
        fgw_table upstream_tls
        fgw_table texts
        fgw_table route_tables
        fgw_table vhosts
        fgw_table rules
        fgw_table actions
        fgw_table destinations
        fgw_table answers
        fgw_table route_policies
        fgw_table retries
        fgw_table cors
        fgw_table mirrors
        fgw_table pages
        fgw_table guards
        fgw_table source_lists
        fgw_table rate_limits
        fgw_table edits
        fgw_table parts
        fgw_table clusters
        fgw_table endpoints
        fgw_table policies
        fgw_table origins
        fgw_table strings

    ctypedef struct fgw_img_origin:
        fgw_span file
        fgw_span kind
        fgw_span name
        uint32_t line

    ctypedef struct fgw_img_listener:
        fgw_span name
        uint32_t port
        uint32_t plain
        uint32_t sni
        uint32_t flags
        uint32_t max_connections
        uint32_t max_per_source
        fgw_table chains

    ctypedef struct fgw_img_chain:
        fgw_span name
        uint8_t kind
        uint8_t tls
        uint8_t grpc_web
        uint32_t tls_context
        uint32_t route_table
        uint32_t action
        uint32_t idle_timeout_ms
        uint32_t virtual_service
        uint32_t origin
        uint32_t guard
        uint64_t identity

    ctypedef struct fgw_img_route_table:
        fgw_table pages

    ctypedef struct fgw_img_vhost:
        uint32_t guard
        uint16_t own_pages
        fgw_table pages

    ctypedef struct fgw_img_guard:
        fgw_table sources
        fgw_table rate_limits
        fgw_span rate_policies
        uint64_t max_request_bytes

    ctypedef struct fgw_img_rate_limit:
        fgw_span name
        uint64_t interval_ns
        uint32_t burst
        uint32_t number

    ctypedef struct fgw_img_source_list:
        fgw_span networks
        fgw_span policy

    ctypedef struct fgw_img_tls_context:
        fgw_span name
        fgw_span certificates[2]
        fgw_span ca
        uint8_t client_auth
        uint8_t min_version
        uint8_t max_version
        uint8_t alpn
        fgw_span ciphers
        fgw_span curves
        fgw_table sans
        fgw_table spki
        fgw_table hashes

    enum:
        FGW_VERIFY_NONE
        FGW_VERIFY_CHAIN
        FGW_VERIFY_NAMES

    ctypedef struct fgw_img_upstream_tls:
        fgw_span certificate
        fgw_span ca
        fgw_span sni
        uint8_t verify
        uint8_t min_version
        uint8_t max_version
        uint8_t alpn
        fgw_table sans
        uint64_t identity

    ctypedef struct fgw_img_rule:
        fgw_span name
        uint32_t action
        uint32_t virtual_service
        uint32_t origin

    ctypedef struct fgw_img_part:
        uint8_t code
        uint8_t header_id
        uint8_t other_id
        uint32_t limit
        fgw_span text
        fgw_span other

    ctypedef struct fgw_img_edit:
        fgw_span name
        fgw_table value
        uint8_t kind
        uint8_t header_id

    ctypedef struct fgw_img_edits:
        fgw_table request
        fgw_table response
        fgw_span authority

    ctypedef struct fgw_img_action:
        uint8_t kind
        uint8_t sticky
        uint8_t sticky_header_id
        uint32_t total_weight
        fgw_table destinations
        fgw_span sticky_name
        uint32_t sticky_ttl_s
        uint32_t answer
        uint32_t policy
        uint32_t guard
        fgw_img_edits edits

    ctypedef struct fgw_img_answer:
        fgw_span text
        fgw_span scheme
        fgw_span authority
        uint16_t status
        uint16_t port
        uint8_t new_path

    ctypedef struct fgw_img_route_policy:
        fgw_span rewrite_text
        uint32_t regex
        uint8_t rewrite
        uint8_t abort_grpc
        uint16_t abort_status
        uint32_t timeout_ms
        uint32_t delay_ms
        uint32_t delay_per_million
        uint32_t abort_per_million
        uint32_t retry
        uint32_t cors
        fgw_table mirrors
        fgw_table pages

    ctypedef struct fgw_img_page:
        fgw_span content_type
        fgw_span body
        uint16_t low
        uint16_t high

    ctypedef struct fgw_img_retry:
        uint32_t attempts
        uint32_t on
        uint32_t on_grpc
        uint32_t per_try_timeout_ms
        uint32_t backoff_ms
        uint8_t avoid_tried
        uint8_t other_localities
        uint64_t statuses[8]

    ctypedef struct fgw_img_cors:
        fgw_table origins
        fgw_span allow_methods
        fgw_span allow_headers
        fgw_span expose_headers
        fgw_span max_age
        uint8_t credentials
        uint8_t ignore_unmatched

    ctypedef struct fgw_img_mirror:
        uint32_t cluster
        uint32_t per_million

    ctypedef struct fgw_img_destination:
        uint32_t cluster
        uint32_t weight
        uint32_t cumulative_weight
        fgw_span cluster_name
        fgw_img_edits edits

    ctypedef struct fgw_img_cluster:
        fgw_span name
        fgw_span host
        uint32_t port
        uint8_t discovery
        uint8_t lb
        uint8_t protocol
        uint8_t weighted
        fgw_table endpoints
        uint32_t dns_slot
        uint32_t connect_timeout_ms
        uint32_t tls
        uint32_t metric_id
        uint32_t max_streams
        uint32_t ping_interval_ms
        uint32_t ping_timeout_ms
        uint32_t policy
        uint32_t state

    ctypedef struct fgw_img_policy:
        uint8_t flags
        uint8_t hash_on
        uint8_t proxy_protocol
        uint32_t max_connections
        uint32_t max_pending
        uint32_t max_requests
        uint32_t max_retries
        uint32_t max_requests_per_connection
        uint32_t idle_timeout_ms
        uint32_t max_connection_ms
        uint32_t keepalive_time_s
        uint32_t keepalive_interval_s
        uint32_t keepalive_probes

    ctypedef struct fgw_img_endpoint:
        uint8_t family
        uint8_t flags
        uint16_t port
        uint32_t weight
        uint8_t ip[16]
        uint32_t cell
        fgw_span path


cdef extern from "fgw/route.h" nogil:
    ctypedef struct fgw_regexes:
        pass
    ctypedef struct fgw_regex_calls:
        pass

    ctypedef struct fgw_route_request:
        const char *base
        const fgw_field *fields
        uint32_t field_count
        uint32_t host_len
        const char *host
        const char *authority
        const char *path
        const char *raw_path
        const char *query
        const char *method
        const char *scheme
        uint32_t authority_len
        uint32_t path_len
        uint32_t raw_path_len
        uint32_t query_len
        uint32_t method_len
        uint32_t scheme_len

    enum:
        FGW_ROUTE_NO_VHOST
        FGW_ROUTE_NO_RULE
        FGW_ROUTE_MATCH
        FGW_ROUTE_REQUIRE_TLS
        FGW_OWNER_SELF
        FGW_OWNER_TWIN
        FGW_OWNER_OTHER
        FGW_OWNER_NONE

    ctypedef struct fgw_route_result:
        uint32_t verdict
        uint32_t vhost
        uint32_t rule
        uint32_t action

    int fgw_route_match(const void *image, uint32_t route_table, const fgw_route_request *req, int secure,
                        fgw_regexes *regexes, const fgw_regex_calls *calls, fgw_route_result *out)
    int fgw_any_predicate(const void *image, fgw_table predicates, const fgw_route_request *req, fgw_regexes *regexes,
                          const fgw_regex_calls *calls)
    int fgw_request_table(const void *image, uint32_t listener, uint32_t chain, const char *host, size_t n,
                          uint32_t *route_table)
    uint32_t fgw_listener_find(const void *image, const char *name, size_t n)
    uint32_t fgw_chain_find(const void *image, uint32_t listener, const char *name, size_t n)
    uint32_t fgw_chain_of_sni(const void *image, uint32_t listener, const char *sni, size_t n)


cdef extern from "fgw/regex.h" nogil:
    fgw_regexes *fgw_regexes_open(const void *image, const fgw_regexes *before)
    void fgw_regexes_close(fgw_regexes *set)
    const fgw_regex_calls *fgw_regexes_calls()


cdef extern from "fgw/rewrite.h" nogil:
    size_t fgw_redirect_location_max(const void *image, uint32_t rule, const fgw_route_request *req)
    size_t fgw_redirect_location(const void *image, uint32_t rule, const fgw_route_request *req, char *to)
    size_t fgw_rewrite_path_max(const void *image, uint32_t rule, const fgw_route_request *req)
    long fgw_rewrite_path(const void *image, uint32_t rule, const fgw_route_request *req, fgw_regexes *regexes,
                          const fgw_regex_calls *calls, char *to, size_t cap, size_t *path_len)


cdef extern from "fgw/sticky.h" nogil:
    enum:
        FGW_SET_COOKIE_MAX

    uint64_t fgw_hash64(const void *p, size_t n, uint64_t seed)
    int fgw_sticky_key(const void *image, uint32_t action, const fgw_route_request *req, const char *source_ip, size_t n,
                       uint64_t *key)
    size_t fgw_sticky_set_cookie(const void *image, uint32_t action, uint64_t key, char *to)
    uint32_t fgw_sticky_pick(const void *image, uint32_t action, uint64_t key)
