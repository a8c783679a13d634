"""Limits of client connections: of a listener, and of one source address at it."""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.admission cimport Door
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.loop cimport Timer
from fastgw.dataplane.served cimport ClientSide
from fastgw.native.cidr cimport fgw_ip


cdef class CountedDoor(Door):
    cdef bytes name_bytes
    cdef uint32_t place            # in the state segment
    cdef uint32_t limit            # connections of the listener on all workers, 0: no limit
    cdef uint32_t source_limit     # of one source address, 0: no limit


cdef class Holders(Timer):
    """Counts the client connections of the worker; the state segment adds up those of all workers."""
    cdef Context ctx
    cdef list doors                # CountedDoor
    cdef readonly int full         # of them, those that wait for a connection to end
    cdef bint enter(self, CountedDoor door) except -1
    cdef int leave(self, CountedDoor door, uint64_t key) except -1
    cdef int admit(self, CountedDoor door, fgw_ip ip, uint64_t *key) noexcept
    cdef int admit_told(self, ClientSide client) noexcept
    cdef int forget(self, ClientSide client) except -1
    cdef int look(self) except -1
