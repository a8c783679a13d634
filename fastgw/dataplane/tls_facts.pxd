"""What is known of a TLS session with a client once its handshake is over."""
from fastgw.dataplane.certificate_texts cimport CertificateTexts
from fastgw.native.openssl cimport X509


cdef class TlsFacts:
    cdef const char *version       # "TLSv1.3"; static text of OpenSSL
    cdef const char *cipher
    cdef bint resumed
    cdef bint http2                # chosen by ALPN
    cdef bint http1                # the same; neither: the client knows no ALPN
    cdef bint verified             # the client's certificate was checked against a CA
    cdef X509 *peer                # owned: the client's certificate, NULL for none
    cdef X509 *own                 # owned: the certificate that was shown
    cdef unsigned char session_id[32]
    cdef unsigned int session_id_len
    cdef CertificateTexts peer_kept
    cdef CertificateTexts own_kept
    cdef bytes forwarded_kept
    cdef CertificateTexts peer_texts(self)
    cdef CertificateTexts own_texts(self)
    cdef bytes forwarded(self)
