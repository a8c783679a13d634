"""The life of one request: head, decide, forward, answer, end, record.

An Exchange does not know which codec is on either side. Its client and upstream streams point back at it; the three are
tied in begin() and attempts.pyx:try_upstream(), and untied in finish(), detach_upstream() and where attempts.pyx abandons one,
nowhere else.

Ideas that have modules of their own: which destination and key (affinity.pyx), attempts (attempts.pyx) and their times
(timeouts.pyx), changes of messages (edits.pyx), sending an answer of our own (own_answers.pyx), what follows a 101 (websocket.pyx).
The rest of what a route may ask for is behind the contracts in steps.pyx.
"""
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t

from fastgw.dataplane.affinity cimport draw_destination, find_hash_key
from fastgw.dataplane.attempts cimport (
    abandon_upstream, end_route_time, end_try_time, fail, keep_for_replay, send_request, try_upstream,
)
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.edits cimport edit_answer, edit_request, edits_answers, translate_answer
from fastgw.dataplane.grpc cimport kind_of_request, status_in
from fastgw.dataplane.headers cimport mark_response, mark_trailers
from fastgw.dataplane.limits cimport leave
from fastgw.dataplane.outlier cimport note_answer, note_local
from fastgw.dataplane.own_answers cimport give_body
from fastgw.dataplane.request_head cimport RequestHead
from fastgw.dataplane.served cimport ClientSide, Served, clock_ns
from fastgw.dataplane.steps cimport Gate, Guard, LocalAnswers, Mirrors, RetryPolicy, RouteFilter
from fastgw.dataplane.streams cimport (
    FAULT_CLOSED, FAULT_OVERFLOW, FAULT_REFUSED, FAULT_RESET, FAULT_TIMEOUT, ClientStream, Connector, ExchangeObserver,
    ResponseHead,
)
from fastgw.dataplane.timeouts cimport (
    DUE_DELAY, DUE_NOTHING, DUE_ROUTE, DUE_TRY, arm, limit_time, start_timeouts, timed, what_is_due,
)
from fastgw.dataplane.websocket cimport check_switched_end, end_switched, switch, wants_websocket
from fastgw.native.base cimport FGW_R_HTTP10, FGW_R_UPGRADE_NOT_ALLOWED, fgw_field, fgw_reason_name, fgw_reason_status
from fastgw.native.grpc cimport FGW_GRPC_NOT, FGW_GRPC_PLAIN
from fastgw.native.http1 cimport FGW_FRAMING_LENGTH, FGW_FRAMING_NONE, FGW_METHOD_POST, FGW_MSG_UPGRADE, fgw_request
from fastgw.native.route cimport (
    FGW_ACTION_ROUTE, FGW_NONE, FGW_OWNER_OTHER, FGW_ROUTE_MATCH, FGW_ROUTE_REQUIRE_TLS, fgw_img_action, fgw_img_destination,
    fgw_img_edits, fgw_img_policy, fgw_regexes_calls, fgw_request_table, fgw_route_match, fgw_route_request,
)
from fastgw.native.state cimport (
    FGW_C_CLIENT_REQUESTS, FGW_C_MISDIRECTED, FGW_C_STREAM_TIMEOUTS, FGW_F_DC, FGW_F_DPE, FGW_F_NC, FGW_F_NR, FGW_F_OM, FGW_F_SI,
    FGW_F_UC, FGW_F_UR, FGW_G_EXCHANGES_ACTIVE, FGW_G_WEBSOCKETS_ACTIVE, FGW_PROTOCOL_GRPC, FGW_PROTOCOL_HTTP, fgw_series_add,
    fgw_series_key, fgw_series_key_grpc, fgw_series_of,
)
from fastgw.native.system cimport CLOCK_MONOTONIC

cdef long exchanges = 0


def exchanges_alive():
    """For leak checks: exchanges between begin() and finish()."""
    return exchanges


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
        self.head.reset(self.ctx, self.client.peer, self.client.peer_len, self.client.ip, self.client.secure)
        if self.client.tls is not None:
            self.head.client_cert = self.client.tls.forwarded()
        self.gives_cookie = self.gives_hash_cookie = False
        self.destination = FGW_NONE
        self.delayed = self.gives_cors = self.gives_limits = False
        self.mirrors = None
        self.has_policy = self.retrying = self.stale_retried = self.head_sent = self.continue_sent = False
        self.retries = self.tried_count = self.tried_levels = self.level_tries = self.skip_levels = 0
        self.timeout_ms = self.timeout_at_ms = self.try_timeout_at_ms = self.resume_at_ms = 0
        self.request_done = self.response_started = self.response_done = False
        self.replayable = True
        self.body_limit = UINT64_MAX
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
            self.head.count_leniencies(r.leniencies)
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

    # ---- decide

    cdef int decide(self) except -1:
        cdef fgw_route_request q
        cdef uint32_t table = self.client.route_table
        cdef uint32_t guard
        if self.ctx.refuse_share and (<Gate?>self.ctx.gate).refuses(self):
            return self.reply(503, FGW_F_OM, b"overload", b"envoy overloaded", 16)
        if self.image is None or (table == FGW_NONE and not self.client.secure):
            return self.reply(404, FGW_F_NR, b"route_not_found", NULL, 0)
        self.head.describe(&q)
        if self.client.secure and self.is_misdirected(&q, &table):
            self.ctx.loop.count(FGW_C_MISDIRECTED)
            return self.reply(self.ctx.misdirected_status, FGW_F_NR, b"misdirected_request", NULL, 0)
        fgw_route_match(self.image.base, table, &q, self.head.secure, self.image.regexes, fgw_regexes_calls(),
                        &self.route)
        guard = self.guard()
        if guard != FGW_NONE and not (<Guard?>self.ctx.guard).admit(self, guard, &q):
            return 0
        if self.route.verdict == FGW_ROUTE_REQUIRE_TLS:
            return (<LocalAnswers?>self.ctx.answers).answer_https(self)
        if self.route.verdict != FGW_ROUTE_MATCH:
            return self.reply(404, FGW_F_NR, b"route_not_found", NULL, 0)
        self.upgrade = bool(self.head.req.flags & FGW_MSG_UPGRADE)
        if self.upgrade and not (self.client.http2 or wants_websocket(self.head)):  # HTTP/2's head is judged by its parser
            self.reject_reason = FGW_R_UPGRADE_NOT_ALLOWED
            self.ctx.reject(FGW_R_UPGRADE_NOT_ALLOWED)
            return self.reply(403, 0, b"upgrade_failed", NULL, 0)
        return self.choose_destination(&q)

    cdef uint32_t guard(self) noexcept:
        """Of the rule that matches; where none does, of the virtual host."""
        if self.route.verdict == FGW_ROUTE_MATCH:
            return self.image.actions[self.route.action].guard
        return self.image.vhosts[self.route.vhost].guard if self.route.vhost != FGW_NONE else <uint32_t>FGW_NONE

    cdef bint is_misdirected(self, const fgw_route_request *q, uint32_t *table) noexcept:
        """Is the request for a host of a server that shows other certificates or asks clients for something else (requirement G5)?
        Else *table is what decides. A connection whose server has changed meanwhile serves nobody any more: the client may
        come again on a new one (RFC 9110 section 15.5.20)."""
        cdef ClientStream client = self.client
        if client.listener == FGW_NONE:
            return False
        return client.chain == FGW_NONE or FGW_OWNER_OTHER == fgw_request_table(
            self.image.base, client.listener, client.chain, q.host, q.host_len, table)

    cdef int choose_destination(self, const fgw_route_request *q) except -1:
        cdef const fgw_img_action *a = &self.image.actions[self.route.action]
        cdef const fgw_img_destination *d = self.image.destinations + a.destinations.off
        if a.kind != FGW_ACTION_ROUTE:
            return (<LocalAnswers?>self.ctx.answers).answer_action(self, q)
        if a.destinations.count == 0:
            return self.reply(503, FGW_F_NC, b"cluster_not_found", NULL, 0)
        if a.destinations.count > 1:
            d += draw_destination(self, a, q)
        self.destination = <uint32_t>(d - self.image.destinations)
        self.cluster = d.cluster
        self.cluster_name = d.cluster_name
        self.has_policy = a.policy != FGW_NONE
        if self.has_policy and not (<RouteFilter?>self.ctx.filters).begin(self, q):
            return 0
        return self.forward(q)

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
            find_hash_key(self, policy, q)
        if (changes_request(&a.edits) | changes_request(&d.edits) | (self.grpc > FGW_GRPC_PLAIN)
                or (self.has_policy and self.image.route_policies[a.policy].rewrite)) and not edit_request(self):
            return self.reply(500, 0, b"request_headers_too_large", NULL, 0)
        if self.has_policy or self.grpc != FGW_GRPC_NOT:
            limit_time(self, self.image.route_policies[a.policy].timeout_ms if self.has_policy else 0)
        if self.has_policy and self.image.route_policies[a.policy].mirrors.count:
            (<Mirrors?>self.ctx.mirrors).start(self)
        return try_upstream(self, False)

    # ---- the upstream comes, or does not

    cdef int on_timer(self) except -1:
        try:
            return self.do_what_is_due()
        except BaseException:
            self.cut_off()
            raise

    cdef int cut_off(self) except -1:
        """Something has raised where nothing else comes for us: the client shall not wait for ever."""
        if self.active and self.client is not None:
            self.client.abort_response()
            self.finish()
        return 0

    cdef int do_what_is_due(self) except -1:
        cdef int due = what_is_due(self) if self.active else DUE_NOTHING
        if due == DUE_ROUTE:
            return end_route_time(self)
        if due == DUE_TRY:
            end_try_time(self)
        elif due == DUE_DELAY:
            self.end_delay()
        elif due != DUE_NOTHING:
            try_upstream(self, False)
        return arm(self) if self.active else 0

    cdef int proceed(self) except -1:
        return try_upstream(self, False) if self.active and self.upstream is None else 0

    cdef int overflowed(self) except -1:
        return (<LocalAnswers?>self.ctx.answers).answer_fault(self, FAULT_OVERFLOW, 0, 0)

    cdef int on_upstream_ready(self) except -1:
        send_request(self)
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
        if self.bytes_received > self.body_limit:
            return (<Guard?>self.ctx.guard).refuse_body(self)
        if self.translation is not None:
            reason = self.translation.request_body(p, n)
            if reason:
                return self.on_request_error(reason)
            p, n = self.translation.out.head(), self.translation.out.size()
        if self.replayable and not self.switched:
            keep_for_replay(self, p, n)
        if self.mirrors is not None:
            (<Mirrors?>self.ctx.mirrors).body(self, p, n)
        if self.upstream is not None:
            self.upstream.write_body(p, n)
        return self.translation.out.release() if self.translation is not None else 0

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
        if timed(self) and not self.response_started:
            start_timeouts(self)
        if self.upstream is not None:
            self.upstream.end_request()
            self.upstream.flush()
        return check_switched_end(self) if self.switched else 0

    cdef int on_request_error(self, int reason) except -1:
        """The body is malformed or did not come in time: the upstream must see an aborted message (A14)."""
        self.reject_reason = reason
        self.ctx.reject(reason)
        self.flags |= FGW_F_DPE
        abandon_upstream(self)
        if self.client.unanswerable(reason) or self.response_started:
            self.details = fgw_reason_name(reason)
            self.client.abort_response()
            return self.finish()
        return self.reply(fgw_reason_status(reason), FGW_F_DPE, fgw_reason_name(reason), NULL, 0)

    cdef int on_client_gone(self) except -1:
        return self.give_up(FGW_F_DC, b"downstream_remote_disconnect")

    cdef int give_up(self, uint32_t flags, const char *details) except -1:
        """The end, without a word to the client."""
        self.flags |= flags
        self.details = details
        abandon_upstream(self)
        return self.finish()

    cdef int on_client_writable(self) except -1:
        if self.own_left:
            return give_body(self)
        if self.upstream is not None:
            self.upstream.resume_response()
        return 0

    cdef int on_upstream_writable(self) except -1:
        if not self.request_done and self.active:
            self.client.resume_request()
        return check_switched_end(self) if self.switched else 0

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
        edited = self.gives_hash_cookie | self.gives_cors | self.gives_limits | edits_answers(self)
        if edited and not edit_answer(self, head, head.head_bytes) or (
                self.translation is not None and not translate_answer(self, head, edited)):
            self.response_started = False
            self.service_time_ms = -1
            abandon_upstream(self)
            return self.reply(500, 0, b"response_headers_too_large", NULL, 0)
        if self.observer is not None and self.observer.wants_response:
            self.observer.on_response(self, head)
        self.client.start_response(self, head)
        return switch(self) if head.status == 101 else 0

    cdef int on_response_body(self, const char *p, size_t n) except -1:
        if self.translation is None:
            self.bytes_sent += n
            return self.client.write_body(p, n)
        self.translation.answer_body(p, n)
        return self.write_translated()

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
            return check_switched_end(self)
        self.uncharge(False)
        try:
            self.client.end_response()
        except BaseException:
            self.cut_off()
            raise
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
                return end_switched(self, b"stream_idle_timeout")
            self.details = b"stream_idle_timeout"
            self.client.abort_response()
            return self.finish()
        if self.response_started:
            self.flags |= FGW_F_UR if fault == FAULT_RESET else FGW_F_UC
            self.details = (b"upstream_reset_after_response_started{remote_reset}" if fault == FAULT_RESET
                            else b"upstream_reset_after_response_started{connection_termination}")
            self.client.abort_response()
            return self.finish()
        try:
            return fail(self, fault, reason, error, reused)
        except BaseException:
            self.cut_off()
            raise

    # ---- answers of the gateway

    cdef int reply(self, int status, uint32_t flags, const char *details, const char *body, size_t n) except -1:
        """Answer from here and finish. The connection stays open unless the request's framing is in doubt."""
        self.flags |= flags
        self.details = details
        return (<LocalAnswers?>self.ctx.answers).answer(self, status, NULL, 0, body, n)

    cdef int reply_redirect(self, int status, const char *location, size_t n) except -1:
        return (<LocalAnswers?>self.ctx.answers).answer(self, status, location, n, NULL, 0)

    # ---- counting and the end

    cdef ClientSide client_side(self):
        return self.client

    cdef int detach_upstream(self) except -1:
        """Called by the upstream stream when its part is over."""
        self.upstream = None
        return 0

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
        abandon_upstream(self)
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
        if self.limits_told is not None:
            self.limits_told.release()
        return client.on_exchange_done(self)

    cdef int record(self) except -1:
        cdef uint32_t metric = 0
        cdef uint64_t key
        cdef uint64_t received = self.bytes_received + (self.head.req.head_len if self.head.present else 0)
        self.end_ns = clock_ns(CLOCK_MONOTONIC) + self.ctx.loop.skipped_ns
        if self.cluster != FGW_NONE:
            metric = self.image.clusters[self.cluster].metric_id
        if self.grpc == FGW_GRPC_NOT:
            key = fgw_series_key(metric, self.status, self.flags, FGW_PROTOCOL_HTTP)
        else:
            key = fgw_series_key_grpc(fgw_series_key(metric, self.status, self.flags, FGW_PROTOCOL_GRPC), self.grpc_status)
        fgw_series_add(
            fgw_series_of(self.ctx.stats, key),
            <uint64_t>((self.end_ns - self.start_ns) // 1000), received, self.bytes_sent + self.response_head_bytes)
        if self.observer is not None:
            self.observer.on_finished(self)
        return 0
