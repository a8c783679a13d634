"""The common part of exchanges and tunnels."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastgw.dataplane.context cimport Image
from fastgw.native.base cimport FGW_OK, fgw_span
from fastgw.native.route cimport FGW_NONE, fgw_chain_find, fgw_img_chain, fgw_img_destination
from fastgw.native.system cimport FGW_ATOMIC_ADD32, FGW_ATOMIC_ADD64, FGW_ATOMIC_SUB32, clock_gettime, timespec

cdef enum:
    DNS_WAIT_MS = 5000           # interface.md: a name is known to be good or bad within 5 s
    DNS_POLL_MS = 20


cdef int64_t clock_ns(int clock) noexcept:
    cdef timespec ts
    clock_gettime(clock, &ts)
    return <int64_t>ts.tv_sec * 1000000000 + ts.tv_nsec


cdef class Held:
    def __cinit__(self):
        self.listener = FGW_NONE


cdef class ClientSide(Protocol):
    def __cinit__(self):
        self.listener = self.chain = self.route_table = FGW_NONE

    cdef int take_place(self, ClientSide other) except -1:
        """Go on for a connection that has been accepted under another protocol."""
        self.listener_name, self.chain_name = other.listener_name, other.chain_name
        self.listener, self.chain, self.route_table = other.listener, other.chain, other.route_table
        self.identity, self.held = other.identity, other.held
        self.secure, self.server_name, self.tls = other.secure, other.server_name, other.tls
        memcpy(self.peer, other.peer, sizeof(self.peer))
        self.ip, self.has_port = other.ip, other.has_port
        self.direct_ip, self.direct_port = other.direct_ip, other.direct_port
        memcpy(self.local, other.local, sizeof(self.local))
        self.peer_len, self.peer_port, self.local_len = other.peer_len, other.peer_port, other.local_len
        return 0

    cdef int choose_chain(self, uint32_t chain) except -1:
        """The chain of the current image that this connection is served by from now on."""
        cdef Image image = self.ctx.image
        cdef fgw_span name = image.chains[chain].name
        self.chain = chain
        self.route_table = image.chains[chain].route_table
        self.identity = image.chains[chain].identity
        self.chain_name = (image.strings + name.off)[:name.len]
        return 0

    cdef int locate(self, uint32_t listener) except -1:
        """A new image is in use, with our listener at this index. A chain whose certificates or demands on clients have changed is
        not ours any more."""
        cdef Image image = self.ctx.image
        cdef const char *name
        cdef const fgw_img_chain *chain
        self.listener = listener
        self.chain = self.route_table = FGW_NONE
        if listener == FGW_NONE:
            return 0
        if self.chain_name is None:  # accepted when the listener had no place in an image
            self.chain = image.listeners[listener].plain
            return self.choose_chain(self.chain) if self.chain != FGW_NONE else 0
        name = self.chain_name
        self.chain = fgw_chain_find(image.base, listener, name, <size_t>len(self.chain_name))
        if self.chain == FGW_NONE:
            return 0
        chain = &image.chains[self.chain]
        if chain.identity != self.identity:
            self.chain = FGW_NONE
            return 0
        self.route_table = chain.route_table
        return 0

    cdef int socket_address(self, char *out) noexcept:
        """Ask the kernel for our address on this connection: text, at most 63 bytes; its length."""
        return 0

    cdef int local_address(self, char *out) noexcept:
        """The same as the client sees it, asked for once a connection."""
        if self.local_len == 0:
            self.local_len = self.socket_address(self.local)
        memcpy(out, self.local, <size_t>self.local_len)
        return self.local_len

    cdef int hurry(self) except -1:
        """Idle connections have less time than they had."""
        return 0

    cdef size_t held_bytes(self) noexcept:
        """Memory in the buffers of its largest stream, as far as it would come back with that."""
        return 0

    cdef int drop_largest(self) except -1:
        """Reset that stream, or the connection when it has but one."""
        return 0

    def drain(self):
        """Nothing new: end when what is under way is over."""
        raise NotImplementedError

    def forewarn(self):
        """drain() will come: tell the client, where its protocol can say so without loss."""

    def cut(self):
        """The process ends now: record what would not be recorded any more."""


cdef class Observer:
    cdef int on_finished(self, Served s) except -1:
        return 0


cdef class ConnectionOwner:
    cdef int on_client_closed(self, ClientSide client) except -1:
        raise NotImplementedError

    cdef int on_told(self, ClientSide client) except -1:
        """A proxy in front has told whose the connection is. FGW_OK, or the fgw_reason to close it."""
        return FGW_OK

    cdef int serve(self, ClientSide accepted, Transport transport, uint32_t chain, const char *p, size_t n) except -1:
        """Put the protocol of a chain (FGW_NONE: of a listener that is gone) over a connection, of which n bytes have been read."""
        raise NotImplementedError

    cdef int serve_http2(self, ClientSide accepted, Transport transport, const char *p, size_t n) except -1:
        """Go on with HTTP/2, whose preface begins at p."""
        raise NotImplementedError

    cdef int note_unserved(self, ClientSide accepted, Transport transport) except -1:
        """No chain takes the server name of a connection, which ends for it."""
        raise NotImplementedError


cdef class Served(Timer):
    def __cinit__(self):
        self.cluster = FGW_NONE

    cdef ClientSide client_side(self):
        """Whom it is for, None when that is over."""
        raise NotImplementedError

    cdef int start_record(self, bint wall_clock) except -1:
        """Back to the start state, with the image in use. ``wall_clock``: somebody will want to know the time of day."""
        self.image = self.ctx.image
        self.cluster = FGW_NONE
        self.cluster_name.len = 0
        self.route.rule = self.route.vhost = self.route.action = FGW_NONE
        self.route.verdict = 0
        self.charged = self.waiting = self.has_key = self.called = False
        self.counted = 0
        self.held = 0
        self.ticket = 0
        self.attempts = 0
        self.bytes_received = self.bytes_sent = 0
        self.flags = 0
        self.reject_reason = FGW_OK
        self.details = NULL
        self.transport_failure = None
        self.upstream_local_len = 0
        self.start_ns = self.ctx.loop.now_ns
        if wall_clock:
            self.start_wall_ns = self.start_ns + self.ctx.loop.wall_ahead_ns()
        return 0

    cdef uint32_t draw(self, const fgw_img_action *a) noexcept:
        """One of the action's destinations at random, by weight (H5)."""
        cdef const fgw_img_destination *d = self.image.destinations + a.destinations.off
        cdef uint64_t draw
        cdef uint32_t i = 0
        if a.destinations.count == 1:
            return 0
        draw = self.ctx.random() % a.total_weight
        while i + 1 < a.destinations.count and draw >= d[i].cumulative_weight:
            i += 1
        return i

    cdef int charge(self) except -1:
        """The endpoint has one more request or connection in flight, seen by all workers."""
        cdef uint32_t cell = self.address.cell
        FGW_ATOMIC_ADD32(&self.ctx.state.cells[cell].active, 1)
        FGW_ATOMIC_ADD64(&self.ctx.state.cells[cell].requests, 1)
        self.ctx.stats.active[cell] += 1
        self.charged = True
        return 0

    cdef int uncharge(self, bint failed) except -1:
        cdef uint32_t cell = self.address.cell
        if not self.charged:
            return 0
        self.charged = False
        FGW_ATOMIC_SUB32(&self.ctx.state.cells[cell].active, 1)
        self.ctx.stats.active[cell] -= 1
        if failed:
            FGW_ATOMIC_ADD64(&self.ctx.state.cells[cell].failures, 1)
        return 0

    cdef bint await_name(self) except -1:
        """The endpoints' name has not been resolved yet: on_timer() follows shortly, and the pick is to be tried again. False when
        that has been going on for too long."""
        cdef int64_t now = self.ctx.loop.now_ms
        if not self.waiting:
            self.waiting = True
            self.deadline_dns_ms = now + DNS_WAIT_MS
        elif now >= self.deadline_dns_ms:
            self.waiting = False
            return False
        self.ctx.loop.set_deadline(self, now + DNS_POLL_MS)
        return True

    cdef int proceed(self) except -1:
        """What it has waited for may be there: try again."""
        return 0

    cdef int overflowed(self) except -1:
        """It has waited in vain."""
        return 0
