"""The limits of connectionPool: what is counted with all workers, and who waits."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.loop cimport Timer, Turn
from fastgw.dataplane.served cimport Served
from fastgw.native.route cimport fgw_img_policy

cdef enum Held:
    HELD_NOT = 0
    HELD_WAIT = 1        # until a connection is free
    HELD_REFUSED = 2     # too many


cdef class WaitLine(Timer):
    """Requests of this worker that wait for a connection of a cluster, first come, first served."""
    cdef Context ctx
    cdef LineTurn turn
    cdef object waiting           # deque of (Served, ticket)
    cdef bint holds(self, tuple entry) except -1
    cdef int put(self, Served s) except -1
    cdef int expire(self) except -1
    cdef int serve(self) except -1


cdef class LineTurn(Turn):
    cdef WaitLine line


cdef int admit(Served s) except -1
cdef int may_connect(Served s, bint waits, uint32_t *cell) except -1
cdef int wait_in_line(Served s) except -1
cdef int got_connection(Served s) except -1
cdef int leave(Served s) except -1
cdef int release_connection(Context ctx, uint32_t cell) except -1
cdef int free_connection(Context ctx, uint32_t cell) except -1
cdef uint32_t wanted_by_others(Context ctx, uint32_t cell, uint32_t limit) noexcept
