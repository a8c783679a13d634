"""Upstream connections are reused by default: the largest single gain a proxy can have (fewer connects, warm windows).

Idle connections stay in epoll, so a peer's FIN is seen at once; the loop handles hang-ups before requests within a turn.
"""
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Connector, Exchange, UpstreamStream
from fastgw.dataplane.served cimport Address
from fastgw.dataplane.upstream_http1 cimport U_HEAD, IdleOwner, UpstreamHttp1
from fastgw.native.state cimport FGW_G_UPSTREAM_IDLE, FGW_STATE_CELLS

cdef enum:
    SHELF_LIMIT = 1024        # idle connections kept for one endpoint


cdef bint same_address(const Address *a, const Address *b) noexcept:
    if a.family != b.family or a.port != b.port or a.path_len != b.path_len:
        return False
    if a.path_len:
        return memcmp(a.path, b.path, a.path_len) == 0
    return memcmp(a.ip, b.ip, 16) == 0


cdef class Shelf(IdleOwner):
    cdef int take_back(self, UpstreamHttp1 c) except -1:
        cdef Context ctx = c.ctx
        c.idle_prev = None
        c.idle_next = self.top
        if self.top is not None:
            self.top.idle_prev = c
        self.top = c
        self.count += 1
        self.pool.idle += 1
        ctx.gauge(FGW_G_UPSTREAM_IDLE, 1)
        if self.count > SHELF_LIMIT or ctx.draining:
            return c.destroy()
        if ctx.upstream_idle_timeout_ms:
            ctx.loop.set_deadline(c, ctx.loop.now_ms + ctx.upstream_idle_timeout_ms)
        return 0

    cdef int forget(self, UpstreamHttp1 c) except -1:
        """Unlink an idle connection, whatever becomes of it."""
        if c.idle_prev is not None:
            c.idle_prev.idle_next = c.idle_next
        else:
            self.top = c.idle_next
        if c.idle_next is not None:
            c.idle_next.idle_prev = c.idle_prev
        c.idle_prev = c.idle_next = None
        self.count -= 1
        self.pool.idle -= 1
        c.ctx.gauge(FGW_G_UPSTREAM_IDLE, -1)
        return 0

    cdef UpstreamHttp1 take(self, const Address *to):
        """The warmest idle connection to this address; ones to an earlier address of the cell are closed on the way."""
        cdef UpstreamHttp1 c
        while self.top is not None:
            c = self.top
            if not same_address(&c.address, to) or c.transport.hangup or c.transport.failed:
                c.destroy()
                continue
            self.forget(c)
            return c
        return None


cdef class Pool(Connector):
    def __init__(self, Context ctx):
        self.ctx = ctx
        self.owned = []
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
        cdef Shelf shelf = self.shelf(to.cell)
        cdef UpstreamHttp1 c = None if fresh else shelf.take(to)
        if c is not None:
            c.deadline_ms = 0
            c.reused = True
            c.taken_turn = self.ctx.loop.turns
            c.state = U_HEAD
            c.exchange = x
            return c
        c = UpstreamHttp1(self.ctx, shelf)
        c.address = to[0]
        c.exchange = x
        if not c.start_connect(connect_timeout_ms):
            c.exchange = None
            return None
        return c

    def close_idle(self):
        """Close every idle connection (drain, end of tests)."""
        cdef Shelf s
        for s in self.owned:
            while s.top is not None:
                s.top.destroy()
