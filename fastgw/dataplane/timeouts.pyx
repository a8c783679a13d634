"""One timer for all that an exchange waits for: the route's time, an attempt's, pauses before either, a name that is resolved.

Here is when; what happens then is for exchange.pyx and attempts.pyx.
"""
from libc.stdint cimport int64_t

from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.grpc cimport timeout_of_request
from fastgw.dataplane.steps cimport RetryPolicy
from fastgw.native.grpc cimport FGW_GRPC_NOT


cdef inline int64_t earlier(int64_t a, int64_t b) noexcept:
    """Of two times, of which 0 is none."""
    return a if b == 0 or (a and a < b) else b


cdef int limit_time(Exchange x, int64_t route_ms) except -1:
    """What the route allows (0: anything), and of that what a call allows (J3); it runs from the end of the request (J2)."""
    x.timeout_ms = route_ms
    if x.grpc != FGW_GRPC_NOT:
        x.timeout_ms = earlier(x.timeout_ms, timeout_of_request(x.head))
    if x.timeout_ms and x.request_done:
        x.timeout_at_ms = x.ctx.loop.now_ms + x.timeout_ms  # the attempt that begins now arms the timer
    return 0


cdef int start_timeouts(Exchange x) except -1:
    """The request has come to its end, or an attempt with a whole request begins (J2)."""
    cdef int64_t now = x.ctx.loop.now_ms
    cdef int64_t try_ms = (<RetryPolicy?>x.ctx.retries).try_timeout_ms(x)
    if x.timeout_ms and not x.timeout_at_ms:
        x.timeout_at_ms = now + x.timeout_ms
    if try_ms and x.attempts:
        x.try_timeout_at_ms = now + try_ms
    return arm(x)


cdef int start_delay(Exchange x, int64_t ms) except -1:
    """Before the request goes on at all: DUE_DELAY."""
    x.delayed = True
    x.resume_at_ms = x.ctx.loop.now_ms + max(ms, 1)
    return arm(x)


cdef int start_pause(Exchange x, int64_t ms) except -1:
    """Before the next attempt: DUE_RETRY."""
    x.resume_at_ms = x.ctx.loop.now_ms + ms
    return arm(x)


cdef int arm(Exchange x) except -1:
    """The timer, for whichever of its purposes comes first."""
    cdef int64_t when = x.deadline_ms if x.waiting else 0
    when = earlier(earlier(when, x.timeout_at_ms), earlier(x.try_timeout_at_ms, x.resume_at_ms))
    return x.ctx.loop.set_deadline(x, when)


cdef int what_is_due(Exchange x) noexcept:
    """The first purpose (enum Due) whose time has come; that time is taken off."""
    cdef int64_t now = x.ctx.loop.now_ms
    if x.timeout_at_ms and now >= x.timeout_at_ms:
        x.timeout_at_ms = x.resume_at_ms = 0
        return DUE_ROUTE
    if x.try_timeout_at_ms and now >= x.try_timeout_at_ms:
        x.try_timeout_at_ms = 0
        return DUE_TRY
    if x.resume_at_ms and now >= x.resume_at_ms:
        x.resume_at_ms = 0
        return DUE_DELAY if x.delayed else DUE_RETRY
    return DUE_NAME if x.waiting else DUE_NOTHING
