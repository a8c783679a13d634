"""Attempts of an exchange at its upstreams."""
from libc.stdint cimport int64_t

from fastgw.dataplane.exchange cimport Exchange

cdef int try_upstream(Exchange x, bint fresh) except -1
cdef int send_again(Exchange x, int64_t pause_ms, bint fresh) except -1
cdef int send_request(Exchange x) except -1
cdef int keep_for_replay(Exchange x, const char *p, size_t n) except -1
cdef int end_route_time(Exchange x) except -1
cdef int end_try_time(Exchange x) except -1
cdef int fail(Exchange x, int fault, int reason, int error, bint reused) except -1
cdef int abandon_upstream(Exchange x) except -1
