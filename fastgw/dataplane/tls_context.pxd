"""OpenSSL contexts, made from tls contexts of the image and the credentials they name."""
from libc.stdint cimport uint32_t

from fastgw.dataplane.context cimport Context, Image
from fastgw.native.base cimport fgw_span
from fastgw.native.credentials cimport fgw_credential
from fastgw.native.openssl cimport SSL_CTX, X509, X509_STORE
from fastgw.native.route cimport fgw_img_tls_context, fgw_table


cdef class TlsContext:
    """What a chain asks of TLS, ready to make sessions from."""
    cdef SSL_CTX *ssl_ctx          # owned
    cdef Context ctx               # has the ticket keys
    cdef int client_auth           # enum fgw_client_auth
    cdef int alpn                  # set of enum fgw_alpn that is offered and can be served
    cdef bint carries_http         # else bytes: a protocol that the client offers and we do not know does not matter
    cdef list sans                 # bytes: one of them must be among the client's names; empty: any
    cdef list spki                 # SHA-256 of the client's public key, bytes
    cdef list hashes               # SHA-256 of the client's certificate
    cdef bint accepts(self, X509 *peer) noexcept


cdef class TlsContexts:
    """Those of a worker: made at first use, bounded, kept over images as long as nothing they are made of changes."""
    cdef Context ctx
    cdef object by_key             # OrderedDict: bytes -> TlsContext, the least recently used first
    cdef dict by_index             # index in the image in use -> key
    cdef dict failed               # key -> when one that could not be made is tried again
    cdef readonly int limit
    cdef TlsContext find(self, Image image, uint32_t index, bint carries_http)
    cdef bytes key_of(self, Image image, const fgw_img_tls_context *c, bint carries_http)
    cdef TlsContext make(self, Image image, const fgw_img_tls_context *c, bint carries_http)
    cdef const fgw_credential *credential(self, bytes name) noexcept
    cdef bint set_certificates(self, SSL_CTX *ctx, Image image, const fgw_img_tls_context *c) except -1
    cdef bint set_client_auth(self, SSL_CTX *ctx, Image image, const fgw_img_tls_context *c) except -1
    cdef int set_tickets(self, SSL_CTX *ctx, Image image, const fgw_img_tls_context *c) except -1


cdef bytes CIPHERS
cdef bytes SUITES

cdef bytes text_of(Image image, fgw_span s)
cdef list texts_of(Image image, fgw_table range_of)
cdef int add_trusted(X509_STORE *store, SSL_CTX *names_for, const char *pem, size_t n) except -1
cdef int add_revoked(X509_STORE *store, const char *pem, size_t n) except -1
cdef bint use_pair(SSL_CTX *ctx, const char *chain, size_t chain_len, const char *key, size_t key_len) except -1
cdef int protocol_version(int version) noexcept
