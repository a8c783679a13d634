"""SSL_CTX objects of the worker (OpenSSL 3).

A context is found by everything it is made of: the record in the image and the fingerprints of the credentials. A rotated
certificate therefore makes a new context for the next connections, and those that are open keep theirs. Contexts are made when
the first hello asks for them; at most `limit` are kept.

Sessions resume by tickets alone (nothing is stored), made with keys that all workers share. A ticket is bound to the server, to
what it asks of clients and to the CA it checks them against (requirement G7): another server does not know the session.
"""
from collections import OrderedDict
from hashlib import sha256

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastgw.dataplane.context cimport Context, Image
from fastgw.native.base cimport fgw_span
from fastgw.native.credentials cimport fgw_credential, fgw_credentials_find
from fastgw.native.openssl cimport (
    BIO, BIO_free, BIO_new_mem_buf, ERR_GET_LIB, ERR_GET_REASON, ERR_LIB_PEM, ERR_clear_error, ERR_peek_last_error, EVP_CIPHER,
    EVP_CIPHER_CTX, EVP_CIPHER_fetch, EVP_DecryptInit_ex,
    EVP_EncryptInit_ex, EVP_MAC_CTX, EVP_PKEY, EVP_PKEY_free, EVP_sha256, PEM_read_bio_PrivateKey, PEM_read_bio_X509,
    PEM_read_bio_X509_CRL, PEM_R_NO_START_LINE, RAND_bytes, SSL, SSL_CTX, SSL_CTX_add_client_CA, SSL_CTX_free,
    SSL_CTX_get_cert_store, SSL_CTX_new,
    SSL_CTX_set1_groups_list, SSL_CTX_set_alpn_select_cb, SSL_CTX_set_cipher_list, SSL_CTX_set_ciphersuites,
    SSL_CTX_set_max_cert_list, SSL_CTX_set_max_early_data, SSL_CTX_set_max_proto_version, SSL_CTX_set_min_proto_version,
    SSL_CTX_set_mode, SSL_CTX_set_num_tickets, SSL_CTX_set_options, SSL_CTX_set_read_ahead, SSL_CTX_set_security_level,
    SSL_CTX_set_session_cache_mode, SSL_CTX_set_session_id_context, SSL_CTX_set_session_ticket_cb, SSL_CTX_set_timeout,
    SSL_CTX_set_tlsext_ticket_key_evp_cb, SSL_CTX_set_verify, SSL_CTX_set_verify_depth, SSL_CTX_use_cert_and_key,
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_RELEASE_BUFFERS,
    SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_PRIORITIZE_CHACHA, SSL_SESSION,
    SSL_SESSION_get0_peer, SSL_SESSION_get_protocol_version,
    SSL_SESS_CACHE_OFF, SSL_TICKET_RETURN, SSL_TICKET_RETURN_IGNORE_RENEW, SSL_TICKET_RETURN_USE,
    SSL_TICKET_RETURN_USE_RENEW, SSL_TICKET_STATUS, SSL_TICKET_SUCCESS, SSL_TICKET_SUCCESS_RENEW, SSL_TLSEXT_ERR_ALERT_FATAL,
    SSL_TLSEXT_ERR_NOACK, SSL_TLSEXT_ERR_OK, SSL_VERIFY_FAIL_IF_NO_PEER_CERT, SSL_VERIFY_NONE, SSL_VERIFY_PEER,
    SSL_get_app_data, SSL_get_ex_data_X509_STORE_CTX_idx, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION, TLS1_VERSION,
    TLS_server_method, X509, X509_CRL, X509_CRL_free, X509_STORE, X509_STORE_CTX, X509_STORE_CTX_get_current_cert,
    X509_STORE_CTX_get_error_depth, X509_STORE_CTX_get_ex_data, X509_STORE_CTX_set_error, X509_STORE_add_cert,
    X509_STORE_add_crl, X509_STORE_set_flags, X509_V_ERR_APPLICATION_VERIFICATION, X509_V_FLAG_CRL_CHECK,
    X509_V_FLAG_CRL_CHECK_ALL, X509_V_FLAG_PARTIAL_CHAIN, X509_cmp_current_time, X509_digest, X509_dup, X509_free,
    X509_get0_notAfter, X509_get0_pubkey,
    fgw_free_chain, fgw_has_san, fgw_spki_sha256, fgw_ticket_mac, sk_X509_new_null, sk_X509_push, stack_X509,
)
from fastgw.native.route cimport (
    FGW_ALPN_H2, FGW_ALPN_HTTP1, FGW_CLIENT_AUTH_NONE, FGW_CLIENT_AUTH_REQUIRE, FGW_CLIENT_AUTH_REQUIRE_UNVERIFIED,
    FGW_CLIENT_AUTH_UNVERIFIED, FGW_TLS10, FGW_TLS11, FGW_TLS12, fgw_img_tls_context, fgw_table,
)
from fastgw.native.state cimport FGW_G_TLS_CONTEXTS

cdef enum:
    CONTEXTS_MAX = 1024          # kept by a worker
    RETRY_MS = 1000              # before one that could not be made is tried again: it may have been for want of memory
    TICKET_KEY_BYTES = 80        # name 16, HMAC key 32, AES key 32
    SESSION_S = 28800            # a ticket is good for as long as a key is the first (requirement G8)
    CHAIN_MAX = 65536            # bytes of a client's certificates (T12)

# Envoy's order (P5): AEAD with ephemeral keys only
cdef bytes CIPHERS = (b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
                      b"ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384")
cdef bytes SUITES = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
cdef bytes CURVES = b"X25519:P-256:P-384"

cdef EVP_CIPHER *TICKET_CIPHER = EVP_CIPHER_fetch(NULL, b"AES-256-CBC", NULL)


cdef class TlsContext:
    def __dealloc__(self):
        if self.ssl_ctx != NULL:
            SSL_CTX_free(self.ssl_ctx)

    cdef bint accepts(self, X509 *peer) noexcept:
        """Does a client certificate that has been verified satisfy the lists (P7)?"""
        cdef unsigned char digest[32]
        cdef unsigned int n = 0
        cdef bytes name
        if self.sans:
            for name in self.sans:
                if fgw_has_san(peer, <const char *>name, <size_t>len(name)):
                    break
            else:
                return False
        if not self.spki and not self.hashes:
            return True
        # either list is enough, as in Envoy
        if self.spki and fgw_spki_sha256(peer, digest) and digest[:32] in self.spki:
            return True
        return bool(self.hashes) and X509_digest(peer, EVP_sha256(), digest, &n) == 1 and digest[:32] in self.hashes


cdef class TlsContexts:
    def __init__(self, Context ctx, int limit=CONTEXTS_MAX):
        self.ctx = ctx
        self.limit = limit
        self.by_key = OrderedDict()
        self.by_index = {}
        self.failed = {}

    def on_image(self):
        """Another image or other credentials are in use."""
        self.by_index.clear()

    cdef TlsContext find(self, Image image, uint32_t index, bint carries_http):
        """The context for record `index` of the image in use; None when its credentials are missing or unusable."""
        cdef const fgw_img_tls_context *c
        cdef bytes key
        key = self.by_index.get(index)
        if key is None:
            c = image.tls_contexts + index
            key = self.key_of(image, c, carries_http)
            self.by_index[index] = key
        if key in self.by_key:
            self.by_key.move_to_end(key)
            return self.by_key[key]
        if self.failed.get(key, 0) > self.ctx.loop.now_ms:
            return None
        found = self.make(image, image.tls_contexts + index, carries_http)
        ERR_clear_error()
        if found is None:
            if len(self.failed) >= self.limit:
                self.failed.clear()
            self.failed[key] = self.ctx.loop.now_ms + RETRY_MS
            return None
        self.failed.pop(key, None)
        self.by_key[key] = found
        if len(self.by_key) > self.limit:
            self.by_key.popitem(last=False)
        self.ctx.stats.counters[FGW_G_TLS_CONTEXTS] = <uint64_t>len(self.by_key)
        return found

    cdef bytes key_of(self, Image image, const fgw_img_tls_context *c, bint carries_http):
        """Everything that the context depends on."""
        parts = [
            text_of(image, c.name), str((c.client_auth, c.min_version, c.max_version, c.alpn, carries_http)).encode(),
            text_of(image, c.ciphers), text_of(image, c.curves),
            *texts_of(image, c.sans), b"|", *texts_of(image, c.spki), b"|", *texts_of(image, c.hashes),
        ]
        for name in (c.certificates[0], c.certificates[1], c.ca):
            parts += [text_of(image, name), self.fingerprint(text_of(image, name))]
        return b"\0".join(parts)

    def fingerprint(self, bytes name not None):
        """Of a credential, b"" when there is none of this name."""
        cdef const fgw_credential *found = self.credential(name)
        return b"" if found == NULL else (<const char *>&found.fingerprint)[:sizeof(found.fingerprint)]

    cdef const fgw_credential *credential(self, bytes name) noexcept:
        if self.ctx.credentials is None or not name:
            return NULL
        return fgw_credentials_find(self.ctx.credentials.base, <const char *>name, <size_t>len(name))

    cdef TlsContext make(self, Image image, const fgw_img_tls_context *c, bint carries_http):
        cdef TlsContext made = TlsContext()
        cdef SSL_CTX *ctx = SSL_CTX_new(TLS_server_method())
        if ctx == NULL:
            raise MemoryError("TLS context")
        made.ssl_ctx = ctx
        made.ctx = self.ctx
        made.client_auth = c.client_auth
        made.carries_http = carries_http
        made.alpn = c.alpn
        made.sans = texts_of(image, c.sans)
        made.spki = texts_of(image, c.spki)
        made.hashes = texts_of(image, c.hashes)
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE
                            | SSL_OP_PRIORITIZE_CHACHA)
        SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        SSL_CTX_set_read_ahead(ctx, 1)
        SSL_CTX_set_max_early_data(ctx, 0)
        SSL_CTX_set_max_cert_list(ctx, CHAIN_MAX)
        SSL_CTX_set_alpn_select_cb(ctx, select_alpn, <void *>made)
        if not set_algorithms(ctx, c, text_of(image, c.ciphers) or CIPHERS, text_of(image, c.curves) or CURVES):
            return None
        if not self.set_certificates(ctx, image, c) or not self.set_client_auth(ctx, image, c):
            return None
        self.set_tickets(ctx, image, c)
        return made

    cdef bint set_certificates(self, SSL_CTX *ctx, Image image, const fgw_img_tls_context *c) except -1:
        """One pair, or two of different kinds, of which OpenSSL takes what the client can (P8). A second one that is missing costs
        only what could do nothing but that."""
        cdef const fgw_credential *found
        cdef const char *base
        cdef int i, usable = 0
        for i in range(2):
            found = self.credential(text_of(image, c.certificates[i]))
            if found == NULL or found.key.len == 0:
                continue
            base = <const char *>self.ctx.credentials.base
            usable += use_pair(ctx, base + found.chain.off, found.chain.len, base + found.key.off, found.key.len)
        return usable > 0

    cdef bint set_client_auth(self, SSL_CTX *ctx, Image image, const fgw_img_tls_context *c) except -1:
        cdef const fgw_credential *found
        cdef const char *base
        cdef int mode = SSL_VERIFY_NONE
        cdef X509_STORE *store = SSL_CTX_get_cert_store(ctx)
        if c.client_auth != FGW_CLIENT_AUTH_NONE:
            mode = SSL_VERIFY_PEER
            if c.client_auth == FGW_CLIENT_AUTH_REQUIRE or c.client_auth == FGW_CLIENT_AUTH_REQUIRE_UNVERIFIED:
                mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        SSL_CTX_set_verify(ctx, mode, verify_client)
        SSL_CTX_set_verify_depth(ctx, 10)
        if mode == SSL_VERIFY_NONE or c.client_auth >= FGW_CLIENT_AUTH_UNVERIFIED:
            return True
        found = self.credential(text_of(image, c.ca))
        if found == NULL or found.ca.len == 0:
            return False  # nobody could be verified: better no server than an open one
        base = <const char *>self.ctx.credentials.base
        if add_trusted(store, ctx, base + found.ca.off, found.ca.len) == 0:
            return False
        X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN)
        if found.crl.len:
            if add_revoked(store, base + found.crl.off, found.crl.len) == 0:
                return False
            X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
        return True

    cdef int set_tickets(self, SSL_CTX *ctx, Image image, const fgw_img_tls_context *c) except -1:
        cdef bytes bound = sha256(b"\0".join((
            text_of(image, c.name), bytes([c.client_auth]), self.fingerprint(text_of(image, c.ca)),
            *texts_of(image, c.sans), b"|", *texts_of(image, c.spki), b"|", *texts_of(image, c.hashes),
        ))).digest()
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_session_id_context(ctx, <const unsigned char *><const char *>bound, 32)
        SSL_CTX_set_timeout(ctx, SESSION_S)
        SSL_CTX_set_num_tickets(ctx, 1)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key)
        SSL_CTX_set_session_ticket_cb(ctx, NULL, take_ticket, NULL)
        return 0


cdef bytes text_of(Image image, fgw_span s):
    return (image.strings + s.off)[:s.len]


cdef list texts_of(Image image, fgw_table range_of):
    cdef uint32_t i
    return [text_of(image, image.texts[range_of.off + i]) for i in range(range_of.count)]


cdef int protocol_version(int version) noexcept:
    """OpenSSL's number of an enum fgw_tls_version."""
    if version == FGW_TLS10:
        return TLS1_VERSION
    if version == FGW_TLS11:
        return TLS1_1_VERSION
    return TLS1_2_VERSION if version == FGW_TLS12 else TLS1_3_VERSION


cdef bint set_algorithms(SSL_CTX *ctx, const fgw_img_tls_context *c, bytes ciphers, bytes curves) except -1:
    if c.min_version < FGW_TLS12:
        SSL_CTX_set_security_level(ctx, 0)  # TLS 1.0 and 1.1 sign with SHA-1
    return (SSL_CTX_set_min_proto_version(ctx, protocol_version(c.min_version)) == 1
            and SSL_CTX_set_max_proto_version(ctx, protocol_version(c.max_version)) == 1
            and SSL_CTX_set_cipher_list(ctx, <const char *>ciphers) == 1
            and SSL_CTX_set_ciphersuites(ctx, <const char *>SUITES) == 1
            and SSL_CTX_set1_groups_list(ctx, <const char *>curves) == 1)


cdef int no_password(char *p, int n, int writing, void *arg) noexcept:
    return -1


cdef X509 *read_certificate(BIO *b) noexcept:
    """The next one, NULL when there is none or none can be had. A key that OpenSSL had no memory for is for good like one of an
    unknown kind: one without a key is decoded once more."""
    cdef X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL)
    cdef X509 *again
    if x == NULL or X509_get0_pubkey(x) != NULL:
        return x
    again = X509_dup(x)
    X509_free(x)
    ERR_clear_error()
    return again


cdef bint use_pair(SSL_CTX *ctx, const char *chain, size_t chain_len, const char *key, size_t key_len) except -1:
    """A certificate with its issuers, and its key, from PEM. False when they cannot be used, as a whole."""
    cdef BIO *b = BIO_new_mem_buf(chain, <int>chain_len)
    cdef X509 *leaf = read_certificate(b) if b != NULL else NULL
    cdef EVP_PKEY *private
    cdef stack_X509 *issuers = sk_X509_new_null()
    cdef bint ok = False
    if leaf != NULL and issuers != NULL and read_issuers(b, issuers):
        BIO_free(b)
        b = BIO_new_mem_buf(key, <int>key_len)
        private = PEM_read_bio_PrivateKey(b, NULL, no_password, NULL) if b != NULL else NULL
        if private != NULL:
            ok = SSL_CTX_use_cert_and_key(ctx, leaf, private, issuers, 1) == 1
            EVP_PKEY_free(private)
    X509_free(leaf)
    BIO_free(b)
    fgw_free_chain(issuers)
    return ok


cdef bint read_issuers(BIO *b, stack_X509 *to) noexcept:
    """The other certificates of a chain; False when not all of them could be had."""
    cdef X509 *issuer = read_certificate(b)
    while issuer != NULL:
        if sk_X509_push(to, issuer) == 0:
            X509_free(issuer)
            return False
        issuer = read_certificate(b)
    return is_end()


cdef bint is_end() noexcept:
    """Nothing more was found because nothing more is there. A bundle that could not be read on (memory) is not taken for whole."""
    cdef unsigned long e = ERR_peek_last_error()
    return ERR_GET_LIB(e) == ERR_LIB_PEM and ERR_GET_REASON(e) == PEM_R_NO_START_LINE


cdef int add_trusted(X509_STORE *store, SSL_CTX *names_for, const char *pem, size_t n) except -1:
    """CAs from PEM into the store, their names into the list that clients are shown; how many, 0 when not all of them could be."""
    cdef BIO *b = BIO_new_mem_buf(pem, <int>n)
    cdef X509 *x = read_certificate(b) if b != NULL else NULL
    cdef int count = 0
    cdef bint ok = True
    while x != NULL and ok:
        ok = X509_STORE_add_cert(store, x) == 1 and (names_for == NULL or SSL_CTX_add_client_CA(names_for, x) == 1)
        X509_free(x)
        count += 1
        x = read_certificate(b) if ok else NULL
    ok = ok and is_end()
    BIO_free(b)
    return count if ok else 0


cdef int add_revoked(X509_STORE *store, const char *pem, size_t n) except -1:
    """Revocation lists from PEM; how many, 0 when not all of them could be taken."""
    cdef BIO *b = BIO_new_mem_buf(pem, <int>n)
    cdef X509_CRL *x = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL) if b != NULL else NULL
    cdef int count = 0
    cdef bint ok = True
    while x != NULL and ok:
        ok = X509_STORE_add_crl(store, x) == 1
        X509_CRL_free(x)
        count += 1
        x = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL) if ok else NULL
    ok = ok and is_end()
    BIO_free(b)
    return count if ok else 0


# ---- what OpenSSL asks during a handshake

cdef int verify_client(int ok, X509_STORE_CTX *store) noexcept:
    """Called for each certificate of a chain. A session's app data is its TlsContext."""
    cdef SSL *ssl = <SSL *>X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    cdef TlsContext context = <TlsContext>SSL_get_app_data(ssl)
    if context.client_auth >= FGW_CLIENT_AUTH_UNVERIFIED:
        return 1
    if ok and X509_STORE_CTX_get_error_depth(store) == 0 and not context.accepts(X509_STORE_CTX_get_current_cert(store)):
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
        return 0
    return ok


cdef int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *offered, unsigned int n,
                     void *arg) noexcept:
    """The first of ours that the client offers too. A client that offers only what we do not speak is refused (RFC 7301 section
    3.2), unless we only relay."""
    cdef TlsContext context = <TlsContext>arg
    if context.alpn & FGW_ALPN_H2 and find_protocol(b"h2", 2, out, out_len, offered, n):
        return SSL_TLSEXT_ERR_OK
    if context.alpn & FGW_ALPN_HTTP1 and find_protocol(b"http/1.1", 8, out, out_len, offered, n):
        return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_ALERT_FATAL if context.carries_http else SSL_TLSEXT_ERR_NOACK


cdef bint find_protocol(const char *name, size_t length, const unsigned char **out, unsigned char *out_len,
                        const unsigned char *offered, unsigned int n) noexcept:
    cdef unsigned int at = 0
    while at < n:
        if offered[at] == length and at + 1 + length <= n and memcmp(offered + at + 1, name, length) == 0:
            out[0] = offered + at + 1
            out_len[0] = offered[at]
            return True
        at += 1 + <unsigned int>offered[at]
    return False


cdef int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                    int making) noexcept:
    """Make with the first key; take any, and have a ticket of an older key replaced."""
    cdef int i
    cdef unsigned char *key
    cdef Context keys_of = (<TlsContext>SSL_get_app_data(ssl)).ctx
    if keys_of.ticket_key_count == 0:
        return 0
    if making:
        key = keys_of.ticket_keys
        memcpy(name, key, 16)
        if RAND_bytes(iv, 16) != 1 or EVP_EncryptInit_ex(cipher, TICKET_CIPHER, NULL, key + 48, iv) != 1:
            return -1
        return 1 if fgw_ticket_mac(mac, key + 16) == 1 else -1
    for i in range(keys_of.ticket_key_count):
        key = keys_of.ticket_keys + i * TICKET_KEY_BYTES
        if memcmp(name, key, 16) == 0:
            if fgw_ticket_mac(mac, key + 16) != 1 or EVP_DecryptInit_ex(cipher, TICKET_CIPHER, NULL, key + 48, iv) != 1:
                return -1
            return 1 if i == 0 else 2
    return 0


cdef SSL_TICKET_RETURN take_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t n, SSL_TICKET_STATUS status,
                                   void *arg) noexcept:
    """A session whose client certificate has expired meanwhile is not resumed (T5). In TLS 1.3 each resumption brings the next
    ticket, since clients use one only once (RFC 8446 appendix C.4)."""
    cdef X509 *peer
    if status != SSL_TICKET_SUCCESS and status != SSL_TICKET_SUCCESS_RENEW:
        return SSL_TICKET_RETURN_IGNORE_RENEW
    peer = SSL_SESSION_get0_peer(session)
    if peer != NULL and X509_cmp_current_time(X509_get0_notAfter(peer)) < 0:
        return SSL_TICKET_RETURN_IGNORE_RENEW
    if status == SSL_TICKET_SUCCESS and SSL_SESSION_get_protocol_version(session) != TLS1_3_VERSION:
        return SSL_TICKET_RETURN_USE
    return SSL_TICKET_RETURN_USE_RENEW
