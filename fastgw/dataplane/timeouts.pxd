"""How long an exchange may take, and when its timer is due for what."""
from libc.stdint cimport int64_t

from fastgw.dataplane.exchange cimport Exchange

cdef enum Due:
    DUE_NOTHING = 0
    DUE_ROUTE = 1             # the route's time is over
    DUE_TRY = 2               # that of the present attempt
    DUE_DELAY = 3             # the end of a delay before the first attempt
    DUE_RETRY = 4             # the end of a pause before the next one
    DUE_NAME = 5              # a look whether a name has been resolved


cdef inline bint timed(Exchange x) noexcept:
    """A route's policy or a call of gRPC sets times."""
    return x.has_policy | (x.timeout_ms != 0)


cdef int limit_time(Exchange x, int64_t route_ms) except -1
cdef int start_timeouts(Exchange x) except -1
cdef int start_delay(Exchange x, int64_t ms) except -1
cdef int start_pause(Exchange x, int64_t ms) except -1
cdef int arm(Exchange x) except -1
cdef int what_is_due(Exchange x) noexcept
