"""What is known of a TLS session with a client once its handshake is over."""
from fastgw.native.openssl cimport X509


cdef class TlsFacts:
    cdef const char *version       # "TLSv1.3"; static text of OpenSSL
    cdef const char *cipher
    cdef bint resumed
    cdef bint verified             # the client's certificate was checked against a CA
    cdef X509 *peer                # owned: the client's certificate, NULL for none
    cdef X509 *own                 # owned: the certificate that was shown
