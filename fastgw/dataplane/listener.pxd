"""Accepting connections."""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.admission cimport Admission
from fastgw.dataplane.client_http2_stream cimport StreamPool
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.holders cimport CountedDoor, Holders
from fastgw.dataplane.newcomer cimport Newcomer
from fastgw.dataplane.overload cimport Overload
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner
from fastgw.dataplane.streams cimport Connector, ExchangeObserver
from fastgw.dataplane.tls_context cimport TlsContexts
from fastgw.dataplane.transport cimport Transport
from fastgw.native.system cimport sockaddr_storage


cdef class Listener(CountedDoor):
    cdef Server server
    cdef readonly str name         # of the Plan's listener
    cdef uint32_t index            # in the current image, FGW_NONE when it is gone
    cdef uint32_t plain            # chain for connections without TLS, FGW_NONE
    cdef bint looks                # a client's first bytes decide about the chain
    cdef bint proxied              # before them comes a PROXY header
    cdef int accept_some(self) except -1
    cdef int take(self, int fd, const sockaddr_storage *address, uint64_t key) except -1
    cdef int admit(self, int fd, Newcomer c, Transport transport) except -1
    cdef int judge(self, const sockaddr_storage *address, uint64_t *key) noexcept
    cdef int turn_away(self, int fd, int reason) except -1


cdef class Server(ConnectionOwner):
    """All listeners and client connections of the worker."""
    cdef Context ctx
    cdef Connector connector
    cdef ExchangeObserver observer
    cdef StreamPool streams        # of HTTP/2 connections
    cdef TlsContexts contexts
    cdef readonly list listeners
    cdef readonly set clients
    cdef readonly Admission admission
    cdef readonly Overload overload
    cdef readonly Holders holders
    cdef int reserve_fd            # given up to accept and close when descriptors run out
    cdef int relay(self, ClientSide accepted, Transport transport, uint32_t chain, const char *p, size_t n) except -1
    cdef int enter(self, ClientSide client) except -1
    cdef int shed(self, int fd) except -1
