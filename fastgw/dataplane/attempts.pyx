"""Attempts: pick an endpoint, connect, send; and what becomes of one that fails before its answer.

What is sent again, and when, is for the RetryPolicy to say; here is what that takes: the request stays in its arena, up to
REPLAY_LIMIT_BYTES of its body are kept, and an answer that is not taken is dropped before the client sees its head.
"""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.balancer cimport PICK_ONE, PICK_WAIT, pick
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.exchange cimport TRIED_MAX, Exchange
from fastgw.dataplane.limits cimport HELD_NOT, HELD_REFUSED, HELD_WAIT, admit, got_connection, wait_in_line
from fastgw.dataplane.outlier cimport note_connected, note_local
from fastgw.dataplane.steps cimport LocalAnswers, RetryPolicy
from fastgw.dataplane.streams cimport FAULT_CONNECT_FAILED, FAULT_CONNECT_TIMEOUT, FAULT_TIMEOUT, UpstreamStream
from fastgw.dataplane.timeouts cimport arm, start_pause, start_timeouts, timed
from fastgw.native.http1 cimport FGW_MSG_EXPECT_CONTINUE
from fastgw.native.state cimport (
    FGW_C_UPSTREAM_CONNECT_FAILURES, FGW_C_UPSTREAM_CONNECT_TIMEOUTS, FGW_C_UPSTREAM_REQUESTS, FGW_C_UPSTREAM_REUSED,
    FGW_C_UPSTREAM_TIMEOUTS, FGW_F_UH, FGW_F_UT,
)

cdef enum:
    REPLAY_LIMIT_BYTES = 65536   # requirement H11


cdef int try_upstream(Exchange x, bint fresh) except -1:
    """Pick an endpoint and ask for a stream to it; answers 503 when there is none."""
    cdef uint32_t avoid = 0, skipped
    cdef int picked
    if admit(x) == HELD_REFUSED:
        return x.overflowed()
    if x.tried_count:
        if (<RetryPolicy?>x.ctx.retries).avoids_tried(x):
            avoid = min(x.tried_count, <uint32_t>TRIED_MAX)
        (<RetryPolicy?>x.ctx.retries).leave_levels(x)
    skipped = x.skip_levels
    picked = pick(x, x.tried, avoid, &x.skip_levels)
    if skipped != x.skip_levels:  # all have been tried, or the others cannot be used: from the beginning
        x.tried_levels = x.level_tries = 0
    if picked == PICK_WAIT and x.await_name():
        return 0
    if picked != PICK_ONE:
        return x.reply(503, FGW_F_UH, b"no_healthy_upstream", b"no healthy upstream", 19)
    x.waiting = False
    x.held = HELD_NOT
    x.upstream = x.connector.acquire(x, &x.address, x.image.clusters[x.cluster].connect_timeout_ms, fresh)
    if x.held == HELD_WAIT:
        arm(x)
        return wait_in_line(x)
    if x.held:
        return x.overflowed()
    x.attempts += 1
    x.tried[x.tried_count % TRIED_MAX] = x.address.cell
    x.tried_count += 1
    x.tried_levels |= <uint32_t>1 << x.address.level
    if not fresh:  # in place of an attempt on a connection that was gone
        x.level_tries += 1
    x.charge()
    if timed(x) and x.request_done:
        start_timeouts(x)
    if x.upstream is None:
        return x.on_upstream_fault(FAULT_CONNECT_FAILED, 0, 0)
    return send_request(x) if x.upstream.ready() else 0


cdef int send_again(Exchange x, int64_t pause_ms, bint fresh) except -1:
    """What has been sent is void: try an upstream (once more) after a pause, on a new connection if that is wanted."""
    x.head_sent = False
    x.try_timeout_at_ms = 0
    return try_upstream(x, fresh) if pause_ms <= 0 else start_pause(x, pause_ms)


cdef int send_request(Exchange x) except -1:
    """The stream is ready: head, what of the body was kept for replay, and on with the client's."""
    x.upstream_start_ns = x.ctx.loop.now_ns
    note_connected(x, False)
    got_connection(x)
    x.ctx.stats.counters[FGW_C_UPSTREAM_REQUESTS] += 1
    if x.upstream.reused:
        x.ctx.stats.counters[FGW_C_UPSTREAM_REUSED] += 1
    if x.attempts > 1:
        x.head.set_attempts(x.attempts)
        x.transport_failure = None  # of an attempt before
    if x.observer is not None and x.observer.wants_local:
        x.upstream_local_len = x.upstream.local_address(x.upstream_local)
    x.upstream.start_request(x)
    x.head_sent = True
    if x.replay is not None and x.replay.size():
        x.upstream.write_body(x.replay.head(), x.replay.size())
    if x.request_done:
        x.upstream.end_request()
        return x.upstream.flush()
    if (x.head.req.flags & FGW_MSG_EXPECT_CONTINUE and x.bytes_received == 0 and not x.continue_sent
            and not x.upgrade):
        x.continue_sent = True
        x.client.send_continue()
    return x.client.resume_request()


cdef int keep_for_replay(Exchange x, const char *p, size_t n) except -1:
    """A piece of the body, while the request could still be sent again."""
    if x.response_started or x.bytes_received > REPLAY_LIMIT_BYTES:
        x.replayable = False
        if x.replay is not None:
            x.replay.release()
        return 0
    if x.replay is None:
        x.replay = Buffer()
    return x.replay.append(p, n)


# ---- what ends an attempt

cdef int end_route_time(Exchange x) except -1:
    """I8. An answer that has begun is cut: the time is for all of it."""
    x.waiting = False
    if not x.response_started:
        abandon_attempt(x)
        return (<LocalAnswers?>x.ctx.answers).answer_fault(x, FAULT_TIMEOUT, 0, 0)
    x.flags |= FGW_F_UT
    x.details = b"upstream_response_timeout"
    x.ctx.loop.count(FGW_C_UPSTREAM_TIMEOUTS)
    x.client.abort_response()
    return x.finish()


cdef int end_try_time(Exchange x) except -1:
    """I9. Nothing is cut: what has begun to answer has the route's time for the rest (J11)."""
    if x.response_started:
        return 0
    x.waiting = False
    abandon_attempt(x)
    if (<RetryPolicy?>x.ctx.retries).again_after_fault(x, FAULT_TIMEOUT, False):
        return 0
    x.ctx.loop.count(FGW_C_UPSTREAM_TIMEOUTS)
    return x.reply(504, FGW_F_UT, b"upstream_per_try_timeout", b"upstream request timeout", 24)


cdef int fail(Exchange x, int fault, int reason, int error, bint reused) except -1:
    """No answer has begun. Try again where that is safe, else say so to the client."""
    if fault == FAULT_CONNECT_FAILED or fault == FAULT_CONNECT_TIMEOUT:
        x.ctx.loop.count(FGW_C_UPSTREAM_CONNECT_FAILURES if fault == FAULT_CONNECT_FAILED else FGW_C_UPSTREAM_CONNECT_TIMEOUTS)
    if (<RetryPolicy?>x.ctx.retries).again_after_fault(x, fault, reused):
        return 0
    return (<LocalAnswers?>x.ctx.answers).answer_fault(x, fault, reason, error)


cdef int abandon_upstream(Exchange x) except -1:
    """Nothing more is wanted of it, which is not its fault."""
    cdef UpstreamStream up = x.upstream
    if up is not None:
        x.upstream = None
        up.abandon()
    return x.uncharge(False)


cdef int abandon_attempt(Exchange x) except -1:
    """It has taken too long: that counts against the endpoint, if there is one."""
    cdef UpstreamStream up = x.upstream
    x.ticket = 0
    if up is not None:
        note_local(x)
        x.upstream = None
        up.abandon()
    return x.uncharge(True)
