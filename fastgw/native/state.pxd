"""ext/include/fgw/state.h for Cython."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "fgw/state.h" nogil:
    enum:
        FGW_STATE_VERSION
        FGW_STATE_CELLS
        FGW_STATE_CLUSTERS
        FGW_STATE_DNS_SLOTS
        FGW_STATE_DNS_ADDRESSES
        FGW_STATE_MAGIC

        FGW_C_CLIENT_CONNECTIONS
        FGW_C_CLIENT_CONNECTIONS_CLOSED
        FGW_C_CLIENT_REQUESTS
        FGW_C_CLIENT_BYTES_IN
        FGW_C_CLIENT_BYTES_OUT
        FGW_C_UPSTREAM_CONNECTS
        FGW_C_UPSTREAM_CONNECT_FAILURES
        FGW_C_UPSTREAM_CONNECT_TIMEOUTS
        FGW_C_UPSTREAM_CLOSED
        FGW_C_UPSTREAM_REQUESTS
        FGW_C_UPSTREAM_REUSED
        FGW_C_UPSTREAM_RETRIES
        FGW_C_UPSTREAM_BYTES_IN
        FGW_C_UPSTREAM_BYTES_OUT
        FGW_C_ACCEPT_ERRORS
        FGW_C_ACCEPT_PAUSED
        FGW_C_STALE_EVENTS
        FGW_C_BUGS
        FGW_C_IMAGES_ATTACHED
        FGW_C_LOG_LINES
        FGW_C_LOG_DROPPED
        FGW_C_LENIENT_LF_IN_HEAD
        FGW_C_LENIENT_FRAGMENT
        FGW_C_LENIENT_EQUAL_LENGTHS
        FGW_C_LENIENT_ABSOLUTE_HOST
        FGW_C_UNDERSCORE_FIELDS_DROPPED
        FGW_C_CLIENT_TIMEOUTS_HEAD
        FGW_C_CLIENT_TIMEOUTS_IDLE
        FGW_C_CLIENT_TIMEOUTS_BODY
        FGW_C_CLIENT_TIMEOUTS_WRITE
        FGW_C_UPSTREAM_TIMEOUTS
        FGW_C_TLS_HANDSHAKES
        FGW_C_TLS_RESUMED
        FGW_C_TLS_FAILED
        FGW_C_TLS_NO_CHAIN
        FGW_C_HELLO_REFUSED
        FGW_C_HELLO_TIMEOUTS
        FGW_C_TLS_TIMEOUTS
        FGW_C_MISDIRECTED
        FGW_C_TUNNELS
        FGW_C_TUNNEL_TIMEOUTS
        FGW_C_UPSTREAM_TLS_HANDSHAKES
        FGW_C_UPSTREAM_TLS_RESUMED
        FGW_C_UPSTREAM_TLS_FAILED
        FGW_C_WEBSOCKETS
        FGW_C_STREAM_TIMEOUTS
        FGW_C_OVERFLOW_CONNECTIONS
        FGW_C_OVERFLOW_PENDING
        FGW_C_OVERFLOW_REQUESTS
        FGW_C_OVERFLOW_RETRIES
        FGW_C_OVERFLOW_TIMEOUTS
        FGW_C_EJECTIONS
        FGW_C_EJECTIONS_REFUSED
        FGW_C_FAULT_DELAYS
        FGW_C_FAULT_ABORTS
        FGW_C_MIRRORED
        FGW_C_MIRRORS_LOST
        FGW_C_HTTP2_CONNECTIONS
        FGW_C_PROXY_HEADERS
        FGW_C_HOLDERS_UNCOUNTED
        FGW_C_SHED_UPSTREAM_IDLE
        FGW_C_SOURCES_DENIED
        FGW_C_BODIES_REFUSED
        FGW_C_SHED_DELAY
        FGW_C_SHED_MEMORY
        FGW_C_SHED_STREAMS
        FGW_C_HANDSHAKES_DEFERRED
        FGW_C_MEMORY_STEPS
        FGW_C_COUNTERS_END
        FGW_G_CLIENT_ACTIVE
        FGW_G_UPSTREAM_ACTIVE
        FGW_G_UPSTREAM_IDLE
        FGW_G_EXCHANGES_ACTIVE
        FGW_G_BUFFER_BYTES
        FGW_G_IMAGES_ALIVE
        FGW_G_TIMERS_ALIVE
        FGW_G_LOOP_LAG_US
        FGW_G_TUNNELS_ACTIVE
        FGW_G_TLS_CONTEXTS
        FGW_G_TLS_HANDSHAKING
        FGW_G_WEBSOCKETS_ACTIVE
        FGW_G_LISTENERS_FULL
        FGW_G_ACCEPT_HELD
        FGW_G_DESCRIPTORS
        FGW_G_MEMORY_BYTES
        FGW_G_MEMORY_BUDGET
        FGW_G_MEMORY_STEP
        FGW_G_HTTP2_BYTES
        FGW_G_TLS_BYTES
        FGW_G_LOOP_DELAY_US
        FGW_G_SHED_SHARE
        FGW_G_END

        FGW_CELL_EJECTED
        FGW_CELL_UNHEALTHY
        FGW_DNS_UNKNOWN
        FGW_DNS_OK
        FGW_DNS_FAILED

        FGW_F_NR
        FGW_F_NC
        FGW_F_UH
        FGW_F_UF
        FGW_F_UC
        FGW_F_UT
        FGW_F_UO
        FGW_F_DI
        FGW_F_FI
        FGW_F_DC
        FGW_F_DPE
        FGW_F_UPE
        FGW_F_URX
        FGW_F_SI
        FGW_F_UR
        FGW_F_OM
        FGW_F_RL

    ctypedef struct fgw_cell:
        uint32_t active
        uint32_t flags
        uint64_t requests
        uint64_t failures

    ctypedef struct fgw_share:
        uint32_t connections
        uint32_t pending
        uint32_t requests
        uint32_t retries

    ctypedef struct fgw_cluster_state:
        fgw_share all
        uint64_t overflows
        uint64_t ejections

    ctypedef struct fgw_dns_address:
        uint8_t family
        uint8_t priority
        uint16_t port
        uint32_t weight
        uint32_t cell
        uint32_t endpoint
        uint8_t ip[16]

    ctypedef struct fgw_dns_slot:
        uint32_t sequence
        uint32_t status
        uint32_t count
        fgw_dns_address addresses[128]

    ctypedef struct fgw_series:
        uint64_t key

    ctypedef struct fgw_tcp_series:
        uint64_t key
        uint64_t opened
        uint64_t closed
        uint64_t sent_bytes
        uint64_t received_bytes

    ctypedef struct fgw_worker_state:
        uint64_t heartbeat_ns
        uint64_t generation
        uint32_t pid
        uint32_t draining
        uint64_t counters[256]
        uint64_t rejected[128]
        uint32_t *active
        fgw_share *shares
        uint32_t shares_used

    ctypedef struct fgw_state:
        uint64_t magic
        uint32_t version
        uint32_t worker_slots
        uint64_t total_bytes
        uint64_t memory_limit
        uint64_t memory_used
        uint64_t memory_read_ms
        uint64_t memory_sockets
        fgw_cell *cells
        fgw_cluster_state *clusters
        fgw_dns_slot *dns
        fgw_worker_state *workers

    enum:
        FGW_PROTOCOL_HTTP
        FGW_PROTOCOL_GRPC
    uint64_t fgw_series_key_grpc(uint64_t key, int grpc_status)
    uint64_t fgw_series_key(uint32_t metric_id, uint32_t status, uint32_t flags, uint32_t protocol)
    fgw_tcp_series *fgw_tcp_series_of(fgw_worker_state *w, uint64_t key)
    fgw_series *fgw_series_of(fgw_worker_state *w, uint64_t key)
    void fgw_series_add(fgw_series *s, uint64_t duration_us, uint64_t request_bytes, uint64_t response_bytes)
    int fgw_dns_read(const fgw_dns_slot *slot, fgw_dns_slot *out)
