"""Facts of a TLS session: for the identity header, the access log and header values. Texts are made by those who want them."""
from fastgw.native.openssl cimport X509_free


cdef class TlsFacts:
    def __dealloc__(self):
        if self.peer != NULL:
            X509_free(self.peer)
        if self.own != NULL:
            X509_free(self.own)
