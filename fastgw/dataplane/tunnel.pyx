"""Layer 4: the bytes of a client's connection go to one upstream, and what comes back goes to the client.

The destination is drawn and connected to at once: there are protocols in which the server speaks first. Bytes that were read to
find the chain (a TLS hello) are sent before all others, unchanged (requirement G4); before the upstream is there, nothing more
is read. Then two Flows, one a direction, which end one by one: a FIN is passed on and the other direction goes on (requirement
G14); a reset ends both.

A flow holds one piece of input at the most: what the sink's socket does not take waits in its queue or in a pipe, and the source
is not read meanwhile. Bulk goes through a pipe by splice(2) when both sides are plain sockets; see DECISIONS.md.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastgw.dataplane.balancer cimport PICK_ONE, PICK_WAIT, pick
from fastgw.dataplane.buffers cimport Buffer
from fastgw.dataplane.context cimport Context, Image
from fastgw.dataplane.dial cimport keep_alive, local_text, open_socket
from fastgw.dataplane.guards cimport why_denied
from fastgw.dataplane.limits cimport HELD_REFUSED, may_connect, release_connection
from fastgw.dataplane.loop cimport SCRATCH_BYTES
from fastgw.dataplane.outlier cimport note_connected, note_local
from fastgw.dataplane.pipes cimport Pipe, give_pipe, take_pipe
from fastgw.dataplane.proxy_header cimport proxy_header_for
from fastgw.dataplane.served cimport ClientSide, ConnectionOwner, Observer, Served
from fastgw.dataplane.transport cimport Protocol, Transport
from fastgw.dataplane.upstream_tls cimport PeerName, make_transport, name_peer, note_failure, note_timeout
from fastgw.dataplane.upstream_tls cimport note_connected as note_transport
from fastgw.native.balance cimport fgw_hash_key
from fastgw.native.base cimport fgw_span
from fastgw.native.route cimport (
    FGW_ACTION_ROUTE, FGW_NONE, FGW_POLICY_KEEPALIVE, FGW_STICKY_SOURCE_IP, fgw_img_action, fgw_img_chain, fgw_img_destination,
    fgw_img_policy, fgw_sticky_key, fgw_sticky_pick,
)
from fastgw.native.state cimport (
    FGW_C_CLIENT_CONNECTIONS_CLOSED, FGW_C_SOURCES_DENIED, FGW_C_TUNNEL_TIMEOUTS, FGW_C_TUNNELS, FGW_C_UPSTREAM_BYTES_IN,
    FGW_C_UPSTREAM_BYTES_OUT, FGW_C_UPSTREAM_CLOSED, FGW_C_UPSTREAM_CONNECT_FAILURES, FGW_C_UPSTREAM_CONNECT_TIMEOUTS,
    FGW_C_UPSTREAM_CONNECTS, FGW_C_UPSTREAM_RETRIES, FGW_F_DC, FGW_F_NC, FGW_F_NR, FGW_F_OM, FGW_F_UF, FGW_F_UH, FGW_F_UO,
    FGW_F_URX, FGW_G_CLIENT_ACTIVE, FGW_G_TUNNELS_ACTIVE, FGW_G_UPSTREAM_ACTIVE, fgw_series_key, fgw_tcp_series, fgw_tcp_series_of,
)

cdef enum:
    REPORT_MS = 5000          # bytes of an open connection are in the metrics after this time
    SMALL_BYTES = 16384       # pieces below this are better copied
    SMALL_PIECES = 4          # in a row, then they are
    USUAL_SILENCE_MS = 3600000  # what holds where nobody has chosen
    HALF_CLOSED_MS = 30000    # then, with one direction at its end: requirement E9

cdef long tunnels = 0


def tunnels_alive():
    """For leak checks: tunnels that are not finished."""
    return tunnels


cdef class Flow:
    cdef int tie(self, Tunnel tunnel, Transport source, Transport sink) except -1:
        self.tunnel, self.source, self.sink = tunnel, source, sink
        self.splices = not source.encrypts and not sink.encrypts
        return 0

    cdef int untie(self) except -1:
        self.give_back()
        self.tunnel = None
        self.source = self.sink = None
        return 0

    cdef int on_data(self, const char *p, size_t n) except -1:
        self.tunnel.touch()
        self.relayed += n
        self.sink.more_follows = self.source.hangup
        self.sink.write_now(p, n, NULL, 0)
        self.sink.more_follows = False
        if self.sink.queued():
            self.source.pause_reading()
        if n == SCRATCH_BYTES and self.splices:
            self.source.piped = True
            self.small = 0
        return 0

    cdef Pipe pipe_for_input(self):
        if self.pipe is None:
            self.pipe = take_pipe()
        return self.pipe

    cdef int on_piped(self, size_t n) except -1:
        self.tunnel.touch()
        self.relayed += n
        self.sink.write_pipe(self.pipe)
        if self.pipe.held:
            self.source.pause_reading()
            return 0
        self.small = self.small + 1 if n < SMALL_BYTES else 0
        if self.small == SMALL_PIECES:
            self.source.piped = False
            return self.give_back()
        return 0

    cdef int give_back(self) except -1:
        cdef Pipe pipe = self.pipe
        if pipe is None:
            return 0
        self.pipe = None
        return give_pipe(pipe)

    cdef int on_eof(self) except -1:
        self.eof = True
        self.give_back()
        if self.tunnel.check_end():
            return 0
        self.sink.shut()
        return self.tunnel.on_half_closed()

    cdef int on_sink_writable(self) except -1:
        self.tunnel.touch()
        if self.pipe is not None:
            self.sink.write_pipe(self.pipe)
            if self.pipe.held:
                return 0
        if self.eof:
            return 0 if self.tunnel.check_end() else self.tunnel.on_half_closed()
        return self.source.resume_reading()

    cdef bint finished(self) noexcept:
        """The source has ended, and the sink has got everything."""
        return self.eof and self.sink.queued() == 0


cdef class TunnelClient(ClientSide):
    cdef int on_data(self, const char *p, size_t n) except -1:
        return self.tunnel.up.on_data(p, n)

    cdef Pipe pipe_for_input(self):
        return self.tunnel.up.pipe_for_input()

    cdef int on_piped(self, size_t n) except -1:
        return self.tunnel.up.on_piped(n)

    cdef int on_input_dry(self) except -1:
        return self.tunnel.up.give_back()

    cdef int on_eof(self) except -1:
        return self.tunnel.up.on_eof()

    cdef int on_writable(self) except -1:
        return self.tunnel.down.on_sink_writable()

    cdef int on_closed(self, int reason, int error) except -1:
        return self.tunnel.on_client_closed()

    cdef size_t held_bytes(self) noexcept:
        cdef Tunnel tunnel = self.tunnel
        cdef size_t n
        if tunnel is None:
            return 0
        n = self.transport.out.cap + self.transport.sealed
        if tunnel.first is not None:
            n += tunnel.first.cap
        if tunnel.upstream is not None and tunnel.upstream.transport is not None:
            n += tunnel.upstream.transport.out.cap + tunnel.upstream.transport.sealed
        return n

    cdef int drop_largest(self) except -1:
        return self.tunnel.fail(FGW_F_OM, b"overload") if self.tunnel is not None else 0

    def drain(self):
        """It lives on until the time for draining is over: where its bytes could be cut is not known here."""

    def cut(self):
        cdef Tunnel tunnel = self.tunnel
        if tunnel is not None:
            tunnel.details = b"drained"
            tunnel.finish(False)


cdef class TunnelUpstream(Protocol):
    cdef int on_connected(self) except -1:
        return self.tunnel.open()

    cdef int on_data(self, const char *p, size_t n) except -1:
        return self.tunnel.down.on_data(p, n)

    cdef Pipe pipe_for_input(self):
        return self.tunnel.down.pipe_for_input()

    cdef int on_piped(self, size_t n) except -1:
        return self.tunnel.down.on_piped(n)

    cdef int on_input_dry(self) except -1:
        return self.tunnel.down.give_back()

    cdef int on_eof(self) except -1:
        return self.tunnel.down.on_eof()

    cdef int on_writable(self) except -1:
        return self.tunnel.up.on_sink_writable()

    cdef int on_closed(self, int reason, int error) except -1:
        return self.tunnel.on_upstream_closed(reason)


cdef class Tunnel(Served):
    def __init__(self, Context ctx, Observer observer, ConnectionOwner owner):
        self.ctx = ctx
        self.observer = observer
        self.owner = owner
        self.client = TunnelClient()
        self.client.ctx = ctx
        self.client.tunnel = self
        self.first = Buffer()
        self.up = Flow()
        self.down = Flow()
        self.limit_cell = FGW_NONE

    # ---- before the upstream is there

    cdef int start(self, ClientSide accepted, Transport transport, uint32_t chain, const char *p, size_t n) except -1:
        """Serve an accepted connection over an open transport, of which n bytes have been read, by a chain of the current image."""
        global tunnels
        tunnels += 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, 1)
        self.ctx.gauge(FGW_G_TUNNELS_ACTIVE, 1)
        self.ctx.loop.count(FGW_C_TUNNELS)
        self.start_record(self.observer is not None)
        self.client.take_place(accepted)
        self.client.transport = transport
        if self.client.local_len == 0:  # a reset leaves nothing to ask
            self.client.local_len = local_text(transport.fd, self.client.local)
        transport.protocol = self.client
        transport.reads_rest = transport.keeps_unread = True
        transport.pause_reading()
        self.up.relayed = n
        self.first.append(p, n)
        return self.decide(&self.image.chains[chain])

    cdef int log_unserved(self, ClientSide accepted, Transport transport) except -1:
        """The line of a connection that begins no tunnel, since no chain takes it (below the table of section I)."""
        self.state = T_DONE
        self.start_record(True)
        self.client.take_place(accepted)
        if self.client.local_len == 0:
            self.client.local_len = local_text(transport.fd, self.client.local)
        self.flags, self.details = FGW_F_NR, b"filter_chain_not_found"
        self.end_ns = self.start_ns
        self.observer.on_finished(self)
        self.image = None
        return 0

    cdef int decide(self, const fgw_img_chain *chain) except -1:
        cdef Image image = self.image
        cdef const fgw_img_action *a
        cdef const fgw_img_destination *d
        cdef const fgw_img_policy *policy
        cdef fgw_span name
        cdef const char *why
        self.idle_timeout_ms = chain.idle_timeout_ms
        if chain.virtual_service != FGW_NONE and self.observer is not None:
            name = image.origins[chain.virtual_service].name
            self.virtual_service = image.text(name)[:name.len]
        if chain.guard != FGW_NONE:
            why = why_denied(image, chain.guard, &self.client.ip)
            if why != NULL:
                self.ctx.loop.count(FGW_C_SOURCES_DENIED)
                return self.fail(0, why)
        if chain.action == FGW_NONE:
            return self.fail(FGW_F_NR, b"route_not_found")
        a = &image.actions[chain.action]
        if a.kind != FGW_ACTION_ROUTE:
            return self.fail(FGW_F_NR, b"action_not_supported")
        if a.destinations.count == 0:
            return self.fail(FGW_F_NC, b"cluster_not_found")
        d = image.destinations + a.destinations.off + self.draw_destination(chain.action, a)
        self.cluster = d.cluster
        if self.observer is not None:
            self.cluster_text = image.text(d.cluster_name)[:d.cluster_name.len]
        if self.cluster == FGW_NONE:
            return self.fail(FGW_F_NC, b"cluster_not_found")
        self.metric_id = image.clusters[self.cluster].metric_id
        policy = image.policy_of(self.cluster)
        if policy != NULL and policy.hash_on:  # of a connection only the client's address is known
            self.has_key = fgw_hash_key(image.base, policy, NULL, self.client.peer, self.client.peer_len, &self.hash_key)
        return self.try_upstream()

    cdef uint32_t draw_destination(self, uint32_t action, const fgw_img_action *a) noexcept:
        """The one that clients of this address keep, where the route is sticky, else by weight (H5)."""
        cdef uint64_t key
        if a.sticky == FGW_STICKY_SOURCE_IP and a.destinations.count > 1 and fgw_sticky_key(
                self.image.base, action, NULL, self.client.peer, self.client.peer_len, &key):
            return fgw_sticky_pick(self.image.base, action, key)
        return self.draw(a)

    cdef int try_upstream(self) except -1:
        """Pick an endpoint and begin to connect; a connect that fails on the spot counts as an attempt."""
        cdef uint32_t avoid = self.address.cell if self.attempts else FGW_NONE
        cdef int picked
        self.state = T_WAITING
        while True:
            picked = pick(self, &avoid, avoid != FGW_NONE, NULL)
            if picked == PICK_WAIT and self.await_name():
                return 0
            if picked != PICK_ONE:
                return self.fail(FGW_F_UH, b"no_healthy_upstream")
            self.waiting = False
            if may_connect(self, False, &self.limit_cell) == HELD_REFUSED:
                return self.fail(FGW_F_UO, b"upstream_overflow")
            self.attempts += 1
            self.charge()
            if self.connect():
                return 0
            release_connection(self.ctx, self.limit_cell)
            self.limit_cell = FGW_NONE
            self.uncharge(True)
            note_local(self)
            self.ctx.loop.count(FGW_C_UPSTREAM_CONNECT_FAILURES)
            if self.attempts >= self.ctx.connect_attempts:
                return self.fail(FGW_F_UF | FGW_F_URX, b"remote_connection_failure")
            avoid = self.address.cell

    cdef bint connect(self) except -1:
        cdef TunnelUpstream up = TunnelUpstream()
        cdef PeerName peer
        cdef Transport transport
        cdef const fgw_img_policy *policy
        cdef int fd
        name_peer(self.image, self.cluster, NULL, 0, &peer)
        transport = make_transport(self, &peer)
        fd = open_socket(&self.address, self.first.size() != 0 or peer.identity != 0) if transport is not None else -1
        if fd < 0:
            return False
        policy = self.image.policy_of(self.cluster)
        if policy != NULL and policy.flags & FGW_POLICY_KEEPALIVE:
            keep_alive(fd, policy)
        self.ctx.gauge(FGW_G_UPSTREAM_ACTIVE, 1)
        self.ctx.loop.count(FGW_C_UPSTREAM_CONNECTS)
        up.tunnel = self
        up.transport = transport
        up.transport.counter_in = FGW_C_UPSTREAM_BYTES_IN
        up.transport.counter_out = FGW_C_UPSTREAM_BYTES_OUT
        up.transport.reads_rest = up.transport.keeps_unread = True
        up.transport.preface = proxy_header_for(self)
        self.upstream = up
        self.state = T_CONNECTING
        up.transport.open(self.ctx.loop, fd, up, True)
        self.ctx.loop.set_deadline(self, self.ctx.loop.now_ms + max(self.image.clusters[self.cluster].connect_timeout_ms, 1))
        return True

    cdef int connect_failed(self, int counter) except -1:
        self.drop_upstream(False)
        self.uncharge(True)
        note_local(self)
        self.ctx.loop.count(counter)
        if self.attempts < self.ctx.connect_attempts:
            self.ctx.loop.count(FGW_C_UPSTREAM_RETRIES)
            return self.try_upstream()
        return self.fail(
            FGW_F_UF | FGW_F_URX,
            b"connection_timeout" if counter == FGW_C_UPSTREAM_CONNECT_TIMEOUTS else b"remote_connection_failure")

    # ---- open

    cdef int open(self) except -1:
        cdef Transport up = self.upstream.transport
        cdef Transport client = self.client.transport
        cdef const fgw_img_policy *policy
        self.state = T_OPEN
        self.deadline_ms = 0
        self.transport_failure = None  # of an attempt before
        note_transport(self.ctx, up)
        note_connected(self, True)
        if self.observer is not None and self.observer.wants_local:
            self.upstream_local_len = local_text(up.fd, self.upstream_local)
        policy = self.image.policy_of(self.cluster)
        if policy != NULL and policy.max_connection_ms:
            self.expires_ms = self.ctx.loop.now_ms + policy.max_connection_ms
        self.image = None  # a connection may outlive many of them
        self.series().opened += 1
        self.up.tie(self, client, up)
        self.down.tie(self, up, client)
        self.touch()
        if self.first.size():
            up.write_now(self.first.head(), self.first.size(), NULL, 0)
            self.first.release()
        if up.queued() == 0:
            client.resume_reading()
        return 0

    cdef int touch(self) except -1:
        """A byte has moved."""
        self.active_ms = self.ctx.loop.now_ms
        if self.report_ms:
            return 0
        self.report_ms = self.active_ms + REPORT_MS
        return self.arm()

    cdef int on_half_closed(self) except -1:
        """A direction has ended; what comes of the other may not take as long as before. A limit that was chosen stays."""
        if self.idle_timeout_ms != USUAL_SILENCE_MS or not (self.up.finished() or self.down.finished()):
            return 0
        self.idle_timeout_ms = HALF_CLOSED_MS
        self.active_ms = self.ctx.loop.now_ms
        return self.arm()

    cdef int arm(self) except -1:
        """File the nearest deadline; the one for silence moves on with every byte, and is looked at only when it comes."""
        cdef int64_t when = self.report_ms
        cdef int64_t idle = self.active_ms + self.idle_timeout_ms if self.idle_timeout_ms else 0
        if idle and (when == 0 or idle < when):
            when = idle
        if self.expires_ms and (when == 0 or self.expires_ms < when):
            when = self.expires_ms
        return self.ctx.loop.set_deadline(self, when)

    cdef int on_timer(self) except -1:
        try:
            return self.do_what_is_due()
        except BaseException:
            self.finish(True)
            raise

    cdef int do_what_is_due(self) except -1:
        cdef int64_t now = self.ctx.loop.now_ms
        if self.state == T_WAITING and self.waiting:
            return self.try_upstream()
        if self.state == T_CONNECTING:
            note_timeout(self, self.upstream.transport)
            return self.connect_failed(FGW_C_UPSTREAM_CONNECT_TIMEOUTS)
        if self.state != T_OPEN:
            return 0
        if self.idle_timeout_ms and now >= self.active_ms + self.idle_timeout_ms:
            self.ctx.loop.count(FGW_C_TUNNEL_TIMEOUTS)
            self.termination = b"tcp_session_idle_timeout"
            return self.finish(False)
        if self.expires_ms and now >= self.expires_ms:
            self.ctx.loop.count(FGW_C_TUNNEL_TIMEOUTS)
            self.termination = b"max_connection_duration"
            return self.finish(False)
        if self.report_ms and now >= self.report_ms:
            self.report()
            self.report_ms = 0
        return self.arm()

    # ---- the end

    cdef bint check_end(self) except -1:
        """Both directions have ended and everything is sent: closing says so to both sides."""
        if not (self.up.finished() and self.down.finished()):
            return False
        self.finish(False)
        return True

    cdef int on_client_closed(self) except -1:
        """The client's connection is broken, and so must the upstream's be. Flags speak of what is known to be wrong: an open
        connection may well end by a reset, such as that of a TLS client which does not wait for close_notify."""
        return self.fail(0 if self.state == T_OPEN else FGW_F_DC, b"downstream_remote_disconnect")

    cdef int on_upstream_closed(self, int reason) except -1:
        note_failure(self, self.upstream.transport, reason)
        if self.state == T_CONNECTING:
            return self.connect_failed(FGW_C_UPSTREAM_CONNECT_FAILURES)
        self.uncharge(True)
        return self.fail(0, b"upstream_remote_disconnect")

    cdef int fail(self, uint32_t flags, const char *details) except -1:
        """End with a reset: what has been relayed is not whole."""
        self.flags |= flags
        self.details = details
        return self.finish(True)

    cdef int finish(self, bint reset) except -1:
        """Record, close both sides, untie everything. Safe to call twice."""
        global tunnels
        cdef TunnelClient client = self.client
        if self.state == T_DONE:
            return 0
        if self.state != T_OPEN:
            self.series().opened += 1
        self.state = T_DONE
        self.ctx.loop.unlink(self)
        self.deadline_ms = 0
        self.uncharge(False)
        self.report()
        self.series().closed += 1
        if self.observer is not None:
            self.ctx.loop.update_clock()
            self.end_ns = self.ctx.loop.now_ns
            self.observer.on_finished(self)
        self.up.untie()
        self.down.untie()
        self.first.release()
        self.image = None
        self.drop_upstream(reset)
        if reset:
            client.transport.reset()
        else:
            client.transport.close()
        tunnels -= 1
        self.ctx.gauge(FGW_G_CLIENT_ACTIVE, -1)
        self.ctx.gauge(FGW_G_TUNNELS_ACTIVE, -1)
        self.ctx.loop.count(FGW_C_CLIENT_CONNECTIONS_CLOSED)
        self.ctx.loop.keep(self)  # a method of ours may be on the stack
        self.ctx.loop.keep(client)
        client.tunnel = None
        return self.owner.on_client_closed(client)

    cdef int drop_upstream(self, bint reset) except -1:
        cdef TunnelUpstream up = self.upstream
        if up is None:
            return 0
        self.upstream = None
        self.ctx.loop.keep(up)
        up.tunnel = None
        if reset:
            up.transport.reset()
        else:
            up.transport.close()
        self.ctx.gauge(FGW_G_UPSTREAM_ACTIVE, -1)
        self.ctx.loop.count(FGW_C_UPSTREAM_CLOSED)
        release_connection(self.ctx, self.limit_cell)
        self.limit_cell = FGW_NONE
        return 0

    # ---- counting

    cdef ClientSide client_side(self):
        return self.client

    cdef fgw_tcp_series *series(self) noexcept:
        return fgw_tcp_series_of(self.ctx.stats, fgw_series_key(self.metric_id, 0, self.flags, 0))

    cdef int report(self) except -1:
        """Put what has been relayed since the last time into the metrics."""
        cdef fgw_tcp_series *s = self.series()
        self.bytes_received, self.bytes_sent = self.up.relayed, self.down.relayed
        s.received_bytes += self.bytes_received - self.reported_up
        s.sent_bytes += self.bytes_sent - self.reported_down
        self.reported_up, self.reported_down = self.bytes_received, self.bytes_sent
        return 0
