"""Idle upstream connections, by endpoint."""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.loop cimport Timer
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.streams cimport Connector, UpstreamStream
from fastgw.dataplane.upstream_http1 cimport IdleOwner, UpstreamHttp1
from fastgw.dataplane.upstream_hub cimport Hubs
from fastgw.dataplane.upstream_tls cimport PeerName


cdef class Shelf(IdleOwner):
    """Idle connections of one endpoint cell; the last one put in is the first one out."""
    cdef Pool pool
    cdef UpstreamHttp1 top
    cdef UpstreamHttp1 bottom
    cdef uint32_t count
    cdef UpstreamHttp1 take(self, const Address *to, const PeerName *peer, bytes source)


cdef class Pool(Connector):
    cdef Context ctx
    cdef void **shelves            # by cell: borrowed Shelf
    cdef list owned                # the strong references
    cdef long shelved              # idle HTTP/1 connections
    cdef Hubs hubs                 # HTTP/2
    cdef dict counted              # by cluster state: idle connections of clusters with maxConnections, oldest first
    cdef PoolWatch watch
    cdef Shelf shelf(self, uint32_t cell)
    cdef UpstreamStream acquire_http2(self, Exchange x, const Address *to, PeerName *peer, int64_t connect_timeout_ms, bint fresh)
    cdef bint keep_counted(self, UpstreamHttp1 c) except -1
    cdef bint give_up_one(self, uint32_t cell) except -1
    cdef int give_up_wanted(self) except -1


cdef class PoolWatch(Timer):
    """Looks whether requests of other workers wait for what is idle here."""
    cdef Pool pool
