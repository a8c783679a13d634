"""A connection that has just been accepted: which chain serves it?"""
from libc.stdint cimport int64_t, uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner
from fastgw.dataplane.tls_context cimport TlsContexts
from fastgw.dataplane.tls_transport cimport TlsTransport
from fastgw.dataplane.transport cimport Transport


cdef class Newcomer(ClientSide):
    # owned
    cdef Transport transport       # a TlsTransport where the first bytes decide
    cdef Buffer pending            # a PROXY header or a hello that is not whole yet
    # borrowed
    cdef ConnectionOwner owner     # the Server; None when we are done
    # state
    cdef TlsContexts contexts
    cdef uint32_t plain
    cdef bint looks                # the first bytes decide about the chain
    cdef bint proxied              # the PROXY header has not come yet
    cdef bint handshaking
    cdef int locate(self, uint32_t listener) except -1
    cdef int start(self, Transport transport, uint32_t plain, bint looks, bint proxied) except -1
    cdef int listen_to_proxy(self, const char *p, size_t n) except -1
    cdef int keep(self, const char *p, size_t n) except -1
    cdef int refuse(self, int reason) except -1
    cdef int look(self, const char *p, size_t n) except -1
    cdef int shake_hands(self, uint32_t chain, const char *p, size_t n) except -1
    cdef int alert(self, int description) except -1
    cdef int hand_over(self, uint32_t chain, const char *p, size_t n) except -1
    cdef int leave(self) except -1
