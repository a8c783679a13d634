"""What a worker does about too much work and too little memory."""
from libc.stdint cimport int64_t, uint64_t

from fastgw.dataplane.admission cimport Admission
from fastgw.dataplane.client_http2_stream cimport StreamPool
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.steps cimport Gate
from fastgw.dataplane.streams cimport Connector


cdef class Sampler(Turn):
    cdef Overload overload


cdef class Overload(Gate):
    # borrowed
    cdef Context ctx
    cdef set clients               # of the server: ClientSide
    cdef Connector connector       # what is idle to upstreams
    cdef StreamPool streams        # what is kept for clients' streams
    # owned
    cdef Admission admission
    cdef int statm_fd              # /proc/self/statm
    cdef list spared               # paths of requests that are never refused
    # settings
    cdef uint64_t budget           # bytes of private memory, 0: no bound
    cdef int64_t idle_ms           # the limits when memory is plenty
    cdef int64_t http2_idle_ms
    cdef int64_t upstream_idle_ms
    # state
    cdef readonly int step         # enum fgw_memory_step
    cdef uint64_t used             # of `limit`, whichever of the worker's and the group's memory is nearer to its end
    cdef uint64_t limit
    cdef bint of_group             # it is the group's
    cdef int64_t trimmed_ms
    cdef int64_t dropped_ms        # when streams were last reset

    cdef int on_sample(self) except -1
    cdef int weigh(self) except -1
    cdef uint64_t private_bytes(self) except? 0
    cdef uint64_t held_bytes(self) noexcept
    cdef bint is_held(self) noexcept
    cdef int trim(self) except -1
    cdef int apply(self) except -1
    cdef int hurry_idle(self) except -1
    cdef int hurry_upstreams(self, bint parting_before) except -1
    cdef int drop_largest(self) except -1
    cdef int show(self) except -1
    cdef bint spares(self, Exchange x) noexcept
