"""Facts of a TLS session: for the identity header, the access log and header values. Texts are made once, when somebody wants
them."""
from fastgw.dataplane.certificate_texts cimport CertificateTexts, texts_of
from fastgw.native.openssl cimport X509_free

cdef enum:
    FORWARDED_MAX = 32768      # of the identity header; a certificate that is larger is left out of it


cdef class TlsFacts:
    def __dealloc__(self):
        if self.peer != NULL:
            X509_free(self.peer)
        if self.own != NULL:
            X509_free(self.own)

    cdef CertificateTexts peer_texts(self):
        """Of the client's certificate; None without one."""
        if self.peer_kept is None and self.peer != NULL:
            self.peer_kept = texts_of(self.peer)
        return self.peer_kept

    cdef CertificateTexts own_texts(self):
        """Of the certificate that was shown."""
        if self.own_kept is None and self.own != NULL:
            self.own_kept = texts_of(self.own)
        return self.own_kept

    cdef bytes forwarded(self):
        """The value of x-forwarded-client-cert (statement L2); None without a client certificate."""
        cdef CertificateTexts peer, own
        if self.peer == NULL:
            return None
        if self.forwarded_kept is None:
            peer, own = self.peer_texts(), self.own_texts()
            before = [b"By=" + uri for uri in own.uris] if own is not None else []
            before.append(b"Hash=" + peer.sha256)
            after = [b'Subject="' + peer.subject + b'"']
            after += [b"URI=" + uri for uri in peer.uris] or [b"URI="]
            after += [b"DNS=" + name for name in peer.dns]
            with_certificate = b";".join([*before, b'Cert="' + peer.pem + b'"', *after])
            self.forwarded_kept = with_certificate if len(with_certificate) <= FORWARDED_MAX else b";".join(before + after)
        return self.forwarded_kept
