"""libssl and libcrypto (3.0 and later) for Cython: what the data plane calls."""
from libc.stdint cimport uint8_t, uint64_t


cdef extern from "openssl/ssl.h":
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_SESSION:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    ctypedef struct X509:
        pass
    ctypedef struct X509_CRL:
        pass
    ctypedef struct X509_NAME:
        pass
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_STORE_CTX:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    ctypedef struct ASN1_TIME:
        pass
    ctypedef struct stack_X509 "STACK_OF(X509)":
        pass
    ctypedef struct stack_X509_NAME "STACK_OF(X509_NAME)":
        pass
    ctypedef struct OSSL_PARAM:
        pass

    enum:
        SSL_ERROR_NONE
        SSL_ERROR_SSL
        SSL_ERROR_WANT_READ
        SSL_ERROR_WANT_WRITE
        SSL_ERROR_SYSCALL
        SSL_ERROR_ZERO_RETURN
        SSL_MODE_ENABLE_PARTIAL_WRITE
        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        SSL_MODE_RELEASE_BUFFERS
        SSL_SESS_CACHE_OFF
        SSL_SESS_CACHE_CLIENT
        SSL_SESS_CACHE_NO_INTERNAL
        SSL_VERIFY_NONE
        SSL_VERIFY_PEER
        SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        SSL_TLSEXT_ERR_OK
        SSL_TLSEXT_ERR_ALERT_FATAL
        SSL_TLSEXT_ERR_NOACK
        SSL_SENT_SHUTDOWN
        SSL_RECEIVED_SHUTDOWN
        TLSEXT_NAMETYPE_host_name
        SSL_TICKET_NONE
        SSL_TICKET_EMPTY
        SSL_TICKET_SUCCESS
        SSL_TICKET_SUCCESS_RENEW
        SSL_TICKET_RETURN_IGNORE
        SSL_TICKET_RETURN_IGNORE_RENEW
        SSL_TICKET_RETURN_USE
        SSL_TICKET_RETURN_USE_RENEW
        TLS1_VERSION
        TLS1_1_VERSION
        TLS1_2_VERSION
        TLS1_3_VERSION
        X509_V_OK
        X509_V_ERR_APPLICATION_VERIFICATION
        X509_V_FLAG_CRL_CHECK
        X509_V_FLAG_CRL_CHECK_ALL
        X509_V_FLAG_PARTIAL_CHAIN
        X509_V_ERR_HOSTNAME_MISMATCH
        X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
        X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS

    ctypedef int SSL_TICKET_STATUS
    ctypedef int SSL_TICKET_RETURN

    const uint64_t SSL_OP_NO_RENEGOTIATION
    const uint64_t SSL_OP_NO_COMPRESSION
    const uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE
    const uint64_t SSL_OP_NO_TICKET
    const uint64_t SSL_OP_PRIORITIZE_CHACHA
    const uint64_t SSL_OP_IGNORE_UNEXPECTED_EOF

    const SSL_METHOD *TLS_server_method()
    const SSL_METHOD *TLS_client_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *method)
    void SSL_CTX_free(SSL_CTX *ctx)
    int SSL_CTX_up_ref(SSL_CTX *ctx)
    uint64_t SSL_CTX_set_options(SSL_CTX *ctx, uint64_t options)
    long SSL_CTX_set_mode(SSL_CTX *ctx, long mode)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *ctx, long mode)
    long SSL_CTX_set_timeout(SSL_CTX *ctx, long seconds)
    int SSL_CTX_set_num_tickets(SSL_CTX *ctx, size_t n)
    void SSL_CTX_set_read_ahead(SSL_CTX *ctx, int yes)
    int SSL_CTX_set_min_proto_version(SSL_CTX *ctx, int version)
    int SSL_CTX_set_max_proto_version(SSL_CTX *ctx, int version)
    int SSL_CTX_set_cipher_list(SSL_CTX *ctx, const char *text)
    int SSL_CTX_set_ciphersuites(SSL_CTX *ctx, const char *text)
    int SSL_CTX_set1_groups_list(SSL_CTX *ctx, const char *text)
    void SSL_CTX_set_security_level(SSL_CTX *ctx, int level)
    int SSL_CTX_set_session_id_context(SSL_CTX *ctx, const unsigned char *p, unsigned int n)
    int SSL_CTX_use_cert_and_key(SSL_CTX *ctx, X509 *x, EVP_PKEY *key, stack_X509 *chain, int override)
    X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *ctx)
    void SSL_CTX_set_verify(SSL_CTX *ctx, int mode, int (*callback)(int, X509_STORE_CTX *) noexcept)
    void SSL_CTX_set_verify_depth(SSL_CTX *ctx, int depth)
    void SSL_CTX_set_cert_verify_callback(SSL_CTX *ctx, int (*callback)(X509_STORE_CTX *, void *) noexcept, void *arg)
    void SSL_CTX_set1_cert_store(SSL_CTX *ctx, X509_STORE *store)
    int SSL_CTX_add_client_CA(SSL_CTX *ctx, X509 *x)
    int SSL_CTX_set_default_verify_paths(SSL_CTX *ctx)
    long SSL_CTX_set_max_cert_list(SSL_CTX *ctx, long n)
    void SSL_CTX_set_alpn_select_cb(
        SSL_CTX *ctx,
        int (*callback)(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *) noexcept,
        void *arg)
    void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **data, unsigned int *n)
    int SSL_set_alpn_protos(SSL *ssl, const unsigned char *p, unsigned int n)
    int SSL_CTX_set_alpn_protos(SSL_CTX *ctx, const unsigned char *p, unsigned int n)
    long SSL_CTX_set_tlsext_ticket_key_evp_cb(
        SSL_CTX *ctx, int (*callback)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int) noexcept)
    int SSL_CTX_set_session_ticket_cb(SSL_CTX *ctx, int (*make)(SSL *, void *) noexcept,
                                      SSL_TICKET_RETURN (*take)(SSL *, SSL_SESSION *, const unsigned char *, size_t,
                                                                SSL_TICKET_STATUS, void *) noexcept, void *arg)
    void SSL_CTX_sess_set_new_cb(SSL_CTX *ctx, int (*callback)(SSL *, SSL_SESSION *) noexcept)
    int SSL_CTX_set_max_early_data(SSL_CTX *ctx, unsigned int n)
    void SSL_CTX_set_tlsext_servername_callback(SSL_CTX *ctx, int (*callback)(SSL *, int *, void *) noexcept)

    SSL *SSL_new(SSL_CTX *ctx)
    void SSL_free(SSL *ssl)
    void SSL_set_bio(SSL *ssl, BIO *r, BIO *w)
    void SSL_set_accept_state(SSL *ssl)
    void SSL_set_connect_state(SSL *ssl)
    int SSL_version(const SSL *ssl)
    int SSL_do_handshake(SSL *ssl)
    int SSL_is_init_finished(SSL *ssl)
    int SSL_read(SSL *ssl, void *p, int n)
    int SSL_write(SSL *ssl, const void *p, int n)
    int SSL_has_pending(const SSL *ssl)
    int SSL_pending(const SSL *ssl)
    int SSL_shutdown(SSL *ssl)
    void SSL_set_shutdown(SSL *ssl, int mode)
    int SSL_get_shutdown(const SSL *ssl)
    int SSL_get_error(const SSL *ssl, int r)
    int SSL_session_reused(const SSL *ssl)
    BIO *SSL_get_rbio(const SSL *ssl)
    void SSL_set_info_callback(SSL *ssl, void (*callback)(const SSL *, int, int) noexcept)
    int SSL_set_app_data(SSL *ssl, void *data)
    void *SSL_get_app_data(SSL *ssl)
    const char *SSL_get_version(const SSL *ssl)
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl)
    const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher)
    X509 *SSL_get1_peer_certificate(const SSL *ssl)
    X509 *SSL_get_certificate(const SSL *ssl)
    long SSL_get_verify_result(const SSL *ssl)
    SSL_SESSION *SSL_get_session(const SSL *ssl)
    int SSL_set_session(SSL *ssl, SSL_SESSION *session)
    int SSL_set_tlsext_host_name(SSL *ssl, const char *name)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl)
    int SSL_get_ex_data_X509_STORE_CTX_idx()
    X509 *SSL_SESSION_get0_peer(SSL_SESSION *session)
    int SSL_SESSION_get_protocol_version(const SSL_SESSION *session)
    void SSL_SESSION_free(SSL_SESSION *session)
    int SSL_SESSION_up_ref(SSL_SESSION *session)
    int SSL_SESSION_is_resumable(const SSL_SESSION *session)
    const unsigned char *SSL_SESSION_get_id(const SSL_SESSION *session, unsigned int *n)


cdef extern from "openssl/bio.h":
    enum:
        BIO_CTRL_FLUSH
        BIO_TYPE_SOURCE_SINK
        BIO_FLAGS_READ
        BIO_FLAGS_WRITE
        BIO_FLAGS_SHOULD_RETRY
    int BIO_get_new_index()
    BIO_METHOD *BIO_meth_new(int type, const char *name)
    int BIO_meth_set_write(BIO_METHOD *m, int (*f)(BIO *, const char *, int) noexcept)
    int BIO_meth_set_read(BIO_METHOD *m, int (*f)(BIO *, char *, int) noexcept)
    int BIO_meth_set_ctrl(BIO_METHOD *m, long (*f)(BIO *, int, long, void *) noexcept)
    int BIO_meth_set_create(BIO_METHOD *m, int (*f)(BIO *) noexcept)
    BIO *BIO_new(const BIO_METHOD *m)
    BIO *BIO_new_mem_buf(const void *p, int n)
    int BIO_free(BIO *b)
    void BIO_set_data(BIO *b, void *data)
    void *BIO_get_data(BIO *b)
    void BIO_set_init(BIO *b, int yes)
    void BIO_set_flags(BIO *b, int flags)
    void BIO_clear_flags(BIO *b, int flags)


cdef extern from "openssl/pem.h":
    enum:
        PEM_R_NO_START_LINE
    X509 *PEM_read_bio_X509(BIO *b, X509 **x, void *callback, void *arg)
    X509_CRL *PEM_read_bio_X509_CRL(BIO *b, X509_CRL **x, void *callback, void *arg)
    EVP_PKEY *PEM_read_bio_PrivateKey(BIO *b, EVP_PKEY **x, int (*callback)(char *, int, int, void *) noexcept, void *arg)


cdef extern from "openssl/x509.h":
    void X509_free(X509 *x)
    X509 *X509_dup(const X509 *x)
    EVP_PKEY *X509_get0_pubkey(const X509 *x)
    int X509_up_ref(X509 *x)
    void X509_CRL_free(X509_CRL *x)
    const ASN1_TIME *X509_get0_notAfter(const X509 *x)
    int X509_cmp_current_time(const ASN1_TIME *t)
    X509_STORE *X509_STORE_new()
    void X509_STORE_free(X509_STORE *store)
    int X509_STORE_set_default_paths(X509_STORE *store)
    int X509_STORE_add_cert(X509_STORE *store, X509 *x)
    int X509_STORE_add_crl(X509_STORE *store, X509_CRL *x)
    int X509_STORE_set_flags(X509_STORE *store, unsigned long flags)
    X509 *X509_STORE_CTX_get0_cert(const X509_STORE_CTX *ctx)
    int X509_verify_cert(X509_STORE_CTX *ctx)
    X509 *X509_STORE_CTX_get_current_cert(const X509_STORE_CTX *ctx)
    int X509_STORE_CTX_get_error_depth(const X509_STORE_CTX *ctx)
    int X509_STORE_CTX_get_error(const X509_STORE_CTX *ctx)
    void X509_STORE_CTX_set_error(X509_STORE_CTX *ctx, int error)
    void *X509_STORE_CTX_get_ex_data(X509_STORE_CTX *ctx, int idx)
    int X509_digest(const X509 *x, const EVP_MD *type, unsigned char *out, unsigned int *n)
    int X509_pubkey_digest(const X509 *x, const EVP_MD *type, unsigned char *out, unsigned int *n)
    const char *X509_verify_cert_error_string(long error)
    stack_X509 *sk_X509_new_null()
    int sk_X509_push(stack_X509 *sk, X509 *x)


cdef extern from "openssl/x509v3.h":
    int X509_check_host(X509 *x, const char *name, size_t n, unsigned int flags, char **peer_name)
    int X509_VERIFY_PARAM_set1_host(X509_VERIFY_PARAM *param, const char *name, size_t n)
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *param, const char *text)
    void X509_VERIFY_PARAM_set_hostflags(X509_VERIFY_PARAM *param, unsigned int flags)


cdef extern from "openssl/evp.h":
    const EVP_MD *EVP_sha256()
    int EVP_EncodeBlock(unsigned char *out, const unsigned char *p, int n)
    void EVP_PKEY_free(EVP_PKEY *key)
    EVP_CIPHER *EVP_CIPHER_fetch(void *library, const char *name, const char *properties)
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
                           const unsigned char *iv)
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
                           const unsigned char *iv)
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX *ctx, const OSSL_PARAM *params)


cdef extern from "openssl/sha.h":
    unsigned char *SHA1(const unsigned char *p, size_t n, unsigned char *out)


cdef extern from "openssl/rand.h":
    int RAND_bytes(unsigned char *p, int n)


cdef extern from "openssl/err.h":
    enum:
        ERR_LIB_PEM
    void ERR_clear_error()
    int ERR_GET_LIB(unsigned long e)
    int ERR_GET_REASON(unsigned long e)
    unsigned long ERR_peek_error()
    unsigned long ERR_peek_last_error()
    const char *ERR_reason_error_string(unsigned long e)


cdef extern from *:
    """
    #include <openssl/core_names.h>
    #include <openssl/params.h>
    #include <openssl/ssl.h>
    #include <openssl/x509v3.h>

    /* HMAC-SHA-256 with a 32-byte key, for session tickets. */
    static int fgw_ticket_mac(EVP_MAC_CTX *ctx, unsigned char *key) {
        OSSL_PARAM params[3];
        params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, 32);
        params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0);
        params[2] = OSSL_PARAM_construct_end();
        return EVP_MAC_CTX_set_params(ctx, params);
    }

    /* SHA-256 of the SubjectPublicKeyInfo (what verifyCertificateSpki pins). */
    static int fgw_spki_sha256(X509 *x, unsigned char *out) {
        unsigned char *der = NULL;
        const int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
        if (n <= 0)
            return 0;
        const int ok = EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL);
        OPENSSL_free(der);
        return ok;
    }

    static void fgw_free_chain(STACK_OF(X509) *chain) { sk_X509_pop_free(chain, X509_free); }

    /* Is `want` one of the certificate's alternative names (DNS, URI, e-mail as they are; IP as text)? Whole values, bytewise; a
     * DNS name in any case. */
    static int fgw_has_san(X509 *x, const char *want, size_t n) {
        GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
        int found = 0;
        for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names) && !found; i++) {
            const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
            if (name->type == GEN_DNS || name->type == GEN_URI || name->type == GEN_EMAIL) {
                const char *p = (const char *)ASN1_STRING_get0_data(name->d.ia5);
                const size_t length = (size_t)ASN1_STRING_length(name->d.ia5);
                found = length == n && (name->type == GEN_DNS ? OPENSSL_strncasecmp(p, want, n) : memcmp(p, want, n)) == 0;
            } else if (name->type == GEN_IPADD) {
                char text[64];
                ASN1_OCTET_STRING *ip = NULL;
                if (n < sizeof text) {
                    memcpy(text, want, n);
                    text[n] = 0;
                    ip = a2i_IPADDRESS(text);
                }
                found = ip != NULL && ASN1_OCTET_STRING_cmp(ip, name->d.iPAddress) == 0;
                ASN1_OCTET_STRING_free(ip);
            }
        }
        GENERAL_NAMES_free(names);
        return found;
    }
    """
    int fgw_ticket_mac(EVP_MAC_CTX *ctx, unsigned char *key)
    int fgw_spki_sha256(X509 *x, unsigned char *out)
    void fgw_free_chain(stack_X509 *chain)
    int fgw_has_san(X509 *x, const char *want, size_t n)
