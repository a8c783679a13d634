"""One request and its answer, whatever the codecs on either side."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.dataplane.served cimport Address, ClientSide, Observer, Served
from fastgw.dataplane.transport cimport Protocol
from fastgw.native.base cimport fgw_field
from fastgw.native.http1 cimport fgw_request
from fastgw.native.route cimport fgw_img_action, fgw_img_policy, fgw_route_request

cdef enum:
    TRIED_MAX = 8             # endpoints of earlier attempts that are remembered

cdef enum Fault:
    FAULT_CONNECT_FAILED = 1
    FAULT_CONNECT_TIMEOUT = 2
    FAULT_CLOSED = 3          # the upstream closed or reset before the end of the answer
    FAULT_PROTOCOL = 4        # the upstream's answer is malformed
    FAULT_TIMEOUT = 5         # no answer in time
    FAULT_REFUSED = 6         # the upstream says that it has not touched the request: REFUSED_STREAM, GOAWAY (RFC 9113 section 8.7)
    FAULT_RESET = 7           # the upstream reset the stream
    FAULT_OVERFLOW = 8        # a limit of the cluster


cdef struct ResponseHead:
    const char *base          # field offsets count from here; valid during the call only
    fgw_field *fields
    uint32_t field_count
    uint32_t head_bytes       # as received, 0 for answers of the gateway
    uint64_t content_length
    uint16_t status
    uint8_t framing           # of the body that follows (enum fgw_framing)
    bint has_content_length   # to be shown even when no body follows (HEAD, 304)
    bint from_upstream
    bint timed                # x-envoy-upstream-service-time is among the fields, or was taken out by an edit


cdef class ClientStream(ClientSide):
    """The client's side of an exchange: an HTTP/1 connection, or one HTTP/2 stream."""
    cdef Exchange exchange         # the one in flight
    cdef bint http2                # the client speaks HTTP/2
    cdef int start_response(self, Exchange x, ResponseHead *head) except -1
    cdef int write_body(self, const char *p, size_t n) except -1
    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1
    cdef int end_response(self) except -1
    cdef int abort_response(self) except -1
    cdef int send_interim(self, ResponseHead *head) except -1
    cdef int send_continue(self) except -1
    cdef int flush(self) except -1
    cdef bint backlogged(self) noexcept
    cdef int resume_request(self) except -1
    cdef bint unanswerable(self, int reason) noexcept
    cdef int on_exchange_done(self, Exchange x) except -1


cdef class UpstreamStream(Protocol):
    """The upstream's side: an HTTP/1 connection, or one HTTP/2 stream."""
    cdef Context ctx
    cdef Exchange exchange
    cdef Address address
    cdef bint reused               # this request is not the first on its connection
    cdef bint ready(self) noexcept
    cdef int start_request(self, Exchange x) except -1
    cdef int write_body(self, const char *p, size_t n) except -1
    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1
    cdef int end_request(self) except -1
    cdef int flush(self) except -1
    cdef bint backlogged(self) noexcept
    cdef int resume_response(self) except -1
    cdef int abandon(self) except -1
    cdef int local_address(self, char *out) noexcept


cdef class Connector:
    """Where exchanges get upstream streams from (the pool)."""
    cdef UpstreamStream acquire(self, Exchange x, const Address *to, int64_t connect_timeout_ms, bint fresh)


cdef class ExchangeObserver(Observer):
    """Told of every answer as well."""
    cdef bint wants_response       # on_response() is to be called
    cdef int on_response(self, Exchange x, const ResponseHead *head) except -1


cdef class HeaderEditor:
    """What routes ask for: fields of requests and answers are changed on the way."""
    cdef int edit_request(self, Exchange x) except -1
    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1


cdef class Translation:
    """Another form of the same messages towards one client, for the life of an exchange: gRPC-Web."""
    cdef Buffer out                # what is relayed in place of what came
    cdef bint passes               # the answer is none that this translates
    cdef int request_body(self, const char *p, size_t n) except -1
    cdef int request_end(self) except -1
    cdef int answer_head(self, Exchange x, ResponseHead *head, bint copied) except -1
    cdef int answer_body(self, const char *p, size_t n) except -1
    cdef int answer_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1


cdef class Translator:
    cdef Translation start(self, Exchange x)


cdef class LocalAnswers:
    """Answers of the gateway itself: which one a fault gets, and how it is put to whoever asked."""
    cdef int answer(self, Exchange x, int status, const char *location, size_t location_len, const char *body, size_t n) except -1
    cdef int answer_fault(self, Exchange x, int fault, int reason, int error) except -1
    cdef int answer_action(self, Exchange x, const fgw_route_request *q) except -1


cdef class RetryPolicy:
    """Whether a request is sent again."""
    cdef bint again_after_fault(self, Exchange x, int fault, bint reused) except -1
    cdef bint again_after_answer(self, Exchange x, const ResponseHead *head) except -1
    cdef int64_t try_timeout_ms(self, Exchange x) noexcept
    cdef bint avoids_tried(self, Exchange x) noexcept
    cdef int end_retry(self, Exchange x) except -1


cdef class RouteFilter:
    """What a route's policy does with a request before it is forwarded, and with its answer."""
    cdef bint begin(self, Exchange x, const fgw_route_request *q) except -1
    cdef bint go_on(self, Exchange x, const fgw_route_request *q) except -1
    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1


cdef class Mirrors:
    """Copies of requests, sent elsewhere."""
    cdef int start(self, Exchange x) except -1
    cdef int body(self, Exchange x, const char *p, size_t n) except -1
    cdef int end(self, Exchange x, bint whole) except -1


cdef class Exchange(Served):
    # owned
    cdef RequestHead head          # of the request
    cdef FieldTable answer         # the answer's fields, when they are edited
    cdef Translation translation   # None: messages pass as they are
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
    cdef bint has_policy           # the route has one: fgw_img_route_policy
    cdef bint delayed              # resume_at_ms ends a delay before the first try
    cdef bint gives_cors           # the answer tells the browser that `origin` may read it
    cdef fgw_field origin          # in the head's arena
    cdef list mirrors              # exchanges that get a copy of the body as it comes; None without
    # attempts
    cdef uint32_t retries          # made by the route's policy
    cdef bint retrying             # one of them is under way, and has a place in the cluster's budget
    cdef bint stale_retried
    cdef uint32_t tried[TRIED_MAX]  # cells of endpoints, the latest ones
    cdef uint32_t tried_count
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
    cdef int count_leniencies(self, uint32_t used) except -1
    cdef int decide(self) except -1
    cdef bint is_misdirected(self, const fgw_route_request *q, uint32_t *table) noexcept
    cdef int redirect_to_https(self) except -1
    cdef int choose_destination(self, const fgw_route_request *q) except -1
    cdef int forward(self, const fgw_route_request *q) except -1
    cdef int pause(self, int64_t ms) except -1
    cdef int end_delay(self) except -1
    cdef int edit_request(self) except -1
    cdef bint edits_answers(self) noexcept
    cdef int edit_answer(self, ResponseHead *head, size_t head_bytes) except -1
    cdef uint32_t weighted(self, const fgw_img_action *a, const fgw_route_request *q) noexcept
    cdef bint keep_destination(self, const fgw_img_action *a, const fgw_route_request *q) noexcept
    cdef size_t write_set_cookie(self, char *to) noexcept
    cdef int find_hash_key(self, const fgw_img_policy *policy, const fgw_route_request *q) except -1
    cdef int add_hash_cookie(self) except -1
    cdef int keep_for_replay(self, const char *p, size_t n) except -1
    cdef int abandon_upstream(self) except -1
    cdef int abandon_attempt(self) except -1
    cdef int record(self) except -1
    cdef int try_upstream(self, bint fresh) except -1
    cdef int send_again(self, int64_t pause_ms, bint fresh) except -1
    cdef int note_tried(self) noexcept
    cdef bint timed(self) noexcept
    cdef int start_timeouts(self) except -1
    cdef int arm(self) except -1
    cdef int on_route_timeout(self) except -1
    cdef int on_try_timeout(self) except -1
    cdef int send_request(self) except -1
    cdef bint can_take_body(self) noexcept
    cdef int on_upstream_ready(self) except -1
    cdef int on_request_body(self, const char *p, size_t n) except -1
    cdef int on_request_trailers(self, const char *base, fgw_field *fields, uint32_t count) except -1
    cdef int on_request_end(self) except -1
    cdef int on_request_error(self, int reason) except -1
    cdef int on_client_gone(self) except -1
    cdef int on_client_writable(self) except -1
    cdef int on_upstream_writable(self) except -1
    cdef int on_interim(self, ResponseHead *head) except -1
    cdef int on_response_head(self, ResponseHead *head) except -1
    cdef int translate_answer(self, ResponseHead *head, bint copied) except -1
    cdef int write_translated(self) except -1
    cdef int on_response_body(self, const char *p, size_t n) except -1
    cdef int on_response_trailers(self, const char *base, fgw_field *fields, uint32_t count) except -1
    cdef int on_response_end(self) except -1
    cdef int switch(self) except -1
    cdef int check_switched_end(self) except -1
    cdef int end_switched(self, const char *details) except -1
    cdef int on_upstream_fault(self, int fault, int reason, int error) except -1
    cdef int reply(self, int status, uint32_t flags, const char *details, const char *body, size_t n) except -1
    cdef int reply_redirect(self, int status, const char *location, size_t n) except -1
    cdef int give_answer(self, ResponseHead *head, size_t head_bytes, const char *body, size_t n) except -1
    cdef int give_body(self) except -1
    cdef int detach_upstream(self) except -1
    cdef int finish(self) except -1
