"""A connection between accept and its protocol.

Where a proxy in front speaks the PROXY protocol, its header comes before everything else, and a connection without a good one is
closed (K17). On a listener with TLS chains the first bytes decide: a TLS hello takes the chain of its server name (P1), anything
else the chain for connections without TLS (C5). The hello is only looked at; whoever serves the connection gets its bytes. What
begins like a hello and is none is closed, never handed to a default (requirement G3), and there is a time limit that progress does
not move (T1). A listener without either waits for nothing: there are protocols in which the server speaks first.
"""
from libc.stdint cimport uint32_t

from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.client_address cimport take_proxy_header
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner
from fastgw.dataplane.tls_context cimport TlsContext, TlsContexts
from fastgw.dataplane.tls_transport cimport TlsTransport
from fastgw.dataplane.transport cimport Transport
from fastgw.native.base cimport FGW_OK, FGW_R_PROXY_MALFORMED, FGW_R_PROXY_TIMEOUT
from fastgw.native.proxy_proto cimport fgw_proxy_header, fgw_proxy_header_parse
from fastgw.native.route cimport FGW_CHAIN_HTTP, FGW_NONE, FGW_TLS_TERMINATE, fgw_chain_of_sni, fgw_img_chain
from fastgw.native.state cimport (
    FGW_C_CLIENT_CONNECTIONS_CLOSED, FGW_C_HELLO_REFUSED, FGW_C_HELLO_TIMEOUTS, FGW_C_PROXY_HEADERS, FGW_C_TLS_FAILED,
    FGW_C_TLS_HANDSHAKES, FGW_C_TLS_NO_CHAIN, FGW_C_TLS_RESUMED, FGW_C_TLS_TIMEOUTS, FGW_G_TLS_HANDSHAKING,
)
from fastgw.native.tls_hello cimport fgw_hello, fgw_tls_hello_peek

cdef enum:
    ALERT_INTERNAL_ERROR = 80
    ALERT_UNRECOGNIZED_NAME = 112
    TLS_HANDSHAKE = 22        # first byte of a record that carries a hello (RFC 8446 section 5.1)


cdef class Newcomer(ClientSide):
    def __init__(self, Context ctx, ConnectionOwner owner, TlsContexts contexts):
        self.ctx = ctx
        self.owner = owner
        self.contexts = contexts

    cdef int start(self, Transport transport, uint32_t plain, bint looks, bint proxied) except -1:
        """proxied: a PROXY header comes first. looks: then the first bytes decide; else the connection is served by the chain
        `plain` at once."""
        self.transport = transport
        self.plain = plain
        self.looks, self.proxied = looks, proxied
        if not looks and not proxied:
            return self.hand_over(plain, NULL, 0)
        self.pending = Buffer()
        if self.ctx.hello_timeout_ms:
            self.ctx.loop.set_deadline(self, self.ctx.loop.now_ms + self.ctx.hello_timeout_ms)
        return 0

    cdef int locate(self, uint32_t listener) except -1:
        if self.handshaking:
            return ClientSide.locate(self, listener)
        self.listener = listener
        self.plain = FGW_NONE if listener == FGW_NONE else self.ctx.image.listeners[listener].plain
        return 0

    cdef int on_data(self, const char *p, size_t n) except -1:
        if self.pending.size():
            self.pending.append(p, n)
            p, n = self.pending.head(), self.pending.size()
        return self.listen_to_proxy(p, n) if self.proxied else self.look(p, n)

    cdef int listen_to_proxy(self, const char *p, size_t n) except -1:
        """Nothing of the header is ever taken for what the client says."""
        cdef fgw_proxy_header header
        cdef int why
        cdef long used = fgw_proxy_header_parse(p, n, &header)
        if used == 0:
            return self.keep(p, n)
        if used < 0:
            return self.refuse(<int>-used)
        self.proxied = False
        self.ctx.loop.count(FGW_C_PROXY_HEADERS)
        take_proxy_header(self, &header)
        p += used
        n -= <size_t>used
        if self.pending.size():
            self.pending.consume(<size_t>used)
        why = self.owner.on_told(self) if header.tells else FGW_OK
        if why:
            return self.refuse(why)
        if not self.looks:
            return self.hand_over(self.plain, p, n)
        return self.look(p, n) if n else 0

    cdef int keep(self, const char *p, size_t n) except -1:
        """More has to come before anything can be said."""
        return self.pending.append(p, n) if self.pending.size() == 0 else 0

    cdef int refuse(self, int reason) except -1:
        self.ctx.reject(reason)
        return self.leave()

    cdef int look(self, const char *p, size_t n) except -1:
        cdef fgw_hello hello
        cdef long r
        cdef uint32_t chain
        if p[0] != TLS_HANDSHAKE and self.plain != FGW_NONE:
            return self.hand_over(self.plain, p, n)
        r = fgw_tls_hello_peek(p, n, &hello)
        if r == 0:
            return self.keep(p, n)
        if r < 0:
            self.ctx.loop.count(FGW_C_HELLO_REFUSED)
            return self.refuse(<int>-r)
        chain = FGW_NONE
        if self.listener != FGW_NONE:
            chain = fgw_chain_of_sni(self.ctx.image.base, self.listener, hello.sni, hello.sni_len if hello.has_sni else 0)
        if hello.has_sni:
            self.server_name = hello.sni[:hello.sni_len]
        if chain == FGW_NONE:
            self.ctx.loop.count(FGW_C_TLS_NO_CHAIN)
            self.owner.note_unserved(self, self.transport)
            return self.alert(ALERT_UNRECOGNIZED_NAME)
        if self.ctx.image.chains[chain].tls == FGW_TLS_TERMINATE:
            return self.shake_hands(chain, p, n)
        return self.hand_over(chain, p, n)

    cdef int shake_hands(self, uint32_t chain, const char *p, size_t n) except -1:
        cdef const fgw_img_chain *place = &self.ctx.image.chains[chain]
        cdef TlsContext context = self.contexts.find(self.ctx.image, place.tls_context, place.kind == FGW_CHAIN_HTTP)
        cdef Buffer pending = self.pending
        if context is None:  # its certificate is missing or unusable: others are served (P9)
            self.ctx.loop.count(FGW_C_TLS_FAILED)
            return self.alert(ALERT_INTERNAL_ERROR)
        self.choose_chain(chain)
        self.handshaking = True
        self.ctx.gauge(FGW_G_TLS_HANDSHAKING, 1)
        self.deadline_ms = 0
        if self.ctx.handshake_timeout_ms:
            self.ctx.loop.set_deadline(self, self.ctx.loop.now_ms + self.ctx.handshake_timeout_ms)
        self.pending = None  # p may lie in it
        (<TlsTransport>self.transport).start_server(context, p, n)
        pending.release()
        return 0

    cdef int on_connected(self) except -1:
        """The handshake is over."""
        cdef TlsTransport transport = <TlsTransport>self.transport
        self.handshaking = False
        self.ctx.gauge(FGW_G_TLS_HANDSHAKING, -1)
        self.ctx.loop.count(FGW_C_TLS_HANDSHAKES)
        self.secure = True
        self.tls = transport.facts()
        if self.tls.resumed:
            self.ctx.loop.count(FGW_C_TLS_RESUMED)
        if self.chain == FGW_NONE:  # it went while we were busy
            return self.leave()
        return self.hand_over(self.chain, NULL, 0)

    cdef int alert(self, int description) except -1:
        """Close with a fatal alert in the clear (RFC 8446 section 6), so that a client can say what was wrong."""
        cdef char[7] record = [21, 3, 3, 0, 2, 2, 0]
        record[6] = <char>description
        self.transport.write(record, 7)
        self.transport.flush()
        return self.leave()

    cdef int hand_over(self, uint32_t chain, const char *p, size_t n) except -1:
        """The bytes lie in the loop's scratch buffer or in ours, and stay until this returns."""
        cdef ConnectionOwner owner = self.owner
        self.owner = None
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        self.ctx.loop.keep(self)
        try:
            if chain != FGW_NONE and chain != self.chain:
                self.choose_chain(chain)
            owner.serve(self, self.transport, chain, p, n)
        except BaseException:
            if self.transport.protocol is self:  # nobody has taken the connection over: it ends as ours
                self.owner = owner
            raise
        if self.pending is not None:
            self.pending.release()
        return 0

    cdef int leave(self) except -1:
        """Close without an answer. Safe to call twice."""
        cdef ConnectionOwner owner = self.owner
        if owner is None:
            return 0
        self.owner = None
        if self.handshaking:
            self.handshaking = False
            self.ctx.gauge(FGW_G_TLS_HANDSHAKING, -1)
            self.ctx.loop.count(FGW_C_TLS_FAILED)
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        self.ctx.loop.keep(self)
        self.transport.close()
        if self.pending is not None:
            self.pending.release()
        self.ctx.loop.count(FGW_C_CLIENT_CONNECTIONS_CLOSED)
        return owner.on_client_closed(self)

    cdef int on_eof(self) except -1:
        if self.proxied and self.pending.size():  # without a byte it is a look whether we are there
            return self.refuse(FGW_R_PROXY_MALFORMED)
        return self.leave()

    cdef int on_closed(self, int reason, int error) except -1:
        return self.leave()

    cdef int on_timer(self) except -1:
        if self.proxied:
            return self.refuse(FGW_R_PROXY_TIMEOUT)
        self.ctx.loop.count(FGW_C_TLS_TIMEOUTS if self.handshaking else FGW_C_HELLO_TIMEOUTS)
        return self.leave()

    def drain(self):
        """It has not said what it wants: it may still."""
