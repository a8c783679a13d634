"""The limits of connectionPool (Q11). They hold over all workers: what is counted lies in the state segment, with each worker's own
share beside it, which is taken off when it dies. A cluster without a limit counts nothing.

A request that finds no connection and may make none waits in its worker's line, for as long as a connect may take. Connections that
come free in the same worker serve the line at the end of the turn; those of other workers are noticed at the next tick, and
workers with idle connections give them up when others wait (see Pool).
"""
from collections import deque

from libc.stdint cimport uint32_t, uint64_t

from fastgw.dataplane.context cimport Context
from fastgw.dataplane.loop cimport TICK_MS, Timer, Turn
from fastgw.dataplane.served cimport Served
from fastgw.native.route cimport FGW_NONE, fgw_img_policy
from fastgw.native.state cimport (
    FGW_C_OVERFLOW_CONNECTIONS, FGW_C_OVERFLOW_PENDING, FGW_C_OVERFLOW_REQUESTS, FGW_C_OVERFLOW_TIMEOUTS,
    fgw_share,
)
from fastgw.native.system cimport FGW_ATOMIC_ADD32, FGW_ATOMIC_ADD64, FGW_ATOMIC_LOAD32, FGW_ATOMIC_SUB32

cdef enum Counted:
    COUNTED_REQUEST = 1
    COUNTED_PENDING = 2

cdef uint64_t tickets = 0


cdef bint take(Context ctx, uint32_t cell, uint32_t *everybodys, uint32_t *own, uint32_t limit) noexcept:
    """One more of something, unless all workers together have as many as they may."""
    if FGW_ATOMIC_ADD32(everybodys, 1) > limit:
        FGW_ATOMIC_SUB32(everybodys, 1)
        return False
    own[0] += 1
    if ctx.stats.shares_used <= cell:
        ctx.stats.shares_used = cell + 1
    return True


cdef int give_back(uint32_t *everybodys, uint32_t *own) noexcept:
    FGW_ATOMIC_SUB32(everybodys, 1)
    own[0] -= 1
    return 0


cdef int refuse(Served s, uint32_t cell, int counter) except -1:
    s.ctx.loop.count(counter)
    FGW_ATOMIC_ADD64(&s.ctx.state.clusters[cell].overflows, 1)
    return HELD_REFUSED


cdef int admit(Served s) except -1:
    """May the request go on (enum Held)? Before each choice of an endpoint."""
    cdef const fgw_img_policy *policy = s.image.policy_of(s.cluster)
    cdef uint32_t cell
    if policy == NULL:
        return HELD_NOT
    cell = s.image.clusters[s.cluster].state
    s.limits_of = cell
    if policy.max_requests != FGW_NONE and not s.counted & COUNTED_REQUEST:
        if not take(s.ctx, cell, &s.ctx.state.clusters[cell].all.requests, &s.ctx.stats.shares[cell].requests,
                    policy.max_requests):
            return refuse(s, cell, FGW_C_OVERFLOW_REQUESTS)
        s.counted |= COUNTED_REQUEST
    return HELD_NOT


cdef int may_connect(Served s, bint waits, uint32_t *cell) except -1:
    """May another connection to its cluster be made (enum Held)? Then it is counted, and *cell is what to release it by; FGW_NONE
    when connections are not counted. ``waits``: the request can wait, and does so even while a connection is being made."""
    cdef const fgw_img_policy *policy = s.image.policy_of(s.cluster)
    cdef uint32_t own
    cell[0] = FGW_NONE
    if policy == NULL or (policy.max_connections == FGW_NONE and policy.max_pending == FGW_NONE):
        return HELD_NOT
    own = s.limits_of = s.image.clusters[s.cluster].state
    if waits and not s.counted & COUNTED_PENDING:
        if not take(s.ctx, own, &s.ctx.state.clusters[own].all.pending, &s.ctx.stats.shares[own].pending, policy.max_pending):
            return refuse(s, own, FGW_C_OVERFLOW_PENDING)
        s.counted |= COUNTED_PENDING
    if policy.max_connections == FGW_NONE:
        return HELD_NOT
    if waits and not s.called and has_waiting(s.ctx, own):  # others were first
        free_connection(s.ctx, own)
        return HELD_WAIT
    if not take(s.ctx, own, &s.ctx.state.clusters[own].all.connections, &s.ctx.stats.shares[own].connections,
                policy.max_connections):
        return HELD_WAIT if waits else refuse(s, own, FGW_C_OVERFLOW_CONNECTIONS)
    cell[0] = own
    return HELD_NOT


cdef int got_connection(Served s) except -1:
    """It waits no more."""
    if s.counted & COUNTED_PENDING:
        s.counted &= ~<uint32_t>COUNTED_PENDING
        give_back(&s.ctx.state.clusters[s.limits_of].all.pending, &s.ctx.stats.shares[s.limits_of].pending)
    return 0


cdef int leave(Served s) except -1:
    """It is over: nothing of it counts any more, and its place in a line is void."""
    cdef uint32_t cell = s.limits_of
    s.ticket = 0
    if not s.counted:
        return 0
    got_connection(s)
    if s.counted & COUNTED_REQUEST:
        give_back(&s.ctx.state.clusters[cell].all.requests, &s.ctx.stats.shares[cell].requests)
    s.counted = 0
    return 0


cdef int release_connection(Context ctx, uint32_t cell) except -1:
    """A counted connection is closed."""
    if cell == FGW_NONE:
        return 0
    give_back(&ctx.state.clusters[cell].all.connections, &ctx.stats.shares[cell].connections)
    return free_connection(ctx, cell)


cdef int free_connection(Context ctx, uint32_t cell) except -1:
    """A counted connection has come free, one way or another: whoever waits is asked at the end of the turn."""
    cdef WaitLine line = ctx.lines.get(cell)
    if line is not None and line.waiting:
        ctx.loop.at_turn_end(line.turn)
    return 0


cdef uint32_t wanted_by_others(Context ctx, uint32_t cell, uint32_t limit) noexcept:
    """So many requests of other workers wait while no further connection may be made."""
    cdef fgw_share *all_of = &ctx.state.clusters[cell].all
    cdef uint32_t pending = FGW_ATOMIC_LOAD32(&all_of.pending)
    cdef uint32_t own = ctx.stats.shares[cell].pending
    if pending <= own or FGW_ATOMIC_LOAD32(&all_of.connections) < limit:
        return 0
    return pending - own


# ---- lines


cdef bint has_waiting(Context ctx, uint32_t cell) except -1:
    cdef WaitLine line = ctx.lines.get(cell)
    return line is not None and len(line.waiting) != 0


cdef int wait_in_line(Served s) except -1:
    """No connection can be had: proceed() follows when it may be tried again, overflowed() when that took too long."""
    cdef WaitLine line = s.ctx.lines.get(s.limits_of)
    if not s.called:
        s.ctx.loop.count(FGW_C_OVERFLOW_CONNECTIONS)
    if line is None:
        line = s.ctx.lines[s.limits_of] = WaitLine()
        line.ctx = s.ctx
        line.turn = LineTurn()
        line.turn.line = line
        line.waiting = deque()
    return line.put(s)


cdef class LineTurn(Turn):
    cdef int on_turn_end(self) except -1:
        return self.line.serve()


cdef class WaitLine(Timer):
    cdef bint holds(self, tuple entry) except -1:
        """Does the entry still stand for a request that waits?"""
        cdef Served s = entry[0]
        cdef uint64_t ticket = entry[1]
        return s.ticket == ticket

    cdef int put(self, Served s) except -1:
        """At the end; who was called and found nothing keeps the first place."""
        global tickets
        tickets += 1
        s.ticket = tickets
        if not s.called:
            s.wait_until_ms = self.ctx.loop.now_ms + max(s.image.clusters[s.cluster].connect_timeout_ms, 1)
            self.waiting.append((s, tickets))
        else:
            self.waiting.appendleft((s, tickets))
        if self.deadline_ms == 0:
            self.ctx.loop.set_deadline(self, self.ctx.loop.now_ms + TICK_MS)
        return 0

    cdef int on_timer(self) except -1:
        self.expire()
        self.serve()
        if self.waiting:
            self.ctx.loop.set_deadline(self, self.ctx.loop.now_ms + TICK_MS)
        return 0

    cdef int expire(self) except -1:
        """Those who have waited long enough; the first came first."""
        cdef Served s
        while self.waiting:
            s = self.waiting[0][0]
            if self.holds(self.waiting[0]):
                if s.wait_until_ms > self.ctx.loop.now_ms:
                    return 0
                s.ticket = 0
                self.waiting.popleft()
                self.ctx.loop.count(FGW_C_OVERFLOW_TIMEOUTS)
                FGW_ATOMIC_ADD64(&self.ctx.state.clusters[s.limits_of].overflows, 1)
                s.overflowed()
            else:
                self.waiting.popleft()
        return 0

    cdef int serve(self) except -1:
        """Ask one after the other, until one finds nothing."""
        cdef Served s
        cdef tuple entry
        while self.waiting:
            entry = self.waiting.popleft()
            if not self.holds(entry):
                continue
            s = entry[0]
            s.ticket = 0
            s.called = True
            s.proceed()
            s.called = False
            if s.ticket:  # back in the line, or another request of the same client is
                break
        return 0
