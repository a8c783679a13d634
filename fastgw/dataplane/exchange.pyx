"""The life of one request: head, decide, pick, connect, send, response head, body, end, record.

An Exchange does not know which codec is on either side. Its client and upstream streams point back at it; the three are
tied in begin()/try_upstream() and untied in finish()/detach_upstream(), nowhere else.

What is sent again, and when, is for the RetryPolicy to say; here is what that takes: the request stays in its arena, up to
REPLAY_LIMIT_BYTES of its body are kept, and an answer that is not taken is dropped before the client sees its head.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.balancer cimport PICK_ONE, PICK_WAIT, pick
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.field_table cimport FieldTable
from fastgw.dataplane.grpc cimport kind_of_request, status_in, timeout_of_request
from fastgw.dataplane.headers cimport mark_response, mark_trailers, write_decimal
from fastgw.dataplane.limits cimport HELD_NOT, HELD_REFUSED, HELD_WAIT, admit, got_connection, leave, wait_in_line
from fastgw.dataplane.outlier cimport note_answer, note_connected, note_local
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.dataplane.served cimport Address, ClientSide, Observer, Served, clock_ns
from fastgw.dataplane.websocket cimport wants_websocket
from fastgw.native.balance cimport FGW_HASH_COOKIE_MAX, fgw_hash_key, fgw_hash_new_cookie
from fastgw.native.base cimport (
    FGW_HDR_SET_COOKIE, FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME, FGW_R_HTTP10, FGW_R_UPGRADE_NOT_ALLOWED, fgw_field, fgw_reason_name,
    fgw_reason_status,
)
from fastgw.native.grpc cimport FGW_GRPC_NOT, FGW_GRPC_PLAIN
from fastgw.native.http1 cimport (
    FGW_FRAMING_LENGTH, FGW_FRAMING_NONE, FGW_LENIENT_ABSOLUTE_HOST, FGW_LENIENT_EQUAL_LENGTHS, FGW_LENIENT_FRAGMENT,
    FGW_LENIENT_LF_IN_HEAD, FGW_METHOD_POST, FGW_MSG_EXPECT_CONTINUE, FGW_MSG_UPGRADE, fgw_request,
)
from fastgw.native.route cimport (
    FGW_ACTION_ROUTE, FGW_NONE, FGW_OWNER_OTHER, FGW_POLICY_GIVES_COOKIE, FGW_ROUTE_MATCH, FGW_ROUTE_REQUIRE_TLS, FGW_STICKY_COOKIE,
    FGW_STICKY_NONE, fgw_hash64, fgw_img_action, fgw_img_destination, fgw_img_edits, fgw_img_policy, fgw_regexes_calls,
    fgw_request_table, fgw_route_match, fgw_route_request, fgw_sticky_key, fgw_sticky_pick, fgw_sticky_set_cookie,
)
from fastgw.native.state cimport (
    FGW_C_CLIENT_REQUESTS, FGW_C_LENIENT_ABSOLUTE_HOST, FGW_C_LENIENT_EQUAL_LENGTHS, FGW_C_LENIENT_FRAGMENT,
    FGW_C_LENIENT_LF_IN_HEAD, FGW_C_MISDIRECTED, FGW_C_STREAM_TIMEOUTS, FGW_C_UPSTREAM_CONNECT_FAILURES,
    FGW_C_UPSTREAM_CONNECT_TIMEOUTS, FGW_C_UPSTREAM_REQUESTS, FGW_C_UPSTREAM_REUSED, FGW_C_UPSTREAM_TIMEOUTS, FGW_C_WEBSOCKETS,
    FGW_F_DC, FGW_F_DPE, FGW_F_NC, FGW_F_NR, FGW_F_SI, FGW_F_UC, FGW_F_UH, FGW_F_UR, FGW_F_UT, FGW_G_EXCHANGES_ACTIVE,
    FGW_G_WEBSOCKETS_ACTIVE, FGW_PROTOCOL_GRPC, FGW_PROTOCOL_HTTP, fgw_series_add, fgw_series_key, fgw_series_key_grpc,
    fgw_series_of,
)
from fastgw.native.system cimport CLOCK_MONOTONIC

cdef enum:
    REPLAY_LIMIT_BYTES = 65536   # requirement H11
    OWN_PIECE_BYTES = 32768

cdef long exchanges = 0


def exchanges_alive():
    """For leak checks: exchanges between begin() and finish()."""
    return exchanges


cdef class ClientStream(ClientSide):
    """Contract of the client's codec. Only the exchange in `exchange` may call it."""

    cdef int start_response(self, Exchange x, ResponseHead *head) except -1:
        raise NotImplementedError

    cdef int write_body(self, const char *p, size_t n) except -1:
        raise NotImplementedError

    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """Between the body and end_response(); valid during the call only. A protocol without trailers leaves them out."""
        return 0

    cdef int end_response(self) except -1:
        raise NotImplementedError

    cdef int abort_response(self) except -1:
        """End in a way that the client sees as incomplete."""
        raise NotImplementedError

    cdef int send_interim(self, ResponseHead *head) except -1:
        raise NotImplementedError

    cdef int send_continue(self) except -1:
        raise NotImplementedError

    cdef int flush(self) except -1:
        raise NotImplementedError

    cdef bint backlogged(self) noexcept:
        """Bytes wait for the client: the upstream should pause."""
        return False

    cdef int resume_request(self) except -1:
        """The exchange can take body bytes (again)."""
        raise NotImplementedError

    cdef bint unanswerable(self, int reason) noexcept:
        """A message that is refused for this enum fgw_reason gets abort_response() instead of an answer."""
        return fgw_reason_status(reason) == 0

    cdef int on_exchange_done(self, Exchange x) except -1:
        raise NotImplementedError


cdef class UpstreamStream(Protocol):
    """Contract of the upstream's codec."""

    cdef bint ready(self) noexcept:
        return False

    cdef int start_request(self, Exchange x) except -1:
        raise NotImplementedError

    cdef int write_body(self, const char *p, size_t n) except -1:
        raise NotImplementedError

    cdef int write_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """Between the body and end_request(); HTTP/1 upstreams get none (requirement A9)."""
        return 0

    cdef int end_request(self) except -1:
        raise NotImplementedError

    cdef int flush(self) except -1:
        raise NotImplementedError

    cdef bint backlogged(self) noexcept:
        return False

    cdef int resume_response(self) except -1:
        raise NotImplementedError

    cdef int abandon(self) except -1:
        """The exchange is over before the answer's end: nothing of this stream may be reused."""
        raise NotImplementedError

    cdef int local_address(self, char *out) noexcept:
        return 0


cdef class Connector:
    cdef UpstreamStream acquire(self, Exchange x, const Address *to, int64_t connect_timeout_ms, bint fresh):
        """A stream to this address, tied to x: ready, or connecting (then on_upstream_ready or on_upstream_fault follows).
        fresh: not a pooled one. None when not even a socket could be made."""
        raise NotImplementedError


cdef class ExchangeObserver(Observer):
    cdef int on_response(self, Exchange x, const ResponseHead *head) except -1:
        """The upstream's final head, as the client gets it (with what is not passed on)."""
        return 0


cdef class HeaderEditor:
    cdef int edit_request(self, Exchange x) except -1:
        """Change x.head as its route and destination ask. OverflowError when it becomes too large."""
        raise NotImplementedError

    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1:
        """The same for an answer's fields."""
        raise NotImplementedError


cdef class Translation:
    def __cinit__(self):
        self.out = Buffer()

    cdef int request_body(self, const char *p, size_t n) except -1:
        """Append what goes upstream to `out`: 0, or an fgw_reason to refuse it."""
        raise NotImplementedError

    cdef int request_end(self) except -1:
        """0, or why the request is not whole."""
        return 0

    cdef int answer_head(self, Exchange x, ResponseHead *head, bint copied) except -1:
        """Change the head. ``copied``: it is x.answer already. OverflowError when it becomes too large."""
        raise NotImplementedError

    cdef int answer_body(self, const char *p, size_t n) except -1:
        """Append what the client gets to `out`."""
        raise NotImplementedError

    cdef int answer_trailers(self, const char *base, const fgw_field *fields, uint32_t count) except -1:
        """The same; the client gets no trailers, unless the answer passes as it is."""
        raise NotImplementedError


cdef class Translator:
    cdef Translation start(self, Exchange x):
        """For a request with a route, whose head it changes. OverflowError when it becomes too large."""
        raise NotImplementedError


cdef class LocalAnswers:
    cdef int answer(self, Exchange x, int status, const char *location, size_t location_len, const char *body, size_t n) except -1:
        """Put an answer into words for this client, hand it to x.give_answer(); location may be NULL. The exchange is finished."""
        raise NotImplementedError

    cdef int answer_fault(self, Exchange x, int fault, int reason, int error) except -1:
        """The same for what went wrong with the upstream (enum Fault, fgw_reason, errno)."""
        raise NotImplementedError

    cdef int answer_action(self, Exchange x, const fgw_route_request *q) except -1:
        """The same for a rule that is no route: redirects, direct responses, and what cannot be performed."""
        raise NotImplementedError


cdef class RetryPolicy:
    cdef bint again_after_fault(self, Exchange x, int fault, bint reused) except -1:
        """Without an answer's head: has x.send_again() been called? ``reused``: the attempt was on a pooled connection."""
        raise NotImplementedError

    cdef bint again_after_answer(self, Exchange x, const ResponseHead *head) except -1:
        """The same for an answer, whose head the client has not seen."""
        raise NotImplementedError

    cdef int64_t try_timeout_ms(self, Exchange x) noexcept:
        """For one attempt, 0: none."""
        return 0

    cdef bint avoids_tried(self, Exchange x) noexcept:
        """Endpoints that have been tried are left alone where others are (J10)."""
        return True

    cdef int end_retry(self, Exchange x) except -1:
        """x.retrying is over: something is known of how it went."""
        return 0


cdef class RouteFilter:
    cdef bint begin(self, Exchange x, const fgw_route_request *q) except -1:
        """May it go on? Else it has been answered, or x.pause() has been called."""
        return True

    cdef bint go_on(self, Exchange x, const fgw_route_request *q) except -1:
        """The same at the end of a pause."""
        return True

    cdef int edit_answer(self, Exchange x, FieldTable fields) except -1:
        """After the route's own edits, when x.gives_cors is set."""
        return 0


cdef class Mirrors:
    cdef int start(self, Exchange x) except -1:
        """The request is about to be forwarded as it is now; sets x.mirrors where its body is to be copied."""
        return 0

    cdef int body(self, Exchange x, const char *p, size_t n) except -1:
        """A piece of the body, for x.mirrors."""
        return 0

    cdef int end(self, Exchange x, bint whole) except -1:
        """The end of the request, or of all hope for it: x.mirrors are on their own."""
        return 0


cdef inline int64_t earlier(int64_t a, int64_t b) noexcept:
    """Of two times, of which 0 is none."""
    return a if b == 0 or (a and a < b) else b


cdef inline bint changes_request(const fgw_img_edits *edits) noexcept:
    return edits.request.count | edits.authority.len != 0


cdef class Exchange(Served):
    def __cinit__(self):
        self.head = RequestHead()

    def __init__(self, Context ctx, Connector connector, ExchangeObserver observer):
        self.ctx = ctx
        self.connector = connector
        self.observer = observer

    # ---- head

    cdef int open(self) except -1:
        """The object is used again for every request of a connection."""
        self.clear()
        self.ctx.stats.counters[FGW_C_CLIENT_REQUESTS] += 1
        return 0

    cdef int clear(self) except -1:
        """Back to the start state."""
        global exchanges
        exchanges += 1
        self.active = True
        self.start_record(self.observer is not None)
        self.head.reset(self.ctx, self.client.peer, self.client.peer_len, self.client.secure)
        if self.client.tls is not None:
            self.head.client_cert = self.client.tls.forwarded()
        self.gives_cookie = self.gives_hash_cookie = False
        self.destination = FGW_NONE
        self.delayed = self.gives_cors = False
        self.mirrors = None
        self.has_policy = self.retrying = self.stale_retried = self.head_sent = self.continue_sent = False
        self.retries = self.tried_count = 0
        self.timeout_ms = self.timeout_at_ms = self.try_timeout_at_ms = self.resume_at_ms = 0
        self.request_done = self.response_started = self.response_done = False
        self.replayable = True
        self.upgrade = self.switched = False
        self.own_left = 0
        self.grpc = FGW_GRPC_NOT
        self.grpc_status = -1
        self.upstream_start_ns = self.response_ns = 0
        self.response_head_bytes = 0
        self.status = 0
        self.service_time_ms = -1
        self.ctx.gauge(FGW_G_EXCHANGES_ACTIVE, 1)
        return 0

    cdef int begin(self, const char *p, const fgw_request *r, const fgw_field *fields) except -1:
        """A request head has been parsed at p (its bytes are copied). The client is tied already."""
        cdef int reason
        self.open()
        self.head.take(p, r, fields)
        self.request_done = not r.flags & FGW_MSG_UPGRADE and (
            r.framing == FGW_FRAMING_NONE or (r.framing == FGW_FRAMING_LENGTH and r.content_length == 0))
        if r.method_id == FGW_METHOD_POST:
            self.note_grpc()
        if r.leniencies:
            self.count_leniencies(r.leniencies)
        if r.minor == 0 and not self.ctx.http10:
            return self.refuse(FGW_R_HTTP10, b"low_version")
        reason = self.head.normalize()
        if reason:
            return self.refuse(reason, b"path_normalization_failed")
        reason = self.head.sanitise()
        if reason:
            return self.refuse(reason, b"header_with_underscore")
        return self.decide()

    cdef int begin_rejected(self, int reason) except -1:
        """The head could not be parsed: answer, count and record it all the same."""
        self.open()
        self.request_done = True
        return self.refuse(reason, fgw_reason_name(reason))

    cdef int refuse(self, int reason, const char *details) except -1:
        self.reject_reason = reason
        self.ctx.reject(reason)
        if self.client.unanswerable(reason):
            self.flags |= FGW_F_DPE
            self.details = details
            self.client.abort_response()
            return self.finish()
        return self.reply(fgw_reason_status(reason), FGW_F_DPE, details, NULL, 0)

    cdef int note_grpc(self) except -1:
        """gRPC-Web is something special only where it is translated."""
        self.grpc = <uint8_t>kind_of_request(self.head)
        if self.grpc > FGW_GRPC_PLAIN and (
                self.image is None or self.client.chain == FGW_NONE or not self.image.chains[self.client.chain].grpc_web):
            self.grpc = FGW_GRPC_NOT
        return 0

    cdef int count_leniencies(self, uint32_t used) except -1:
        if used & FGW_LENIENT_LF_IN_HEAD:
            self.ctx.loop.count(FGW_C_LENIENT_LF_IN_HEAD)
        if used & FGW_LENIENT_FRAGMENT:
            self.ctx.loop.count(FGW_C_LENIENT_FRAGMENT)
        if used & FGW_LENIENT_EQUAL_LENGTHS:
            self.ctx.loop.count(FGW_C_LENIENT_EQUAL_LENGTHS)
        if used & FGW_LENIENT_ABSOLUTE_HOST:
            self.ctx.loop.count(FGW_C_LENIENT_ABSOLUTE_HOST)
        return 0

    # ---- decide

    cdef int decide(self) except -1:
        cdef fgw_route_request q
        cdef uint32_t table = self.client.route_table
        if self.image is None or (table == FGW_NONE and not self.client.secure):
            return self.reply(404, FGW_F_NR, b"route_not_found", NULL, 0)
        self.head.describe(&q)
        if self.client.secure and self.is_misdirected(&q, &table):
            self.ctx.loop.count(FGW_C_MISDIRECTED)
            return self.reply(self.ctx.misdirected_status, FGW_F_NR, b"misdirected_request", NULL, 0)
        fgw_route_match(self.image.base, table, &q, self.head.secure, self.image.regexes, fgw_regexes_calls(),
                        &self.route)
        if self.route.verdict == FGW_ROUTE_REQUIRE_TLS:
            return self.redirect_to_https()
        if self.route.verdict != FGW_ROUTE_MATCH:
            return self.reply(404, FGW_F_NR, b"route_not_found", NULL, 0)
        self.upgrade = bool(self.head.req.flags & FGW_MSG_UPGRADE)
        if self.upgrade and not (self.client.http2 or wants_websocket(self.head)):  # HTTP/2's head is judged by its parser
            self.reject_reason = FGW_R_UPGRADE_NOT_ALLOWED
            self.ctx.reject(FGW_R_UPGRADE_NOT_ALLOWED)
            return self.reply(403, 0, b"upgrade_failed", NULL, 0)
        return self.choose_destination(&q)

    cdef bint is_misdirected(self, const fgw_route_request *q, uint32_t *table) noexcept:
        """Is the request for a host of a server that shows other certificates or asks clients for something else (requirement G5)?
        Else *table is what decides. A connection whose server has changed meanwhile serves nobody any more: the client may
        come again on a new one (RFC 9110 section 15.5.20)."""
        cdef ClientStream client = self.client
        if client.listener == FGW_NONE:
            return False
        return client.chain == FGW_NONE or FGW_OWNER_OTHER == fgw_request_table(
            self.image.base, client.listener, client.chain, q.host, q.host_len, table)

    cdef int redirect_to_https(self) except -1:
        """httpsRedirect: Host exactly as sent, path and query (statement M1)."""
        cdef size_t n = 8 + self.head.req.authority.len + self.head.raw_path_len
        cdef Buffer text = Buffer()
        text.append(b"https://", 8)
        text.append(self.head.base + self.head.req.authority.off, self.head.req.authority.len)
        text.append(self.head.path, self.head.raw_path_len)
        self.details = b"https_redirect"
        return self.reply_redirect(301, text.head(), n)

    cdef int choose_destination(self, const fgw_route_request *q) except -1:
        cdef const fgw_img_action *a = &self.image.actions[self.route.action]
        cdef const fgw_img_destination *d = self.image.destinations + a.destinations.off
        if a.kind != FGW_ACTION_ROUTE:
            return (<LocalAnswers?>self.ctx.answers).answer_action(self, q)
        if a.destinations.count == 0:
            return self.reply(503, FGW_F_NC, b"cluster_not_found", NULL, 0)
        if a.destinations.count > 1:
            d += self.weighted(a, q)
        self.destination = <uint32_t>(d - self.image.destinations)
        self.cluster = d.cluster
        self.cluster_name = d.cluster_name
        self.has_policy = a.policy != FGW_NONE
        if self.has_policy and not (<RouteFilter?>self.ctx.filters).begin(self, q):
            return 0
        return self.forward(q)

    cdef int pause(self, int64_t ms) except -1:
        """Before the request goes on; end_delay() follows."""
        self.delayed = True
        self.resume_at_ms = self.ctx.loop.now_ms + max(ms, 1)
        return self.arm()

    cdef int end_delay(self) except -1:
        cdef fgw_route_request q
        self.delayed = False
        self.head.describe(&q)
        if not (<RouteFilter?>self.ctx.filters).go_on(self, &q):
            return 0
        return self.forward(&q)

    cdef int forward(self, const fgw_route_request *q) except -1:
        """To the destination that has been chosen."""
        cdef const fgw_img_action *a = &self.image.actions[self.route.action]
        cdef const fgw_img_destination *d = &self.image.destinations[self.destination]
        cdef const fgw_img_policy *policy
        if self.cluster == FGW_NONE:
            return self.reply(503, FGW_F_NC, b"cluster_not_found", NULL, 0)
        policy = self.image.policy_of(self.cluster)
        if policy != NULL and policy.hash_on:
            self.find_hash_key(policy, q)
        if (changes_request(&a.edits) | changes_request(&d.edits) | (self.grpc > FGW_GRPC_PLAIN)
                or (self.has_policy and self.image.route_policies[a.policy].rewrite)) and not self.edit_request():
            return self.reply(500, 0, b"request_headers_too_large", NULL, 0)
        if self.has_policy:
            self.timeout_ms = self.image.route_policies[a.policy].timeout_ms
        if self.grpc != FGW_GRPC_NOT:  # what the call allows, at the most what the route does (J3)
            self.timeout_ms = earlier(self.timeout_ms, timeout_of_request(self.head))
        if self.timed() and self.request_done:
            self.start_timeouts()
        if self.has_policy and self.image.route_policies[a.policy].mirrors.count:
            (<Mirrors?>self.ctx.mirrors).start(self)
        return self.try_upstream(False)

    cdef int edit_request(self) except -1:
        """Once, before an endpoint is known; what is sent again is the edited request. 0: it became too large."""
        try:
            if self.grpc > FGW_GRPC_PLAIN:
                self.translation = (<Translator?>self.ctx.translator).start(self)
            (<HeaderEditor?>self.ctx.editor).edit_request(self)
        except OverflowError:
            return 0
        return 1

    cdef bint edits_answers(self) noexcept:
        """The matched route changes answers, its own as well (K1)."""
        if self.image is None or self.route.action == FGW_NONE:
            return False
        if self.destination != FGW_NONE and self.image.destinations[self.destination].edits.response.count:
            return True
        return self.image.actions[self.route.action].edits.response.count != 0

    cdef int edit_answer(self, ResponseHead *head, size_t head_bytes) except -1:
        """A copy of the fields, with x-envoy-upstream-service-time so that edits can change it. 0: it became too large."""
        cdef char text[24]
        if self.answer is None:
            self.answer = FieldTable()
        self.answer.release()
        try:
            self.answer.load(head.base, head_bytes, head.fields, head.field_count, 1024, 8)
            if self.service_time_ms >= 0:
                self.answer.add_field(FGW_HDR_X_ENVOY_UPSTREAM_SERVICE_TIME, b"x-envoy-upstream-service-time", 29, text,
                                      write_decimal(text, <unsigned long long>self.service_time_ms))
            (<HeaderEditor?>self.ctx.editor).edit_answer(self, self.answer)
            if self.gives_cors:
                (<RouteFilter?>self.ctx.filters).edit_answer(self, self.answer)
            if self.gives_hash_cookie and head.from_upstream:
                self.add_hash_cookie()
        except OverflowError:
            return 0
        head.base, head.fields, head.field_count = self.answer.base, self.answer.fields, self.answer.field_count
        head.timed = True
        return 1

    cdef uint32_t weighted(self, const fgw_img_action *a, const fgw_route_request *q) noexcept:
        """One of several destinations: the one that this client keeps, else at random by weight (H5)."""
        if a.sticky != FGW_STICKY_NONE and self.keep_destination(a, q):
            return fgw_sticky_pick(self.image.base, self.route.action, self.sticky_key)
        return self.draw(a)

    cdef bint keep_destination(self, const fgw_img_action *a, const fgw_route_request *q) noexcept:
        """Set sticky_key. A client without a usable cookie gets one; False: there is nothing to know the client by."""
        if fgw_sticky_key(self.image.base, self.route.action, q, self.head.remote, self.head.remote_len, &self.sticky_key):
            return True
        if a.sticky != FGW_STICKY_COOKIE:
            return False
        self.sticky_key = self.ctx.random()
        self.gives_cookie = True
        return True

    cdef size_t write_set_cookie(self, char *to) noexcept:
        """The value of Set-Cookie (at most FGW_SET_COOKIE_MAX bytes) when gives_cookie is set; its length."""
        return fgw_sticky_set_cookie(self.image.base, self.route.action, self.sticky_key, to)

    cdef int find_hash_key(self, const fgw_img_policy *policy, const fgw_route_request *q) except -1:
        """Set hash_key where the request has one, or where a cookie is given that makes one (Q5)."""
        cdef char local[64]
        cdef char text[FGW_HASH_COOKIE_MAX]
        cdef uint64_t port = self.client.peer_port
        self.has_key = fgw_hash_key(self.image.base, policy, q, self.head.remote, self.head.remote_len, &self.hash_key)
        if self.has_key or not policy.flags & FGW_POLICY_GIVES_COOKIE:
            return 0
        self.hash_seed = fgw_hash64(self.client.peer, self.client.peer_len, port)
        self.hash_seed = fgw_hash64(local, <size_t>self.client.local_address(local), self.hash_seed)
        fgw_hash_new_cookie(self.image.base, policy, self.hash_seed, text, &self.hash_key)
        self.has_key = self.gives_hash_cookie = True
        return 0

    cdef int add_hash_cookie(self) except -1:
        """Among the fields of the answer, so that no codec has to know of it."""
        cdef char text[FGW_HASH_COOKIE_MAX]
        cdef uint64_t key
        cdef size_t n = fgw_hash_new_cookie(self.image.base, self.image.policy_of(self.cluster), self.hash_seed, text, &key)
        self.answer.add_field(FGW_HDR_SET_COOKIE, b"set-cookie", 10, text, n)
        return 0

    # ---- pick and connect

    cdef int try_upstream(self, bint fresh) except -1:
        """Pick an endpoint and ask for a stream to it; answers 503 when there is none."""
        cdef uint32_t avoid = 0
        cdef int picked
        if admit(self) == HELD_REFUSED:
            return self.overflowed()
        if self.tried_count and (<RetryPolicy?>self.ctx.retries).avoids_tried(self):
            avoid = min(self.tried_count, <uint32_t>TRIED_MAX)
        picked = pick(self, self.tried, avoid)
        if picked == PICK_WAIT and self.await_name():
            return 0
        if picked != PICK_ONE:
            return self.reply(503, FGW_F_UH, b"no_healthy_upstream", b"no healthy upstream", 19)
        self.waiting = False
        self.held = HELD_NOT
        self.upstream = self.connector.acquire(
            self, &self.address, self.image.clusters[self.cluster].connect_timeout_ms, fresh)
        if self.held:
            return wait_in_line(self) if self.held == HELD_WAIT else self.overflowed()
        self.attempts += 1
        self.note_tried()
        self.charge()
        if self.timed() and self.request_done:
            self.start_timeouts()
        if self.upstream is None:
            return self.on_upstream_fault(FAULT_CONNECT_FAILED, 0, 0)
        if self.upstream.ready():
            return self.send_request()
        return 0

    cdef int note_tried(self) noexcept:
        self.tried[self.tried_count % TRIED_MAX] = self.address.cell
        self.tried_count += 1
        return 0

    cdef int send_again(self, int64_t pause_ms, bint fresh) except -1:
        """What has been sent is void: try an upstream (once more) after a pause, on a new connection if that is wanted."""
        self.head_sent = False
        self.try_timeout_at_ms = 0
        if pause_ms <= 0:
            return self.try_upstream(fresh)
        self.resume_at_ms = self.ctx.loop.now_ms + pause_ms
        return self.arm()

    cdef bint timed(self) noexcept:
        """A route's policy or a call of gRPC sets times."""
        return self.has_policy | (self.timeout_ms != 0)

    cdef int start_timeouts(self) except -1:
        """The request has come to its end, or an attempt with a whole request begins (J2)."""
        cdef int64_t now = self.ctx.loop.now_ms
        cdef int64_t try_ms = (<RetryPolicy?>self.ctx.retries).try_timeout_ms(self)
        if self.timeout_ms and not self.timeout_at_ms:
            self.timeout_at_ms = now + self.timeout_ms
        if try_ms and self.attempts:
            self.try_timeout_at_ms = now + try_ms
        return self.arm()

    cdef int arm(self) except -1:
        """The timer, for whichever of its purposes comes first."""
        cdef int64_t when = self.deadline_ms if self.waiting else 0
        when = earlier(earlier(when, self.timeout_at_ms), earlier(self.try_timeout_at_ms, self.resume_at_ms))
        return self.ctx.loop.set_deadline(self, when)

    cdef int on_timer(self) except -1:
        cdef int64_t now = self.ctx.loop.now_ms
        if not self.active:
            return 0
        if self.timeout_at_ms and now >= self.timeout_at_ms:
            return self.on_route_timeout()
        if self.try_timeout_at_ms and now >= self.try_timeout_at_ms:
            self.on_try_timeout()
        elif self.resume_at_ms and now >= self.resume_at_ms:
            self.resume_at_ms = 0
            if self.delayed:
                self.end_delay()
            else:
                self.try_upstream(False)
        elif self.waiting:
            self.try_upstream(False)
        return self.arm() if self.active else 0

    cdef int on_route_timeout(self) except -1:
        """I8. An answer that has begun is cut: the time is for all of it."""
        self.timeout_at_ms = self.resume_at_ms = 0
        self.waiting = False
        if not self.response_started:
            self.abandon_attempt()
            return (<LocalAnswers?>self.ctx.answers).answer_fault(self, FAULT_TIMEOUT, 0, 0)
        self.flags |= FGW_F_UT
        self.details = b"upstream_response_timeout"
        self.ctx.loop.count(FGW_C_UPSTREAM_TIMEOUTS)
        self.client.abort_response()
        return self.finish()

    cdef int on_try_timeout(self) except -1:
        """I9. Nothing is cut: what has begun to answer has the route's time for the rest (J11)."""
        self.try_timeout_at_ms = 0
        if self.response_started:
            return 0
        self.waiting = False
        self.abandon_attempt()
        if (<RetryPolicy?>self.ctx.retries).again_after_fault(self, FAULT_TIMEOUT, False):
            return 0
        self.ctx.loop.count(FGW_C_UPSTREAM_TIMEOUTS)
        return self.reply(504, FGW_F_UT, b"upstream_per_try_timeout", b"upstream request timeout", 24)

    cdef int send_request(self) except -1:
        """The stream is ready: head, what of the body was kept for replay, and on with the client's."""
        self.upstream_start_ns = self.ctx.loop.now_ns
        got_connection(self)
        self.ctx.stats.counters[FGW_C_UPSTREAM_REQUESTS] += 1
        if self.upstream.reused:
            self.ctx.stats.counters[FGW_C_UPSTREAM_REUSED] += 1
        if self.attempts > 1:
            self.head.set_attempts(self.attempts)
            self.transport_failure = None  # of an attempt before
        if self.observer is not None and self.observer.wants_local:
            self.upstream_local_len = self.upstream.local_address(self.upstream_local)
        self.upstream.start_request(self)
        self.head_sent = True
        if self.replay is not None and self.replay.size():
            self.upstream.write_body(self.replay.head(), self.replay.size())
        if self.request_done:
            self.upstream.end_request()
            return self.upstream.flush()
        if (self.head.req.flags & FGW_MSG_EXPECT_CONTINUE and self.bytes_received == 0 and not self.continue_sent
                and not self.upgrade):
            self.continue_sent = True
            self.client.send_continue()
        return self.client.resume_request()

    cdef int proceed(self) except -1:
        return self.try_upstream(False) if self.active and self.upstream is None else 0

    cdef int overflowed(self) except -1:
        return (<LocalAnswers?>self.ctx.answers).answer_fault(self, FAULT_OVERFLOW, 0, 0)

    cdef int on_upstream_ready(self) except -1:
        note_connected(self, False)
        self.send_request()
        if self.upstream is not None:
            self.upstream.flush()
        return 0

    # ---- request body

    cdef bint can_take_body(self) noexcept:
        return (self.head_sent and self.upstream is not None and (self.switched or not self.upgrade)
                and not self.upstream.backlogged())

    cdef int on_request_body(self, const char *p, size_t n) except -1:
        cdef int reason
        self.bytes_received += n
        if self.translation is not None:
            reason = self.translation.request_body(p, n)
            if reason:
                return self.on_request_error(reason)
            p, n = self.translation.out.head(), self.translation.out.size()
        if self.replayable and not self.switched:
            self.keep_for_replay(p, n)
        if self.mirrors is not None:
            (<Mirrors?>self.ctx.mirrors).body(self, p, n)
        if self.upstream is not None:
            self.upstream.write_body(p, n)
        return self.translation.out.release() if self.translation is not None else 0

    cdef int keep_for_replay(self, const char *p, size_t n) except -1:
        if self.response_started or self.bytes_received > REPLAY_LIMIT_BYTES:
            self.replayable = False
            if self.replay is not None:
                self.replay.release()
            return 0
        if self.replay is None:
            self.replay = Buffer()
        return self.replay.append(p, n)

    cdef int on_request_trailers(self, const char *base, fgw_field *fields, uint32_t count) except -1:
        """After the body, before the end. A request with trailers is not sent again: they are not kept."""
        self.replayable = False
        mark_trailers(fields, count, self.ctx.underscores == 2)
        if self.upstream is not None:
            self.upstream.write_trailers(base, fields, count)
        return 0

    cdef int on_request_end(self) except -1:
        if self.translation is not None and self.translation.request_end():
            return self.on_request_error(self.translation.request_end())
        self.request_done = True
        if self.mirrors is not None:
            (<Mirrors?>self.ctx.mirrors).end(self, True)
        if self.timed() and not self.response_started:
            self.start_timeouts()
        if self.upstream is not None:
            self.upstream.end_request()
            self.upstream.flush()
        return self.check_switched_end() if self.switched else 0

    cdef int on_request_error(self, int reason) except -1:
        """The body is malformed or did not come in time: the upstream must see an aborted message (A14)."""
        self.reject_reason = reason
        self.ctx.reject(reason)
        self.flags |= FGW_F_DPE
        self.abandon_upstream()
        if self.client.unanswerable(reason) or self.response_started:
            self.details = fgw_reason_name(reason)
            self.client.abort_response()
            return self.finish()
        return self.reply(fgw_reason_status(reason), FGW_F_DPE, fgw_reason_name(reason), NULL, 0)

    cdef int on_client_gone(self) except -1:
        self.flags |= FGW_F_DC
        self.details = b"downstream_remote_disconnect"
        self.abandon_upstream()
        return self.finish()

    cdef int on_client_writable(self) except -1:
        if self.own_left:
            return self.give_body()
        if self.upstream is not None:
            self.upstream.resume_response()
        return 0

    cdef int on_upstream_writable(self) except -1:
        if not self.request_done and self.active:
            self.client.resume_request()
        return self.check_switched_end() if self.switched else 0

    # ---- response

    cdef int on_interim(self, ResponseHead *head) except -1:
        """1xx other than 100 and 101 goes on to the client (H5)."""
        if head.status != 100 and not self.response_started:
            mark_response(head.fields, head.field_count)
            self.client.send_interim(head)
        return 0

    cdef int on_response_head(self, ResponseHead *head) except -1:
        cdef bint edited
        note_answer(self, head.status)
        if self.has_policy | (self.grpc != FGW_GRPC_NOT) and (<RetryPolicy?>self.ctx.retries).again_after_answer(self, head):
            return 0
        if self.retrying:
            (<RetryPolicy?>self.ctx.retries).end_retry(self)
        if self.grpc != FGW_GRPC_NOT:
            self.grpc_status = status_in(head.base, head.fields, head.field_count)
        self.response_started = True
        self.response_ns = self.ctx.loop.now_ns
        self.status = head.status
        self.response_head_bytes = head.head_bytes
        self.service_time_ms = (self.response_ns - self.upstream_start_ns) // 1000000
        if self.details == NULL:
            self.details = b"via_upstream"
        mark_response(head.fields, head.field_count)
        edited = self.gives_hash_cookie | self.gives_cors | self.edits_answers()
        if edited and not self.edit_answer(head, head.head_bytes) or (
                self.translation is not None and not self.translate_answer(head, edited)):
            self.response_started = False
            self.service_time_ms = -1
            self.abandon_upstream()
            return self.reply(500, 0, b"response_headers_too_large", NULL, 0)
        if self.observer is not None and self.observer.wants_response:
            self.observer.on_response(self, head)
        self.client.start_response(self, head)
        return self.switch() if head.status == 101 else 0

    cdef int on_response_body(self, const char *p, size_t n) except -1:
        if self.translation is None:
            self.bytes_sent += n
            return self.client.write_body(p, n)
        self.translation.answer_body(p, n)
        return self.write_translated()

    cdef int translate_answer(self, ResponseHead *head, bint copied) except -1:
        """0: it became too large."""
        try:
            self.translation.answer_head(self, head, copied)
        except OverflowError:
            return 0
        return 1

    cdef int write_translated(self) except -1:
        cdef Buffer out = self.translation.out
        self.bytes_sent += out.size()
        self.client.write_body(out.head(), out.size())
        return out.release()

    cdef int on_response_trailers(self, const char *base, fgw_field *fields, uint32_t count) except -1:
        mark_trailers(fields, count, True)
        if self.grpc != FGW_GRPC_NOT:
            self.grpc_status = status_in(base, fields, count)
        if self.translation is not None and not self.translation.passes:
            self.translation.answer_trailers(base, fields, count)
            return self.write_translated()
        return self.client.write_trailers(base, fields, count)

    cdef int on_response_end(self) except -1:
        """The upstream stream has untied itself (and may serve another exchange already)."""
        self.response_done = True
        if self.switched:
            self.client.end_response()
            return self.check_switched_end()
        self.uncharge(False)
        self.client.end_response()
        return self.finish()

    # ---- after 101

    cdef int switch(self) except -1:
        """Both sides have agreed on a WebSocket. What the client has said already goes upstream now and not before (A19)."""
        self.switched = True
        self.timeout_at_ms = 0  # N12
        self.ctx.loop.count(FGW_C_WEBSOCKETS)
        self.ctx.gauge(FGW_G_WEBSOCKETS_ACTIVE, 1)
        return self.client.resume_request()

    cdef int check_switched_end(self) except -1:
        """Over when both directions have ended, and the upstream has got everything."""
        if not self.active or not self.request_done or not self.response_done:
            return 0
        return self.finish() if self.upstream is None or not self.upstream.backlogged() else 0

    cdef int end_switched(self, const char *details) except -1:
        self.details = details
        self.client.end_response()
        return self.finish()

    cdef int on_upstream_fault(self, int fault, int reason, int error) except -1:
        """The upstream stream is closed and untied. Try again where that is safe, else say so to the client."""
        cdef bint reused = self.upstream is not None and self.upstream.reused
        self.upstream = None
        self.uncharge(True)
        if not self.response_started and fault != FAULT_REFUSED and not (fault == FAULT_CLOSED and reused):
            note_local(self)  # not so when an idle connection has ended meanwhile
        if self.switched and self.response_done:  # the upstream had said all that it wanted to say
            return self.finish()
        if self.response_started and fault == FAULT_TIMEOUT:
            self.flags |= FGW_F_SI
            self.ctx.loop.count(FGW_C_STREAM_TIMEOUTS)
            if self.switched:
                return self.end_switched(b"stream_idle_timeout")
            self.details = b"stream_idle_timeout"
            self.client.abort_response()
            return self.finish()
        if self.response_started:
            self.flags |= FGW_F_UR if fault == FAULT_RESET else FGW_F_UC
            self.details = (b"upstream_reset_after_response_started{remote_reset}" if fault == FAULT_RESET
                            else b"upstream_reset_after_response_started{connection_termination}")
            self.client.abort_response()
            return self.finish()
        if fault == FAULT_CONNECT_FAILED or fault == FAULT_CONNECT_TIMEOUT:
            self.ctx.loop.count(
                FGW_C_UPSTREAM_CONNECT_FAILURES if fault == FAULT_CONNECT_FAILED else FGW_C_UPSTREAM_CONNECT_TIMEOUTS)
        if (<RetryPolicy?>self.ctx.retries).again_after_fault(self, fault, reused):
            return 0
        return (<LocalAnswers?>self.ctx.answers).answer_fault(self, fault, reason, error)

    # ---- answers of the gateway

    cdef int reply(self, int status, uint32_t flags, const char *details, const char *body, size_t n) except -1:
        """Answer from here and finish. The connection stays open unless the request's framing is in doubt."""
        self.flags |= flags
        self.details = details
        return (<LocalAnswers?>self.ctx.answers).answer(self, status, NULL, 0, body, n)

    cdef int reply_redirect(self, int status, const char *location, size_t n) except -1:
        return (<LocalAnswers?>self.ctx.answers).answer(self, status, location, n, NULL, 0)

    cdef int give_answer(self, ResponseHead *head, size_t head_bytes, const char *body, size_t n) except -1:
        """Send an answer of our own, whole, and finish. ``head_bytes``: from head.base on. A body of more than OWN_PIECE_BYTES lies
        in the image, so that it can wait there for the client."""
        self.response_started = True
        self.timeout_at_ms = 0
        self.status = head.status
        self.response_ns = self.ctx.loop.now_ns
        if self.gives_cors | self.edits_answers():
            self.edit_answer(head, head_bytes)
        self.client.start_response(self, head)
        self.own_body, self.own_left = body, n
        return self.give_body()

    cdef int give_body(self) except -1:
        cdef const char *piece
        cdef size_t n
        while self.own_left:
            piece, n = self.own_body, min(self.own_left, <size_t>OWN_PIECE_BYTES)
            self.own_body += n
            self.own_left -= n
            self.bytes_sent += n
            self.client.write_body(piece, n)
            if self.own_left and self.client.backlogged():
                return 0
        self.response_done = True
        self.client.end_response()
        return self.finish()

    # ---- counting and the end

    cdef ClientSide client_side(self):
        return self.client

    cdef int detach_upstream(self) except -1:
        """Called by the upstream stream when its part is over."""
        self.upstream = None
        return 0

    cdef int abandon_upstream(self) except -1:
        cdef UpstreamStream up = self.upstream
        if up is not None:
            self.upstream = None
            up.abandon()
        return self.uncharge(False)

    cdef int abandon_attempt(self) except -1:
        """It has taken too long: that counts against the endpoint, if there is one."""
        cdef UpstreamStream up = self.upstream
        self.ticket = 0
        if up is not None:
            note_local(self)
            self.upstream = None
            up.abandon()
        return self.uncharge(True)

    cdef int finish(self) except -1:
        """Record, untie everything, tell the client's codec."""
        global exchanges
        cdef ClientStream client = self.client
        if not self.active:
            return 0
        self.active = False
        exchanges -= 1
        self.waiting = False
        self.deadline_ms = 0
        self.abandon_upstream()
        if self.mirrors is not None:
            (<Mirrors?>self.ctx.mirrors).end(self, False)
        leave(self)
        if self.retrying:
            (<RetryPolicy?>self.ctx.retries).end_retry(self)
        self.record()
        self.ctx.gauge(FGW_G_EXCHANGES_ACTIVE, -1)
        if self.switched:
            self.ctx.gauge(FGW_G_WEBSOCKETS_ACTIVE, -1)
        self.image = None
        self.head.release()
        self.translation = None
        if self.replay is not None:
            self.replay.release()
        if self.kept_response is not None:
            self.kept_response.release()
        if self.answer is not None:
            self.answer.release()
        return client.on_exchange_done(self)

    cdef int record(self) except -1:
        cdef uint32_t metric = 0
        cdef uint64_t key
        cdef int64_t now = clock_ns(CLOCK_MONOTONIC) + self.ctx.loop.skipped_ns
        cdef uint64_t received = self.bytes_received + (self.head.req.head_len if self.head.present else 0)
        if self.cluster != FGW_NONE:
            metric = self.image.clusters[self.cluster].metric_id
        if self.grpc == FGW_GRPC_NOT:
            key = fgw_series_key(metric, self.status, self.flags, FGW_PROTOCOL_HTTP)
        else:
            key = fgw_series_key_grpc(fgw_series_key(metric, self.status, self.flags, FGW_PROTOCOL_GRPC), self.grpc_status)
        fgw_series_add(
            fgw_series_of(self.ctx.stats, key),
            <uint64_t>((now - self.start_ns) // 1000), received, self.bytes_sent + self.response_head_bytes)
        if self.observer is not None:
            self.observer.on_finished(self)
        return 0
