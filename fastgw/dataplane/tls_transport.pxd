"""TLS over a socket, behind the same seam as a plain connection."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.tls_context cimport TlsContext
from fastgw.dataplane.tls_facts cimport TlsFacts
from fastgw.dataplane.transport cimport Transport
from fastgw.native.openssl cimport SSL


cdef enum:
    SESSION_BYTES = 16384          # of OpenSSL for a session, about: what it takes is known to nobody else


cdef long sessions_alive() noexcept


cdef class TlsTransport(Transport):
    """A plain Transport until start_server() or start_client()."""
    # owned
    cdef SSL *ssl
    cdef TlsContext context        # what ssl was made from
    cdef Buffer raw                # received records that OpenSSL has not asked for yet
    cdef Buffer cipher             # records that the socket has not taken; `sealed` is its size
    # borrowed: records that lie in somebody's buffer while start_server() runs
    cdef const char *early
    cdef size_t early_left
    # state
    cdef bint is_client
    cdef bint tcp_connected
    cdef bint collecting               # records collect in `cipher`
    cdef bint truncated            # the peer's stream ended without close_notify
    cdef bint notified             # our close_notify is out, or must not be sent
    cdef size_t small_left         # bytes that still go out in small records
    cdef int useless               # messages and alerts since the last data
    cdef int64_t wrote_ms
    cdef bytes failure             # why the handshake failed, None

    cdef int start_server(self, TlsContext context, const char *p, size_t n) except -1
    cdef int start_client(self, TlsContext context) except -1
    cdef TlsFacts facts(self)
    cdef int begin(self, TlsContext context) except -1
    cdef bint may_hold_more(self) noexcept
    cdef int step(self) except -1
    cdef bint hold_ticket(self) noexcept
    cdef int handshake_failed(self) except -1
    cdef int end_of_stream(self) except -1
    cdef int encrypt(self, const char *p, size_t n) except -1
    cdef int send_sealed(self) except -1
    cdef int notify(self) except -1
    cdef int take_in(self, char *out, int n) noexcept
    cdef int put_out(self, const char *p, int n) except -2
