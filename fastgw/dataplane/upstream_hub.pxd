"""The HTTP/2 connections of one endpoint."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.streams cimport UpstreamStream
from fastgw.dataplane.upstream_http2 cimport StreamOwner, UpstreamHttp2
from fastgw.dataplane.upstream_http2_stream cimport StreamStore, UpstreamHttp2Stream
from fastgw.dataplane.upstream_tls cimport PeerName


cdef class Hub(StreamOwner):
    """To one address under one name: those that take new streams, and requests that wait for one."""
    # borrowed
    cdef Hubs hubs
    cdef Hub beside                # of the same cell, under another name or address
    # state
    cdef Context ctx
    cdef uint32_t cell
    cdef Address address
    cdef PeerName peer
    cdef bytes source              # the client whose connections these are (proxyProtocol), None: anybody's
    cdef list connections          # UpstreamHttp2: open or connecting
    cdef int connecting
    cdef UpstreamHttp2Stream front  # of the queue
    cdef UpstreamHttp2Stream back
    cdef uint32_t waiting
    cdef UpstreamHttp2 least_loaded(self)
    cdef int help_waiting(self) except -1
    cdef int enqueue(self, UpstreamHttp2Stream s) except -1
    cdef bint needs_another(self) noexcept
    cdef int connect(self, Exchange x, int64_t timeout_ms) except -1
    cdef int give_up(self, UpstreamHttp2Stream s) except -1
    cdef int forget(self, UpstreamHttp2 c) except -1
    cdef UpstreamStream acquire(self, Exchange x, int64_t timeout_ms, bint fresh)


cdef class Hubs:
    """Those of a worker."""
    cdef Context ctx
    cdef StreamStore store
    cdef void **by_cell            # borrowed Hub, the first of its cell
    cdef list owned                # the strong references
    cdef readonly long idle        # connections without streams
    cdef Hub find(self, const Address *to, const PeerName *peer, bytes source)
    cdef int remove(self, Hub hub) except -1
    cdef bint give_up_one(self, uint32_t limit_cell) except -1
    cdef int hurry(self) except -1


cdef bint same_address(const Address *a, const Address *b) noexcept
cdef bint same_name(const PeerName *a, const PeerName *b) noexcept
cdef int copy_name(PeerName *to, const PeerName *name) noexcept
