"""One request and its answer, whatever the codecs on either side."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.dataplane.served cimport Served
from fastgw.dataplane.steps cimport Translation
from fastgw.dataplane.streams cimport ClientStream, Connector, ExchangeObserver, ResponseHead, UpstreamStream
from fastgw.native.base cimport fgw_field
from fastgw.native.http1 cimport fgw_request
from fastgw.native.route cimport fgw_route_request

cdef enum:
    TRIED_MAX = 8             # endpoints of earlier attempts that are remembered


cdef class Exchange(Served):
    # owned
    cdef RequestHead head          # of the request
    cdef FieldTable answer         # the answer's fields, when they are edited
    cdef Translation translation   # None: messages pass as they are
    cdef Buffer limits_told        # for the field RateLimit
    cdef Buffer replay             # request body so far, while the request could still be sent again
    # borrowed
    cdef Connector connector
    cdef ExchangeObserver observer
    cdef ClientStream client
    cdef UpstreamStream upstream
    # the decision
    cdef uint32_t destination      # index in the image, FGW_NONE
    cdef bint gives_cookie         # the answer tells the client its sticky key
    cdef uint64_t sticky_key
    cdef bint gives_hash_cookie    # the answer tells the client what consistentHash knows it by
    cdef uint64_t hash_seed        # of that cookie
    cdef uint64_t body_limit       # bytes that the request's body may have
    cdef bint has_policy           # the route has one: fgw_img_route_policy
    cdef bint delayed              # resume_at_ms ends a delay before the first try
    cdef bint gives_cors           # the answer tells the browser that `origin` may read it
    cdef bint gives_limits         # the answer tells what is left of the rate limits: limits_told
    cdef uint64_t retry_after_s    # of a request that a rate limit refuses
    cdef fgw_field origin          # in the head's arena
    cdef list mirrors              # exchanges that get a copy of the body as it comes; None without
    # attempts
    cdef uint32_t retries          # made by the route's policy
    cdef bint retrying             # one of them is under way, and has a place in the cluster's budget
    cdef bint stale_retried
    cdef uint32_t tried[TRIED_MAX]  # cells of endpoints, the latest ones
    cdef uint32_t tried_count
    cdef uint32_t tried_levels     # of priority, a set of bits
    cdef uint32_t level_tries      # attempts since that set was empty
    cdef uint32_t skip_levels      # what of it is left out from now on
    # times on the loop's clock, 0 for none
    cdef int64_t timeout_ms        # of the route; runs from the end of the request
    cdef int64_t timeout_at_ms
    cdef int64_t try_timeout_at_ms  # of the present attempt
    cdef int64_t resume_at_ms      # the end of a pause before the next attempt
    cdef bint head_sent            # to the upstream
    cdef bint continue_sent
    cdef uint8_t grpc              # enum fgw_grpc_kind
    cdef int grpc_status           # of the answer, -1 before and without one; set before reply(): the one to answer with
    # progress
    cdef bint active
    cdef bint request_done
    cdef bint response_started
    cdef bint response_done
    cdef bint replayable
    cdef bint upgrade              # the request asks for a WebSocket; it ends when the client's bytes end
    cdef bint switched             # and the upstream has agreed (101): bodies are what both sides say from now on
    cdef const char *own_body      # what the client has not taken yet of an answer of our own
    cdef size_t own_left
    # what is recorded
    cdef int64_t upstream_start_ns
    cdef int64_t response_ns       # first byte of the answer, 0 before
    cdef uint32_t response_head_bytes
    cdef uint16_t status
    cdef int64_t service_time_ms   # -1: no upstream answered
    cdef Buffer kept_response      # values of response fields that the access log wants

    cdef int clear(self) except -1
    cdef int open(self) except -1
    cdef int begin(self, const char *p, const fgw_request *r, const fgw_field *fields) except -1
    cdef int begin_rejected(self, int reason) except -1
    cdef int refuse(self, int reason, const char *details) except -1
    cdef int note_grpc(self) except -1
    cdef int decide(self) except -1
    cdef uint32_t guard(self) noexcept
    cdef bint is_misdirected(self, const fgw_route_request *q, uint32_t *table) noexcept
    cdef int choose_destination(self, const fgw_route_request *q) except -1
    cdef int forward(self, const fgw_route_request *q) except -1
    cdef int end_delay(self) except -1
    cdef int record(self) except -1
    cdef bint can_take_body(self) noexcept
    cdef int on_upstream_ready(self) except -1
    cdef int on_request_body(self, const char *p, size_t n) except -1
    cdef int on_request_trailers(self, const char *base, fgw_field *fields, uint32_t count) except -1
    cdef int on_request_end(self) except -1
    cdef int on_request_error(self, int reason) except -1
    cdef int on_client_gone(self) except -1
    cdef int give_up(self, uint32_t flags, const char *details) except -1
    cdef int on_client_writable(self) except -1
    cdef int on_upstream_writable(self) except -1
    cdef int on_interim(self, ResponseHead *head) except -1
    cdef int on_response_head(self, ResponseHead *head) except -1
    cdef int write_translated(self) except -1
    cdef int on_response_body(self, const char *p, size_t n) except -1
    cdef int on_response_trailers(self, const char *base, fgw_field *fields, uint32_t count) except -1
    cdef int on_response_end(self) except -1
    cdef int do_what_is_due(self) except -1
    cdef int cut_off(self) except -1
    cdef int on_upstream_fault(self, int fault, int reason, int error) except -1
    cdef int reply(self, int status, uint32_t flags, const char *details, const char *body, size_t n) except -1
    cdef int reply_redirect(self, int status, const char *location, size_t n) except -1
    cdef int detach_upstream(self) except -1
    cdef int finish(self) except -1
