"""What a worker does about too much work and too little memory.

Work: the loop tells the shedder (ext/src/overload.c) how long events wait. While that is too long from end to end of an interval,
TLS handshakes are begun one a turn, and from the next interval on a growing share of new requests is answered 503. What has begun
goes on: refusing it would throw away what it has cost.

Memory: four times a second the worker's private memory is held against its budget, and that of the control group against its limit
(which the supervisor reads for all). Steps as requirement I1 has them. What is idle to upstreams has less time with the first step,
like clients, and is closed with the second: a new one costs a handshake, at a time when memory is what there is too little of.
Private memory is what the kernel counts, so that nothing is forgotten; but what it counts may be a heap that nobody uses any more,
or, of a group, the compile process. Refusing would free nothing of that, and would go on for ever: from the third step on,
connections must hold a good part of it, too.
"""
import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from fastgw.dataplane.admission cimport HOLD_MEMORY, Admission
from fastgw.dataplane.buffers cimport drop_pool, live_bytes
from fastgw.dataplane.client_http2_stream cimport StreamPool
from fastgw.dataplane.context cimport Context
from fastgw.dataplane.exchange cimport Exchange
from fastgw.dataplane.http2_memory cimport session_bytes
from fastgw.dataplane.loop cimport Turn
from fastgw.dataplane.pipes cimport drop_spare_pipes
from fastgw.dataplane.served cimport ClientSide
from fastgw.dataplane.steps cimport Gate
from fastgw.dataplane.streams cimport Connector
from fastgw.dataplane.tls_transport cimport SESSION_BYTES, sessions_alive
from fastgw.native.overload cimport (
    FGW_MEMORY_CALM, FGW_MEMORY_PART, FGW_MEMORY_REFUSE, FGW_MEMORY_RESET, FGW_MEMORY_SHRINK, FGW_SHEDDER_ALL, fgw_memory_idle_ms,
    fgw_memory_step, fgw_shedder_start,
)
from fastgw.native.state cimport (
    FGW_C_MEMORY_STEPS, FGW_C_SHED_DELAY, FGW_C_SHED_MEMORY, FGW_C_SHED_STREAMS, FGW_G_HTTP2_BYTES, FGW_G_LOOP_DELAY_US,
    FGW_G_MEMORY_BUDGET, FGW_G_MEMORY_BYTES, FGW_G_MEMORY_STEP, FGW_G_SHED_SHARE, FGW_G_TLS_BYTES,
)

cdef extern from "<malloc.h>" nogil:
    int malloc_trim(size_t pad)

cdef enum:
    STALE_MS = 3000            # what the supervisor wrote longer ago is not believed
    TRIM_MS = 1000
    NEAR_MS = 50               # between two looks from the first step on: a flood of uploads fills some ten MiB in a second
    DROP_MS = 250              # for the figures to show what was freed
    HELD_PART = 16             # of the budget, one over this: so much must be held before anybody is refused
    NO_IDLE_LIMIT_MS = 3600000  # where there is none, an hour shrinks
    DROPPED_AT_ONCE = 64       # streams
    WORTH_BYTES = 16384        # a stream that holds less is left alone

cdef uint64_t PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


cdef class Sampler(Turn):
    cdef int on_turn_end(self) except -1:
        return self.overload.on_sample()


cdef class Overload(Gate):
    def __cinit__(self):
        self.statm_fd = -1

    def __init__(self, Context ctx, set clients, Connector connector, StreamPool streams, limits):
        """``limits``: fastgw.model.worker_protocol.Limits."""
        cdef Sampler sampler = Sampler()
        sampler.overload = self
        self.ctx, self.clients, self.connector, self.streams = ctx, clients, connector, streams
        self.budget = limits.memory_bytes
        self.idle_ms, self.http2_idle_ms = ctx.idle_timeout_ms, ctx.http2_idle_timeout_ms
        self.upstream_idle_ms = ctx.upstream_idle_timeout_ms
        self.spared = [path.encode() for path in limits.spare_paths]
        self.statm_fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self.admission = Admission(ctx.loop)
        fgw_shedder_start(&ctx.loop.shedder, limits.shed_target_ms * 1000000)
        ctx.loop.sampler = sampler

    def __dealloc__(self):
        if self.statm_fd >= 0:
            os.close(self.statm_fd)

    # ---- new requests

    cdef bint refuses(self, Exchange x) except -1:
        if x.ctx.refuse_share < FGW_SHEDDER_ALL and (x.ctx.random() & (FGW_SHEDDER_ALL - 1)) >= x.ctx.refuse_share:
            return False
        if self.spared and self.spares(x):
            return False
        x.ctx.loop.count(FGW_C_SHED_MEMORY if self.step >= FGW_MEMORY_REFUSE else FGW_C_SHED_DELAY)
        return True

    cdef bint spares(self, Exchange x) noexcept:
        """Its path, without the query, is one of those that are never refused."""
        cdef bytes path
        cdef const char *p
        cdef size_t n = x.head.path_len
        for path in self.spared:
            p = path
            if <size_t>len(path) == n and memcmp(p, x.head.path, n) == 0:
                return True
        return False

    # ---- looking

    cdef int on_sample(self) except -1:
        cdef int before = self.step
        cdef int now
        cdef int step
        self.weigh()
        now = fgw_memory_step(before, self.used, self.limit)
        if now >= FGW_MEMORY_SHRINK and self.ctx.loop.now_ms >= self.trimmed_ms + TRIM_MS:
            self.trim()
            self.weigh()
            now = fgw_memory_step(before, self.used, self.limit)
        if now > FGW_MEMORY_PART and not self.is_held():
            now = FGW_MEMORY_PART
        for step in range(before, now):
            self.ctx.loop.count(FGW_C_MEMORY_STEPS + step)
        self.step = now
        if now >= FGW_MEMORY_SHRINK:
            self.ctx.loop.sample_at_ms = self.ctx.loop.now_ms + NEAR_MS
        self.apply()
        return self.show()

    cdef int weigh(self) except -1:
        """Set used and limit."""
        cdef uint64_t group_limit = self.ctx.state.memory_limit
        cdef uint64_t group_used = self.ctx.state.memory_used
        self.used = self.private_bytes()
        self.limit = self.budget
        self.of_group = False
        self.ctx.stats.counters[FGW_G_MEMORY_BYTES] = self.used
        if group_limit == 0 or <int64_t>self.ctx.state.memory_read_ms + STALE_MS < self.ctx.loop.now_ms:
            return 0
        if self.budget == 0 or <double>group_used / <double>group_limit > <double>self.used / <double>self.budget:
            self.used, self.limit, self.of_group = group_used, group_limit, True
        return 0

    cdef uint64_t private_bytes(self) except? 0:
        """What the process has for itself: resident, less what files and shared memory are mapped to."""
        cdef list words = os.pread(self.statm_fd, 128, 0).split()
        cdef uint64_t resident = int(words[1])
        cdef uint64_t shared = int(words[2])
        return (resident - shared) * PAGE_BYTES if resident > shared else 0

    cdef uint64_t held_bytes(self) noexcept:
        """Of that, what connections hold and would give back: buffers, frame layers, TLS."""
        return live_bytes() + session_bytes() + <uint64_t>sessions_alive() * SESSION_BYTES

    cdef bint is_held(self) noexcept:
        """Do connections hold a good part of the limit? Of a group's, all workers and the kernel together."""
        cdef uint64_t workers = max(self.ctx.state.worker_slots, <uint32_t>1)
        if self.of_group:
            return self.held_bytes() * workers + self.ctx.state.memory_sockets >= self.limit // HELD_PART
        return self.held_bytes() >= self.limit // HELD_PART

    # ---- acting

    cdef int trim(self) except -1:
        """What is kept to be used again is freed, and whole pages that nobody uses go back to the kernel."""
        self.trimmed_ms = self.ctx.loop.now_ms
        self.streams.trim()
        self.connector.trim()
        drop_spare_pipes()
        drop_pool()
        malloc_trim(0)
        return 0

    cdef int apply(self) except -1:
        cdef Context ctx = self.ctx
        cdef bint parting_before = ctx.parting
        ctx.late = ctx.loop.shedder.late != 0
        ctx.parting = self.step >= FGW_MEMORY_PART
        ctx.refuse_share = FGW_SHEDDER_ALL if self.step >= FGW_MEMORY_REFUSE else ctx.loop.shedder.share
        self.hurry_idle()
        self.hurry_upstreams(parting_before)
        if self.step >= FGW_MEMORY_REFUSE:
            self.admission.hold(HOLD_MEMORY)
        else:
            self.admission.release(HOLD_MEMORY)
        if self.step < FGW_MEMORY_RESET or ctx.loop.now_ms < self.dropped_ms + DROP_MS:
            return 0
        self.dropped_ms = ctx.loop.now_ms
        return self.drop_largest()

    cdef int hurry_idle(self) except -1:
        """Requirement E11. Connections that are idle already learn of it."""
        cdef Context ctx = self.ctx
        cdef ClientSide client
        cdef int64_t before = ctx.idle_timeout_ms, before2 = ctx.http2_idle_timeout_ms
        if self.step == FGW_MEMORY_CALM:
            ctx.idle_timeout_ms, ctx.http2_idle_timeout_ms = self.idle_ms, self.http2_idle_ms
            return 0
        ctx.idle_timeout_ms = <int64_t>fgw_memory_idle_ms(
            <uint64_t>(self.idle_ms or NO_IDLE_LIMIT_MS), self.used, self.limit)
        ctx.http2_idle_timeout_ms = <int64_t>fgw_memory_idle_ms(
            <uint64_t>(self.http2_idle_ms or NO_IDLE_LIMIT_MS), self.used, self.limit)
        if ctx.idle_timeout_ms < before or ctx.http2_idle_timeout_ms < before2 or before == 0 or before2 == 0:
            for client in list(self.clients):
                client.hurry()
        return 0

    cdef int hurry_upstreams(self, bint parting_before) except -1:
        """The same for what is idle to upstreams; from the second step on nothing is."""
        cdef Context ctx = self.ctx
        cdef int64_t before = ctx.upstream_idle_most_ms
        if self.step == FGW_MEMORY_CALM:
            ctx.upstream_idle_most_ms = 0
            return 0
        ctx.upstream_idle_most_ms = <int64_t>fgw_memory_idle_ms(
            <uint64_t>(self.upstream_idle_ms or NO_IDLE_LIMIT_MS), self.used, self.limit)
        if before == 0 or ctx.upstream_idle_most_ms < before or ctx.parting != parting_before:
            self.connector.hurry()
        return 0

    cdef int drop_largest(self) except -1:
        """Streams with the fullest buffers first, until memory would be down to where the step ends."""
        cdef ClientSide client
        cdef uint64_t wanted = self.used - self.limit // 100 * 95, freed = 0
        cdef size_t n
        found = []
        for client in self.clients:
            n = client.held_bytes()
            if n >= WORTH_BYTES:
                found.append((n, client))
        found.sort(key=size_of, reverse=True)
        for n, client in found[:DROPPED_AT_ONCE]:
            if freed >= wanted:
                break
            freed += n
            self.ctx.loop.count(FGW_C_SHED_STREAMS)
            client.drop_largest()
        return 0

    # ---- telling

    cdef int show(self) except -1:
        cdef Context ctx = self.ctx
        ctx.stats.counters[FGW_G_MEMORY_BUDGET] = self.budget
        ctx.stats.counters[FGW_G_MEMORY_STEP] = <uint64_t>self.step
        ctx.stats.counters[FGW_G_HTTP2_BYTES] = session_bytes()
        ctx.stats.counters[FGW_G_TLS_BYTES] = <uint64_t>sessions_alive() * SESSION_BYTES
        ctx.stats.counters[FGW_G_LOOP_DELAY_US] = ctx.loop.shedder.last_ns // 1000
        ctx.stats.counters[FGW_G_SHED_SHARE] = ctx.loop.shedder.share
        return self.admission.look_at_descriptors()


def size_of(entry):
    return entry[0]
