"""Texts of a certificate in Envoy's forms, for the identity header, header values and the access log.

What stands in a certificate is another's choice: names are escaped (RFC 2253 by OpenSSL, alternative names in percent form), so
that no value has a control character, a quote, a comma or a semicolon of its own making.
"""
from fastgw.native.openssl cimport ASN1_TIME, BIO, BIO_free, EVP_MD, EVP_sha256, X509, X509_digest


cdef extern from *:
    """
    #include <openssl/bn.h>
    #include <openssl/pem.h>
    #include <openssl/x509v3.h>
    #include <time.h>

    static BIO *fgw_memory(void) { return BIO_new(BIO_s_mem()); }

    static long fgw_memory_text(BIO *b, char **p) { return BIO_get_mem_data(b, p); }

    static int fgw_write_name(BIO *out, X509 *x, int issuer) {
        return X509_NAME_print_ex(out, issuer ? X509_get_issuer_name(x) : X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0;
    }

    static int fgw_write_serial(BIO *out, X509 *x) {
        BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
        char *text = number != NULL ? BN_bn2hex(number) : NULL;  /* whole bytes, as Envoy has it; BN_print drops a leading 0 */
        const int ok = text != NULL && BIO_puts(out, text) > 0;
        OPENSSL_free(text);
        BN_free(number);
        return ok;
    }

    /* One line a name. */
    static void fgw_write_sans(BIO *out, X509 *x, int uris) {
        GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
        for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
            const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
            if (name->type != (uris ? GEN_URI : GEN_DNS))
                continue;
            const unsigned char *p = ASN1_STRING_get0_data(name->d.ia5);
            const int n = ASN1_STRING_length(name->d.ia5);
            for (int j = 0; j < n; j++) {
                if (p[j] <= ' ' || p[j] >= 127 || strchr("\\"\\\\,;", p[j]) != NULL)
                    BIO_printf(out, "%%%02X", p[j]);
                else
                    BIO_write(out, p + j, 1);
            }
            BIO_write(out, "\\n", 1);
        }
        GENERAL_NAMES_free(names);
    }

    static size_t fgw_time_text(const ASN1_TIME *t, char *out, size_t cap) {
        struct tm parts;
        return ASN1_TIME_to_tm(t, &parts) == 1 ? strftime(out, cap, "%Y-%m-%dT%H:%M:%S.000Z", &parts) : 0;
    }
    """
    BIO *fgw_memory()
    long fgw_memory_text(BIO *b, char **p)
    int fgw_write_name(BIO *out, X509 *x, int issuer)
    int fgw_write_serial(BIO *out, X509 *x)
    void fgw_write_sans(BIO *out, X509 *x, int uris)
    size_t fgw_time_text(const ASN1_TIME *t, char *out, size_t cap)
    int PEM_write_bio_X509(BIO *out, X509 *x)
    int BIO_reset(BIO *b)
    const EVP_MD *EVP_sha1()
    const ASN1_TIME *X509_get0_notBefore(const X509 *x)
    const ASN1_TIME *X509_get0_notAfter(const X509 *x)


cdef CertificateTexts texts_of(X509 *x):
    cdef CertificateTexts t = CertificateTexts()
    cdef BIO *out = fgw_memory()
    if out == NULL:
        raise MemoryError("texts of a certificate")
    try:
        fgw_write_name(out, x, 0)
        t.subject = drained(out)
        fgw_write_name(out, x, 1)
        t.issuer = drained(out)
        fgw_write_serial(out, x)
        t.serial = drained(out).lower()
        fgw_write_sans(out, x, 1)
        t.uris = drained(out).splitlines()
        fgw_write_sans(out, x, 0)
        t.dns = drained(out).splitlines()
        PEM_write_bio_X509(out, x)
        t.pem = for_url(drained(out))
    finally:
        BIO_free(out)
    t.uri_text, t.dns_text = b",".join(t.uris), b",".join(t.dns)
    t.sha256, t.sha1 = digest(x, EVP_sha256()), digest(x, EVP_sha1())
    t.starts, t.ends = time_text(X509_get0_notBefore(x)), time_text(X509_get0_notAfter(x))
    return t


cdef bytes drained(BIO *b):
    """What was written, which goes."""
    cdef char *p = NULL
    cdef long n = fgw_memory_text(b, &p)
    cdef bytes text = p[:n] if n > 0 else b""
    BIO_reset(b)
    return text


cdef bytes for_url(bytes pem):
    """The characters of PEM that a URL cannot have."""
    for plain, coded in ((b"\n", b"%0A"), (b" ", b"%20"), (b"+", b"%2B"), (b"/", b"%2F"), (b"=", b"%3D")):
        pem = pem.replace(plain, coded)
    return pem


cdef bytes digest(X509 *x, const EVP_MD *kind):
    cdef unsigned char out[64]
    cdef unsigned int n = 0
    X509_digest(x, kind, out, &n)
    return (<bytes>out[:n]).hex().encode()


cdef bytes time_text(const ASN1_TIME *t):
    cdef char out[64]
    return out[:fgw_time_text(t, out, sizeof(out))]
