"""Listeners are level-triggered: what one turn leaves in the queue the next one finds.

The socket belongs to the supervisor and outlives the worker. Whether it is polled is said by admission. Running out of descriptors
never spins: one connection is accepted and closed with the reserve descriptor, then accepting pauses (requirement I2).
"""
from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.admission cimport HOLD_FULL
from fastgw.dataplane.client_address cimport socket_ip, take_socket_address
from fastgw.dataplane.client_http1 cimport ClientHttp1
from fastgw.dataplane.client_http2 cimport ClientHttp2
from fastgw.dataplane.client_http2_stream cimport StreamPool
from fastgw.dataplane.context cimport Context, Image
from fastgw.dataplane.grpc_answers cimport GrpcAnswers
from fastgw.dataplane.grpc_web cimport GrpcWebTranslator
from fastgw.dataplane.guards cimport RouteGuard
from fastgw.dataplane.header_edits cimport HeaderEdits
from fastgw.dataplane.overload cimport Overload
from fastgw.dataplane.retries cimport RouteRetries
from fastgw.dataplane.route_filters cimport RouteFilters
from fastgw.dataplane.route_mirrors cimport RouteMirrors
from fastgw.dataplane.holders cimport CountedDoor, Holders
from fastgw.dataplane.newcomer cimport Newcomer
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner, Held
from fastgw.dataplane.streams cimport Connector, ExchangeObserver
from fastgw.dataplane.tls_context cimport TlsContexts
from fastgw.dataplane.tls_transport cimport TlsTransport
from fastgw.dataplane.transport cimport Transport
from fastgw.dataplane.tunnel cimport Tunnel
from fastgw.native.base cimport FGW_OK, FGW_R_PROXY_UNTRUSTED
from fastgw.native.cidr cimport fgw_ip
from fastgw.native.route cimport (
    FGW_CHAIN_TCP, FGW_LISTENER_PROXY_PROTOCOL, FGW_NONE, fgw_img_chain, fgw_img_listener, fgw_listener_find,
)
from fastgw.native.state cimport (
    FGW_C_ACCEPT_ERRORS, FGW_C_CLIENT_BYTES_IN, FGW_C_CLIENT_BYTES_OUT, FGW_C_CLIENT_CONNECTIONS,
    FGW_C_CLIENT_CONNECTIONS_CLOSED, FGW_C_HANDSHAKES_DEFERRED,
)
from fastgw.native.system cimport (
    EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPOLLIN, IPPROTO_TCP, O_CLOEXEC, O_RDONLY, SOCK_CLOEXEC, SOCK_NONBLOCK,
    TCP_NODELAY, accept4, close, errno, open, setsockopt, sockaddr, sockaddr_storage, socklen_t,
)

cdef enum:
    ACCEPTS_PER_TURN = 64     # requirement I3
    ACCEPTS_LATE = 1          # of TLS connections, whose handshakes cost as much as dozens of requests
    PAUSE_MS = 100


cdef class Listener(CountedDoor):
    def __init__(self, Server server, int fd, name):
        cdef int one = 1
        self.server = server
        self.admission = server.admission
        self.fd = fd
        self.shared = True
        self.name = name
        self.name_bytes = name.encode()
        self.index = FGW_NONE
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))  # accepted sockets inherit it
        server.ctx.loop.add(self, EPOLLIN)
        self.locate()

    def locate(self):
        """Find ourselves in the current image."""
        cdef const char *name = self.name_bytes
        cdef const fgw_img_listener *place
        cdef Image image = self.server.ctx.image
        self.index = self.plain = FGW_NONE
        self.looks = self.proxied = False
        if image is not None:
            self.index = fgw_listener_find(image.base, name, <size_t>len(self.name_bytes))
        self.take_limits(self.server.ctx, self.index)
        if self.index != FGW_NONE:
            place = &image.listeners[self.index]
            self.plain = place.plain
            self.looks = place.sni != FGW_NONE
            self.proxied = place.flags & FGW_LISTENER_PROXY_PROTOCOL != 0

    cdef int on_events(self, uint32_t events) except -1:
        return self.accept_some()

    cdef int on_bug(self) except -1:
        """The connection that could not be taken is lost, others wait in the queue: a worker without its listeners would live
        on, deaf. It does not spin, for each failure has taken a connection, and a client that knows can try again."""
        return 1

    cdef int accept_some(self) except -1:
        cdef Server server = self.server
        cdef sockaddr_storage address
        cdef socklen_t n
        cdef uint64_t key
        cdef int fd, why, _i
        cdef bint defers = self.looks and server.ctx.late
        for _i in range(ACCEPTS_LATE if defers else ACCEPTS_PER_TURN):
            if self.holds | self.admission.holds or not server.holders.enter(self):
                return 0
            n = sizeof(address)
            fd = accept4(self.fd, <sockaddr *>&address, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                why = self.judge(&address, &key)
                if why:
                    self.turn_away(fd, why)
                else:
                    self.take(fd, &address, key)
                continue
            why = errno
            server.holders.leave(self, 0)
            if why == EAGAIN:
                return 0
            if why == EMFILE or why == ENFILE or why == ENOBUFS or why == ENOMEM:
                return server.shed(self.fd)
            if why != EINTR:
                server.ctx.loop.count(FGW_C_ACCEPT_ERRORS)  # a peer that gave up meanwhile
        if defers:
            server.ctx.loop.count(FGW_C_HANDSHAKES_DEFERRED)
        return 0

    cdef int take(self, int fd, const sockaddr_storage *address, uint64_t key) except -1:
        """Serve an accepted connection, or close it and raise. ``key``: by which its source address is counted, 0."""
        cdef Newcomer c = None
        cdef Transport transport = None
        try:
            c = Newcomer(self.server.ctx, self.server, self.server.contexts)
            c.held = Held()
            c.held.listener, c.held.source = self.place, key
            transport = c.transport = TlsTransport() if self.looks else Transport()
            c.listener = self.index
            c.listener_name = self.name_bytes
            take_socket_address(c, address)
            self.admit(fd, c, transport)
        except BaseException:
            if c is None or c.held is None:
                self.server.holders.leave(self, key)
            else:
                self.server.on_client_closed(c)
            if transport is None or transport.loop is None:  # nobody owns the descriptor yet
                close(fd)
            elif transport.protocol is not None:
                transport.on_bug()
            raise
        return 0

    cdef int admit(self, int fd, Newcomer c, Transport transport) except -1:
        cdef Server server = self.server
        server.enter(c)
        if 0 < server.ctx.max_connections <= len(server.clients):
            self.admission.hold(HOLD_FULL)
        server.ctx.loop.count(FGW_C_CLIENT_CONNECTIONS)
        transport.counter_in = FGW_C_CLIENT_BYTES_IN
        transport.counter_out = FGW_C_CLIENT_BYTES_OUT
        transport.open(server.ctx.loop, fd, c, False)
        self.admission.look_at_descriptors()
        return c.start(transport, self.plain, self.looks, self.proxied)

    cdef int judge(self, const sockaddr_storage *address, uint64_t *key) noexcept:
        """The fgw_reason not to serve somebody of this address; or FGW_OK, and by *key it is counted (0: it is not)."""
        cdef Context ctx = self.server.ctx
        cdef fgw_ip ip = socket_ip(address)
        key[0] = 0
        if not self.proxied:
            return self.server.holders.admit(self, ip, key)
        return FGW_OK if ctx.trusted == NULL or ctx.believes(ip) else FGW_R_PROXY_UNTRUSTED

    cdef int turn_away(self, int fd, int reason) except -1:
        """Close at once what has just been accepted. What a client sees has been counted."""
        self.server.ctx.reject(reason)
        self.server.ctx.loop.count(FGW_C_CLIENT_CONNECTIONS)
        self.server.ctx.loop.count(FGW_C_CLIENT_CONNECTIONS_CLOSED)
        close(fd)
        self.server.holders.leave(self, 0)
        return 0


cdef class Server(ConnectionOwner):
    def __init__(self, Context ctx, Connector connector, ExchangeObserver observer, limits):
        self.ctx = ctx
        self.connector = connector
        self.observer = observer
        self.contexts = TlsContexts(ctx)
        self.listeners = []
        self.clients = set()
        self.reserve_fd = open(b"/dev/null", O_RDONLY | O_CLOEXEC)
        self.streams = StreamPool(ctx, connector, observer)
        self.overload = Overload(ctx, self.clients, connector, self.streams, limits)
        self.admission = self.overload.admission
        ctx.gate = self.overload
        self.holders = Holders(ctx)
        ctx.editor = HeaderEdits()
        ctx.answers = GrpcAnswers()
        ctx.translator = GrpcWebTranslator()
        ctx.retries = RouteRetries(ctx)
        ctx.guard = RouteGuard()
        ctx.filters = RouteFilters()
        ctx.mirrors = RouteMirrors(ctx, connector)

    def __dealloc__(self):
        if self.reserve_fd >= 0:
            close(self.reserve_fd)

    @property
    def spare_streams(self):
        """HTTP/2 streams that wait to be used again."""
        return self.streams.spare

    def listen(self, sockets):
        """sockets: list of (name, fd), the full set from now on. Sockets of listeners that are gone are closed here
        (the supervisor has closed or still holds its own)."""
        cdef Listener listener
        for listener in self.listeners:
            self.ctx.loop.remove(listener)
        self.listeners = [Listener(self, fd, name) for name, fd in sockets]
        self.admission.use(self.listeners)
        self.holders.use(self.listeners)

    def on_image(self):
        """A new image is attached: every listener and connection finds its place in it."""
        cdef Listener listener
        cdef ClientSide client
        self.contexts.on_image()
        index = {}
        for listener in self.listeners:
            listener.locate()
            index[listener.name_bytes] = listener.index
        self.holders.look()
        for client in self.clients:
            client.locate(index.get(client.listener_name, <uint32_t>FGW_NONE))

    def drain(self):
        for client in list(self.clients):
            try:
                client.drain()
            except Exception:
                self.ctx.loop.report_bug()  # the others shall hear of it, too

    def forewarn(self):
        """Connections will end before long."""
        for client in list(self.clients):
            try:
                client.forewarn()
            except Exception:
                self.ctx.loop.report_bug()

    def cut(self):
        for client in list(self.clients):
            client.cut()

    cdef int serve(self, ClientSide accepted, Transport transport, uint32_t chain, const char *p, size_t n) except -1:
        cdef ClientHttp1 client
        cdef const fgw_img_chain *place
        if chain != FGW_NONE:
            place = &self.ctx.image.chains[chain]
            if place.kind == FGW_CHAIN_TCP:
                return self.relay(accepted, transport, chain, p, n)
        if accepted.tls is not None and accepted.tls.http2:
            return self.serve_http2(accepted, transport, p, n)
        client = ClientHttp1(self.ctx, self.connector, self.observer, self)
        client.take_place(accepted)
        self.clients.discard(accepted)
        self.enter(client)
        return client.start(transport, p, n)

    cdef int serve_http2(self, ClientSide accepted, Transport transport, const char *p, size_t n) except -1:
        cdef ClientHttp2 client = ClientHttp2(self.streams, self)
        client.place.take_place(accepted)
        self.clients.discard(accepted)
        self.enter(client.place)
        return client.start(transport, p, n)

    cdef int relay(self, ClientSide accepted, Transport transport, uint32_t chain, const char *p, size_t n) except -1:
        """The bytes of a connection, decrypted ones when it is TLS, go to an upstream."""
        cdef Tunnel tunnel = Tunnel(self.ctx, self.observer, self)
        self.clients.discard(accepted)
        self.enter(tunnel.client)
        return tunnel.start(accepted, transport, chain, p, n)

    cdef int note_unserved(self, ClientSide accepted, Transport transport) except -1:
        return Tunnel(self.ctx, self.observer, self).log_unserved(accepted, transport) if self.observer is not None else 0

    cdef int enter(self, ClientSide client) except -1:
        try:
            self.clients.add(client)
        except MemoryError:
            self.clients.discard(client)  # a set that cannot grow raises with the new entry in it
            raise
        return 0

    cdef int on_told(self, ClientSide client) except -1:
        return self.holders.admit_told(client)

    cdef int on_client_closed(self, ClientSide client) except -1:
        self.clients.discard(client)
        self.holders.forget(client)
        if len(self.clients) < self.ctx.max_connections:
            self.admission.release(HOLD_FULL)
        return self.admission.look_at_descriptors()

    cdef int shed(self, int fd) except -1:
        """No descriptor is left: tell one waiting client so by closing its connection, then pause."""
        cdef int taken
        self.ctx.loop.count(FGW_C_ACCEPT_ERRORS)
        if self.reserve_fd >= 0:
            close(self.reserve_fd)
            taken = accept4(fd, NULL, NULL, SOCK_CLOEXEC)
            if taken >= 0:
                close(taken)
            self.reserve_fd = open(b"/dev/null", O_RDONLY | O_CLOEXEC)
        return self.admission.pause(PAUSE_MS)
