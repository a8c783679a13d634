"""TLS towards upstreams (DestinationRule tls; statement Q17, requirement G13).

An endpoint is believed only when its certificate leads to the CA and holds one of the names that are asked for; whatever is wrong
with a credential means that no connection is made, never that less is checked. Nothing is read from or written to a connection by
its protocol before the handshake has ended.

Sessions are resumed per endpoint and name. They lie in the context that they were made under, so that other credentials or other
settings begin with full handshakes; a TLS 1.3 ticket is used once (RFC 8446 appendix C.4).
"""
from collections import OrderedDict
from weakref import WeakValueDictionary

from libc.stdint cimport uint32_t

from fastgw.dataplane.context cimport Context, Image
from fastgw.dataplane.request_head cimport is_address
from fastgw.dataplane.served cimport Served
from fastgw.dataplane.tls_context cimport (
    CIPHERS, SUITES, TlsContext, add_revoked, add_trusted, protocol_version, text_of, texts_of, use_pair,
)
from fastgw.dataplane.tls_transport cimport TlsTransport
from fastgw.dataplane.transport cimport CLOSE_HANDSHAKE_FAILED, Transport
from fastgw.native.credentials cimport fgw_credential, fgw_credentials_find
from fastgw.native.openssl cimport (
    BIO_get_data, ERR_clear_error, SSL, SSL_CTX, SSL_CTX_new, SSL_CTX_sess_set_new_cb, SSL_CTX_set1_cert_store,
    SSL_CTX_set_alpn_protos, SSL_CTX_set_cert_verify_callback, SSL_CTX_set_cipher_list, SSL_CTX_set_ciphersuites,
    SSL_CTX_set_max_cert_list, SSL_CTX_set_max_proto_version, SSL_CTX_set_min_proto_version, SSL_CTX_set_mode,
    SSL_CTX_set_options, SSL_CTX_set_read_ahead, SSL_CTX_set_session_cache_mode, SSL_CTX_set_verify, SSL_CTX_set_verify_depth,
    SSL_get0_alpn_selected, SSL_get0_param, SSL_get_rbio, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_ENABLE_PARTIAL_WRITE,
    SSL_MODE_RELEASE_BUFFERS, SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_NO_INTERNAL,
    SSL_SESSION, SSL_SESSION_free, SSL_SESSION_get0_peer, SSL_SESSION_get_protocol_version, SSL_SESSION_is_resumable,
    SSL_session_reused, SSL_set_alpn_protos, SSL_set_session, SSL_set_tlsext_host_name, SSL_VERIFY_PEER, TLS1_3_VERSION,
    TLS_client_method, X509, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, X509_STORE_CTX,
    X509_STORE_CTX_get0_cert, X509_STORE_CTX_set_error, X509_STORE_free, X509_STORE_new, X509_STORE_set_default_paths,
    X509_STORE_set_flags, X509_V_ERR_HOSTNAME_MISMATCH, X509_V_FLAG_CRL_CHECK, X509_V_FLAG_CRL_CHECK_ALL,
    X509_V_FLAG_PARTIAL_CHAIN, X509_VERIFY_PARAM, X509_VERIFY_PARAM_set1_host, X509_VERIFY_PARAM_set1_ip_asc,
    X509_VERIFY_PARAM_set_hostflags, X509_check_host, X509_cmp_current_time, X509_get0_notAfter, X509_verify_cert, fgw_has_san,
)
from fastgw.native.route cimport (
    FGW_ALPN_H2, FGW_ALPN_HTTP1, FGW_ALPN_ISTIO, FGW_NONE, FGW_VERIFY_NAMES, FGW_VERIFY_NONE, fgw_img_cluster, fgw_img_upstream_tls,
)
from fastgw.native.state cimport FGW_C_UPSTREAM_TLS_FAILED, FGW_C_UPSTREAM_TLS_HANDSHAKES, FGW_C_UPSTREAM_TLS_RESUMED

cdef enum:
    CONTEXTS_MAX = 1024          # kept by a worker
    SESSION_KEYS_MAX = 1024      # endpoints and names of a context
    SESSIONS_MAX = 4             # of one endpoint and name
    CHAIN_MAX = 65536            # bytes of an upstream's certificates
    CHECK_FLAGS = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS

cdef bytes SYSTEM = b"system"


# ---- names

cdef int name_peer(Image image, uint32_t cluster, const char *authority, size_t n, PeerName *out) noexcept:
    """What a connection to the cluster for a request to `authority` (NULL: no request) is bound to."""
    cdef const fgw_img_cluster *c = &image.clusters[cluster]
    out.identity = 0
    out.len = 0
    out.http2 = False
    if c.tls == FGW_NONE:
        return 0
    out.identity = image.upstream_tls[c.tls].identity
    if image.upstream_tls[c.tls].sni.len:
        return 0
    if authority == NULL or n == 0:
        authority, n = image.strings + c.host.off, c.host.len
    return put_host(authority, n, out)


cdef int put_host(const char *p, size_t n, PeerName *out) noexcept:
    """host[:port] or [IPv6][:port]. A name too long for DNS is left out, and then no certificate fits."""
    cdef size_t i, end = n
    cdef char b
    if p[0] == 91:  # '['
        p += 1
        end = 0
        while end < n - 1 and p[end] != 93:
            end += 1
    else:
        for i in range(n):
            if p[i] == 58:
                end = i
                break
        if end and p[end - 1] == 46:  # RFC 6066 section 3: without a trailing dot
            end -= 1
    if end > NAME_MAX:
        return 0
    for i in range(end):
        b = p[i]
        out.text[i] = b + 32 if 65 <= b <= 90 else b
    out.len = <uint32_t>end
    return 0


# ---- sessions

cdef class Session:
    def __dealloc__(self):
        if self.session != NULL:
            SSL_SESSION_free(self.session)


cdef class Sessions:
    def __cinit__(self):
        self.kept = []

    cdef int put(self, SSL_SESSION *session) except -1:
        """Takes the reference over."""
        cdef Session s = Session()
        s.session = session
        self.kept.append(s)
        if len(self.kept) > SESSIONS_MAX:
            del self.kept[0]
        return 0

    cdef Session take(self):
        """The newest that is still good, None without one. One of TLS 1.2 stays for others."""
        cdef Session s
        cdef X509 *peer
        while self.kept:
            s = self.kept.pop()
            peer = SSL_SESSION_get0_peer(s.session)
            if peer == NULL or X509_cmp_current_time(X509_get0_notAfter(peer)) < 0 or not SSL_SESSION_is_resumable(s.session):
                continue
            if SSL_SESSION_get_protocol_version(s.session) < TLS1_3_VERSION:
                self.kept.append(s)
            return s
        return None


cdef int take_session(SSL *ssl, SSL_SESSION *session) noexcept:
    """A new session to resume; 1 keeps the reference."""
    cdef UpstreamTlsTransport t = <UpstreamTlsTransport>BIO_get_data(SSL_get_rbio(ssl))
    if t.sessions is None:
        return 0
    try:
        t.sessions.put(session)
    except MemoryError:
        return 0
    return 1


# ---- contexts

cdef class TrustStore:
    def __dealloc__(self):
        if self.store != NULL:
            X509_STORE_free(self.store)


cdef class UpstreamContext(TlsContext):
    cdef Sessions sessions_of(self, uint32_t cell, bytes name):
        key = (cell, name)
        found = self.sessions.get(key)
        if found is None:
            found = self.sessions[key] = Sessions()
            if len(self.sessions) > SESSION_KEYS_MAX:
                self.sessions.popitem(last=False)
        else:
            self.sessions.move_to_end(key)
        return found


cdef class UpstreamContexts:
    def __init__(self):
        self.by_identity = OrderedDict()
        self.stores = WeakValueDictionary()

    cdef UpstreamContext find(self, Context ctx, Image image, const fgw_img_upstream_tls *t):
        """The context for a record; None when its credentials are missing or unusable, `problem` says which."""
        cdef UpstreamContext found
        cdef bytes made_of = self.fingerprint(ctx, text_of(image, t.certificate)) + self.fingerprint(ctx, text_of(image, t.ca))
        found = self.by_identity.get(t.identity)
        if found is not None and found.made_of == made_of:
            self.by_identity.move_to_end(t.identity)
            return found
        found = self.make(ctx, image, t, made_of)
        ERR_clear_error()
        if found is None:
            self.by_identity.pop(t.identity, None)
            return None
        self.by_identity[t.identity] = found
        self.by_identity.move_to_end(t.identity)
        if len(self.by_identity) > CONTEXTS_MAX:
            self.by_identity.popitem(last=False)
        return found

    def fingerprint(self, Context ctx not None, bytes name not None):
        """Eight bytes of a credential, zeros when there is none of this name."""
        cdef const fgw_credential *found = self.credential(ctx, name)
        return bytes(8) if found == NULL else (<const char *>&found.fingerprint)[:sizeof(found.fingerprint)]

    cdef const fgw_credential *credential(self, Context ctx, bytes name) noexcept:
        if ctx.credentials is None or not name:
            return NULL
        return fgw_credentials_find(ctx.credentials.base, <const char *>name, <size_t>len(name))

    cdef UpstreamContext make(self, Context ctx, Image image, const fgw_img_upstream_tls *t, bytes made_of):
        cdef UpstreamContext made = UpstreamContext()
        cdef bytes alpn = offered(t.alpn)
        cdef bytes certificate = text_of(image, t.certificate)
        cdef SSL_CTX *c = SSL_CTX_new(TLS_client_method())
        if c == NULL:
            raise MemoryError("TLS context")
        made.ssl_ctx = c
        made.made_of = made_of
        made.verify = t.verify
        made.alpn = t.alpn
        made.sni = text_of(image, t.sni)
        made.sans = texts_of(image, t.sans)
        made.sessions = OrderedDict()
        SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION)
        SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
        SSL_CTX_set_read_ahead(c, 1)
        SSL_CTX_set_max_cert_list(c, CHAIN_MAX)
        if (SSL_CTX_set_min_proto_version(c, protocol_version(t.min_version)) != 1
                or SSL_CTX_set_max_proto_version(c, protocol_version(t.max_version)) != 1
                or SSL_CTX_set_cipher_list(c, <const char *>CIPHERS) != 1
                or SSL_CTX_set_ciphersuites(c, <const char *>SUITES) != 1):
            raise MemoryError("TLS context")
        SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
        SSL_CTX_sess_set_new_cb(c, take_session)
        if alpn and SSL_CTX_set_alpn_protos(c, <const unsigned char *><const char *>alpn, <unsigned int>len(alpn)) != 0:
            raise MemoryError("TLS context")
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL)
        SSL_CTX_set_verify_depth(c, 10)
        SSL_CTX_set_cert_verify_callback(c, verify_upstream, <void *>made)
        if made.verify != FGW_VERIFY_NONE:
            made.trusted = self.trust(ctx, text_of(image, t.ca))
            if made.trusted is None:
                self.problem = b"no usable CA in " + text_of(image, t.ca)
                return None
            SSL_CTX_set1_cert_store(c, made.trusted.store)
        if certificate and not self.show(ctx, made, certificate):
            self.problem = b"no usable certificate in " + certificate
            return None
        return made

    def show(self, Context ctx not None, UpstreamContext made not None, bytes name not None):
        """The client certificate into the context; False when there is none."""
        cdef const fgw_credential *found = self.credential(ctx, name)
        cdef const char *base
        if found == NULL or found.chain.len == 0 or found.key.len == 0:
            return False
        base = <const char *>ctx.credentials.base
        return bool(use_pair(made.ssl_ctx, base + found.chain.off, found.chain.len, base + found.key.off, found.key.len))

    cdef TrustStore trust(self, Context ctx, bytes name):
        """The CAs of a credential, or the system's, which are read once. None when there are none."""
        cdef TrustStore made
        cdef const fgw_credential *found = NULL
        cdef const char *base
        if name == SYSTEM and self.system is not None:
            return self.system
        key = (name, self.fingerprint(ctx, name))
        known = self.stores.get(key)
        if known is not None:
            return known
        made = TrustStore()
        made.store = X509_STORE_new()
        if made.store == NULL:
            raise MemoryError("certificate store")
        if name == SYSTEM:
            X509_STORE_set_default_paths(made.store)
            self.system = made
        else:
            found = self.credential(ctx, name)
            if found == NULL:
                return None
            base = <const char *>ctx.credentials.base
            if add_trusted(made.store, NULL, base + found.ca.off, found.ca.len) == 0:
                return None
            X509_STORE_set_flags(made.store, X509_V_FLAG_PARTIAL_CHAIN)
            if found.crl.len:
                if add_revoked(made.store, base + found.crl.off, found.crl.len) == 0:
                    return None
                X509_STORE_set_flags(made.store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
        self.stores[key] = made
        return made


cdef bytes offered(int alpn):
    """In the form of the extension."""
    cdef bytes out = b""
    if alpn & FGW_ALPN_H2:
        out += b"\x02h2"
    if alpn & FGW_ALPN_HTTP1:
        out += b"\x08http/1.1"
    if alpn & FGW_ALPN_ISTIO:
        out += b"\x13istio-peer-exchange\x05istio"
    return out


cdef int verify_upstream(X509_STORE_CTX *store, void *arg) noexcept:
    """Chain, then names. The single name of a connection without `sans` is among the store's parameters already."""
    cdef UpstreamContext context = <UpstreamContext>arg
    cdef X509 *peer
    cdef bytes name
    if context.verify == FGW_VERIFY_NONE:
        return 1
    if X509_verify_cert(store) != 1:
        return 0
    if context.verify != FGW_VERIFY_NAMES or not context.sans:
        return 1
    peer = X509_STORE_CTX_get0_cert(store)
    for name in context.sans:
        if fgw_has_san(peer, <const char *>name, <size_t>len(name)):
            return 1
        if X509_check_host(peer, <const char *>name, <size_t>len(name), CHECK_FLAGS, NULL) == 1:
            return 1
    X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH)
    return 0


# ---- transports

cdef class UpstreamTlsTransport(TlsTransport):
    cdef bint prepare(self, UpstreamContext context, bytes name, Sessions sessions) except -1:
        """Be a client that asks for `name`, which becomes the name to be verified where the context has none. False when no
        certificate can hold such a name."""
        cdef bint address = is_address(<const char *>name, <size_t>len(name))
        cdef X509_VERIFY_PARAM *param
        cdef Session session
        cdef int ok = 1
        cdef bytes alpn
        self.sessions = sessions
        self.start_client(context)
        if self.alpn:
            alpn = offered(self.alpn)
            if SSL_set_alpn_protos(self.ssl, <const unsigned char *><const char *>alpn, <unsigned int>len(alpn)) != 0:
                raise MemoryError("ALPN")
        if name and not address and SSL_set_tlsext_host_name(self.ssl, <const char *>name) != 1:  # RFC 6066 section 3: no addresses
            raise MemoryError("server name")
        if context.verify == FGW_VERIFY_NAMES and not context.sans:
            param = SSL_get0_param(self.ssl)
            X509_VERIFY_PARAM_set_hostflags(param, CHECK_FLAGS)
            if address:
                ok = X509_VERIFY_PARAM_set1_ip_asc(param, <const char *>name)
            else:
                # an empty name would switch the check off
                ok = X509_VERIFY_PARAM_set1_host(param, <const char *>name, <size_t>len(name)) if name else 0
        if ok != 1:
            return False
        session = sessions.take()
        if session is not None:
            SSL_set_session(self.ssl, session.session)
        return True

    cdef int handshake_failed(self) except -1:
        self.sessions.kept.clear()  # whatever was resumed, the next attempt begins anew
        return TlsTransport.handshake_failed(self)


cdef Transport make_transport(Served s, const PeerName *name):
    """A transport for s.address of s.cluster, to be opened; None when TLS is not possible, s.transport_failure then says why."""
    cdef Context ctx = s.ctx
    cdef UpstreamContexts contexts
    cdef UpstreamContext context
    cdef UpstreamTlsTransport made
    cdef bytes host
    if name.identity == 0:
        return Transport()
    if ctx.upstream_tls is None:
        ctx.upstream_tls = UpstreamContexts()
    contexts = ctx.upstream_tls
    context = contexts.find(ctx, s.image, &s.image.upstream_tls[s.image.clusters[s.cluster].tls])
    if context is None:
        return refuse(s, contexts.problem)
    host = context.sni or name.text[:name.len]
    made = UpstreamTlsTransport()
    if context.alpn & FGW_ALPN_H2:
        made.alpn = (FGW_ALPN_H2 if name.http2 else FGW_ALPN_HTTP1) | (context.alpn & FGW_ALPN_ISTIO)
    if not made.prepare(context, host, context.sessions_of(s.address.cell, host)):
        return refuse(s, b"no certificate can hold the name " + host)
    return made


cdef Transport refuse(Served s, bytes why):
    s.ctx.loop.count(FGW_C_UPSTREAM_TLS_FAILED)
    s.transport_failure = failure_text(why)
    return None


cdef bytes failure_text(bytes why):
    """One word, in the manner of Envoy's."""
    return b"TLS_error:|" + why.replace(b" ", b"_") + b":TLS_error_end"


cdef int note_connected(Context ctx, Transport transport) except -1:
    """Count a handshake that has succeeded."""
    if isinstance(transport, TlsTransport):
        ctx.loop.count(FGW_C_UPSTREAM_TLS_HANDSHAKES)
        if SSL_session_reused((<TlsTransport>transport).ssl) == 1:
            ctx.loop.count(FGW_C_UPSTREAM_TLS_RESUMED)
    return 0


cdef int note_failure(Served s, Transport transport, int reason) except -1:
    """The transport is gone (CloseReason): when TLS is why, keep the reason. An upstream that refuses our certificate says so by an
    alert after a handshake of TLS 1.3 has ended for us."""
    cdef bytes failure = failure_of(transport)
    if failure is not None:
        count_failure(s.ctx, transport, reason)
        s.transport_failure = failure
    return 0


cdef int note_timeout(Served s, Transport transport) except -1:
    """The time for connecting is over, and it may have been the handshake that took it."""
    mark_timeout(transport)
    return note_failure(s, transport, CLOSE_HANDSHAKE_FAILED)


cdef int count_failure(Context ctx, Transport transport, int reason) except -1:
    """Count a handshake that has not succeeded."""
    if reason == CLOSE_HANDSHAKE_FAILED and isinstance(transport, TlsTransport) and (<TlsTransport>transport).failure is not None:
        ctx.loop.count(FGW_C_UPSTREAM_TLS_FAILED)
    return 0


cdef int mark_timeout(Transport transport) except -1:
    if isinstance(transport, TlsTransport) and (<TlsTransport>transport).tcp_connected:
        (<TlsTransport>transport).failure = b"handshake timed out"
    return 0


cdef bytes failure_of(Transport transport):
    """What TLS said when it ended the connection, None when it did not."""
    if isinstance(transport, TlsTransport) and (<TlsTransport>transport).failure is not None:
        return failure_text((<TlsTransport>transport).failure)
    return None


cdef bint chose_http2(Context ctx, Transport transport) except -1:
    """After a handshake: may HTTP/2 be spoken? In the mesh "istio" stands for whatever the port speaks."""
    cdef TlsTransport t
    cdef const unsigned char *p = NULL
    cdef unsigned int n = 0
    cdef bytes chosen
    if not isinstance(transport, TlsTransport):
        return True
    t = <TlsTransport>transport
    SSL_get0_alpn_selected(t.ssl, &p, &n)
    chosen = (<const char *>p)[:n] if n else b""
    if chosen == b"h2" or (chosen.startswith(b"istio") and (<UpstreamContext>t.context).alpn & FGW_ALPN_ISTIO):
        return True
    t.failure = b"HTTP/2 was not agreed on, ALPN gave " + (chosen or b"nothing")
    ctx.loop.count(FGW_C_UPSTREAM_TLS_FAILED)
    return False
