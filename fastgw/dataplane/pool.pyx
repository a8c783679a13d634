"""Upstream connections are reused by default: the largest single gain a proxy can have (fewer connects, warm windows).

Idle connections stay in epoll, so a peer's FIN is seen at once; the loop handles hang-ups before requests within a turn.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.limits cimport HELD_NOT, HELD_WAIT, free_connection, may_connect, release_connection, wanted_by_others
from fastgw.dataplane.loop cimport TICK_MS, Timer
from fastgw.dataplane.proxy_header cimport source_of
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.streams cimport Connector, UpstreamStream
from fastgw.dataplane.upstream_connection cimport count_idle_end, idle_limit_ms
from fastgw.dataplane.upstream_http1 cimport U_HEAD, IdleOwner, UpstreamHttp1
from fastgw.dataplane.upstream_hub cimport Hub, Hubs, copy_name, same_address, same_name
from fastgw.dataplane.upstream_tls cimport PeerName, name_peer
from fastgw.native.route cimport FGW_NONE, FGW_UPSTREAM_CLIENT, FGW_UPSTREAM_HTTP2, fgw_img_cluster
from fastgw.native.state cimport FGW_G_UPSTREAM_IDLE, FGW_STATE_CELLS

cdef enum:
    SHELF_LIMIT = 1024        # idle connections kept for one endpoint
    LOOK_LIMIT = 32           # of them looked at for one that was made for the same name


cdef class Shelf(IdleOwner):
    cdef int take_back(self, UpstreamHttp1 c) except -1:
        cdef Context ctx = c.ctx
        c.idle_prev = None
        c.idle_next = self.top
        if self.top is not None:
            self.top.idle_prev = c
        else:
            self.bottom = c
        self.top = c
        self.count += 1
        self.pool.shelved += 1
        ctx.gauge(FGW_G_UPSTREAM_IDLE, 1)
        if ctx.draining or ctx.parting:
            count_idle_end(ctx, &c.terms)
            return c.destroy()
        if self.count > SHELF_LIMIT:
            self.bottom.destroy()
        if c.terms.limit_cell != FGW_NONE and self.pool.keep_counted(c):
            return 0
        if idle_limit_ms(ctx, &c.terms):
            ctx.loop.set_deadline(c, ctx.loop.now_ms + idle_limit_ms(ctx, &c.terms))
        if c.terms.expires_ms and (c.deadline_ms == 0 or c.terms.expires_ms < c.deadline_ms):
            ctx.loop.set_deadline(c, c.terms.expires_ms)
        return 0

    cdef int forget(self, UpstreamHttp1 c) except -1:
        """Unlink an idle connection, whatever becomes of it."""
        if c.idle_prev is not None:
            c.idle_prev.idle_next = c.idle_next
        else:
            self.top = c.idle_next
        if c.idle_next is not None:
            c.idle_next.idle_prev = c.idle_prev
        else:
            self.bottom = c.idle_prev
        c.idle_prev = c.idle_next = None
        if c.terms.limit_cell != FGW_NONE:
            self.pool.counted[c.terms.limit_cell].pop(c, None)
        self.count -= 1
        self.pool.shelved -= 1
        c.ctx.gauge(FGW_G_UPSTREAM_IDLE, -1)
        return 0

    cdef UpstreamHttp1 take(self, const Address *to, const PeerName *peer, bytes source):
        """The warmest idle connection to this address under this name, for this client (None: anybody). Ones to an earlier address
        of the cell, or made under other settings of TLS, are closed on the way."""
        cdef UpstreamHttp1 c = self.top, below
        cdef int looks = LOOK_LIMIT
        while c is not None and looks:
            below = c.idle_next
            if (not same_address(&c.address, to) or c.peer.identity != peer.identity or c.transport.hangup
                    or c.transport.failed):
                c.destroy()
            elif same_name(&c.peer, peer) and (c.source is source or c.source == source):
                self.forget(c)
                return c
            else:
                looks -= 1
            c = below
        return None


cdef class PoolWatch(Timer):
    cdef int on_timer(self) except -1:
        cdef Pool pool = self.pool
        if pool.give_up_wanted():
            pool.ctx.loop.set_deadline(self, pool.ctx.loop.now_ms + TICK_MS)
        return 0


cdef bint speaks_http2(Exchange x) except -1:
    """Is the cluster spoken to by HTTP/2? WebSockets are HTTP/1.1 to everybody."""
    cdef int protocol = x.image.clusters[x.cluster].protocol
    if x.upgrade:
        return False
    return protocol == FGW_UPSTREAM_HTTP2 or (protocol == FGW_UPSTREAM_CLIENT and x.client.http2)


cdef class Pool(Connector):
    def __init__(self, Context ctx):
        self.ctx = ctx
        self.owned = []
        self.hubs = Hubs(ctx)
        self.counted = {}
        self.watch = PoolWatch()
        self.watch.pool = self
        self.shelves = <void **>calloc(FGW_STATE_CELLS, sizeof(void *))  # untouched pages cost nothing
        if self.shelves == NULL:
            raise MemoryError("pool")

    def __dealloc__(self):
        free(self.shelves)

    cdef Shelf shelf(self, uint32_t cell):
        cdef Shelf s
        if self.shelves[cell] == NULL:
            s = Shelf()
            s.pool = self
            self.owned.append(s)
            self.shelves[cell] = <void *>s
        return <Shelf>self.shelves[cell]

    cdef UpstreamStream acquire(self, Exchange x, const Address *to, int64_t connect_timeout_ms, bint fresh):
        cdef Shelf shelf
        cdef UpstreamHttp1 c
        cdef PeerName peer
        cdef uint32_t cell
        cdef bytes source = source_of(x)
        name_peer(x.image, x.cluster, x.head.base + x.head.req.authority.off, x.head.req.authority.len, &peer)
        if speaks_http2(x):
            return self.acquire_http2(x, to, &peer, connect_timeout_ms, fresh)
        shelf = self.shelf(to.cell)
        c = None if fresh else shelf.take(to, &peer, source)
        if c is not None:
            c.deadline_ms = 0
            c.reused = True
            c.taken_turn = self.ctx.loop.turns
            c.state = U_HEAD
            c.exchange = x
            return c
        x.held = may_connect(x, True, &cell)
        if x.held == HELD_WAIT and (self.give_up_one(x.limits_of) or self.hubs.give_up_one(x.limits_of)):
            x.held = may_connect(x, True, &cell)
        if x.held:
            return None
        c = UpstreamHttp1(self.ctx, shelf)
        c.terms.limit_cell = cell
        c.source = source
        c.address = to[0]
        copy_name(&c.peer, &peer)
        c.exchange = x
        try:
            if c.start_connect(connect_timeout_ms):
                return c
        except BaseException:
            c.exchange = None
            release_connection(self.ctx, cell)
            raise
        c.exchange = None
        release_connection(self.ctx, cell)
        return None

    cdef UpstreamStream acquire_http2(self, Exchange x, const Address *to, PeerName *peer, int64_t connect_timeout_ms, bint fresh):
        cdef const fgw_img_cluster *cluster = &x.image.clusters[x.cluster]
        cdef bytes source = source_of(x)
        cdef Hub hub
        cdef UpstreamStream s
        peer.http2 = True
        hub = self.hubs.find(to, peer, source)
        hub.max_streams = cluster.max_streams
        hub.ping_interval_ms, hub.ping_timeout_ms = cluster.ping_interval_ms, cluster.ping_timeout_ms
        s = hub.acquire(x, connect_timeout_ms, fresh)
        if s is None and x.held == HELD_WAIT and (self.give_up_one(x.limits_of) or self.hubs.give_up_one(x.limits_of)):
            x.held = HELD_NOT
            s = self.hubs.find(to, peer, source).acquire(x, connect_timeout_ms, fresh)
        return s

    # ---- idle connections of clusters with maxConnections

    cdef bint keep_counted(self, UpstreamHttp1 c) except -1:
        """An idle connection that counts: whoever waits may have its place. True: it was closed, for others need it."""
        cdef dict idle = self.counted.get(c.terms.limit_cell)
        if idle is None:
            idle = self.counted[c.terms.limit_cell] = {}
        idle[c] = None
        free_connection(self.ctx, c.terms.limit_cell)
        if wanted_by_others(self.ctx, c.terms.limit_cell, c.terms.limit):
            c.destroy()
            return True
        if self.watch.deadline_ms == 0 and self.ctx.state.worker_slots > 1:
            self.ctx.loop.set_deadline(self.watch, self.ctx.loop.now_ms + TICK_MS)
        return False

    cdef bint give_up_one(self, uint32_t cell) except -1:
        """Close the idle connection of the cluster that was used longest ago, whichever endpoint it is to."""
        cdef dict idle = self.counted.get(cell)
        cdef UpstreamHttp1 c
        if not idle:
            return False
        c = next(iter(idle))
        c.destroy()
        return True

    cdef int give_up_wanted(self) except -1:
        """The same for requests that wait in other workers. 0: no idle connection counts any more."""
        cdef UpstreamHttp1 c
        cdef uint32_t cell, wanted
        cdef int left = 0
        for cell in self.counted:
            idle = self.counted[cell]
            if idle:
                c = next(iter(idle))
                wanted = wanted_by_others(self.ctx, cell, c.terms.limit)
                while wanted and self.give_up_one(cell):
                    wanted -= 1
                left |= len(idle) != 0
        return left

    # ---- memory is short

    cdef int hurry(self) except -1:
        cdef Shelf s
        cdef UpstreamHttp1 c, below
        cdef int64_t when
        for s in self.owned:
            c = s.top
            while c is not None:
                below = c.idle_next
                when = self.ctx.loop.now_ms + idle_limit_ms(self.ctx, &c.terms)
                if self.ctx.parting:
                    count_idle_end(self.ctx, &c.terms)
                    c.destroy()
                elif c.deadline_ms == 0 or when < c.deadline_ms:
                    self.ctx.loop.set_deadline(c, when)
                c = below
        return self.hubs.hurry()

    cdef int trim(self) except -1:
        return self.hubs.store.trim()

    @property
    def idle(self):
        """Connections without a request, of both protocols."""
        return self.shelved + self.hubs.idle

    @property
    def spare_streams(self):
        """HTTP/2 stream objects that wait to be used again."""
        return self.hubs.store.spare

    def close_idle(self):
        """Close every idle connection (drain, end of tests)."""
        cdef Shelf s
        self.hubs.close_idle()
        for s in self.owned:
            while s.top is not None:
                s.top.destroy()
