"""TLS towards upstreams: contexts, sessions to resume, and transports made from them."""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.context cimport Context, Image
from fastgw.dataplane.served cimport Served
from fastgw.dataplane.tls_context cimport TlsContext
from fastgw.dataplane.tls_transport cimport TlsTransport
from fastgw.dataplane.transport cimport Transport
from fastgw.native.credentials cimport fgw_credential
from fastgw.native.openssl cimport SSL_CTX, SSL_SESSION, X509_STORE
from fastgw.native.route cimport fgw_img_upstream_tls

cdef enum:
    NAME_MAX = 255


cdef struct PeerName:
    # Connections to an endpoint may take each other's place when both of these are the same.
    uint64_t identity          # fgw_img_upstream_tls.identity, 0: plain text
    bint http2                 # spoken over it
    uint32_t len
    char text[NAME_MAX + 1]    # the request's host where it is the SNI: lower case, without port; else ""


cdef class Session:
    cdef SSL_SESSION *session      # owned


cdef class Sessions:
    """What can be resumed at one endpoint under one name, the newest last."""
    cdef list kept
    cdef int put(self, SSL_SESSION *session) except -1
    cdef Session take(self)


cdef class TrustStore:
    cdef X509_STORE *store         # owned
    cdef object __weakref__


cdef class UpstreamContext(TlsContext):
    """How the endpoints of clusters with one upstream_tls record are spoken to."""
    cdef int verify                # enum fgw_upstream_verify
    cdef bytes sni                 # as configured, b"": the name of the connection
    cdef bytes made_of             # fingerprints of the credentials
    cdef int alpn                  # set of enum fgw_alpn; of HTTP/2 and HTTP/1 a connection offers the one that it is for
    cdef TrustStore trusted
    cdef object sessions           # OrderedDict: (cell, name) -> Sessions, the least recently used first
    cdef Sessions sessions_of(self, uint32_t cell, bytes name)


cdef class UpstreamContexts:
    """Those of a worker: made at first use, bounded, kept over images as long as nothing they are made of changes."""
    cdef object by_identity        # OrderedDict: int -> UpstreamContext, the least recently used first
    cdef object stores             # by what they are made of, as long as a context uses them
    cdef TrustStore system         # the system's, once it has been asked for
    cdef bytes problem             # why find() found none
    cdef UpstreamContext find(self, Context ctx, Image image, const fgw_img_upstream_tls *t)
    cdef UpstreamContext make(self, Context ctx, Image image, const fgw_img_upstream_tls *t, bytes made_of)
    cdef TrustStore trust(self, Context ctx, bytes name)
    cdef const fgw_credential *credential(self, Context ctx, bytes name) noexcept


cdef class UpstreamTlsTransport(TlsTransport):
    cdef Sessions sessions
    cdef int alpn                  # offered, 0: what the context offers
    cdef bint prepare(self, UpstreamContext context, bytes name, Sessions sessions) except -1


cdef int name_peer(Image image, uint32_t cluster, const char *authority, size_t n, PeerName *out) noexcept
cdef Transport make_transport(Served s, const PeerName *name)
cdef int note_connected(Context ctx, Transport transport) except -1
cdef int note_failure(Served s, Transport transport, int reason) except -1
cdef int note_timeout(Served s, Transport transport) except -1
cdef int count_failure(Context ctx, Transport transport, int reason) except -1
cdef int mark_timeout(Transport transport) except -1
cdef bytes failure_of(Transport transport)
cdef bint chose_http2(Context ctx, Transport transport) except -1
