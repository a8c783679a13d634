"""What a certificate says, as text."""
from fastgw.native.openssl cimport X509


cdef class CertificateTexts:
    """Made once a connection, and only where somebody asks. Nothing in it ends a header field or a log line."""
    cdef bytes subject             # RFC 2253
    cdef bytes issuer
    cdef bytes serial              # hexadecimal, lower case
    cdef list uris                 # alternative names
    cdef list dns
    cdef bytes uri_text            # the same, joined with ","
    cdef bytes dns_text
    cdef bytes sha256              # of the DER form, hexadecimal
    cdef bytes sha1
    cdef bytes pem                 # for a URL: "%0A" for line ends and so on
    cdef bytes starts              # 2026-01-02T03:04:05.000Z
    cdef bytes ends


cdef CertificateTexts texts_of(X509 *x)
