"""Which HTTP/2 connection of an endpoint a request takes: the one with the fewest streams that has room for one more.

Requests that find none wait in one queue, which whatever gets room first serves: while the first connection is being made they all
wait for that one, as long as they are no more than it is expected to take. Connections of an endpoint are bounded; when each of
them is full, requests wait as long as they would for a connection.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.limits cimport HELD_NOT, HELD_REFUSED, free_connection, may_connect, release_connection, wanted_by_others
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.streams cimport FAULT_CLOSED, UpstreamStream
from fastgw.dataplane.upstream_http2 cimport H_CONNECTING, H_OPEN, StreamOwner, UpstreamHttp2
from fastgw.dataplane.upstream_http2_stream cimport S_WAITING, StreamStore, UpstreamHttp2Stream
from fastgw.dataplane.upstream_tls cimport PeerName
from fastgw.native.route cimport FGW_NONE
from fastgw.native.state cimport FGW_G_UPSTREAM_IDLE, FGW_STATE_CELLS

cdef enum:
    CONNECTIONS_MAX = 64         # to one endpoint under one name


cdef bint same_address(const Address *a, const Address *b) noexcept:
    if a.family != b.family or a.port != b.port or a.path_len != b.path_len:
        return False
    if a.path_len:
        return memcmp(a.path, b.path, a.path_len) == 0
    return memcmp(a.ip, b.ip, 16) == 0


cdef bint same_name(const PeerName *a, const PeerName *b) noexcept:
    return a.identity == b.identity and a.len == b.len and memcmp(a.text, b.text, a.len) == 0


cdef int copy_name(PeerName *to, const PeerName *name) noexcept:
    to.identity, to.len, to.http2 = name.identity, name.len, name.http2
    memcpy(to.text, name.text, name.len)
    return 0


cdef class Hub(StreamOwner):
    def __cinit__(self):
        self.connections = []

    # ---- a stream for an exchange

    cdef UpstreamStream acquire(self, Exchange x, int64_t timeout_ms, bint fresh):
        """Ready, or waiting; None when it is not even possible to wait. fresh: what is open already may be stale."""
        cdef UpstreamHttp2 c = None if fresh else self.least_loaded()
        cdef UpstreamHttp2Stream s = self.store.take()
        s.ctx = self.ctx
        s.owner = self
        s.exchange = x
        if c is not None:
            c.bind(s)
            return s
        self.enqueue(s)
        try:
            if (self.needs_another() or (fresh and not self.connecting)) and not self.connect(x, timeout_ms) and (
                    not self.connections or x.held == HELD_REFUSED):
                self.give_up(s)
                return None
        except BaseException:
            self.give_up(s)
            raise
        x.held = HELD_NOT
        self.ctx.loop.set_deadline(s, self.ctx.loop.now_ms + max(timeout_ms, 1))
        return s

    cdef int give_up(self, UpstreamHttp2Stream s) except -1:
        """Nothing will come of s, which waits."""
        self.withdraw(s)
        s.retire()
        return 0 if self.connections or self.front is not None else self.hubs.remove(self)

    cdef UpstreamHttp2 least_loaded(self):
        cdef UpstreamHttp2 c, best = None
        for c in self.connections:
            if c.has_room() and not c.transport.hangup and not c.transport.failed and (best is None or c.active < best.active):
                best = c
        return best

    cdef bint needs_another(self) noexcept:
        """More requests wait than the connections that are being made will take."""
        cdef uint32_t each = self.expected_streams
        if self.max_streams and self.max_streams < each:
            each = self.max_streams
        return self.waiting > <uint32_t>self.connecting * each and len(self.connections) < CONNECTIONS_MAX

    cdef int connect(self, Exchange x, int64_t timeout_ms) except -1:
        """0 when not even a socket could be made, or the cluster has as many connections as it may (then x.held says so)."""
        cdef UpstreamHttp2 c
        cdef uint32_t cell
        x.held = may_connect(x, True, &cell)
        if x.held:
            return 0
        c = UpstreamHttp2(self.ctx, self)
        c.terms.limit_cell = cell
        c.address = self.address
        copy_name(&c.peer, &self.peer)
        self.connections.append(c)
        try:
            if c.start_connect(x, timeout_ms):
                self.connecting += 1
                return 1
        except BaseException:
            self.connections.remove(c)
            release_connection(self.ctx, cell)
            raise
        self.connections.remove(c)
        release_connection(self.ctx, cell)
        return 0

    # ---- the queue

    cdef int enqueue(self, UpstreamHttp2Stream s) except -1:
        s.state = S_WAITING
        s.prev = self.back
        s.next = None
        if self.back is not None:
            self.back.next = s
        else:
            self.front = s
        self.back = s
        self.waiting += 1
        return 0

    cdef int withdraw(self, UpstreamHttp2Stream s) except -1:
        if s.prev is not None:
            s.prev.next = s.next
        else:
            self.front = s.next
        if s.next is not None:
            s.next.prev = s.prev
        else:
            self.back = s.prev
        s.prev = s.next = None
        self.waiting -= 1
        return 0

    # ---- what connections tell

    cdef int on_room(self, UpstreamHttp2 c) except -1:
        cdef UpstreamHttp2Stream s
        if c.state == H_OPEN and c.newborn:
            c.newborn = False
            self.connecting -= 1
        while self.front is not None and c.has_room():
            s = self.front
            self.withdraw(s)
            c.bind(s)
            s.exchange.on_upstream_ready()
        return 0 if self.front is None else self.help_waiting()

    cdef int help_waiting(self) except -1:
        """Those that are left may need a further connection."""
        cdef Exchange x = self.front.exchange
        if self.needs_another():
            self.connect(x, x.image.clusters[x.cluster].connect_timeout_ms)
            x.held = HELD_NOT
        return 0

    cdef int on_leaving(self, UpstreamHttp2 c) except -1:
        self.forget(c)
        if self.front is not None:
            return self.help_waiting()
        return 0 if self.connections else self.hubs.remove(self)

    cdef int on_connect_failed(self, UpstreamHttp2 c, int fault, int reason, int error) except -1:
        """What waits goes on waiting when others may still get room."""
        cdef UpstreamHttp2Stream s
        cdef Exchange x
        cdef list failed = []
        self.forget(c)
        if self.connections:
            return 0
        while self.front is not None:
            s = self.front
            self.withdraw(s)
            failed.append(s)
        self.hubs.remove(self)
        for s in failed:  # what they do may lead to a new hub for this endpoint
            x = s.exchange
            if x is None:
                continue
            s.exchange = None
            s.retire()
            if c.failure is not None:
                x.transport_failure = c.failure
            x.on_upstream_fault(fault, reason, error)
        return 0

    cdef int forget(self, UpstreamHttp2 c) except -1:
        if c in self.connections:
            self.connections.remove(c)
            if c.newborn:
                c.newborn = False
                self.connecting -= 1
        return 0

    cdef int on_idle(self, UpstreamHttp2 c, bint idle) except -1:
        cdef int64_t change = 1 if idle else -1
        self.hubs.idle += change
        self.ctx.gauge(FGW_G_UPSTREAM_IDLE, change)
        if idle and c.terms.limit_cell != FGW_NONE:  # whoever waits for a connection may have its place
            free_connection(self.ctx, c.terms.limit_cell)
            if wanted_by_others(self.ctx, c.terms.limit_cell, c.terms.limit):
                c.leave()
        return 0


cdef class Hubs:
    def __init__(self, Context ctx):
        self.ctx = ctx
        self.owned = []
        self.store = StreamStore(ctx.loop)
        self.by_cell = <void **>calloc(FGW_STATE_CELLS, sizeof(void *))  # untouched pages cost nothing
        if self.by_cell == NULL:
            raise MemoryError("hubs")

    def __dealloc__(self):
        free(self.by_cell)

    cdef Hub find(self, const Address *to, const PeerName *peer, bytes source):
        """Made when there is none."""
        cdef Hub hub = None if self.by_cell[to.cell] == NULL else <Hub>self.by_cell[to.cell]
        while hub is not None:
            if same_address(&hub.address, to) and same_name(&hub.peer, peer) and hub.source == source:
                return hub
            hub = hub.beside
        hub = Hub()
        hub.hubs = self
        hub.ctx = self.ctx
        hub.store = self.store
        hub.cell = to.cell
        hub.source = source
        hub.address = to[0]
        copy_name(&hub.peer, peer)
        hub.beside = None if self.by_cell[to.cell] == NULL else <Hub>self.by_cell[to.cell]
        self.by_cell[to.cell] = <void *>hub
        self.owned.append(hub)
        return hub

    cdef int remove(self, Hub hub) except -1:
        """It has no connection and nobody waits."""
        cdef Hub before = None if self.by_cell[hub.cell] == NULL else <Hub>self.by_cell[hub.cell]
        if hub not in self.owned:
            return 0
        if before is hub:
            self.by_cell[hub.cell] = NULL if hub.beside is None else <void *>hub.beside
        else:
            while before.beside is not hub:
                before = before.beside
            before.beside = hub.beside
        hub.beside = None
        self.owned.remove(hub)
        self.ctx.loop.keep(hub)
        return 0

    cdef bint give_up_one(self, uint32_t limit_cell) except -1:
        """Close a connection without streams that counts there."""
        cdef Hub hub
        cdef UpstreamHttp2 c
        for hub in self.owned:
            for c in hub.connections:
                if c.idle and c.terms.limit_cell == limit_cell:
                    c.shut_down()
                    return True
        return False

    cdef int hurry(self) except -1:
        """Connections without streams learn that memory is short."""
        cdef Hub hub
        cdef UpstreamHttp2 c
        for hub in list(self.owned):
            for c in list(hub.connections):
                if c.idle:
                    c.arm()
                    c.check_end()
        return 0

    def close_idle(self):
        """Close every connection that nobody uses or waits for (drain, end of tests)."""
        cdef Hub hub
        cdef UpstreamHttp2 c
        for hub in list(self.owned):
            for c in list(hub.connections):
                if c.idle:
                    c.shut_down()
                elif c.state == H_CONNECTING and hub.waiting == 0:
                    hub.forget(c)
                    c.lose(FAULT_CLOSED, 0, 0)
            if not hub.connections and hub.waiting == 0:
                self.remove(hub)
