"""What everything in a worker shares: the loop, the image in use, limits, statistics, cached text."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastgw.dataplane.loop cimport Loop
from fastgw.native.base cimport fgw_field, fgw_span
from fastgw.native.cidr cimport fgw_ip
from fastgw.native.http1 cimport fgw_limits
from fastgw.native.route cimport (
    FGW_NONE, fgw_img_action, fgw_img_answer, fgw_img_chain, fgw_img_cluster, fgw_img_cors, fgw_img_destination, fgw_img_edit,
    fgw_img_endpoint, fgw_img_guard, fgw_img_listener, fgw_img_mirror, fgw_img_origin, fgw_img_page, fgw_img_part,
    fgw_img_policy, fgw_img_rate_limit, fgw_img_retry, fgw_img_route_policy, fgw_img_rule, fgw_img_source_list,
    fgw_img_route_table, fgw_img_tls_context, fgw_img_upstream_tls, fgw_img_vhost, fgw_regexes,
)
from fastgw.native.state cimport fgw_state, fgw_worker_state

cdef enum:
    HEAD_MAX = 65536      # hard bound of a message head in this build
    TICKET_KEY_BYTES = 80
    TICKET_KEYS_MAX = 16


cdef class Image:
    """A mapped route image; unmapped with its last reference."""
    cdef const char *base
    cdef const char *strings       # spans of records count from here
    cdef size_t total_bytes
    cdef fgw_regexes *regexes
    cdef readonly uint64_t generation
    cdef const fgw_img_listener *listeners
    cdef const fgw_img_chain *chains
    cdef const fgw_img_tls_context *tls_contexts
    cdef const fgw_img_upstream_tls *upstream_tls
    cdef const fgw_span *texts
    cdef const fgw_img_route_table *route_tables
    cdef const fgw_img_vhost *vhosts
    cdef const fgw_img_rule *rules
    cdef const fgw_img_action *actions
    cdef const fgw_img_destination *destinations
    cdef const fgw_img_answer *answers
    cdef const fgw_img_route_policy *route_policies
    cdef const fgw_img_retry *retries
    cdef const fgw_img_cors *cors
    cdef const fgw_img_mirror *mirrors
    cdef const fgw_img_page *pages
    cdef const fgw_img_guard *guards
    cdef const fgw_img_source_list *source_lists
    cdef const fgw_img_rate_limit *rate_limits
    cdef const fgw_img_edit *edits
    cdef const fgw_img_part *parts
    cdef const fgw_img_cluster *clusters
    cdef const fgw_img_endpoint *endpoints
    cdef const fgw_img_policy *policies
    cdef const fgw_img_origin *origins

    cdef inline const char *text(self, fgw_span s) noexcept:
        return self.strings + s.off

    cdef inline const fgw_img_policy *policy_of(self, uint32_t cluster) noexcept:
        """What is asked for a cluster beyond the defaults, NULL for nothing."""
        if self.clusters[cluster].policy == FGW_NONE:
            return NULL
        return self.policies + self.clusters[cluster].policy


cdef class Credentials:
    """A mapped credentials block, for fgw_credentials_find(); unmapped with its last reference."""
    cdef const void *base
    cdef size_t total_bytes
    cdef readonly uint32_t count


cdef class Context:
    # owned
    cdef readonly Loop loop
    cdef readonly Image image
    cdef readonly Credentials credentials    # None: there are none
    cdef unsigned char *ticket_keys          # TICKET_KEY_BYTES each, the first makes tickets; never swapped or dumped
    cdef readonly int ticket_key_count
    cdef readonly uint64_t ticket_generation  # goes up with every new list
    cdef fgw_field *fields        # scratch of the head parsers: one head at a time
    cdef size_t fields_cap
    cdef uint64_t rng[4]
    cdef object editor            # HeaderEditor, set by who makes the Server
    cdef object answers           # LocalAnswers, the same
    cdef object translator        # Translator, the same
    cdef dict lines               # of requests that wait for a connection, by cluster: WaitLine
    cdef object retries           # RetryPolicy, the same
    cdef object guard             # Guard, the same
    cdef object filters           # RouteFilter, the same
    cdef object mirrors           # Mirrors, the same
    cdef object gate              # Gate, the same
    cdef object upstream_tls      # UpstreamContexts, made when first asked for
    # borrowed: mapped for the life of the process
    cdef fgw_state *state
    cdef fgw_worker_state *stats
    cdef size_t state_bytes
    cdef readonly int slot
    # limits
    cdef fgw_limits limits
    cdef readonly bint http10
    cdef readonly int underscores     # 0 drop, 1 reject, 2 allow
    cdef readonly int path_mode
    cdef readonly int64_t head_timeout_ms
    cdef readonly int64_t idle_timeout_ms
    cdef readonly int64_t body_timeout_ms
    cdef readonly int64_t body_min_bytes_per_s
    cdef readonly int64_t write_timeout_ms
    cdef readonly int64_t request_timeout_ms
    cdef readonly int64_t upstream_idle_timeout_ms
    cdef readonly int64_t upstream_response_timeout_ms
    cdef readonly int64_t stream_idle_timeout_ms
    cdef readonly int64_t max_connections     # of this worker, by its descriptors
    cdef readonly uint32_t listener_limit     # connections of a listener on all workers, 0: no limit
    cdef readonly uint32_t source_limit       # of one source address at it, 0: no limit
    cdef readonly int64_t max_requests_per_connection
    cdef readonly int64_t max_connection_age_ms
    cdef readonly int http2_streams
    cdef readonly int64_t http2_idle_timeout_ms
    cdef readonly bint http2_websockets
    cdef readonly int connect_attempts
    cdef readonly int retry_budget_percent   # 0: none
    cdef readonly bint retry_any_method
    cdef readonly int trusted_hops
    cdef bytes trusted_proxies        # a set of networks (ext/include/fgw/cidr.h), None: every peer is one where hops are trusted
    cdef const void *trusted          # the same
    cdef readonly int64_t hello_timeout_ms
    cdef readonly int64_t handshake_timeout_ms
    cdef readonly int misdirected_status
    # state
    cdef readonly bint draining
    # overload, see overload.pyx
    cdef readonly uint32_t refuse_share      # of new requests, in FGW_SHEDDER_ALL; mostly 0
    cdef readonly bint late                  # events wait too long for the loop
    cdef readonly bint parting               # connections end after the answer
    cdef readonly int64_t upstream_idle_most_ms  # what is idle to upstreams has so much time at the most; 0: as its terms say
    cdef bytes server_name
    cdef const char *server
    cdef size_t server_len
    cdef char date[32]                # "Sun, 06 Nov 1994 08:49:37 GMT"
    cdef int64_t date_until_ms

    cdef const char *http_date(self) noexcept
    cdef uint64_t random(self) noexcept
    cdef int64_t expiry(self) noexcept
    cdef int uuid4(self, char *out) noexcept
    cdef int reject(self, int reason) noexcept
    cdef bint believes(self, fgw_ip peer) noexcept
    cdef int gauge(self, int which, int64_t delta) noexcept
