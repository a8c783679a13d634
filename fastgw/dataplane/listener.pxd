"""Accepting connections."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport ClientStream, ConnectionOwner, Connector, Observer
from fastgw.dataplane.loop cimport Timer, Watcher


cdef class Resume(Timer):
    cdef Server server


cdef class Listener(Watcher):
    cdef Server server
    cdef readonly str name         # of the Plan's listener
    cdef bytes name_bytes
    cdef uint32_t index            # in the current image, FGW_NONE when it is gone
    cdef int accept_some(self) except -1
    cdef int take(self, int fd, const void *address) except -1


cdef class Server(ConnectionOwner):
    """All listeners and client connections of the worker."""
    cdef Context ctx
    cdef Connector connector
    cdef Observer observer
    cdef readonly list listeners
    cdef readonly set clients
    cdef Resume resume
    cdef int reserve_fd            # given up to accept and close when descriptors run out
    cdef bint paused               # not accepting
    cdef readonly bint full        # at the connection limit
    cdef int pause(self, int64_t delay_ms) except -1
    cdef int shed(self, int fd) except -1
